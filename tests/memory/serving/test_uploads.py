"""The upload budget: the best reasons first, never more than a period allows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midhaul.memory.sample_memory import Offered
from midhaul.memory.samples import Samples
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.fifo import Fifo
from midhaul.memory.serving.messages import REASONS
from midhaul.memory.serving.uploads import UploadBudget

BEST = ("new-region", "rare")


def _budget(n_samples: int, n_bytes: int | None = None) -> UploadBudget:
    return UploadBudget(
        period_s=60.0, n_samples=n_samples, n_bytes=n_bytes, reasons=BEST
    )


def _chosen(budget: UploadBudget, reasons: list[Reason], now_s: float) -> list[int]:
    new = Samples.of(np.zeros((len(reasons), 2), np.float32))
    offered = Offered(
        is_kept=np.array([one != Reason.DROPPED for one in reasons], np.bool_),
        reasons=np.array(reasons, np.int8),
    )
    is_upload = budget.choose(new, offered, Fifo(capacity=9), now_s)
    return np.flatnonzero(is_upload).tolist()


def test_the_best_reasons_go_first() -> None:
    """What is not worth it never goes, also where there is room."""
    reasons = [Reason.DRAWN, Reason.RARE, Reason.DROPPED, Reason.NEW_REGION]
    assert _chosen(_budget(1), reasons, 0.0) == [3]
    assert _chosen(_budget(9), reasons, 0.0) == [1, 3]
    assert _chosen(_budget(0), reasons, 0.0) == []


def test_a_period_begins_with_all_of_it_and_never_again() -> None:
    """A clock that goes back gives nothing away twice."""
    budget = _budget(2)
    rare = [Reason.RARE] * 3
    assert len(_chosen(budget, rare, 100.0)) == 2
    assert _chosen(budget, rare, 119.0) == []
    assert _chosen(budget, rare, 10.0) == []
    assert len(_chosen(budget, rare, 120.0)) == 2
    at = REASONS.index("rare")
    assert (budget.n_uploads[at], budget.n_beyond[at]) == (4, 8)
    again = _budget(2)
    again.restore(budget.state())
    assert _chosen(again, rare, 121.0) == []


@given(
    n_samples=st.integers(0, 9),
    n_bytes=st.none() | st.integers(1, 600),
    batches=st.lists(
        st.tuples(
            st.lists(st.sampled_from(list(Reason)), max_size=6), st.floats(0, 300)
        ),
        max_size=9,
    ),
)
def test_no_period_has_more_than_its_budget(
    n_samples: int,
    n_bytes: int | None,
    batches: list[tuple[list[Reason], float]],
) -> None:
    """Whatever is offered whenever; and all that was worth it is counted."""
    budget = _budget(n_samples, n_bytes)
    size = Samples.of(np.zeros((1, 2), np.float32)).row_bytes
    spent: dict[int, int] = {}
    period, n_worth = 0, 0
    for reasons, now_s in batches:
        period = max(period, int(now_s // 60))
        n = len(_chosen(budget, reasons, now_s))
        spent[period] = spent.get(period, 0) + n
        n_worth += sum(REASONS[one] in BEST for one in reasons)
    most = n_samples if n_bytes is None else min(n_samples, n_bytes // size)
    assert all(n <= most for n in spent.values())
    if n_samples:
        assert int(budget.n_uploads.sum() + budget.n_beyond.sum()) == n_worth
