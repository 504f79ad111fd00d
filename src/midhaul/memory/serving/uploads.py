"""Upload budget: which of the kept samples a gateway sends on, period by period.

What is sent is decided when a sample is offered, so no later and better one can be
waited for. Of a batch the best reasons go first, and within a reason the samples of the
rarest cells, where the selector counts cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.memory.serving.messages import REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Int64

    from midhaul.memory.sample_memory import Offered
    from midhaul.memory.samples import Samples
    from midhaul.memory.selectors.base import Selector


class UploadBudget:
    """Samples, or bytes, that may be sent in each period.

    Args:
        period_s: how long a period is.
        n_samples: samples at most; 0 for none.
        n_bytes: bytes at most; None for any number.
        reasons: why a sample is worth it, the best first.

    Attributes:
        n_uploads: samples that were told to be sent, by reason.
        n_beyond: those that were worth it, when the budget was spent, by reason.
    """

    def __init__(
        self,
        *,
        period_s: float,
        n_samples: int,
        n_bytes: int | None,
        reasons: Sequence[str],
    ) -> None:
        self.period_s = period_s
        self.n_samples = n_samples
        self.n_bytes = n_bytes
        self.n_uploads = np.zeros(len(REASONS), np.int64)
        self.n_beyond = np.zeros(len(REASONS), np.int64)
        self._rank = np.full(len(REASONS), len(reasons))
        self._rank[[REASONS.index(one) for one in reasons]] = np.arange(len(reasons))
        self._none = len(reasons)
        self._period = -1
        self._n_spent = 0

    def left(self, now_s: float, sample_bytes: int) -> int:
        """How many samples may still be sent in the period."""
        # A clock that goes backwards opens no earlier period again.
        period = max(self._period, int(now_s // self.period_s))
        if period != self._period:
            self._period, self._n_spent = period, 0
        most = self.n_samples
        if self.n_bytes is not None and most:
            most = min(most, self.n_bytes // sample_bytes)
        return max(most - self._n_spent, 0)

    def choose(
        self, new: Samples, offered: Offered, selector: Selector, now_s: float
    ) -> Bool[np.ndarray, " m"]:
        """True for those of the offered that are to be sent."""
        found = np.zeros(len(new), np.bool_)
        if not self.n_samples:
            return found
        n_left = self.left(now_s, new.row_bytes)
        rank = np.where(offered.is_kept, self._rank[offered.reasons], self._none)
        worthy = np.flatnonzero(rank < self._none)
        if not len(worthy):
            return found
        if len(worthy) > n_left:
            order = np.lexsort((_commonness(selector, new, worthy), rank[worthy]))
            worthy = worthy[order]
        sent, beyond = worthy[:n_left], worthy[n_left:]
        found[sent] = True
        self._n_spent += len(sent)
        n = len(REASONS)
        self.n_uploads += np.bincount(offered.reasons[sent], minlength=n)
        self.n_beyond += np.bincount(offered.reasons[beyond], minlength=n)
        return found

    def state(self) -> dict[str, Any]:
        """What was spent, and what was counted."""
        return {
            "period": self._period,
            "n_spent": self._n_spent,
            "n_uploads": self.n_uploads,
            "n_beyond": self.n_beyond,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._period, self._n_spent = int(state["period"]), int(state["n_spent"])
        self.n_uploads = np.array(state["n_uploads"], np.int64)
        self.n_beyond = np.array(state["n_beyond"], np.int64)


def _commonness(
    selector: Selector, new: Samples, rows: Int64[np.ndarray, " r"]
) -> np.ndarray:
    """How common the cell of each is; the order of the stream where nobody counts."""
    if not isinstance(selector, PrioritySampler):
        return rows.astype(np.float64)
    return -selector.rates()[selector.cells.of(new.take(rows))]
