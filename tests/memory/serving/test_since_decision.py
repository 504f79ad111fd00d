"""What came since a decision: whole clusters, within a bound, with late outputs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midhaul.memory.samples import Samples
from midhaul.memory.serving.messages import LateLabels
from midhaul.memory.serving.since_decision import SinceDecision


def _batch(clusters: list[int], begin: int = 0) -> Samples:
    n = len(clusters)
    return Samples.of(
        np.ones((n, 2), np.float32),
        time_s=begin + np.arange(n, dtype=float),
        group=np.array(clusters, np.int64),
    )


@given(
    batches=st.lists(st.lists(st.integers(0, 9), max_size=20), max_size=12),
    most=st.integers(2, 30),
)
def test_clusters_are_whole_or_not_there(batches: list[list[int]], most: int) -> None:
    """Within the bound, and nobody is lost without being counted."""
    since = SinceDecision(most)
    begin = 0
    for clusters in batches:
        since.add(_batch(clusters, begin))
        begin += len(clusters)
        assert len(since) <= most
    found = since.get()
    assert len(found) == len(since)
    assert len(found) + since.n_left_out == begin
    offered = np.array([one for clusters in batches for one in clusters], int)
    here = {int(one): int((found.cluster == one).sum()) for one in found.cluster}
    is_cut = len(here) == 1 and len(found) == most
    for one, n in here.items():
        assert n == (offered == one).sum() or is_cut


def test_a_single_cluster_that_is_too_large_is_cut() -> None:
    """Its first samples stay, whatever comes after them."""
    since = SinceDecision(10)
    for begin in range(0, 50, 5):
        since.add(_batch([3] * 5, begin))
    assert since.get().time_s.tolist() == list(range(10))
    assert since.n_left_out == 40


def test_late_outputs_are_there_when_it_is_asked() -> None:
    """Also of samples that came in several batches, and after a restart."""
    since = SinceDecision(100)
    since.add(_batch([1, 1]))
    since.add(_batch([2, 2], begin=2))
    since.label(
        LateLabels(
            time_s=np.array([1.0, 2.0, 9.0]),
            group=np.array([1, 2, 2]),
            y=np.array([5.0, 6.0, 7.0]),
        )
    )
    again = SinceDecision(100)
    again.restore(since.state())
    for one in (since, again):
        assert np.array_equal(one.get().y, [np.nan, 5.0, 6.0, np.nan], equal_nan=True)
    since.clear()
    assert len(since) == len(since.get()) == since.n_left_out == 0
