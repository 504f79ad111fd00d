"""Eviction of layers (LRU, value per byte) and of whole images (LRU, MRU, LFU, MFU).

*Value per byte*: the value of keeping a layer is what its next pull would carry, times
how often it is wanted. Per byte of disk, with *n* for how often::

    n * compressed_bytes / uncompressed_bytes

L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency
Caching Policy", HP Labs HPL-98-69R1, 1998, eq. 1: frequency times cost over size.

Differences:

1. What is cached is a layer and what is asked for is an image, so a use of an image is
   a use of each of its layers.
2. *n* is the uses and pulls of the layer plus the number of known images that have it:
   before anything was used, a layer that more images share is likelier to be wanted.
3. Pulls are counted on over deletions. In place of the paper's clock, which lets old
   frequencies fade, the least recently used of equals goes first, so that no state
   beside the store is needed.

*Whole images*, as the seed has them: an image that is not in use is chosen by the time
or the number of its pulls. Its layers go from the top downwards. A layer that another
image has goes with the last of them. When enough is free, the rest of the image stays.

Rules of the system of Y.-J. Wang, "Image Download and Rate Allocation of
Internet-of-Things Analytics at Gateways in Smart Cities", master's thesis, NTHU, 2020.

Differences:

1. Bytes to free are uncompressed bytes, which is what a disk holds.
2. An image is in use when nothing of it may be deleted; what a plan is about to use
   counts as used.
3. Layers that no image has (of a pull that was cut short) go first.
4. Equal times and counts are ordered by the image's name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from midhaul.deploy.eviction.base import deletable, until_freed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.deploy.store.store_index import StoredImage, StoreState


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLru:
    """Deletes the layers whose last use is longest ago."""

    name = "layer-lru"

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order; of equals the largest goes first."""
        del now_s

        def rank(digest: str) -> tuple[float, int, str]:
            layer = state.layers[digest]
            return (layer.last_used_s, -layer.uncompressed_bytes, digest)

        order = sorted(deletable(state, kept), key=rank)
        return tuple(until_freed(state, order, n_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePerByte:
    """Deletes the layers that save the fewest pulled bytes per byte of disk."""

    name = "value-per-byte"

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order; of equals the least recently used goes first."""
        del now_s
        owners = Counter(d for image in state.images.values() for d in image.digests)

        def rank(digest: str) -> tuple[float, float, int, str]:
            layer = state.layers[digest]
            n = layer.n_uses + layer.n_pulls + owners[digest]
            gain = n * layer.compressed_bytes / max(layer.uncompressed_bytes, 1)
            return (gain, layer.last_used_s, -layer.uncompressed_bytes, digest)

        order = sorted(deletable(state, kept), key=rank)
        return tuple(until_freed(state, order, n_bytes))


Order = Literal["lru", "mru", "lfu", "mfu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEviction:
    """Deletes images in an order of their pulls.

    Attributes:
        order: lru: pulled longest ago first; mru: latest first; lfu: pulled least often
            first; mfu: most often first.
    """

    order: Order

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return self.order

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order."""
        del now_s
        free = deletable(state, kept)
        return tuple(until_freed(state, self._in_order(state, free), n_bytes))

    def _in_order(self, state: StoreState, free: frozenset[str]) -> Iterator[str]:
        owners: dict[str, set[str]] = {digest: set() for digest in free}
        for image in state.images.values():
            for digest in image.digests:
                if digest in owners:
                    owners[digest].add(image.name)
        yield from sorted(digest for digest, names in owners.items() if not names)
        for image in sorted(state.images.values(), key=self._rank):
            for digest in reversed(image.digests):
                if digest in owners:
                    owners[digest].discard(image.name)
                    if not owners[digest]:
                        yield digest

    def _rank(self, image: StoredImage) -> tuple[float, str]:
        number = image.pulled_s if self.order in {"lru", "mru"} else image.n_pulls
        return (number if self.order in {"lru", "lfu"} else -number, image.name)
