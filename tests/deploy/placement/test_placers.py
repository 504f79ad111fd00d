"""What all placers promise, on problems that can be solved by looking at everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from tests.deploy.placement.instances import best_value, small_problems, tight_problem

from midhaul.deploy.placement import (
    AdditiveDp,
    AdditiveGreedy,
    Fptas,
    MarginalGreedy,
    MilpPlacer,
    MinCutPlacer,
    Placer,
    check_placement,
    check_placer,
)
from midhaul.deploy.placement.building import build
from midhaul.deploy.placement.schedule import schedule

if TYPE_CHECKING:
    from midhaul.deploy.problem import PlacementProblem

PLACERS = (
    AdditiveDp(),
    AdditiveGreedy(),
    Fptas(epsilon=0.3),
    MarginalGreedy(),
    MilpPlacer(),
    MinCutPlacer(),
)


@pytest.mark.parametrize("placer", PLACERS, ids=lambda placer: placer.name)
def test_placers_conform(placer: Placer) -> None:
    """Every placer passes the conformance suite."""
    check_placer(placer)


@settings(deadline=None, max_examples=50)
@given(small_problems())
def test_one_gateway_is_solved_exactly(problem: PlacementProblem) -> None:
    """The exact placer equals brute force; others keep limits; bounds hold."""
    best = best_value(build(problem).instance)
    for placer in PLACERS:
        placement = placer.place(problem)
        check_placement(problem, placement)
        assert placement.value <= best + 1e-6
        assert placement.bound >= best - 1e-6
        if placement.status == "optimal":
            assert placement.value == pytest.approx(best)
    exact = MilpPlacer().place(problem)
    assert exact.status == "optimal"


@settings(deadline=None, max_examples=60)
@given(small_problems(max_gateways=3, max_analytics=3))
def test_gateways_share_a_backhaul(problem: PlacementProblem) -> None:
    """Bounds hold for every set that the schedule carries; optimal means just that."""
    built = build(problem)

    def is_in_time(chosen: object) -> bool:
        return not schedule(built, chosen).is_late(built).any()  # type: ignore[arg-type]

    best = best_value(built.instance, is_in_time)
    for placer in PLACERS:
        placement = placer.place(problem)
        check_placement(problem, placement)
        assert placement.value <= best + 1e-6
        assert placement.bound >= best - 1e-6
        if placement.status == "optimal":
            assert placement.value == pytest.approx(best)


def test_most_tight_backhauls_are_planned_as_well_as_can_be() -> None:
    """Rows are necessary, not sufficient, but the schedule seldom costs anything."""
    n, n_best = 0, 0
    for seed in range(80):
        problem = tight_problem(seed)
        built = build(problem)
        if not 0 < built.instance.n_items <= 8:
            continue
        best = best_value(
            built.instance, lambda c, b=built: not schedule(b, c).is_late(b).any()
        )
        placement = MilpPlacer().place(problem)
        check_placement(problem, placement)
        assert placement.value <= best + 1e-6 <= placement.bound + 2e-6
        n += 1
        n_best += placement.value >= best - 1e-6
    assert n > 50
    assert n_best > 0.9 * n
