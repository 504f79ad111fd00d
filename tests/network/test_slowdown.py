"""Which flows are judged does not depend on how they fared."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midhaul.network.slowdown import (
    PATIENCE,
    SIZE_CLASSES,
    class_rows,
    judged_flows,
    size_class,
)


def test_sizes_fall_into_their_classes() -> None:
    """A limit belongs to the class below it."""
    sizes = np.array([1, 1000, 1001, 10_000, 100_001, 1_000_000, 1_000_001])
    found = [SIZE_CLASSES[i] for i in size_class(sizes)]
    assert found == ["tiny", "tiny", "small", "small", "large", "large", "huge"]


def test_all_flows_count_where_all_have_ended() -> None:
    """Also those that began just before the end."""
    start, fct = np.array([0, 90]), np.array([50, 10])
    judged = judged_flows(start, fct, np.array([10, 10]), 100)
    assert judged.flow.tolist() == [0, 1]
    assert judged.slowdown.tolist() == [5.0, 1.0]
    assert judged.known_below() == np.inf


@given(
    st.lists(
        st.tuples(st.integers(-1, 1000), st.integers(1, 50), st.floats(1, 40)),
        min_size=1,
        max_size=60,
    )
)
def test_what_is_judged_depends_on_the_start_alone(
    flows: list[tuple[int, int, float]],
) -> None:
    """A flow that had not ended stands as at least what it had reached."""
    end = 700
    start = np.array([flow[0] for flow in flows])
    ideal = np.array([flow[1] for flow in flows])
    true = np.round(ideal * np.array([flow[2] for flow in flows])).astype(np.int64)
    fct = np.where((start >= 0) & (start + true <= end), true, -1)
    judged = judged_flows(start, fct, ideal, end)
    if (fct >= 0).all():
        return
    early = (start >= 0) & (start + PATIENCE * ideal <= end)
    assert judged.flow.tolist() == np.flatnonzero(early).tolist()
    assert len(judged.flow) + judged.n_late + judged.n_never == len(flows)
    exact = true[judged.flow] / ideal[judged.flow]
    known = judged.slowdown < judged.known_below()
    assert np.allclose(judged.slowdown[known], exact[known])
    assert (judged.slowdown <= exact + 1e-9).all()


def test_percentiles_among_open_flows_are_not_stated() -> None:
    """Nine of ten flows ended: the median is known, the p90 is not."""
    n = 1000
    start, ideal = np.zeros(n, np.int64), np.full(n, 10)
    fct = np.where(np.arange(n) % 5 == 0, -1, 20)
    judged = judged_flows(start, fct, ideal, 10_000)
    row = class_rows(judged, np.full(n, 500))[0]
    assert row["p50"] == 2.0
    assert row["p90"] is None
