"""Statistics as functions of weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.stats import (
    mean_statistic,
    quantile,
    quantile_statistic,
    ratio_statistic,
)


@st.composite
def weighted_units(
    draw: st.DrawFn,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, the unit of each, and whole weights of the units."""
    n_units = draw(st.integers(1, 6))
    rows = st.tuples(st.integers(-9, 9), st.integers(0, n_units - 1))
    pairs = draw(st.lists(rows, min_size=1, max_size=20))
    weights = draw(st.lists(st.integers(0, 3), min_size=n_units, max_size=n_units))
    values = np.array([v for v, _ in pairs], np.float64)
    return values, np.array([u for _, u in pairs]), np.array(weights, np.float64)


@given(weighted_units())
def test_mean_repeats(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The weighted mean is the mean of the values repeated, NaN of none."""
    values, units, weights = case
    found = mean_statistic(values, units, len(weights))(weights[None])[0]
    repeated = np.repeat(values, weights[units].astype(int))
    expected = repeated.mean() if len(repeated) else np.nan
    np.testing.assert_allclose(found, expected)


@given(weighted_units(), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_quantile_repeats(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], q: float
) -> None:
    """The weighted quantile is the quantile of the values repeated."""
    values, units, weights = case
    both = np.stack([weights, np.ones_like(weights)])
    found = quantile_statistic(values, units, len(weights), q=q)(both)
    repeated = np.repeat(values, weights[units].astype(int))
    np.testing.assert_equal(found, [quantile(repeated, q), quantile(values, q)])


def test_quantile_in_chunks() -> None:
    """Many values are worked through in parts, with the same result."""
    rng = np.random.default_rng(0)
    values = rng.random(300_000)
    weights = rng.integers(0, 3, (20, len(values))).astype(np.float64)
    found = quantile_statistic(values, q=0.9)(weights)
    assert found[7] == quantile(values, 0.9, weights[7])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5, 0.99, 1.0]))
@settings(max_examples=30)
def test_quantile_of_many_values_is_the_same(seed: int, q: float) -> None:
    """Bin by bin or value by value: the value found does not differ."""
    rng = np.random.default_rng(seed)
    n, n_units = int(rng.integers(257, 2000)), int(rng.integers(1, 40))
    values = np.round(rng.exponential(1.0, n), int(rng.integers(0, 4)))
    units = rng.integers(0, n_units, n)
    weights = rng.integers(0, 3, (6, n_units)).astype(np.float64)
    weights[0] = 0
    found = quantile_statistic(values, units, n_units, q=q)(weights)
    repeated = [np.repeat(values, row[units].astype(int)) for row in weights]
    np.testing.assert_equal(found, [quantile(one, q) for one in repeated])


def test_ratio() -> None:
    """A ratio divides sums, and is NaN where there is nothing to divide by."""
    statistic = ratio_statistic(np.array([1.0, 6.0]), np.array([2.0, 0.0]))
    found = statistic(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_equal(found, [3.5, 0.5, np.nan])


def test_no_values() -> None:
    """Without values there is no statistic."""
    assert np.isnan(quantile_statistic(np.zeros(0), q=0.5)(np.ones((2, 0)))).all()


def test_units_disagree() -> None:
    """Indices must fit the values and the number of units."""
    with pytest.raises(ValueError, match="unit indices"):
        mean_statistic(np.ones(3), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        mean_statistic(np.ones(2), np.array([0, 2]), 2)
