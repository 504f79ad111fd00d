"""Eviction of whole images: LRU, MRU, LFU and MFU, as the seed has them.

An image that is not in use is chosen by the time or the number of its pulls. Its layers
go from the top downwards. A layer that another image has goes with the last of them.
When enough is free, the rest of the image stays.

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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from midhaul.deploy.eviction.base import deletable, until_freed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.deploy.store.store_index import StoredImage, StoreState

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
