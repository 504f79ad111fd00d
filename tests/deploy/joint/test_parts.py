"""The parts of joint planners: cutting planes, the Lagrangian, classes, uplinks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from midhaul.deploy.joint import JointLagrangian, JointMilp
from midhaul.deploy.joint.checks import check_plan, random_problem
from midhaul.deploy.joint.lagrangian import JointRelaxation, minimise
from midhaul.deploy.joint.model import model_of
from midhaul.deploy.joint.program import Program, classes_of
from midhaul.deploy.placement.reduction import reduce
from midhaul.errors import DataError

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_planes_find_the_lowest_point(seed: int, n: int) -> None:
    """The largest of some linear functions has the minimum that a solver finds."""
    rng = np.random.default_rng(seed)
    slopes, heights = rng.normal(size=(30, n)), rng.normal(size=30)

    def oracle(point: np.ndarray) -> tuple[float, np.ndarray]:
        values = slopes @ point + heights
        largest = int(np.argmax(values))
        return float(values[largest]), slopes[largest]

    found = minimise(oracle, np.zeros(n), n_rounds=500, gap=1e-9)
    exact = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([slopes, -np.ones((30, 1))]),
        b_ub=-heights,
        bounds=[(0, 1)] * n + [(None, None)],
    )
    assert found.value == pytest.approx(exact.fun, abs=1e-6)
    assert found.least <= found.value + 1e-9


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 10), st.sampled_from([1, 2]))
def test_lagrangian_meets_the_linear_relaxation(
    seed: int, n: int, n_gateways: int
) -> None:
    """At the prices of the relaxation, the Lagrangian is no higher than its bound."""
    problem = random_problem(n, np.random.default_rng(seed), n_gateways=n_gateways)
    model = model_of(problem, None)
    relaxation = JointRelaxation(model, reduce(model.instance))
    relaxed = Program(model).relaxed()
    prices = np.concatenate([relaxed.uplinks, relaxed.rows[relaxation.rows]])
    priced = relaxation.at(relaxation.point(prices), relaxed.analytics)
    # It may be lower: items that do not fit alone are not in it.
    assert priced.value <= relaxed.bound + 1e-6
    assert JointLagrangian().plan(problem).bound <= relaxed.bound * (1 + 1e-4) + 1e-6


def test_equal_analytics_are_one_class() -> None:
    """Names alone tell no analytics apart, and a weight does."""
    problem = random_problem(1, np.random.default_rng(3))
    first = problem.analytics[0]
    site = problem.sites[first.name]
    analytics = tuple(replace(first, name=f"a{i}") for i in range(5))
    analytics += (replace(first, name="heavy", weight=first.weight + 1),)
    equal = replace(
        problem, analytics=analytics, sites={a.name: site for a in analytics}
    )
    assert sorted(classes_of(model_of(equal, None)).counts.tolist()) == [1, 5]
    plan = JointMilp().plan(equal)
    check_plan(plan, equal)
    assert plan.status == "optimal"


def test_each_sensor_uses_the_uplink_of_its_site() -> None:
    """Who stands at a gateway without an uplink sends nothing."""
    problem = random_problem(8, np.random.default_rng(5), n_gateways=2)
    equal = tuple(replace(a, weight=1.0) for a in problem.analytics)
    problem = replace(problem, analytics=equal)
    plan = JointMilp().plan(problem, {"g0": 0.0, "g1": math.inf})
    is_cut_off = [problem.sites[a.name][0] == "g0" for a in problem.analytics]
    assert any(is_cut_off)
    assert not all(is_cut_off)
    served = plan.rates.steps >= 0
    assert np.array_equal(served, ~np.array(is_cut_off))


def test_uplinks_by_name_must_be_complete() -> None:
    """A gateway without an uplink is named."""
    problem = random_problem(2, np.random.default_rng(0), n_gateways=2)
    with pytest.raises(DataError, match="g1 has none"):
        JointLagrangian().plan(problem, {"g0": 1e6})


def test_time_that_is_up_leaves_a_plan_with_a_bound() -> None:
    """An exact search without time answers the quick plan, and says so."""
    problem = random_problem(8, np.random.default_rng(1))
    plan = JointMilp(time_limit_s=0.0).plan(problem)
    check_plan(plan, problem)
    assert plan.status in {"timed_out", "optimal"}
    assert plan.value >= JointLagrangian().plan(problem).value - 1e-9
