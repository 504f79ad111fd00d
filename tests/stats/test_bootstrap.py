"""Bootstrap intervals and paired comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.stats import (
    bootstrap,
    independent_bootstrap,
    mean_statistic,
    paired_bootstrap,
    quantile_statistic,
    ratio_statistic,
)


@pytest.mark.parametrize(
    ("n", "lowest"), [(3, 0.92), (20, 0.92), (100, 0.93), (600, 0.93)]
)
def test_covers_a_normal_mean(n: int, lowest: float) -> None:
    """The interval covers the mean of a normal sample about as often as it says."""
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        found = bootstrap(mean_statistic(rng.normal(size=n)), n, rng, n_resamples=400)
        covered += found.low <= 0 <= found.high
    assert lowest <= covered / 300 <= 0.985


def test_clusters_widen_the_interval() -> None:
    """Copies of a value within a unit bring no certainty."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=30)
    once = bootstrap(mean_statistic(values), 30, np.random.default_rng(1))
    units = np.repeat(np.arange(30), 50)
    many = mean_statistic(np.repeat(values, 50), units, 30)
    copied = bootstrap(many, 30, np.random.default_rng(1))
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_interval_holds_the_value(seed: int, n: int) -> None:
    """The value lies in its interval, and one seed gives one interval."""
    values = np.random.default_rng(seed).lognormal(size=n)
    a, b = (
        bootstrap(mean_statistic(values), n, np.random.default_rng(seed), unit="s")
        for _ in range(2)
    )
    assert a == b
    assert a.low <= a.value <= a.high
    assert (a.n, a.unit) == (n, "s")


def test_a_lifted_statistic_keeps_its_value() -> None:
    """Replicates that repeating units lifts are moved back around the value."""

    def distinct(weights: np.ndarray) -> np.ndarray:
        return (weights > 0).sum(axis=1).astype(np.float64)

    found = bootstrap(distinct, 50, np.random.default_rng(0))
    assert found.value == 50
    assert found.low < 50 < found.high
    assert found.high - found.low < 15


def test_too_few_units() -> None:
    """One unit has a value but no interval; none has neither."""
    rng = np.random.default_rng(0)
    one = bootstrap(mean_statistic(np.array([3.0])), 1, rng)
    assert one.value == 3.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(bootstrap(mean_statistic(np.zeros(0)), 0, rng).value)


def test_replicates_that_do_not_exist() -> None:
    """Without most replicates there is no interval, else the rest gives it."""
    rng = np.random.default_rng(0)
    rare = ratio_statistic(np.eye(4)[0], np.eye(4)[0])
    assert bootstrap(rare, 4, rng).low == 1.0
    never = ratio_statistic(np.zeros(4), np.zeros(4))
    assert math.isnan(bootstrap(never, 4, rng).low)


def test_level_is_checked() -> None:
    """A level is given as a share, not in percent."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap(mean_statistic(np.ones(3)), 3, np.random.default_rng(0), level=95)


def test_pairing_cancels_what_is_shared() -> None:
    """A small difference is found where units differ much more among themselves."""
    rng = np.random.default_rng(5)
    base = rng.normal(0, 10, 80)
    a = mean_statistic(base + 0.2 + rng.normal(0, 0.1, 80))
    found = paired_bootstrap(a, mean_statistic(base), 80, rng, unit="s")
    assert found.estimate.low < 0.2 < found.estimate.high
    assert found.estimate.high - found.estimate.low < 0.1
    assert found.estimate.unit == "s"
    assert found.p_value < 1e-6
    apart = bootstrap(mean_statistic(base), 80, rng)
    assert apart.high - apart.low > 3


def test_equal_statistics_tie() -> None:
    """A statistic does not differ from itself."""
    statistic = quantile_statistic(np.arange(20.0), q=0.9)
    found = paired_bootstrap(statistic, statistic, 20, np.random.default_rng(0))
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0, 0, 0)
    assert found.p_value == 1.0


@pytest.mark.parametrize("n", [4, 12, 200])
def test_p_value_and_interval_agree(n: int) -> None:
    """A p value lies below 0.05 where the interval leaves out zero, else above."""
    rng = np.random.default_rng(n)
    none = mean_statistic(np.zeros(n))
    agree = 0
    for _ in range(100):
        shift = rng.uniform(0, 4) / math.sqrt(n)
        one = mean_statistic(rng.normal(shift, 1, n))
        found = paired_bootstrap(one, none, n, rng, n_resamples=500)
        is_apart = found.estimate.low > 0 or found.estimate.high < 0
        agree += is_apart == (found.p_value < 0.05)
    assert agree >= 95


def test_one_difference_throughout() -> None:
    """Units that all differ alike give the p value of equal signs."""
    a, b = mean_statistic(np.full(6, 2.0)), mean_statistic(np.zeros(6))
    found = paired_bootstrap(a, b, 6, np.random.default_rng(0))
    assert found.p_value == 2 / 2**6


def test_no_difference_without_units() -> None:
    """One unit cannot tell two statistics apart."""
    one = mean_statistic(np.ones(1))
    found = paired_bootstrap(one, one, 1, np.random.default_rng(0))
    assert math.isnan(found.p_value)


def test_p_value_is_fair() -> None:
    """Without a difference, small p values are as rare as they should be."""
    rng = np.random.default_rng(9)
    p_values = [
        paired_bootstrap(
            mean_statistic(rng.normal(size=40)),
            mean_statistic(rng.normal(size=40)),
            40,
            rng,
            n_resamples=300,
        ).p_value
        for _ in range(300)
    ]
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert 0.4 <= np.mean(np.array(p_values) <= 0.5) <= 0.6


def test_units_of_their_own() -> None:
    """Runs without shared units are resampled apart, each among its own."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(3, 1, 50), rng.normal(1, 1, 80)
    statistics = mean_statistic(a), mean_statistic(b)
    found = independent_bootstrap(*statistics, (50, 80), rng, n_resamples=4000)
    assert found.estimate.n == 130
    half = 1.96 * math.sqrt(a.var() / 50 + b.var() / 80)
    assert found.estimate.value == pytest.approx(a.mean() - b.mean())
    assert found.estimate.high - found.estimate.low == pytest.approx(2 * half, rel=0.1)
    assert found.p_value < 1e-6
    none = independent_bootstrap(*statistics, (50, 0), rng)
    assert math.isnan(none.p_value)
