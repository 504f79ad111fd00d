"""The parts of a placement problem's arrays: who may move, and what every row charges.

Elements come in sorts: layers on a gateway that somebody with at most a given deadline
needs. Rows charge sorts; a layer is an element of a sort when somebody needs it and
some row charges it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.deploy.placement.instance import Instance
from midhaul.deploy.placement.levels import SLACK, Line, levels_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.catalogue import Catalogue
    from midhaul.deploy.problem import Gateway, PlacementProblem

BACKHAUL = "backhaul"
"""Name of the line that all pulls share, among those of the gateways."""


class Resource(NamedTuple):
    """What a row limits: ``amount`` of the row for each unit of the resource."""

    name: str
    amount: float


def present_on(gateway: Gateway) -> frozenset[str]:
    """Layers that need no pull to a gateway."""
    return gateway.layers | gateway.held


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
