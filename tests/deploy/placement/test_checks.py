"""The conformance suite of placers catches those that do not conform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.deploy.placement import (
    AdditiveDp,
    MilpPlacer,
    Placement,
    check_placement,
    check_placer,
)
from midhaul.deploy.placement.checks import check_problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.deploy.problem import Gateway, PlacementProblem


@pytest.fixture(scope="module")
def problem() -> PlacementProblem:
    """Three gateways that share a slow backhaul, with deadlines."""
    return list(check_problems())[-3]


@pytest.fixture(scope="module")
def honest(problem: PlacementProblem) -> Placement:
    """What a placer answers, with pulls on two gateways."""
    placement = AdditiveDp().place(problem)
    assert len({pull.gateway for pull in placement.pulls}) == 2
    check_placement(problem, placement)
    return placement


def first_pull(placement: Placement, **changes: Any) -> Placement:
    """The placement with another first pull."""
    first, *rest = placement.pulls
    return replace(placement, pulls=(replace(first, **changes), *rest))


def first_use(placement: Placement, **changes: Any) -> Placement:
    """The placement with another first use."""
    first, *rest = placement.uses
    return replace(placement, uses=(replace(first, **changes), *rest))


def moved(placement: Placement, name: str, gateway: str) -> Placement:
    """The placement with one more analytic, or one elsewhere."""
    return replace(placement, gateway_of={**placement.gateway_of, name: gateway})


LIES: dict[str, tuple[Callable[[Placement], Placement], str]] = {
    "stranger": (lambda p: moved(p, "stranger", "third"), "only analytics"),
    "wrong site": (lambda p: moved(p, "analytic0", "first"), "analytic0 on one of"),
    "no gateway": (lambda p: moved(p, "analytic2", "nowhere"), "analytic2 on one of"),
    "value": (lambda p: replace(p, value=p.value + 1), "a value of"),
    "bound": (lambda p: replace(p, bound=p.value / 2), "at most"),
    "optimal": (lambda p: replace(p, status="optimal", bound=2 * p.value), "gap"),
    "price": (lambda p: replace(p, prices={"first.disk_bytes": -1.0}), "price"),
    "no pulls": (lambda p: replace(p, pulls=()), "expected"),
    "twice": (lambda p: replace(p, pulls=(*p.pulls, p.pulls[0])), "expected"),
    "pull elsewhere": (lambda p: first_pull(p, gateway="x"), "known gateways"),
    "too quick": (lambda p: first_pull(p, ends_s=p.pulls[0].begins_s), "end of a pull"),
    "too early": (lambda p: first_pull(p, begins_s=-1.0), "earlier end"),
    "bytes": (lambda p: first_pull(p, compressed_bytes=1), "expected"),
    "disk": (lambda p: first_use(p, disk_bytes=1), "bytes"),
    "cores": (lambda p: first_use(p, n_cores=77.0), "cores"),
    "memory": (lambda p: first_use(p, memory_bytes=77.0), "memory"),
    "deleted": (lambda p: first_use(p, deleted_bytes=77), "deleted"),
    "use missing": (lambda p: replace(p, uses=p.uses[1:]), "one use"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_caught(
    problem: PlacementProblem, honest: Placement, lie: str
) -> None:
    """A placement that was changed in one place does not pass."""
    change, says = LIES[lie]
    with pytest.raises(ValueError, match=says):
        check_placement(problem, change(honest))


@pytest.mark.parametrize(
    ("narrow", "says"),
    [
        ({"disk_bytes": 1.0}, "disk bytes"),
        ({"n_cores": 0.1}, "cores"),
        ({"memory_bytes": 1.0}, "memory bytes"),
        ({"downlink_bps": 1.0}, "end of a pull"),
        ({"layers": frozenset({"os"})}, "pulled once"),
    ],
)
def test_broken_limits_are_caught(
    problem: PlacementProblem,
    honest: Placement,
    narrow: dict[str, Any],
    says: str,
) -> None:
    """What fits one problem does not fit another one with less."""
    first, *rest = problem.gateways
    narrower: Gateway = replace(first, **narrow)
    with pytest.raises(ValueError, match=says):
        check_placement(replace(problem, gateways=(narrower, *rest)), honest)


def test_late_pulls_are_caught(problem: PlacementProblem, honest: Placement) -> None:
    """A slot that is too short, an analytic that has left, a backhaul too slow."""
    with pytest.raises(ValueError, match="end of the pull"):
        check_placement(replace(problem, slot_s=1.0), honest)
    gone = tuple(replace(a, lifetime_s=1.0) for a in problem.analytics)
    with pytest.raises(ValueError, match="start of"):
        check_placement(replace(problem, analytics=gone), honest)
    with pytest.raises(ValueError, match="backhaul"):
        check_placement(replace(problem, backhaul_bps=1e6), honest)


@dataclass
class Moody:
    """A placer that answers every other time."""

    name: str = "moody"
    n_asked: int = 0

    def place(self, problem: PlacementProblem) -> Placement:
        """The exact answer, or nothing."""
        self.n_asked += 1
        found = MilpPlacer().place(problem)
        if self.n_asked % 2:
            return found
        return MilpPlacer().place(replace(problem, analytics=()))


def test_moods_are_caught() -> None:
    """The same question has one answer, and a placer has a name."""
    with pytest.raises(ValueError, match="two ways"):
        check_placer(Moody())
    with pytest.raises(ValueError, match="needs a name"):
        check_placer(Moody(name=""))
