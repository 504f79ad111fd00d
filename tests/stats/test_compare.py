"""Comparing the metrics of two runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midhaul.model.samples import MetricSamples
from midhaul.stats import mean_statistic
from midhaul.stats.compare import compare


def samples(
    values: np.ndarray, *, name: str = "f1", prefix: str = "image"
) -> MetricSamples:
    """A metric that is the mean of one value per unit."""
    return MetricSamples(
        metric=name,
        configuration="small",
        units=tuple(f"{prefix} {i}" for i in range(len(values))),
        statistic=mean_statistic(values),
        better="higher",
    )


def test_shared_units_are_paired() -> None:
    """A small difference stands where both runs saw the same images."""
    rng = np.random.default_rng(1)
    base = rng.uniform(1, 9, 60)
    later = base + rng.normal(0.1, 0.1, 60)
    found = compare([samples(base)], [samples(later)], rng)[0]
    assert found.is_paired
    assert found.n == (60, 60)
    assert found.result == "better"
    assert found.difference.low < 0.1 < found.difference.high
    assert found.ratio.value == pytest.approx(later.mean() / base.mean())
    worse = compare([samples(later)], [samples(base)], rng)[0]
    assert worse.result == "worse"


def test_only_shared_units_count() -> None:
    """Where runs overlap in part, what both have is compared, in any order."""
    values = np.arange(10.0)
    other = samples(values[:6])
    found = compare([samples(values)], [other], np.random.default_rng(0))[0]
    assert found.n == (6, 6)
    assert found.first == found.second == 2.5
    assert found.result == "tie"


def test_runs_without_shared_units() -> None:
    """Other images are resampled apart, and the same difference is a tie."""
    rng = np.random.default_rng(1)
    base = rng.uniform(1, 9, 60)
    later = samples(base + 0.1, prefix="photo")
    found = compare([samples(base)], [later], rng)[0]
    assert not found.is_paired
    assert found.result == "tie"
    assert found.difference.value == pytest.approx(0.1)
    assert found.ratio.low < 1 < found.ratio.high
    far = compare([samples(base)], [samples(base + 5, prefix="photo")], rng)[0]
    assert far.result == "better"


def test_many_ties() -> None:
    """Among many metrics without a difference none is called one, a real one is."""
    rng = np.random.default_rng(3)
    base = [rng.normal(5, 1, 40) for _ in range(100)]
    first = [samples(v, name=f"metric {i}") for i, v in enumerate(base)]
    noisy = [v + rng.normal(0, 0.5, 40) for v in base]
    noisy[7] = noisy[7] + 1
    second = [samples(v, name=f"metric {i}") for i, v in enumerate(noisy)]
    found = compare(first, second, rng)
    assert [i for i, one in enumerate(found) if one.result != "tie"] == [7]


def test_what_cannot_be_compared() -> None:
    """One unit or none gives no verdict; metrics that only one run has are left out."""
    rng = np.random.default_rng(0)
    one = samples(np.ones(1))
    found = compare([one], [one], rng)[0]
    assert found.result == "unknown"
    assert math.isnan(found.p_value)
    assert compare([one], [samples(np.ones(3), name="other")], rng) == []
    nothing = samples(np.zeros(0))
    assert compare([nothing], [nothing], rng)[0].result == "unknown"
