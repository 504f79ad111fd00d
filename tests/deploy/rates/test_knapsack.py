"""The exact knapsack."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from tests.deploy.rates.instances import random_demands, seed_demands, small_demands
from tests.support.rates_reference import best_value

from midhaul.deploy.rates import Demands, ExactKnapsack
from midhaul.errors import DataError


@settings(max_examples=300, deadline=None)
@given(demands=small_demands(), uplink_bps=st.floats(0, 200_000))
def test_equals_trial(demands: Demands, uplink_bps: float) -> None:
    """On small demands it finds what trying all combinations finds."""
    answer = ExactKnapsack().allocate(demands, uplink_bps)
    assert answer.value == pytest.approx(best_value(demands, uplink_bps), rel=1e-7)
    assert answer.status == "optimal"
    assert answer.bound == pytest.approx(answer.value)


@settings(max_examples=200, deadline=None)
@given(
    demands=small_demands(),
    uplink_bps=st.floats(0, 200_000),
    grid_bps=st.sampled_from([1.0, 250.0, 1000.0, 5000.0]),
)
def test_grid(demands: Demands, uplink_bps: float, grid_bps: float) -> None:
    """On a grid it is the optimum of the rounded problem, and fits the true uplink."""
    answer = ExactKnapsack(grid_bps=grid_bps).allocate(demands, uplink_bps)
    rounded = Demands(
        names=demands.names,
        weights=demands.weights,
        offsets=demands.offsets,
        knobs=demands.knobs,
        rates_bps=np.ceil(demands.rates_bps / grid_bps * (1 - 1e-9)),
        qualities=demands.qualities,
    )
    best = best_value(rounded, np.floor(uplink_bps * (1 + 1e-9) / grid_bps))
    assert answer.value == pytest.approx(best, rel=1e-7)
    assert answer.rates_bps.sum() <= uplink_bps * (1 + 1e-6)
    assert answer.bound >= best_value(demands, uplink_bps) * (1 - 1e-7)


@pytest.mark.parametrize("n", [8, 35, 60])
def test_equals_milp(n: int) -> None:
    """On the seed's tables it finds what a solver of integer programs finds."""
    demands = seed_demands(n, np.random.default_rng(n))
    for uplink_bps in (2.5e6, 10e6):
        answer = ExactKnapsack().allocate(demands, uplink_bps)
        assert answer.value == pytest.approx(_milp(demands, uplink_bps), rel=2e-6)


def test_many_random() -> None:
    """Random curves of many streams end with a proof."""
    demands = random_demands(2000, 26, np.random.default_rng(2))
    answer = ExactKnapsack().allocate(demands, 5e8)
    assert answer.status == "optimal"


def test_all_lists_together_are_bounded() -> None:
    """Where each list may be long, all of them may not: it says that they were cut."""
    rng = np.random.default_rng(0)
    n, n_steps = 30, 26
    tops = rng.uniform(1e5, 1e6, n)
    demands = Demands(
        names=tuple(f"s{i}" for i in range(n)),
        weights=rng.uniform(0.9, 1.1, n) * tops / 1e6,
        offsets=n_steps * np.arange(n + 1),
        knobs=tuple((str(j),) for j in range(n * n_steps)),
        rates_bps=np.concatenate([np.linspace(1, top, n_steps) for top in tops]),
        qualities=np.tile(np.linspace(0, 1, n_steps), n),
    )
    answer = ExactKnapsack(n_kept=60).allocate(demands, 8e6)
    assert answer.status == "feasible"
    assert 0.9 * answer.bound <= answer.value <= answer.bound


def test_cut_lists() -> None:
    """With too few states it says so: feasible, with a bound above the optimum."""
    demands = seed_demands(35, np.random.default_rng(36))
    answer = ExactKnapsack(n_states=2).allocate(demands, 2.5e6)
    best = ExactKnapsack().allocate(demands, 2.5e6)
    assert best.status == "optimal"
    assert answer.status == "feasible"
    assert answer.value <= best.value * (1 + 1e-9)
    assert answer.bound >= best.value


@pytest.mark.parametrize(
    "settings_", [{"grid_bps": -1.0}, {"n_states": 0}, {"n_kept": 0}]
)
def test_bad_settings(settings_: dict[str, float]) -> None:
    """A negative grid and no states are refused."""
    with pytest.raises(DataError):
        ExactKnapsack(**settings_)  # type: ignore[arg-type]


def _milp(demands: Demands, uplink_bps: float) -> float:
    n_steps = len(demands.rates_bps)
    values = np.repeat(demands.weights, np.diff(demands.offsets)) * demands.qualities
    one_each = np.zeros((len(demands), n_steps))
    for row, (begin, end) in enumerate(
        zip(demands.offsets[:-1], demands.offsets[1:], strict=True)
    ):
        one_each[row, begin:end] = 1
    rates = demands.rates_bps[None] / uplink_bps
    solved = milp(
        -values,
        constraints=[
            LinearConstraint(rates, ub=1.0),
            LinearConstraint(one_each, ub=1.0),
        ],
        bounds=Bounds(0, 1),
        integrality=np.ones(n_steps),
        options={"mip_rel_gap": 1e-7},
    )
    return -float(solved.fun)
