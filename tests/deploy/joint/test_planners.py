"""Joint planners: the conformance suite, and what each promises beyond it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.test_tabu import dense_problem

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.joint import JointLagrangian, JointMilp, Sequential
from midhaul.deploy.joint.checks import (
    check_joint_planner,
    check_plan,
    random_problem,
)
from midhaul.deploy.joint.model import model_of
from midhaul.deploy.placement.building import build
from midhaul.deploy.placement.milp import MilpPlacer
from midhaul.deploy.rates import ExactKnapsack, HullGreedy

if TYPE_CHECKING:
    from midhaul.deploy.joint import JointPlanner
    from midhaul.deploy.problem import PlacementProblem

SEQUENTIAL = Sequential(placer=MilpPlacer(), allocator=ExactKnapsack())
PROBLEMS = st.builds(
    lambda seed, n, n_gateways: random_problem(
        n, np.random.default_rng(seed), n_gateways=n_gateways
    ),
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.sampled_from([1, 1, 2]),
)


@pytest.mark.parametrize(
    "planner",
    [
        JointLagrangian(),
        JointLagrangian(n_rounds=5, n_tries=5, allocator=HullGreedy()),
        JointMilp(),
        SEQUENTIAL,
        replace(SEQUENTIAL, has_weights=False),
    ],
    ids=["lagrangian", "hasty", "milp", "sequential", "unweighted"],
)
def test_conformance(planner: JointPlanner) -> None:
    """Every planner keeps all limits and says of its plan what is true."""
    check_joint_planner(planner)


@settings(max_examples=40, deadline=None)
@given(PROBLEMS)
def test_milp_equals_brute_force(problem: PlacementProblem) -> None:
    """No combination of places and steps is worth more than the exact plan."""
    plan = JointMilp().plan(problem)
    check_plan(plan, problem)
    assert plan.status == "optimal"
    assert plan.value == pytest.approx(_brute_force(problem), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(PROBLEMS)
def test_bounds_hold(problem: PlacementProblem) -> None:
    """The relaxation's bound is at least the optimum, which no plan exceeds."""
    best = JointMilp().plan(problem).value
    quick = JointLagrangian().plan(problem)
    check_plan(quick, problem)
    assert quick.value <= best + 1e-6
    assert quick.bound >= best - 1e-6
    assert SEQUENTIAL.plan(problem).value <= best + 1e-6


def _brute_force(problem: PlacementProblem) -> float:
    """The best value over all placements; rates by trying all steps."""
    model = model_of(problem, None)
    built = build(
        replace(
            problem,
            analytics=tuple(
                replace(a, saved_bps=1.0, weight=1.0) for a in problem.analytics
            ),
        )
    )
    best = 0.0
    values: dict[tuple[bool, ...], float] = {}
    for bits in itertools.product([False, True], repeat=built.instance.n_items):
        chosen = np.array(bits, np.bool_)
        if built.instance.is_feasible(chosen) and not built.broken_s(chosen):
            moved = tuple(model.moved(chosen).tolist())
            if moved not in values:
                values[moved] = _best_rates(problem, moved)
            best = max(best, values[moved])
    return best


def _best_rates(problem: PlacementProblem, moved: tuple[bool, ...]) -> float:
    """The best value of one placement, over all combinations of steps."""
    total = 0.0
    for gateway in problem.gateways:
        states = {0.0: 0.0}
        for analytic, is_moved in zip(problem.analytics, moved, strict=True):
            home = (problem.sites.get(analytic.name) or (problem.gateways[0].name,))[0]
            if home != gateway.name:
                continue
            curve = analytic.gateway_curve if is_moved else analytic.cloud_curve
            assert curve is not None
            steps = [(0.0, 0.0), *zip(curve.rates_bps, curve.qualities, strict=True)]
            grown: dict[float, float] = {}
            for (rate, value), (more, quality) in itertools.product(
                states.items(), steps
            ):
                if rate + more <= gateway.uplink_bps:
                    worth = value + analytic.weight * quality
                    grown[rate + more] = max(grown.get(rate + more, 0.0), worth)
            states = grown
        total += max(states.values())
    return total


def test_dense_sharing_is_no_cliff() -> None:
    """Where images share most layers, the joint plan is near the best as well."""
    rates, qualities, knobs = (np.array([x]) for x in (1e6, 1.0, 0.0))
    cloud = QosCurve.of("cloud", knobs, rates, qualities)
    gateway = QosCurve.of("gateway", knobs, 0 * rates, qualities)
    problem = dense_problem(100, 100, 0.15, 0.85, 2)
    problem = replace(
        problem,
        analytics=tuple(
            replace(a, weight=a.saved_bps, cloud_curve=cloud, gateway_curve=gateway)
            for a in problem.analytics
        ),
        gateways=(replace(problem.gateways[0], uplink_bps=0.0),),
    )
    plan = JointLagrangian().plan(problem)
    assert 0.99 * 12230 <= plan.value <= 12230 <= plan.bound
