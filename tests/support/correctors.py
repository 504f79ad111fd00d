"""A corrector that was not trained: random weights, ranges of a few scenarios."""

from __future__ import annotations

from functools import cache

import numpy as np

from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.compact import N_HOP, N_ROW, NetScaling, NetWeights
from midhaul.network.corrector.features import (
    N_CLASSES,
    TRANSPORT_NAMES,
    features_of,
    stacked,
)
from midhaul.network.corrector.fitted import FittedCorrector
from midhaul.network.corrector.ranges import seen_ranges
from midhaul.network.corrector.scenarios import (
    NAMES,
    PathScenario,
    ScenarioAmount,
    draw_scenario,
)

TINY = ScenarioAmount(fewest=60, most=120, rdma_hops=3e4, tcp_hops=1.5e4)
"""Scenarios that take milliseconds."""


@cache
def scenario(number: int) -> PathScenario:
    """A tiny scenario."""
    return draw_scenario(3, number, TINY)


def scenario_of(name: str) -> PathScenario:
    """The first tiny scenario with a transport."""
    return next(one for one in map(scenario, range(400)) if one.name == name)


def random_net(seed: int, width: int = 12, hop_width: int = 6) -> NetWeights:
    """A net of random weights."""
    rng = np.random.default_rng(seed)
    shapes = {
        "hop0": (N_HOP, hop_width),
        "hop1": (hop_width, hop_width),
        "row0": (N_ROW + 3 * hop_width, width),
        "row1": (width, width),
        "last": (width, 2 + len(LEVELS)),
    }
    layers = {
        name: (
            (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32),
            np.full(shape[1], -2.0 if name == "last" else 0.0, np.float32),
        )
        for name, shape in shapes.items()
    }
    return NetWeights(layers=layers)


@cache
def untrained_corrector() -> FittedCorrector:
    """Two random nets that have seen a scenario of each transport."""
    seen = stacked([features_of(scenario_of(name).path) for name in NAMES], most=7)
    n = len(TRANSPORT_NAMES)
    ratios = np.zeros((n, N_CLASSES + 1, len(LEVELS), 2), np.float32)
    ratios[..., 0], ratios[..., 1] = -1.0, 1.5
    return FittedCorrector(
        nets=(random_net(0), random_net(1)),
        scaling=NetScaling(
            row_mean=np.zeros(N_ROW, np.float32),
            row_deviation=np.ones(N_ROW, np.float32),
            hop_mean=np.zeros(N_HOP, np.float32),
            hop_deviation=np.ones(N_HOP, np.float32),
        ),
        ratios=ratios,
        ranges=seen_ranges(seen["path"], seen["hops"]),
        record={"n_scenarios": 0},
    )
