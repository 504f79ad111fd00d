"""The order and the times of pulls."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.instances import BPS, small_problems, subsets

from midhaul.deploy.placement import Placement, Pull, planned_saved_bits
from midhaul.deploy.placement.building import build
from midhaul.deploy.placement.schedule import schedule
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.deploy.placement.schedule import Schedule


def images_of(sizes: dict[str, dict[str, int]]) -> dict[str, ContainerImage]:
    """Images from the sizes of their layers."""
    return {
        name: ContainerImage(
            name=name,
            layers=tuple(
                Layer(digest=digest, compressed_bytes=size, uncompressed_bytes=size)
                for digest, size in layers.items()
            ),
        )
        for name, layers in sizes.items()
    }


def problem_of(
    images: dict[str, ContainerImage],
    gateways: Sequence[Gateway],
    *,
    rates_bps: Sequence[float] = (),
    backhaul_bps: float = math.inf,
    has_peer_pulls: bool = False,
    slot_s: float = math.inf,
) -> PlacementProblem:
    """One analytic for each image, on the gateway with its number or the last."""
    last = len(gateways) - 1
    rates_bps = rates_bps or [1.0] * len(images)
    return PlacementProblem(
        analytics=tuple(
            Analytic(name=name, image=name, saved_bps=rates_bps[i])
            for i, name in enumerate(images)
        ),
        images=images,
        gateways=tuple(gateways),
        slot_s=slot_s,
        backhaul_bps=backhaul_bps,
        has_peer_pulls=has_peer_pulls,
        sites={name: (gateways[min(i, last)].name,) for i, name in enumerate(images)},
    )


def timetable(problem: PlacementProblem) -> Schedule:
    """The schedule when all are chosen."""
    built = build(problem)
    return schedule(built, np.ones(built.instance.n_items, np.bool_))


@settings(deadline=None, max_examples=50)
@given(small_problems())
def test_what_keeps_the_rows_is_in_time(problem: PlacementProblem) -> None:
    """The order that is chosen meets all deadlines whenever they can be met."""
    built = build(problem)
    for chosen in subsets(built.instance.n_items):
        if built.instance.is_feasible(chosen):
            assert not schedule(built, chosen).is_late(built).any()


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)
)
def test_without_shared_layers_and_deadlines_waiting_is_least(
    jobs: list[tuple[int, int]],
) -> None:
    """Smith's rule is optimal for 1 || sum w_j C_j; ours is Smith's there."""
    images = images_of({f"i{i}": {f"l{i}": size} for i, (size, _) in enumerate(jobs)})
    problem = problem_of(
        images,
        [Gateway(name="g", downlink_bps=BPS)],
        rates_bps=[float(weight) for _, weight in jobs],
    )
    ready = timetable(problem).ready_s
    waiting = sum(w * r for (_, w), r in zip(jobs, ready, strict=True))
    least = min(
        sum(
            weight * end
            for (_, weight), end in zip(
                order, itertools.accumulate(size for size, _ in order), strict=True
            )
        )
        for order in itertools.permutations(jobs)
    )
    assert waiting == pytest.approx(least)


def test_deadlines_come_before_waiting() -> None:
    """The long pull of little worth goes first when it is due first."""
    images = images_of({"long": {"a": 8}, "short": {"b": 1}})
    problem = problem_of(
        images, [Gateway(name="g", downlink_bps=BPS)], rates_bps=[1.0, 50.0]
    )
    assert timetable(problem).ready_s.tolist() == [9.0, 1.0]
    long, short = problem.analytics
    hurried = replace(problem, analytics=(replace(long, lifetime_s=8.0), short))
    assert timetable(hurried).ready_s.tolist() == [8.0, 9.0]


def test_a_backhaul_is_shared_by_need() -> None:
    """Three equal pulls over half the rate that they could take end together."""
    gateways = [Gateway(name=f"g{i}", downlink_bps=2 * BPS) for i in range(3)]
    images = images_of({f"i{i}": {f"l{i}": 10} for i in range(3)})
    problem = problem_of(images, gateways, backhaul_bps=3 * BPS, slot_s=10.0)
    assert timetable(problem).ready_s == pytest.approx([10.0] * 3)
    assert not timetable(problem).is_late(build(problem)).any()


def test_what_remains_of_a_backhaul_is_used() -> None:
    """One gateway that needs little gets all that the others leave."""
    gateways = [Gateway(name="fast"), Gateway(name="slow", downlink_bps=BPS)]
    images = images_of({"big": {"a": 30}, "small": {"b": 10}})
    problem = problem_of(images, gateways, backhaul_bps=4 * BPS, slot_s=100.0)
    ready = timetable(problem).ready_s
    assert ready.max() == pytest.approx(10.0)


def test_a_peer_has_it_after_it_has_crossed() -> None:
    """A layer crosses once; the other gateway waits for it and takes nothing more."""
    gateways = [
        Gateway(name="near", downlink_bps=2 * BPS),
        Gateway(name="far", downlink_bps=5 * BPS),
    ]
    images = images_of({"one": {"a": 20}, "two": {"a": 20, "b": 4}})
    alone = problem_of(images, gateways, backhaul_bps=2 * BPS, slot_s=60.0)
    assert timetable(alone).ready_s.max() == pytest.approx(44 / 2)
    peers = replace(alone, has_peer_pulls=True)
    assert timetable(peers).ready_s.max() == pytest.approx(24 / 2)
    held = replace(gateways[0], held=frozenset({"a"}))
    there = replace(peers, gateways=(held, gateways[1]))
    assert timetable(there).ready_s == pytest.approx([0.0, 4 / 2 + 20 / 5])


def test_a_dead_line_never_ends_a_pull() -> None:
    """Without a rate a schedule says infinity, and does not run for ever."""
    images = images_of({"one": {"a": 1}, "two": {"b": 0}})
    gateways = [Gateway(name="g"), Gateway(name="h")]
    problem = problem_of(images, gateways, backhaul_bps=8.0)
    built = build(problem)
    dead = replace(built, problem=replace(problem, backhaul_bps=0.0))
    ready = schedule(dead, np.ones(2, np.bool_)).ready_s
    assert ready.tolist() == [math.inf, 0.0]


def test_planned_saving_counts_from_start_to_end() -> None:
    """From the end of the pull and the start, until it leaves or the slot ends."""
    images = images_of({"one": {"a": 10}, "two": {"b": 0}, "three": {"c": 1}})
    problem = replace(
        problem_of(images, [Gateway(name="g")], rates_bps=[2.0, 3.0, 100.0]),
        slot_s=50.0,
        startup_s={"one": 5.0},
    )
    one, two, three = problem.analytics
    two = replace(two, lifetime_s=7.0, weight=9.0)
    problem = replace(problem, analytics=(one, two, three))
    pull = Pull(
        gateway="g",
        image="one",
        digests=("a",),
        compressed_bytes=10,
        begins_s=0.0,
        ends_s=10.0,
    )
    placement = Placement(
        status="feasible",
        value=0.0,
        bound=math.inf,
        gateway_of={"one": "g", "two": "g"},
        pulls=(pull,),
    )
    assert planned_saved_bits(problem, placement) == 2 * (50 - 15) + 3 * 7
    for_ever = replace(problem, slot_s=math.inf)
    assert planned_saved_bits(for_ever, placement) == math.inf
