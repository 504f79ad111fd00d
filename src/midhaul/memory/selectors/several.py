"""Several memories in one: each has its share of the room and chooses for itself.

The seed's coverage memory has a part that is drawn at random, and any memories can
stand beside each other. All are offered everything. What two of them keep is held once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.selectors.base import Reason, SelectorChoice
from midhaul.memory.selectors.coverage import CoverageMemory
from midhaul.memory.selectors.forgetting import ForgettingReservoir
from midhaul.memory.selectors.pool import check_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays, Selector

    MakeSelector = Callable[[int], Selector]


class SeveralMemories:
    """Selectors beside each other, with one capacity that weights share out.

    Args:
        capacity: of all together.
        parts: for each, a function from its capacity to the selector.
        weights: the share of each of the capacity, of any sum; the same without.

    Raises:
        ConfigError: there is no part, weights are others in number or not above 0, or a
            part is left without room.
    """

    weighs_training = False
    name = "several"

    def __init__(
        self,
        *,
        capacity: int,
        parts: Sequence[MakeSelector],
        weights: Sequence[float] | None = None,
    ) -> None:
        shares = np.ones(len(parts)) if weights is None else np.asarray(weights, float)
        if not len(shares) == len(parts) > 0 or not (shares > 0).all():
            message = (
                f"weights of {len(parts)} memories: expected one above 0 for each, "
                f"found {weights}"
            )
            raise ConfigError(message, "leave out the memory that is to keep nothing")
        self._shares = shares / shares.sum()
        self._capacity = capacity
        rooms = self._rooms(capacity)
        self.parts = [make(room) for make, room in zip(parts, rooms, strict=True)]
        widths = [1 + part.n_marks for part in self.parts]
        self.n_marks = sum(widths)
        self._first = np.cumsum([0, *widths])

    @property
    def capacity(self) -> int:
        """Samples at most, of all together."""
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        for part, room in zip(self.parts, self._rooms(capacity), strict=True):
            part.capacity = room
        self._capacity = capacity

    def _rooms(self, capacity: int) -> list[int]:
        """What each part has of a capacity; ConfigError where one has nothing."""
        rooms = (self._shares * capacity).astype(int).tolist()
        if min(rooms) < 1:
            message = (
                f"capacity of {len(rooms)} memories: expected a sample or more for "
                f"each, found {capacity}"
            )
            raise ConfigError(message, "leave out the memory that is to keep nothing")
        return rooms

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Keep what any part keeps; the reason is that of the first which does."""
        m = len(new)
        keep = np.zeros(len(kept), np.bool_)
        take = np.zeros(m, np.bool_)
        noted = np.zeros((m, self.n_marks))
        reasons = np.full(m, Reason.DROPPED, np.int8)
        for part, first in zip(self.parts, self._first, strict=False):
            own = slice(first + 1, first + 1 + part.n_marks)
            held = np.flatnonzero(marks[:, first])
            within = marks[held, own]
            choice = part.choose(kept.take(held), within, new, rng)
            marks[held, own] = within
            marks[held, first] = choice.keep
            keep[held] |= choice.keep
            noted[:, first] = choice.take
            noted[:, own] = choice.marks
            is_first = choice.take & ~take
            reasons[is_first] = choice.reasons[is_first]
            take |= choice.take
        return SelectorChoice(keep=keep, take=take, marks=noted, reasons=reasons)

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: what one part keeps, another might have kept as well."""
        del kept, marks

    def state(self) -> Arrays:
        """What each part remembers, by its number."""
        return {
            f"{number}.{name}": array
            for number, part in enumerate(self.parts)
            for name, array in part.state().items()
        }

    def restore(self, state: Arrays) -> None:
        """Go on from a state; DataError if it is of other parts."""
        check_state(state, self.name, tuple(self.state()))
        for number, part in enumerate(self.parts):
            begin = f"{number}."
            part.restore(
                {
                    name.removeprefix(begin): array
                    for name, array in state.items()
                    if name.startswith(begin)
                }
            )


def coverage_with_random(
    *,
    capacity: int,
    bins: Bins,
    random_fraction: float = 0.1,
    random_forget: float = 0.0,
    **settings: Any,
) -> Selector:
    """A coverage memory with a share of its room that is drawn at random.

    Args:
        capacity: of both.
        bins: how outputs are discretised.
        random_fraction: the share of the random part, 0 to 1.
        random_forget: what the random part forgets of what it holds at each offer.
        **settings: of the coverage memory.

    Returns:
        One selector for both, or the only one that has room.

    Raises:
        ConfigError: the fraction is no share, or a part has too little room.
    """
    if not 0 <= random_fraction <= 1:
        message = f"random_fraction: expected a share, found {random_fraction}"
        raise ConfigError(message, "0 is coverage alone, 1 is random alone")

    def coverage(room: int) -> Selector:
        return CoverageMemory(capacity=room, bins=bins, **settings)

    def random(room: int) -> Selector:
        return ForgettingReservoir(capacity=room, forget=random_forget)

    if random_fraction in (0, 1):
        return (random if random_fraction else coverage)(capacity)
    return SeveralMemories(
        capacity=capacity,
        parts=(coverage, random),
        weights=(1 - random_fraction, random_fraction),
    )
