"""What every eviction policy offers, and what all of them need to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from midhaul.deploy.store.store_index import StoreState


class EvictionPolicy(Protocol):
    """A rule that says which layers go when a disk is full."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        ...

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order.

        Args:
            state: the layer store; what it holds stays.
            n_bytes: uncompressed bytes to free.
            kept: digests that stay although nobody holds them, such as those that a
                plan is going to use.
            now_s: the time, on the clock of the store.

        Returns:
            Present digests, each once, none of them held or kept. Without the last one
            fewer than ``n_bytes`` are freed. With all of them at least that, unless
            nothing more may be deleted.
        """
        ...


def deletable(state: StoreState, kept: frozenset[str]) -> frozenset[str]:
    """The digests of a store that may be deleted."""
    return frozenset(state.layers.keys() - state.held - kept)


def until_freed(
    state: StoreState, digests: Iterable[str], n_bytes: float
) -> Iterator[str]:
    """The first digests that free enough together; all where none are enough."""
    freed = 0
    for digest in digests:
        if freed >= n_bytes:
            return
        freed += state.layers[digest].uncompressed_bytes
        yield digest
