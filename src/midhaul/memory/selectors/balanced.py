"""Class-balanced reservoir: every bin of the output has an equal share of the memory.

The idea of Chrysakis and Moens, "Online continual learning from imbalanced data", ICML
2020, algorithm 1: what is taken comes in place of a sample of the largest class, and a
class is a uniform sample of what was seen of it. Differences:

1. Shares are those of water that is filled into the bins: a bin that has seen less than
   its share keeps all of it, the others have the same (within one sample).
2. Each sample has a permanent random key, and a bin keeps its smallest. Shares never
   grow, so that is a uniform sample of the bin, whole offers at a time.
3. So the chance of each is known: what is kept of its bin over what was seen of it.

Of an offer only those are looked at whose key is below the largest of their bin. They
become fewer as the stream goes on; when there are none the memory is not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import check_state, choice_of, output_bins, smallest

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice


class BalancedReservoir:
    """A uniform sample of each bin of the output, all of the same size.

    Marks are the key of a sample and its bin.

    Args:
        capacity: samples at most.
        bins: of the output.
    """

    n_marks = 2
    weighs_training = False
    name = "class-balanced"

    def __init__(self, *, capacity: int, bins: Bins) -> None:
        self.capacity = capacity
        self.bins = bins
        self._n_seen = np.zeros(bins.n, np.int64)
        self._n_held = np.zeros(bins.n, np.int64)
        self._limits = np.full(bins.n, np.inf)

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Fill the bins up to the water's level, the smallest keys of each."""
        n, m = len(kept), len(new)
        output = output_bins(new, self.bins, self.name)
        drawn = np.column_stack([rng.random(m), output])
        is_small = drawn[:, 0] < self._limits[output]
        self._n_seen += np.bincount(output, minlength=self.bins.n)
        held = self._n_held + np.bincount(output[is_small], minlength=self.bins.n)
        share = water_level(held, self.capacity)
        is_in = np.concatenate([np.ones(n, np.bool_), is_small])
        over = np.flatnonzero(held > share)
        if len(over):
            keys = np.concatenate([marks, drawn])
            for one in over:
                rows = np.flatnonzero((keys[:, 1] == one) & is_in)
                is_good = smallest(keys[rows, 0], int(share[one]))
                is_in[rows[~is_good]] = False
                self._limits[one] = keys[rows[is_good], 0].max(initial=0.0)
        self._n_held = np.minimum(held, share)
        is_whole = np.isinf(self._limits)[output]
        reason = np.where(is_whole, Reason.RARE, Reason.DRAWN)
        return choice_of(is_in, drawn, reason, room=min(self.capacity - n, m))

    def weights(self, kept: Samples, marks: np.ndarray) -> np.ndarray:
        """What was seen of a bin over what is kept of it."""
        del kept
        ratio = self._n_seen / np.maximum(self._n_held, 1)
        return ratio[marks[:, 1].astype(np.int64)]

    def state(self) -> Arrays:
        """What was seen and is held of each bin, and its largest key."""
        return {
            "n_seen": self._n_seen,
            "n_held": self._n_held,
            "limits": self._limits,
        }

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("n_seen", "n_held", "limits"))
        if state["limits"].shape != (self.bins.n,):
            message = f"expected {self.bins.n} bins, found {len(state['limits'])}"
            raise DataError(message, "the state is of a memory with other bins")
        self._n_seen = np.array(state["n_seen"], np.int64)
        self._n_held = np.array(state["n_held"], np.int64)
        self._limits = np.array(state["limits"], np.float64)


def water_level(
    wanted: Int64[np.ndarray, " k"], capacity: int
) -> Int64[np.ndarray, " k"]:
    """What each of ``k`` has when equal shares of a capacity are filled into them.

    None has more than it wants, and who wants more than another has at least as much.
    """
    share = np.array(wanted, np.int64)
    if share.sum() <= capacity:
        return share
    left = capacity
    order = np.argsort(wanted, kind="stable")
    for done, one in enumerate(order):
        n_left = len(order) - done
        if wanted[one] * n_left > left:
            rest = np.sort(order[done:])
            share[rest] = left // n_left
            share[rest[: left % n_left]] += 1
            break
        left -= int(wanted[one])
    return np.minimum(share, wanted)
