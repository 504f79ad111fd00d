"""Quantiles, their intervals and the samples that claims need."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.stats import quantile, quantile_interval, required_samples

VALUES = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=30)
SHARES = st.sampled_from([0.0, 0.07, 0.25, 0.29, 0.5, 0.9, 0.99, 1.0])


@given(VALUES, SHARES, st.data())
def test_weighted_quantile(values: list[float], q: float, data: st.DataObject) -> None:
    """A whole weight is the same as that many copies of the value."""
    n = len(values)
    weights = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    if not any(weights):
        weights[0] = 1
    weighted = quantile(np.array(values), q, np.array(weights, np.float64))
    assert weighted == quantile(np.repeat(values, weights), q)


@given(VALUES, SHARES)
def test_quantile_definition(values: list[float], q: float) -> None:
    """The quantile is the smallest value that enough values do not exceed."""
    found = quantile(np.array(values), q)
    shares = {v: sum(x <= v for x in values) / len(values) for v in values}
    assert found == min(v for v in values if shares[v] >= q)


def test_quantile_without_values() -> None:
    """Nothing has no quantile, and a share outside of [0, 1] is misuse."""
    assert math.isnan(quantile(np.zeros(0), 0.5))
    assert math.isnan(quantile(np.ones(2), 0.5, np.zeros(2)))
    with pytest.raises(ValueError, match="must lie in"):
        quantile(np.ones(2), 1.5)
    with pytest.raises(ValueError, match="2 values but 3 weights"):
        quantile(np.ones(2), 0.5, np.ones(3))


def test_quantile_interval_ranks() -> None:
    """The median's interval of 10 values are the published ranks 2 and 9."""
    found = quantile_interval(np.arange(1.0, 11.0), 0.5, unit="s")
    assert (found.low, found.high, found.n, found.unit) == (2.0, 9.0, 10, "s")
    assert found.value == 5.0


def test_quantile_interval_without_bound() -> None:
    """Few values do not bound a high percentile from above."""
    assert math.isnan(quantile_interval(np.arange(100.0), 0.99).high)
    assert math.isfinite(quantile_interval(np.arange(1000.0), 0.99).high)
    assert math.isnan(quantile_interval(np.zeros(0), 0.5).value)
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_interval(np.zeros(3), 1.0)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_quantile_interval_covers(q: float) -> None:
    """The interval covers the true quantile at least as often as it says."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        found = quantile_interval(rng.random(60), q)
        covered += found.low <= q <= found.high
    assert 0.94 <= covered / 400 <= 0.995


@pytest.mark.parametrize(
    ("q", "n_over", "expected"),
    [(0.99, 0, 459), (0.99, 1, 662), (0.9, 1, 64), (0.97, 1, 219), (0.999, 0, 4603)],
)
def test_required_samples(q: float, n_over: int, expected: int) -> None:
    """The counts are those that MLPerf's rules publish."""
    assert required_samples(q, n_over=n_over) == expected


@given(st.floats(0.05, 0.98), st.integers(0, 4), st.floats(0.5, 0.999))
def test_required_samples_is_least(q: float, n_over: int, confidence: float) -> None:
    """One sample fewer is too few, by the binomial sum itself."""
    n = required_samples(q, n_over=n_over, confidence=confidence)

    def chance(samples: int) -> float:
        return sum(
            math.comb(samples, k) * (1 - q) ** k * q ** (samples - k)
            for k in range(n_over + 1)
        )

    assert chance(n) <= (1 - confidence) * (1 + 1e-9)
    assert n == n_over + 1 or chance(n - 1) >= (1 - confidence) * (1 - 1e-9)


def test_required_samples_misuse() -> None:
    """A percentile of 100 cannot be claimed."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        required_samples(1.0)
    with pytest.raises(ValueError, match="not be negative"):
        required_samples(0.9, n_over=-1)
