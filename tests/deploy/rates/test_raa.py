"""The seed's greedy."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.curves.seed_curves import fitted_quality, seed_curve, seed_model
from midhaul.deploy.rates import Demands, Raa
from midhaul.errors import DataError

SEED = Raa(alpha=0.1, model_of=seed_model)


def test_against_the_loop() -> None:
    """It grants what the seed's loop grants, when start knobs are charged."""
    kinds = ["audio", "yolo", "yolo", "audio", "yolo"]
    weights = [0.9, 0.2, 0.8, 0.3, 0.5]
    demands = Demands.of(
        [f"{kind}{i}" for i, kind in enumerate(kinds)],
        weights,
        [seed_curve(kind, "cloud") for kind in kinds],
    )
    for uplink_bps in (6e5, 8e5, 1.2e6, 2e6):
        answer = SEED.allocate(demands, uplink_bps)
        expected = _loop(kinds, weights, uplink_bps / 1000)
        assert answer.rates_bps / 1000 == pytest.approx(expected, abs=1e-3)


def test_drops_audio_first() -> None:
    """While smallest rates do not fit, audio goes before yolo, light before heavy."""
    curves = [seed_curve(kind, "cloud") for kind in ("audio", "audio", "yolo")]
    demands = Demands.of(["audio1", "audio2", "yolo1"], [0.9, 0.8, 0.1], curves)
    answer = SEED.allocate(demands, 3e5)
    assert answer.rates_bps[1] == 0
    assert answer.steps[2] >= 0
    assert answer.rates_bps[0] > 0


def test_gateway_audio() -> None:
    """On a gateway audio costs its constant rate and has its best quality."""
    demands = Demands.of(["audio1"], [1.0], [seed_curve("audio", "gateway")])
    answer = SEED.allocate(demands, 1000.0)
    assert answer.qualities[0] == 0.9
    assert answer.rates_bps[0] == pytest.approx(52.7)


def test_without_models() -> None:
    """Tables alone are climbed from their first step to their last."""
    rates, qualities = np.array([1e5, 2e5, 4e5]), np.array([0.5, 0.6, 0.9])
    curve = QosCurve.of("a", np.arange(3.0), rates, qualities)
    demands = Demands.of("ab", [1.0, 0.4], [curve, curve])
    assert Raa().allocate(demands, 8e5).qualities.tolist() == [0.9, 0.9]
    assert Raa().allocate(demands, 5e5).steps.tolist() == [2, 0]
    assert Raa().allocate(demands, 1.5e5).steps.tolist() == [0, -1]


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.5, float("nan")])
def test_alpha(alpha: float) -> None:
    """A step outside (0, 1] is refused."""
    with pytest.raises(DataError):
        Raa(alpha=alpha)


def _loop(kinds: list[str], weights: list[float], uplink: float) -> list[float]:
    """The greedy as a loop over continuous knobs, rates in kbit/s."""
    line = {"audio": (687.5604, 1.011), "yolo": (52.52, 5.449)}
    smallest = {"audio": 0.4, "yolo": 0.01}

    def rate(i: int, knob: float) -> float:
        slope, intercept = line[kinds[i]]
        return slope * knob + intercept if knob > 0 else 0.0

    left = list(range(len(kinds)))
    while sum(rate(i, smallest[kinds[i]]) for i in left) > uplink:
        left.remove(min(left, key=lambda i: weights[i] + (kinds[i] == "yolo")))
    knobs = [smallest["yolo"] if k == "yolo" else 0.0 for k in kinds]
    granted = [rate(i, knobs[i]) if i in left else 0.0 for i in range(len(kinds))]
    while left:
        ratios = {
            i: weights[i]
            * fitted_quality(kinds[i], knobs[i])  # type: ignore[arg-type]
            / (line[kinds[i]][0] * knobs[i] + line[kinds[i]][1])
            for i in left
        }
        best = max(left, key=ratios.__getitem__)
        low = smallest[kinds[best]]
        knob = low if knobs[best] < low else min(1.0, knobs[best] + 0.1)
        extra = rate(best, knob) - granted[best]
        rest = uplink - sum(granted)
        if extra > rest:
            granted[best] += rest
            break
        knobs[best], granted[best] = knob, rate(best, knob)
        if knob >= 1:
            left.remove(best)
    return granted
