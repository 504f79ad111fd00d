"""Forecasts of an uplink, and what the conformal one promises of every link."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.deploy.uplink_control import (
    MOST,
    ConformalForecast,
    EwmaForecast,
    LastForecast,
    LeastForecast,
    OracleForecast,
    forecast_named,
)
from midhaul.errors import DataError

STEP, FIRST = 1.5, 3.0


def share_over(forecast: object, carried: list[float]) -> tuple[float, float]:
    """Share of periods that carried less than forecast, and share of volume used."""
    over, used = 0, 0.0
    for bps in carried:
        counted = forecast.next_bps  # pyright: ignore[reportAttributeAccessIssue]
        over += counted > bps * (1 + 1e-9)
        used += min(counted, bps)
        forecast.observe(bps)  # pyright: ignore[reportAttributeAccessIssue]
    return over / len(carried), used / max(sum(carried), 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e4, 1e6, 3e6, 1e8]), min_size=1, max_size=400),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_no_link_whatever_exceeds_the_bound(carried: list[float], share: float) -> None:
    """The count of periods over is bounded on any sequence, jumps and outages too."""
    over, _ = share_over(ConformalForecast(share, 1e6), carried)
    bound = share + (MOST + STEP - FIRST) / (STEP * len(carried))
    assert over <= bound + 1e-9


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.1, 1.0),
    st.floats(0.0, 0.95),
    st.sampled_from([0.02, 0.05, 0.1]),
)
def test_the_share_holds_on_links_never_seen(
    seed: int, spread: float, memory: float, share: float
) -> None:
    """Within two points on random links from calm to wild, that jump and go dead."""
    rng = np.random.default_rng(seed)
    n, log_bps = 600, 15.0
    carried: list[float] = []
    for number in range(n):
        level = 15.0 if number < n // 2 else 13.5  # half way it gets worse for good
        log_bps = level + memory * (log_bps - level) + spread * rng.normal()
        is_dead = 400 <= number < 430
        carried.append(0.0 if is_dead else float(np.exp(log_bps)))
    over, used = share_over(ConformalForecast(share, carried[0]), carried)
    assert abs(over - share) <= 0.02
    assert used > 0.02


def test_taking_the_last_period_for_the_next_is_over_half_the_time() -> None:
    """On the same wild links: what the promise is worth."""
    rng = np.random.default_rng(0)
    carried = np.exp(15 + 0.5 * rng.normal(size=1000)).tolist()
    assert share_over(LastForecast(carried[0]), carried)[0] > 0.4
    assert share_over(ConformalForecast(0.05, carried[0]), carried)[0] < 0.07


def test_a_steady_link_is_used_whole() -> None:
    """After a while nothing is kept back from a link that never changes."""
    forecast = ConformalForecast(0.05, 5e6)
    for _ in range(100):
        forecast.observe(5e6)
    assert forecast.next_bps == 5e6


def test_a_dead_link_is_counted_on_for_nothing() -> None:
    """One period without anything, and nothing is forecast until something came."""
    forecast = ConformalForecast(0.05, 5e6)
    forecast.observe(0.0)
    assert forecast.next_bps == 0.0
    forecast.observe(4e6)
    assert 0 < forecast.next_bps < 4e6


def test_fixed_margins_are_what_their_names_say() -> None:
    """The last, a mean that forgets, the least of five, and what really comes."""
    seen = [8.0, 2.0, 6.0, 4.0, 5.0, 7.0]
    last, ewma, least = LastForecast(10.0), EwmaForecast(10.0), LeastForecast(10.0)
    oracle = OracleForecast(lambda number: [*seen, 1.0][number])
    mean = 10.0
    for bps in seen:
        assert oracle.next_bps == bps
        for forecast in (last, ewma, least, oracle):
            forecast.observe(bps)
        mean = 0.7 * mean + 0.3 * bps
    assert (last.next_bps, least.next_bps, oracle.next_bps) == (7.0, 2.0, 1.0)
    assert ewma.next_bps == pytest.approx(mean)
    least.observe(9.0)
    assert least.next_bps == 4.0


@pytest.mark.parametrize("name", ["conformal", "last", "ewma", "least", "oracle"])
def test_every_name_makes_a_forecast(name: str) -> None:
    """Before the first period none counts on more than the link has carried."""
    forecast = forecast_named(
        name,  # pyright: ignore[reportArgumentType]
        max_over_share=0.05,
        first_bps=1e6,
        coming_bps=lambda _: 5e5,
    )
    assert 0 < forecast.next_bps <= 1e6


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    """Never is no promise that a forecast can keep, and always is none."""
    with pytest.raises(DataError, match="share in"):
        ConformalForecast(share, 1e6)
