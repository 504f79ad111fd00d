"""Distances of samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.stats import kolmogorov_smirnov, wasserstein

SAMPLES = st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=12).map(np.array)


@given(SAMPLES, SAMPLES, SAMPLES)
def test_both_are_distances(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    """Both are symmetric, 0 for a sample itself, and keep the triangle inequality."""
    for distance in (wasserstein, kolmogorov_smirnov):
        assert distance(a, a) == 0
        assert distance(a, b) == pytest.approx(distance(b, a))
        assert distance(a, b) <= distance(a, c) + distance(c, b) + 1e-9


@given(SAMPLES, st.integers(-5, 5))
def test_wasserstein_of_a_shift(a: np.ndarray, shift: int) -> None:
    """Moving every value moves the sample by as much."""
    assert wasserstein(a, a + shift) == pytest.approx(abs(shift))


@given(SAMPLES, st.data())
def test_wasserstein_of_equal_sizes(a: np.ndarray, data: st.DataObject) -> None:
    """For samples of one size it is the mean gap of their sorted values."""
    n = len(a)
    values = st.lists(st.integers(-9, 9).map(float), min_size=n, max_size=n)
    b = np.array(data.draw(values))
    assert wasserstein(a, b) == pytest.approx(np.abs(np.sort(a) - np.sort(b)).mean())


@given(SAMPLES, SAMPLES)
def test_kolmogorov_smirnov_definition(a: np.ndarray, b: np.ndarray) -> None:
    """It is the largest gap at any value."""
    gaps = [abs(np.mean(a <= x) - np.mean(b <= x)) for x in [*a, *b]]
    assert kolmogorov_smirnov(a, b) == pytest.approx(max(gaps))


def test_empty_samples() -> None:
    """Nothing has no distance."""
    assert math.isnan(wasserstein(np.zeros(0), np.ones(1)))
    assert math.isnan(kolmogorov_smirnov(np.ones(1), np.zeros(0)))
