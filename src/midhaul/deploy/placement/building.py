"""Building a placement problem's arrays, and reading a choice back as a placement.

Items are moves of one analytic to one gateway that can end in time and are worth
something. Elements are layers on a gateway; where deadlines differ there is a copy of a
layer for every deadline by which somebody may need it. The rows of each gateway are its
disk (uncompressed bytes of layers that no running analytic holds), cores, memory, and
one for each deadline of its pulls (:mod:`midhaul.deploy.placement.arrays`); the
backhaul that all gateways share has rows of the last sort too. The backhaul's rows are
necessary and not sufficient: the schedule has the last word.

Elements come in sorts: layers on a gateway that somebody with at most a given deadline
needs. Rows charge sorts; a layer is an element of a sort when somebody needs it and
some row charges it.

The way back says what a choice takes of each gateway, in words of the problem.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.deploy.placement.arrays import (
    BACKHAUL,
    SLACK,
    Built,
    Instance,
    Line,
    Resource,
    catalogue_of,
    levels_of,
    present_on,
)
from midhaul.deploy.placement.base import GatewayUse, Placement, Pull, Status
from midhaul.deploy.placement.schedule import Schedule, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Catalogue, Choice
    from midhaul.deploy.placement.tabu import TabuSearch
    from midhaul.deploy.problem import PlacementProblem


class Moves(NamedTuple):
    """Analytics that could go to a gateway, and when their pulls must have ended."""

    analytics: Int64[np.ndarray, " n"]
    deadlines_s: Float64[np.ndarray, " n"]


def moves_to(problem: PlacementProblem, catalogue: Catalogue, number: int) -> Moves:
    """The analytics that could go to a gateway if they were alone."""
    gateway = problem.gateways[number]
    everywhere = (gateway.name,)
    sites, startup = problem.sites, problem.startup_s
    due = np.array(
        [
            problem.remaining_s(analytic) - startup.get(analytic.image, 0.0)
            if analytic.value_bps > 0
            and gateway.name in sites.get(analytic.name, everywhere)
            and analytic.n_cores <= gateway.n_cores
            and analytic.memory_bytes <= gateway.memory_bytes
            else 0.0
            for analytic in problem.analytics
        ],
        np.float64,
    )
    image_of = catalogue.image_of[number]
    is_move = (due > 0) & (image_of >= 0)
    due = np.minimum(due, problem.slot_s)
    missing = ~catalogue.marks(present_on(gateway))
    disk = catalogue.uncompressed_bytes * ~catalogue.marks(gateway.held)
    is_move &= catalogue.image_sums(disk)[image_of] <= gateway.disk_bytes
    lines = [(gateway.downlink_bps, missing)]
    if problem.has_peer_pulls:
        lines.append((problem.backhaul_bps, missing & ~_anywhere(problem, catalogue)))
    else:
        lines.append((problem.backhaul_bps, missing))
    for rate_bps, is_pulled in lines:
        if math.isfinite(rate_bps):
            pulled = catalogue.image_sums(catalogue.compressed_bytes * is_pulled)
            # A line without a rate never carries anything, however long one waits.
            room = rate_bps * due * (1 + SLACK) if rate_bps > 0 else np.zeros(len(due))
            is_move &= 8 * pulled[image_of] <= room
    analytics = np.flatnonzero(is_move)
    return Moves(analytics, due[analytics])


def _anywhere(
    problem: PlacementProblem, catalogue: Catalogue
) -> Bool[np.ndarray, " l"]:
    """Layers that some gateway has."""
    return catalogue.marks(frozenset().union(*map(present_on, problem.gateways)))


class _Row(NamedTuple):
    name: str
    capacity: float
    resource: Resource


class _Needs(NamedTuple):
    """Items and the layers that they need, one pair a position."""

    items: Int64[np.ndarray, " k"]
    layers: Int64[np.ndarray, " k"]

    def where(self, keep: Bool[np.ndarray, " k"]) -> _Needs:
        return _Needs(self.items[keep], self.layers[keep])


class Assembly:
    """Collects rows, and for each sort of element who needs it and what it costs.

    A sort is ``(gateway, deadline)``: layers on a gateway that some item with at most
    that deadline needs. With peer pulls the backhaul's sorts have the gateway -1.
    """

    def __init__(
        self,
        problem: PlacementProblem,
        catalogue: Catalogue,
        analytics: Int64[np.ndarray, " n"],
        gateways: Int64[np.ndarray, " n"],
        deadlines_s: Float64[np.ndarray, " n"],
    ) -> None:
        self.problem = problem
        self.catalogue = catalogue
        self.analytics = analytics
        self.gateways = gateways
        self.deadlines_s = deadlines_s
        self.rows: list[_Row] = []
        self.usages: list[tuple[int, str, int]] = []
        self.lines: dict[int, Line] = {}
        self.line_items: dict[int, Int64[np.ndarray, " k"]] = {}
        self.needs: dict[int, _Needs] = {}
        self.costs: dict[
            tuple[int, float], list[tuple[int, Float64[np.ndarray, " l"]]]
        ] = {}
        self.last_s: dict[int, float] = {}
        positions, layers = catalogue.refs(catalogue.image_of[gateways, analytics])
        self.all_needs = _Needs(positions, layers)
        self._add_backhaul()

    def _add_row(self, name: str, capacity: float, resource: Resource) -> int:
        self.rows.append(_Row(name, capacity, resource))
        return len(self.rows) - 1

    def _pulled(self, number: int) -> Float64[np.ndarray, " l"]:
        """What each layer carries to a gateway, ``(l,)``."""
        is_there = self.catalogue.marks(present_on(self.problem.gateways[number]))
        return self.catalogue.compressed_bytes * ~is_there

    def _add_backhaul(self) -> None:
        """The line that all gateways share; with peers a layer crosses it once."""
        problem, catalogue = self.problem, self.catalogue
        if math.isinf(problem.backhaul_bps):
            return
        items, layers = self.all_needs
        n_layers = len(catalogue.digests)
        if problem.has_peer_pulls:
            n_bytes = catalogue.compressed_bytes * ~_anywhere(problem, catalogue)
            self.needs[-1] = self.all_needs
            self.last_s[-1] = float(self.deadlines_s.max(initial=0.0))
        else:
            pulled = [self._pulled(g) for g in range(len(problem.gateways))]
            n_bytes = np.concatenate(pulled)
            layers = layers + n_layers * self.gateways[items]
        self._add_line(-1, problem.backhaul_bps, _Needs(items, layers), n_bytes)

    def _add_line(
        self,
        number: int,
        rate_bps: float,
        needs: _Needs,
        n_bytes: Float64[np.ndarray, " l"],
    ) -> None:
        self.lines[number] = Line(
            rate_bps=rate_bps,
            deadlines_s=self.deadlines_s[needs.items],
            layers=needs.layers,
            n_bytes=n_bytes,
        )
        self.line_items[number] = needs.items

    def add_gateway(self, number: int) -> None:
        """Its disk, cores, memory and line."""
        gateway = self.problem.gateways[number]
        needs = self.all_needs.where(self.gateways[self.all_needs.items] == number)
        self.needs[number] = needs
        mine = self.gateways == number
        self.last_s[number] = float(self.deadlines_s[mine].max(initial=0.0))
        if math.isfinite(gateway.disk_bytes):
            name = f"{gateway.name}.disk_bytes"
            row = self._add_row(name, gateway.disk_bytes, Resource(name, 1.0))
            held = self.catalogue.marks(gateway.held)
            cost = self.catalogue.uncompressed_bytes * ~held
            self.costs.setdefault((number, math.inf), []).append((row, cost))
        for what in ("n_cores", "memory_bytes"):
            capacity = getattr(gateway, what)
            if math.isfinite(capacity):
                name = f"{gateway.name}.{what}"
                row = self._add_row(name, capacity, Resource(name, 1.0))
                self.usages.append((row, what, number))
        if math.isfinite(gateway.downlink_bps):
            self._add_line(number, gateway.downlink_bps, needs, self._pulled(number))

    def add_levels(self, number: int, also_s: Float64[np.ndarray, " d"]) -> None:
        """The rows of a line, one for each deadline that matters."""
        gateways = self.problem.gateways
        line = self.lines[number]
        name = BACKHAUL if number < 0 else gateways[number].name
        for level in levels_of(line, also_s):
            due = float(level)
            row = self._add_row(
                f"{name}.pulled_bytes.{due:g}s",
                line.capacity_bytes(due),
                Resource(f"{name}.downlink_bps", due / 8),
            )
            if number >= 0 or self.problem.has_peer_pulls:
                self._charge(number, due, row, line.n_bytes)
                continue
            for gateway in range(len(gateways)):
                self._charge(gateway, due, row, self._pulled(gateway))

    def _charge(
        self, number: int, due: float, row: int, cost: Float64[np.ndarray, " l"]
    ) -> None:
        sort = number, math.inf if due >= self.last_s[number] else due
        self.costs.setdefault(sort, []).append((row, cost))

    def instance(
        self,
        *,
        values: Float64[np.ndarray, " n"],
        cores: Float64[np.ndarray, " n"],
        memory: Float64[np.ndarray, " n"],
    ) -> Instance:
        """All that was collected, as arrays."""
        usage = np.zeros((len(values), len(self.rows)))
        own = {"n_cores": cores, "memory_bytes": memory}
        for row, what, number in self.usages:
            mine = self.gateways == number
            usage[mine, row] = own[what][mine]
        items: list[Int64[np.ndarray, " k"]] = [np.zeros(0, np.int64)]
        elements: list[Int64[np.ndarray, " k"]] = [np.zeros(0, np.int64)]
        costs: list[Float64[np.ndarray, "k r"]] = [np.zeros((0, len(self.rows)))]
        n_elements = 0
        for (number, due), charges in self.costs.items():
            is_charged = np.any([cost > 0 for _, cost in charges], axis=0)
            needs = self.needs[number]
            in_time = self.deadlines_s[needs.items] <= due
            needs = needs.where(is_charged[needs.layers] & in_time)
            layers, position = np.unique(needs.layers, return_inverse=True)
            items.append(needs.items)
            elements.append(position + n_elements)
            block = np.zeros((len(layers), len(self.rows)))
            for row, cost in charges:
                block[:, row] += cost[layers]
            costs.append(block)
            n_elements += len(layers)
        owners, indices = np.concatenate(items), np.concatenate(elements)
        order = np.lexsort((indices, owners))
        counts = np.bincount(owners, minlength=len(values))
        return Instance(
            values=values,
            usage=usage,
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            indices=indices[order],
            costs=np.concatenate(costs),
            capacities=np.array([row.capacity for row in self.rows], np.float64),
            rows=tuple(row.name for row in self.rows),
            groups=self.analytics,
        )


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
    """Write a problem as arrays; ``also_s`` get a row even where there are too many."""
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

    ``solve`` is asked again, a few times at most, when its choice breaks deadlines that
    were left out; ``search`` betters each choice.
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
        for weights in (missing[needs[1]], missing[needs[1]] * (users[needs[1]] == 1))
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
