"""FIFO: the latest samples stay, first in, first out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import check_state, choice_of

if TYPE_CHECKING:
    from midhaul.memory.samples import Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice


class Fifo:
    """The last ``capacity`` samples that were offered.

    The mark of a sample is its number in the stream.
    """

    n_marks = 1
    weighs_training = False
    name = "fifo"

    def __init__(self, *, capacity: int) -> None:
        self.capacity = capacity
        self._n_seen = 0

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """The oldest go."""
        del rng
        n, m = len(kept), len(new)
        numbers = self._n_seen + np.arange(m, dtype=np.float64)
        self._n_seen += m
        oldest = self._n_seen - self.capacity
        is_in = np.concatenate([marks[:, 0] >= oldest, numbers >= oldest])
        return choice_of(
            is_in, numbers[:, None], Reason.RECENT, room=min(self.capacity - n, m)
        )

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: what is older than the memory is never in it."""
        del kept, marks

    def state(self) -> Arrays:
        """How many were seen."""
        return {"n_seen": np.array(self._n_seen)}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("n_seen",))
        self._n_seen = int(state["n_seen"])
