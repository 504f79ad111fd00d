"""Reservoir sampling: every sample of the stream is kept with the same probability.

Vitter, "Random sampling with a reservoir", ACM TOMS 11 (1985), Algorithm R.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.selectors.base import Reason, SelectorChoice
from midhaul.memory.selectors.pool import check_state

if TYPE_CHECKING:
    from midhaul.memory.samples import Samples
    from midhaul.memory.selectors.base import Arrays


class Reservoir:
    """A uniform sample of all that was offered."""

    n_marks = 0
    weighs_training = False
    name = "reservoir"

    def __init__(self, *, capacity: int) -> None:
        self.capacity = capacity
        self._n_seen = 0

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Each new one, the i-th of the stream, stays with the chance capacity / i."""
        del marks
        n, m = len(kept), len(new)
        room = min(self.capacity - n, m)
        at = self._n_seen + 1 + np.arange(room, m)
        slots = (rng.random(m - room) * at).astype(np.int64)
        owner = np.full(self.capacity, -1)
        owner[: n + room] = np.concatenate([np.zeros(n, int) - 2, np.arange(room)])
        is_in = slots < self.capacity
        owner[slots[is_in]] = np.arange(room, m)[is_in]
        self._n_seen += m
        keep = owner[:n] == -2  # noqa: PLR2004  nobody took its place
        take = np.zeros(m, np.bool_)
        take[owner[owner >= 0]] = True
        reasons = np.where(take, Reason.DRAWN, Reason.DROPPED).astype(np.int8)
        reasons[:room][take[:room]] = Reason.FILLING
        return SelectorChoice(
            keep=keep, take=take, marks=np.zeros((m, 0)), reasons=reasons
        )

    def weights(self, kept: Samples, marks: np.ndarray) -> np.ndarray:
        """All the same: what was seen over what is kept."""
        del marks
        return np.full(len(kept), self._n_seen / max(len(kept), 1))

    def state(self) -> Arrays:
        """How many were seen."""
        return {"n_seen": np.array(self._n_seen)}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("n_seen",))
        self._n_seen = int(state["n_seen"])
