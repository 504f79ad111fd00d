"""QoS curves: tables of steps, and which of them anybody would choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.errors import DataError

steps = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12
)


def _curve(table: list[tuple[int, int]]) -> QosCurve:
    rates, qualities = np.array(table, dtype=np.float64).T
    return QosCurve.of("a", np.arange(float(len(table))), rates, qualities / 9)


@given(table=steps)
def test_frontier(table: list[tuple[int, int]]) -> None:
    """A step is on the frontier when no other costs no more and is as good."""
    curve = _curve(table)
    expected = {
        (rate, quality)
        for rate, quality in table
        if quality > 0
        and not any(
            (r <= rate and q > quality) or (r < rate and q >= quality) for r, q in table
        )
    }
    kept = curve.on_frontier
    found = zip(curve.rates_bps[kept], curve.qualities[kept] * 9, strict=True)
    assert sorted((int(r), round(q)) for r, q in found) == sorted(expected)
    assert curve.n_dominated == len(table) - len(expected)


@given(table=steps, rate=st.integers(0, 10))
def test_quality_at(table: list[tuple[int, int]], rate: int) -> None:
    """A rate buys the best of all steps that it pays for."""
    paid = [quality / 9 for cost, quality in table if cost <= rate]
    assert _curve(table).quality_at(rate) == max([0.0, *paid])


@given(table=steps)
def test_frontier_rises(table: list[tuple[int, int]]) -> None:
    """On the frontier both rates and qualities rise strictly."""
    curve = _curve(table)
    if not curve.on_frontier.any():
        with pytest.raises(DataError, match="no step"):
            curve.frontier()
        return
    frontier = curve.frontier()
    assert (np.diff(frontier.rates_bps) > 0).all()
    assert (np.diff(frontier.qualities) > 0).all()
    assert frontier.frontier() is frontier


@pytest.mark.parametrize(
    ("rates", "qualities", "message"),
    [
        ([], [], "at least one"),
        ([1.0], [0.5, 0.6], "as many"),
        ([1.0, np.nan], [0.1, 0.2], "rates_bps .* step 1"),
        ([-1.0, 2.0], [0.1, 0.2], "rates_bps .* step 0"),
        ([1.0, 2.0], [0.1, -0.2], "qualities .* step 1"),
        ([2.0, 1.0], [0.1, 0.2], "in order of their rates"),
    ],
)
def test_bad(rates: list[float], qualities: list[float], message: str) -> None:
    """What cannot be a curve is refused, with the step."""
    with pytest.raises(DataError, match=message):
        QosCurve(
            name="a",
            knobs=np.zeros(len(rates)),
            rates_bps=np.array(rates),
            qualities=np.array(qualities),
        )


def test_falling_quality_is_kept() -> None:
    """A curve that falls is no error: its worse steps are dominated."""
    curve = _curve([(1, 3), (2, 5), (3, 4)])
    assert curve.n_dominated == 1
    assert curve.quality_at(3) == 5 / 9
