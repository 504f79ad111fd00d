"""Building a placement problem's arrays, and reading a choice back as a placement.

Items are moves of one analytic to one gateway that can end in time and are worth
something. Elements are layers on a gateway; where deadlines differ there is a copy of a
layer for every deadline by which somebody may need it. The rows of each gateway are its
disk (uncompressed bytes of layers that no running analytic holds), cores, memory, and
one for each deadline of its pulls (:mod:`midhaul.deploy.placement.arrays`); the
backhaul that all gateways share has rows of the last sort too. The backhaul's rows are
necessary and not sufficient: the schedule has the last word.

The way back says what a choice takes of each gateway, in words of the problem.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.arrays import (
    BACKHAUL,
    Assembly,
    catalogue_of,
    moves_to,
    present_on,
)
from midhaul.deploy.placement.base import GatewayUse, Placement, Pull, Status
from midhaul.deploy.placement.built import Built, Schedule
from midhaul.deploy.placement.schedule import schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Bool, Float64

    from midhaul.deploy.placement.arrays import Choice, Instance
    from midhaul.deploy.placement.tabu import TabuSearch
    from midhaul.deploy.problem import PlacementProblem


def pulls_of(built: Built, timetable: Schedule) -> tuple[Pull, ...]:
    """The pulls of a schedule, with names."""
    catalogue, gateways = built.catalogue, built.problem.gateways
    begins, ends = timetable.begins_s.tolist(), timetable.ends_s.tolist()
    return tuple(
        Pull(
            gateway=gateways[batch.gateway].name,
            image=catalogue.images[batch.image],
            digests=tuple(catalogue.digests[layer] for layer in batch.layers),
            compressed_bytes=int(batch.n_bytes),
            begins_s=begin_s,
            ends_s=end_s,
        )
        for batch, begin_s, end_s in zip(timetable.batches, begins, ends, strict=True)
    )


def uses_of(built: Built, chosen: Bool[np.ndarray, " n"]) -> tuple[GatewayUse, ...]:
    """What the chosen items take of each gateway."""
    problem, catalogue = built.problem, built.catalogue
    sizes = _sizes_elsewhere(problem, catalogue.number_of)
    uses: list[GatewayUse] = []
    for number, gateway in enumerate(problem.gateways):
        mine = np.flatnonzero(chosen & (built.gateways == number))
        analytics = [problem.analytics[i] for i in built.analytics[mine]]
        needed = np.zeros(len(catalogue.digests), np.bool_)
        needed[catalogue.refs(np.unique(built.images[mine]))[1]] = True
        held = catalogue.marks(gateway.held)
        present = catalogue.marks(present_on(gateway))
        disk = catalogue.uncompressed_bytes[needed & ~held].sum()
        pulled = needed & ~present
        kept = catalogue.uncompressed_bytes[(present | pulled) & ~held].sum()
        kept += sum(sizes.get(digest, 0) for digest in gateway.layers - gateway.held)
        uses.append(
            GatewayUse(
                gateway=gateway.name,
                disk_bytes=int(disk),
                pulled_bytes=int(catalogue.compressed_bytes[pulled].sum()),
                n_cores=float(sum(a.n_cores for a in analytics)),
                memory_bytes=float(sum(a.memory_bytes for a in analytics)),
                deleted_bytes=int(max(0.0, np.ceil(kept - gateway.disk_bytes))),
            )
        )
    return tuple(uses)


def _sizes_elsewhere(
    problem: PlacementProblem, known: Mapping[str, int]
) -> dict[str, int]:
    """Disk use of layers on gateways that no candidate needs, where it is known."""
    others = frozenset().union(*(g.layers for g in problem.gateways)) - known.keys()
    if not others:
        return {}
    return {
        layer.digest: layer.uncompressed_bytes
        for image in problem.all_images()
        for layer in image.layers
        if layer.digest in others
    }


_MAX_ROUNDS = 5
_LESS_ROOM = 0.9
_LEAST_ROOM = 0.6


def build(
    problem: PlacementProblem,
    *,
    also_s: Mapping[int, Float64[np.ndarray, " d"]] | None = None,
) -> Built:
    """Write a problem as arrays.

    Args:
        problem: what to place.
        also_s: by line, deadlines that get a row even where there are too many.
    """
    catalogue = catalogue_of(problem)
    moves = [moves_to(problem, catalogue, g) for g in range(len(problem.gateways))]
    analytics = np.concatenate([m.analytics for m in moves])
    gateways = np.repeat(np.arange(len(moves)), [len(m.analytics) for m in moves])
    deadlines = np.concatenate([m.deadlines_s for m in moves])
    chosen = [problem.analytics[i] for i in analytics]
    assembly = Assembly(problem, catalogue, analytics, gateways, deadlines)
    for number in range(len(moves)):
        assembly.add_gateway(number)
    also_s = also_s or {}
    for number in assembly.lines:
        assembly.add_levels(number, also_s.get(number, np.zeros(0)))
    return Built(
        problem=problem,
        catalogue=catalogue,
        instance=assembly.instance(
            values=np.array([a.value_bps for a in chosen], np.float64),
            cores=np.array([a.n_cores for a in chosen], np.float64),
            memory=np.array([a.memory_bytes for a in chosen], np.float64),
        ),
        analytics=analytics,
        gateways=gateways,
        deadlines_s=deadlines,
        resources=tuple(row.resource for row in assembly.rows),
        lines=assembly.lines,
        line_items=assembly.line_items,
    )


def to_placement(built: Built, choice: Choice, solve_s: float) -> Placement:
    """What a choice means: who goes where, all pulls with their times, prices.

    A choice that breaks deadlines that have no row (see :meth:`Built.broken_s`), or
    that a shared backhaul cannot carry in time, loses those analytics that bring the
    least per byte, until all is in time.

    Args:
        built: what was chosen from.
        choice: feasible for its instance.
        solve_s: time that the search took.
    """
    chosen, timetable = _in_time(built, choice.chosen)
    is_whole = bool((chosen == choice.chosen).all())
    status: Status = "feasible"
    if choice.is_timed_out:
        status = "timed_out"
    elif choice.is_optimal and is_whole:
        status = "optimal"
    problem = built.problem
    names = [gateway.name for gateway in problem.gateways]
    value = built.instance.value(chosen)
    return Placement(
        status=status,
        value=value,
        # The search's tolerance may leave its bound a little below its value.
        bound=max(choice.bound, value),
        gateway_of={
            problem.analytics[built.analytics[i]].name: names[built.gateways[i]]
            for i in np.flatnonzero(chosen)
        },
        pulls=pulls_of(built, timetable),
        uses=uses_of(built, chosen),
        prices=_prices(built, choice.prices),
        solve_s=solve_s,
    )


def place_by(
    problem: PlacementProblem,
    solve: Callable[[Built], Choice],
    *,
    search: TabuSearch | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Placement:
    """Build, solve and schedule; deadlines that are broken get their row, again.

    Where gateways share a backhaul and the schedule cannot carry a choice, the lines
    are made slower by steps of a tenth and the best of what comes out is taken. The
    bound stays that of the first search.

    Args:
        problem: what to place.
        solve: a search over the arrays; it is asked again, a few times at most, when
            its choice breaks deadlines that were left out.
        search: what betters each choice; none when None.
        clock: measures the time of building and solving, in seconds.
    """

    def better(built: Built) -> Choice:
        choice = solve(built)
        return choice if search is None else search.better(built.instance, choice)

    begin = clock()
    also_s: dict[int, Float64[np.ndarray, " d"]] = {}
    built = build(problem)
    choice = better(built)
    for _ in range(_MAX_ROUNDS):
        broken = built.broken_s(choice.chosen)
        if not broken:
            break
        for number, late in broken.items():
            also_s[number] = np.union1d(also_s.get(number, np.zeros(0)), late)
        built = build(problem, also_s=also_s)
        choice = better(built)
    best = to_placement(built, choice, 0.0)
    room = 1.0
    while best.value < built.instance.value(choice.chosen) and room > _LEAST_ROOM:
        # What a schedule cannot carry is worth another look with less to carry.
        room *= _LESS_ROOM
        with_less = better(replace(built, instance=_narrowed(built, room)))
        trial = replace(
            with_less, bound=choice.bound, is_optimal=False, prices=choice.prices
        )
        best = max(best, to_placement(built, trial, 0.0), key=lambda p: p.value)
        if best.value >= built.instance.value(trial.chosen):
            break
    return replace(best, solve_s=clock() - begin)


def _narrowed(built: Built, room: float) -> Instance:
    """The instance with slower lines."""
    is_line = np.array([r.name.endswith(".downlink_bps") for r in built.resources])
    capacities = built.instance.capacities
    return replace(
        built.instance, capacities=np.where(is_line, capacities * room, capacities)
    )


def _in_time(
    built: Built, chosen: Bool[np.ndarray, " n"]
) -> tuple[Bool[np.ndarray, " n"], Schedule]:
    """As many of the chosen as can be pulled in time, and their schedule."""
    kept = chosen.copy()
    while True:
        timetable = schedule(built, kept)
        late = np.flatnonzero(timetable.is_late(built))
        if not len(late):
            return kept, timetable
        first = late[np.argmin(built.deadlines_s[late])]
        kept &= ~_worst(built, kept, int(first))


def _worst(
    built: Built, chosen: Bool[np.ndarray, " n"], late: int
) -> Bool[np.ndarray, " n"]:
    """The items of one image on one gateway that bring least for their bytes.

    Among those due no later than the late item; on its gateway, if that alone is what
    they are too many for.
    """
    number = int(built.gateways[late])
    due = built.deadlines_s[late]
    rivals = chosen & (built.deadlines_s <= due)
    line = built.lines.get(number)
    if line is not None:
        over = line.broken_s(rivals[built.line_items[number]])
        if len(over):
            rivals &= built.gateways == number
    items = np.flatnonzero(rivals)
    positions, layers = built.catalogue.refs(built.images[items])
    n_layers = len(built.catalogue.digests)
    missing = np.stack(
        [
            built.catalogue.compressed_bytes * ~built.catalogue.marks(present_on(g))
            for g in built.problem.gateways
        ]
    ).ravel()
    keys = built.gateways[items][positions] * n_layers + layers
    pairs = built.gateways[items] * len(built.catalogue.images) + built.images[items]
    distinct, group_of = np.unique(pairs, return_inverse=True)
    needs = np.unique(np.stack([group_of[positions], keys]), axis=1)
    users = np.bincount(needs[1], minlength=len(missing))
    own, alone = (
        np.bincount(needs[0], weights=weights, minlength=len(distinct))
        for weights in (
            missing[needs[1]],
            missing[needs[1]] * (users[needs[1]] == 1),
        )
    )
    value = np.bincount(group_of, weights=built.instance.values[items])
    worst = np.lexsort((own / value, alone / value))[-1]
    dropped = np.zeros(len(chosen), np.bool_)
    dropped[items[group_of == worst]] = True
    return dropped


def _prices(built: Built, prices: Float64[np.ndarray, " r"]) -> dict[str, float]:
    """Prices by resource; a line none of whose deadlines matters costs nothing."""
    if len(prices) and np.isnan(prices).all():
        return {}
    gateways = built.problem.gateways
    by_resource = {
        f"{BACKHAUL if number < 0 else gateways[number].name}.downlink_bps": 0.0
        for number in built.lines
    }
    for resource, price in zip(built.resources, prices.tolist(), strict=True):
        known = by_resource.get(resource.name, 0.0)
        by_resource[resource.name] = known + price * resource.amount
    return by_resource
