"""Stalled sessions: groups in which something was slow stay as a whole.

The seed's metric: a sample scores 0 where its viewing session stalled and 1 otherwise,
and samples go by the softmax of scores (:mod:`midhaul.memory.selectors.score`), so that
all of a stalled session is kept rather than its slow moments. Differences:

1. There a player says which session stalled. Here a group is stalled once one of its
   outputs is ``slow_from`` or more, such as a transmission time.
2. A group that stalls later makes those of its samples that are in memory worth
   keeping, but brings back none that have gone; and once no sample of it is left, it is
   forgotten that it stalled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import check_above, check_state, choice_of
from midhaul.memory.selectors.score import softmax_kept

if TYPE_CHECKING:
    from midhaul.memory.samples import Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice


class StalledSessions:
    """Groups with a slow output stay; a sample of such a group has the mark 1.

    Args:
        capacity: samples at most.
        slow_from: the output from which a sample is slow.
        temperature: of the score, which is 0 or 1.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    n_marks = 1
    weighs_training = False
    name = "stalled-sessions"

    def __init__(
        self, *, capacity: int, slow_from: float, temperature: float = 0.01
    ) -> None:
        check_above("temperature", temperature)
        self.capacity = capacity
        self.slow_from = slow_from
        self.temperature = temperature

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Mark what belongs to a stalled group, then drop by the softmax."""
        # An output that is not known compares as false: not slow, so far.
        stalled = np.unique(new.group[new.y >= self.slow_from])
        if len(stalled):
            marks[np.isin(kept.group, stalled), 0] = 1.0
        known = np.union1d(stalled, kept.group[marks[:, 0] > 0])
        noted = np.isin(new.group, known).astype(np.float64)
        score = 1 - np.concatenate([marks[:, 0], noted])
        is_in = softmax_kept(score, self.capacity, self.temperature, rng)
        reason = np.where(noted > 0, Reason.RARE, Reason.DRAWN)
        room = min(self.capacity - len(kept), len(new))
        return choice_of(is_in, noted[:, None], reason, room=room)

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: the chance is not known."""
        del kept, marks

    def state(self) -> Arrays:
        """Nothing: what is known of groups are marks."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())
