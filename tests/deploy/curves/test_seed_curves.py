"""The seed's two kinds of analytic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.deploy.curves.seed_curves import fitted_quality, seed_curve, seed_model

if TYPE_CHECKING:
    from midhaul.deploy.curves.seed_curves import Kind


def _published(kind: Kind, knob: float) -> float:
    """Accuracy of a knob by the seed's chain of comparisons."""
    if kind == "yolo":
        limits = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
        levels = (0.525, 0.64, 0.685, 0.82, 0.88, 0.93, 0.955, 0.99)
        return levels[sum(knob > limit for limit in limits)]
    limits = (0.45, 0.5, 0.54, 0.59, 0.63, 0.68, 0.72, 0.77, 0.81, 0.86, 0.9, 0.95)
    levels = (
        0.25,
        0.27,
        0.3,
        0.31,
        0.32,
        0.34,
        0.36,
        0.42,
        0.57,
        0.67,
        0.74,
        0.84,
        0.9,
    )
    return levels[sum(knob >= limit for limit in limits)]


@pytest.mark.parametrize("kind", ["audio", "yolo"])
def test_cloud(kind: Kind) -> None:
    """Every rate buys the accuracy that the seed's table gives for its knob."""
    slope, intercept = {"audio": (687_560.4, 1_011), "yolo": (52_520, 5_449)}[kind]
    curve = seed_curve(kind, "cloud")
    smallest = {"audio": 0.4, "yolo": 0.01}[kind]
    for knob in np.arange(smallest, 1.0005, 0.001):
        rate = slope * float(knob) + intercept
        if np.abs(curve.knobs - knob).min() > 1e-9:  # not where rounding decides
            assert curve.quality_at(rate) == _published(kind, float(knob))
    assert curve.quality_at(slope * smallest + intercept - 1) == 0
    assert curve.n_dominated == 0


def test_gateway() -> None:
    """On a gateway audio has one useful step, and yolo the same with lower rates."""
    audio = seed_curve("audio", "gateway").frontier()
    assert audio.rates_bps.tolist() == [pytest.approx(52.7)]
    assert audio.qualities.tolist() == [0.9]
    yolo, cloud = seed_curve("yolo", "gateway"), seed_curve("yolo", "cloud")
    assert yolo.qualities.tolist() == cloud.qualities.tolist()
    assert (yolo.rates_bps < cloud.rates_bps).all()


def test_models() -> None:
    """The kind is read from the name; other names have no model."""
    audio, yolo = seed_model("s2-audio-recognition-3"), seed_model("s2-yolo-1")
    assert audio is not None
    assert yolo is not None
    assert seed_model("camera") is None
    assert (audio.start, audio.smallest, audio.priority) == (0.0, 0.4, 0.0)
    assert (yolo.start, yolo.smallest, yolo.priority) == (0.01, 0.01, 1.0)
    assert yolo.rate_bps(1.0) == pytest.approx(57_969)
    assert audio.quality(1.0) == pytest.approx(fitted_quality("audio", 1.0))


def test_fits() -> None:
    """The fitted models at both ends; a logarithm below 0 is no quality."""
    assert fitted_quality("audio", 1.0) == pytest.approx(0.951, abs=1e-3)
    assert fitted_quality("yolo", 1.0) == pytest.approx(1.012, abs=1e-3)
    assert fitted_quality("yolo", 0.0) == fitted_quality("yolo", 0.001) == 0
