"""Distances of batches, held against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import simpson
from scipy.spatial.distance import cdist, jensenshannon
from scipy.stats import gaussian_kde, wasserstein_distance
from tests.support.coverage_reference import BINS, made_samples

from midhaul.errors import ConfigError, DataError
from midhaul.memory.coverage.distances import (
    BatchDistance,
    JensenShannonOfCurves,
    JensenShannonOfNumbers,
    JensenShannonOfOutputs,
    JensenShannonOfPredictions,
    Minkowski,
    Wasserstein,
    jensen_shannon,
    simpson_weights,
)
from midhaul.memory.samples import Samples

SUPPORT = np.linspace(0, 8, 128)
EVERY: tuple[BatchDistance, ...] = (
    JensenShannonOfOutputs(bins=BINS),
    JensenShannonOfPredictions(),
    JensenShannonOfCurves(support=np.arange(BINS.n, dtype=np.float64)),
    JensenShannonOfNumbers(),
    JensenShannonOfNumbers(support=SUPPORT),
    Minkowski(),
    Minkowski(of="x", order=3.0),
    Wasserstein(),
)


def batches(seed: int, n: int = 5, size: int = 32) -> list[Samples]:
    """Batches, some of which hold small outputs only."""
    samples = made_samples(n * size, np.random.default_rng(seed))
    rows = np.argsort(samples.y).reshape(n, size)
    return [samples.take(own) for own in rows]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), sharpness=st.sampled_from([0.05, 0.5, 5.0]))
def test_the_kernel_is_scipys_jensen_shannon(seed: int, sharpness: float) -> None:
    """Squared, as a root magnifies what single precision misses next to zero."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(21, sharpness), 6)
    q = rng.dirichlet(np.full(21, sharpness), 9)
    q[0], q[1] = p[0], 0
    q[1, 3] = 1
    wanted = [[jensenshannon(a, b, base=2) for b in q] for a in p]
    wanted = np.nan_to_num(wanted)
    assert jensen_shannon(p, q) ** 2 == pytest.approx(wanted**2, abs=2e-6)


def test_outputs_are_counted_and_predictions_averaged() -> None:
    """The two spaces of the coverage memory, against SciPy."""
    cut = batches(1)
    counts = [np.bincount(BINS.of(b.y), minlength=BINS.n) for b in cut]
    told = [b.prediction.mean(axis=0, dtype=np.float64) for b in cut]
    for distance, rows in (
        (JensenShannonOfOutputs(bins=BINS), counts),
        (JensenShannonOfPredictions(), told),
    ):
        wanted = np.array([[jensenshannon(a, b, base=2) for b in rows] for a in rows])
        found = distance.matrix(cut)
        assert found == pytest.approx(np.nan_to_num(wanted), abs=2e-3)
        assert found**2 == pytest.approx(np.nan_to_num(wanted) ** 2, abs=2e-6)


def test_numbers_are_smoothed_as_scipy_smooths_them() -> None:
    """Densities by Silverman's rule, compared by Simpson's."""
    cut = batches(2)
    densities: list[np.ndarray] = []
    for batch in cut:
        density = gaussian_kde(batch.y, bw_method="silverman")(SUPPORT)
        densities.append(density / simpson(density, x=SUPPORT))

    def far(p: np.ndarray, q: np.ndarray) -> float:
        m = (p + q) / 2
        tiny = 1e-300
        parts = [v * np.log2((v + tiny) / (m + tiny)) for v in (p, q)]
        return float(simpson(sum(parts) / 2, x=SUPPORT))

    wanted = [[far(p, q) for q in densities] for p in densities]
    found = JensenShannonOfNumbers(support=SUPPORT).matrix(cut)
    assert found**2 == pytest.approx(np.array(wanted), abs=5e-6)


def test_curves_are_averaged_on_their_support() -> None:
    """The same densities, given as predictions, have the same distances."""
    curves = [
        np.exp(-0.5 * (SUPPORT - middle) ** 2) / np.sqrt(2 * np.pi)
        for middle in (3.0, 4.0, 5.0)
    ]
    cut = [
        Samples.of(np.zeros((2, 1)), prediction=np.tile(c / c.sum(), (2, 1)))
        for c in curves
    ]
    found = JensenShannonOfCurves(support=SUPPORT).matrix(cut)
    weights = simpson_weights(SUPPORT)
    assert weights @ curves[0] == pytest.approx(simpson(curves[0], x=SUPPORT))
    assert found[0, 1] == pytest.approx(found[1, 2], abs=1e-3)
    assert 0 < found[0, 1] < found[0, 2] < 1


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5, np.inf])
def test_means_are_as_far_apart_as_scipy_says(order: float) -> None:
    """Minkowski distances of any order, of batches and of others."""
    ours, theirs = batches(3), batches(4, n=3)
    means = [
        np.array([b.x.astype(np.float64).mean(axis=0) for b in cut])
        for cut in (ours, theirs)
    ]
    if np.isinf(order):
        wanted = cdist(means[0], means[1], "chebyshev")
    else:
        wanted = cdist(means[0], means[1], "minkowski", p=order)
    found = Minkowski(of="x", order=order).matrix(ours, theirs)
    assert found == pytest.approx(wanted)


@settings(max_examples=30)
@given(
    one=st.lists(st.floats(-5, 5), min_size=1, max_size=12),
    other=st.lists(st.floats(-5, 5), min_size=1, max_size=12),
)
def test_outputs_move_as_far_as_scipy_says(
    one: list[float], other: list[float]
) -> None:
    """Wasserstein distances of equally many and of different numbers."""
    cut = [Samples.of(np.zeros((len(y), 1)), np.array(y)) for y in (one, other)]
    found = Wasserstein().matrix(cut)
    wanted = wasserstein_distance(one, other)
    assert found == pytest.approx(np.array([[0, wanted], [wanted, 0]]), abs=1e-12)


@pytest.mark.parametrize("distance", EVERY, ids=lambda d: type(d).__name__)
def test_each_is_a_distance_and_has_a_rectangle(distance: BatchDistance) -> None:
    """It is symmetric, zero to itself, and the same against others as among each."""
    cut = batches(5)
    square = distance.matrix(cut)
    assert square == pytest.approx(square.T, abs=1e-3)
    assert (np.diag(square) == 0).all()
    assert (square >= 0).all()
    if distance != EVERY[3]:  # whose points depend on what is compared
        part = distance.matrix(cut[:2], cut[2:])
        assert part == pytest.approx(square[:2, 2:], abs=1e-3)
    with pytest.raises(DataError, match="a batch or more"):
        distance.matrix([])
    with pytest.raises(DataError, match="lacks what is compared"):
        distance.matrix([Samples.of(np.zeros((0, 3)), np.zeros(0))])


def test_equal_numbers_have_a_density() -> None:
    """Where all outputs are the same the bandwidth is a tenth of the support."""
    cut = [Samples.of(np.zeros((4, 1)), np.full(4, v)) for v in (1.0, 1.0, 7.0)]
    found = JensenShannonOfNumbers(support=SUPPORT).matrix(cut)
    assert found[0, 1] == pytest.approx(0, abs=2e-3)
    assert found[0, 2] > 0.9
    alone = JensenShannonOfNumbers().matrix(cut[:2])
    assert alone == pytest.approx(np.zeros((2, 2)), abs=2e-3)


def test_odd_settings_are_refused() -> None:
    """An order below one is no distance, and points must rise."""
    with pytest.raises(ConfigError, match="order: expected 1 or more"):
        Minkowski(order=0.5)
    with pytest.raises(ConfigError, match="two rising points"):
        JensenShannonOfCurves(support=np.array([1.0, 0.0]))
    with pytest.raises(ConfigError, match="two rising points"):
        JensenShannonOfNumbers(n_points=1)
