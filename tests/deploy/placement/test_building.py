"""From problems to arrays and back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from tests.deploy.placement.instances import (
    BPS,
    has_order_in_time,
    small_problems,
    subsets,
)

from midhaul.deploy.placement.arrays import MAX_LEVELS, Choice
from midhaul.deploy.placement.building import build, place_by, to_placement
from midhaul.deploy.placement.milp import MilpPlacer, solve_milp
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)


def layer(digest: str, n_bytes: int, factor: int = 2) -> Layer:
    """A layer that takes twice its size on a disk."""
    return Layer(
        digest=digest, compressed_bytes=n_bytes, uncompressed_bytes=factor * n_bytes
    )


def two_images(**gateway: float | frozenset[str]) -> PlacementProblem:
    """Two images that share ten bytes."""
    images = {
        "one": ContainerImage(name="one", layers=(layer("os", 10), layer("x", 1))),
        "two": ContainerImage(name="two", layers=(layer("os", 10), layer("y", 2))),
    }
    analytics = tuple(
        Analytic(name=name, image=name, saved_bps=5.0, n_cores=1.0) for name in images
    )
    there = Gateway(name="g", **gateway)  # type: ignore[arg-type]
    return PlacementProblem(analytics=analytics, images=images, gateways=(there,))


def choose(built_for: PlacementProblem, chosen: list[bool]) -> Choice:
    """A choice that promises nothing."""
    return Choice(
        chosen=np.array(chosen, np.bool_),
        bound=math.inf,
        is_optimal=False,
        is_timed_out=False,
        prices=np.full(len(build(built_for).instance.rows), np.nan),
    )


@settings(deadline=None, max_examples=50)
@given(small_problems())
def test_rows_are_exact_on_one_gateway(problem: PlacementProblem) -> None:
    """A set keeps the pull rows exactly if some order of its pulls is in time."""
    built = build(
        replace(
            problem,
            gateways=(
                replace(
                    problem.gateways[0],
                    disk_bytes=math.inf,
                    n_cores=math.inf,
                    memory_bytes=math.inf,
                ),
            ),
        )
    )
    for chosen in subsets(built.instance.n_items):
        fits = built.instance.is_feasible(chosen)
        assert fits == has_order_in_time(built, chosen)
        assert fits == (not built.broken_s(chosen))


@settings(deadline=None, max_examples=50)
@given(small_problems())
def test_disk_cores_and_memory_are_rows(problem: PlacementProblem) -> None:
    """What a set takes of each row is what adding up its analytics gives."""
    built = build(problem)
    gateway = problem.gateways[0]
    for chosen in subsets(built.instance.n_items):
        use = dict(zip(built.instance.rows, built.instance.use(chosen), strict=True))
        analytics = [problem.analytics[built.analytics[i]] for i in chosen.nonzero()[0]]
        disk = {
            part.digest: part.uncompressed_bytes
            for analytic in analytics
            for part in problem.images[analytic.image].layers
            if part.digest not in gateway.held
        }
        for name, found in (
            ("disk_bytes", sum(disk.values())),
            ("n_cores", sum(a.n_cores for a in analytics)),
            ("memory_bytes", sum(a.memory_bytes for a in analytics)),
        ):
            if math.isfinite(getattr(gateway, name)):
                assert use[f"gateway0.{name}"] == pytest.approx(found)


def test_infinite_capacities_have_no_rows() -> None:
    """Without limits there are neither rows nor elements."""
    built = build(two_images())
    assert built.instance.rows == ()
    assert built.instance.n_elements == 0
    placement = to_placement(built, choose(built.problem, [True, True]), 0.0)
    assert placement.gateway_of == {"one": "g", "two": "g"}
    assert placement.uses[0].disk_bytes == 26
    assert placement.uses[0].pulled_bytes == 13


def test_shared_layers_are_paid_once() -> None:
    """Two images with a common base need 26 bytes of disk, not 46."""
    built = build(two_images(disk_bytes=26.0))
    assert built.instance.is_feasible(np.array([True, True]))
    assert not build(two_images(disk_bytes=25.0)).instance.is_feasible(
        np.array([True, True])
    )


def test_held_layers_are_free_and_present_ones_need_disk() -> None:
    """Present layers need no pull; held ones no disk either."""
    held = build(two_images(disk_bytes=26.0, held=frozenset({"os"})))
    assert held.instance.use(np.array([True, True])).tolist() == [6.0]
    there = build(two_images(disk_bytes=26.0, layers=frozenset({"os"})))
    assert there.instance.use(np.array([True, True])).tolist() == [26.0]
    placement = to_placement(there, choose(there.problem, [True, False]), 0.0)
    assert placement.pulls[0].digests == ("x",)
    assert placement.uses[0].pulled_bytes == 1


def test_what_must_be_deleted_is_counted() -> None:
    """Layers that nobody needs give way, no more of them than must."""
    problem = two_images(disk_bytes=25.0, layers=frozenset({"y"}))
    built = build(problem)
    placement = to_placement(built, choose(problem, [True, False]), 0.0)
    assert placement.uses[0].disk_bytes == 22
    assert placement.uses[0].deleted_bytes == 22 + 4 - 25


def test_an_image_that_carries_nothing_new_still_has_its_pull() -> None:
    """When its layers come with earlier pulls, it may start when they have ended."""
    problem = two_images(downlink_bps=BPS)
    inner = ContainerImage(name="two", layers=(layer("os", 10),))
    problem = replace(problem, images={**problem.images, "two": inner})
    placement = to_placement(build(problem), choose(problem, [True, True]), 0.0)
    ends = {
        pull.image: (pull.compressed_bytes, pull.ends_s) for pull in placement.pulls
    }
    assert ends == {"two": (10, 10.0), "one": (1, 11.0)}


def test_who_cannot_move_is_no_item() -> None:
    """No value, no time, no room, not its site: each keeps an analytic in the cloud."""
    problem = two_images(downlink_bps=BPS, disk_bytes=100.0, n_cores=2.0)
    one, two = problem.analytics
    for other in (
        replace(two, saved_bps=0.0),
        replace(two, lifetime_s=11.0),
        replace(two, n_cores=3.0),
    ):
        built = build(replace(problem, analytics=(one, other)))
        assert built.analytics.tolist() == [0]
    assert build(replace(problem, sites={"two": ()})).analytics.tolist() == [0]
    gone = replace(two, lifetime_s=5.0), replace(one, arrival_s=2.0)
    built = build(replace(problem, analytics=gone, now_s=6.0))
    assert built.analytics.tolist() == [1]
    late = replace(problem, startup_s={"two": 7.0}, slot_s=11.0)
    assert build(late).analytics.tolist() == [0]


def test_an_analytic_with_several_sites_is_one_group() -> None:
    """It goes to one gateway at most."""
    problem = two_images()
    pair = replace(problem, gateways=(*problem.gateways, Gateway(name="h")))
    built = build(pair)
    assert built.instance.has_choices
    assert built.instance.groups.tolist() == [0, 1, 0, 1]
    assert built.gateways.tolist() == [0, 0, 1, 1]


def many_deadlines(n: int) -> PlacementProblem:
    """Analytics that leave one after the other; a third of them can be pulled."""
    rng = np.random.default_rng(5)
    images = {
        f"i{i}": ContainerImage(
            name=f"i{i}", layers=(layer(f"base{i % 3}", 7), layer(f"l{i}", 3 + i % 5))
        )
        for i in range(n)
    }
    analytics = tuple(
        Analytic(
            name=f"a{i}",
            image=f"i{i}",
            saved_bps=float(rng.integers(1, 50)),
            lifetime_s=15.0 + 1.37 * i,
        )
        for i in range(n)
    )
    gateway = Gateway(name="g", downlink_bps=BPS)
    return PlacementProblem(analytics=analytics, images=images, gateways=(gateway,))


def test_deadlines_without_a_row_get_one_when_they_are_broken() -> None:
    """With more deadlines than rows the exact placer stays exact."""
    problem = many_deadlines(60)
    built = build(problem)
    assert len(built.instance.rows) == MAX_LEVELS
    whole = build(problem, also_s={0: np.unique(built.deadlines_s)})
    assert len(whole.instance.rows) > MAX_LEVELS
    exact = solve_milp(whole.instance)
    assert exact.is_optimal
    first = solve_milp(built.instance)
    assert built.broken_s(first.chosen)
    placement = MilpPlacer().place(problem)
    assert placement.status == "optimal"
    assert placement.value == pytest.approx(whole.instance.value(exact.chosen))


def test_a_choice_that_is_late_loses_its_least() -> None:
    """Without another search, whoever brings least per byte stays in the cloud."""
    problem = many_deadlines(60)
    built = build(problem)
    choice = solve_milp(built.instance)
    placement = to_placement(built, choice, 0.0)
    assert placement.status == "feasible"
    assert 0 < placement.value < built.instance.value(choice.chosen)
    assert placement.bound == pytest.approx(choice.bound)


def test_the_time_of_a_search_comes_from_the_clock() -> None:
    """The clock that is handed over is the one that counts."""
    problem = two_images()
    ticks = iter([1.0, 3.5])
    placement = place_by(
        problem, lambda _: choose(problem, [True, False]), clock=lambda: next(ticks)
    )
    assert placement.solve_s == 2.5
