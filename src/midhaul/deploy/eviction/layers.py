"""Eviction of single layers: least recently used, and least value per byte.

The value of keeping a layer is what its next pull would carry, times how often it is
wanted. Per byte of disk, with *n* for how often::

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
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.eviction.base import deletable, until_freed

if TYPE_CHECKING:
    from midhaul.deploy.store.store_index import StoreState


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLru:
    """Deletes the layers whose last use is longest ago."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "layer-lru"

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

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "value-per-byte"

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
