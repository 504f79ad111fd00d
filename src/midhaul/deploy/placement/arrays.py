"""Set-union knapsack: a placement problem as arrays, with several capacities.

Items are candidate moves (an analytic to a gateway), elements are what items share
(layers on a gateway, layers that must be there by a deadline). With ``x_i`` for "item i
is chosen" and ``y_e`` for "element e is needed":

    maximise    sum_i v_i x_i
    subject to  x_i <= y_e                                  for e in E_i
                sum_i u_ir x_i + sum_e c_er y_e <= C_r      for each row r
                sum of x_i over the items of a group <= 1

All placers work on this form; :mod:`midhaul.deploy.placement.building` makes it from a
:class:`~midhaul.deploy.problem.PlacementProblem` and turns choices into a placement.
The problem is Set-Union Knapsack (Goldschmidt, Nehme and Yu, Naval Research Logistics
41, 1994), here with more than one capacity row.

The *catalogue* is the container images as arrays: who consists of which layers.

*Levels* say when pulls must have ended, which deadlines need a capacity row. Jobs on
one machine meet all deadlines exactly if, for every deadline ``d``, the jobs that are
due by ``d`` fit into the time until ``d``: order them by deadline (J. R. Jackson,
"Scheduling a Production Line to Minimize Maximum Tardiness", UCLA, 1955). Differences
from the paper:

1. Jobs share parts. What is due by ``d`` is the union of the layers of all images due
   by ``d``; pulled in the order of their deadlines, each carries what is missing still.
2. A deadline by which even everything fits needs no row.
3. Of more than :data:`MAX_LEVELS` others some are left out. That only loosens the
   problem, so its bounds stay valid; whoever plans looks afterwards whether a deadline
   that was left out is broken, and gives it a row then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.problem import Gateway, Layer, PlacementProblem

TOLERANCE = 1e-9
"""Relative slack that counts as keeping a capacity."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instance:
    """Items, the elements that they share, and the capacities of both.

    Attributes:
        values: ``(n,)`` worth of each item, at least 0.
        usage: ``(n, r)`` what an item itself takes of each row (cpu, memory).
        indptr: ``(n + 1,)`` where each item's elements begin in ``indices``.
        indices: ``(m,)`` elements of all items, one after the other; each once an item.
        costs: ``(e, r)`` what an element takes of each row, once (disk, pulled bytes).
        capacities: ``(r,)`` finite; rows without a limit are left out.
        rows: names of the rows, ``GATEWAY.disk_bytes`` and so on.
        groups: ``(n,)`` items with the same number exclude each other.
    """

    values: Float64[np.ndarray, " n"]
    usage: Float64[np.ndarray, "n r"]
    indptr: Int64[np.ndarray, " n1"]
    indices: Int64[np.ndarray, " m"]
    costs: Float64[np.ndarray, "e r"]
    capacities: Float64[np.ndarray, " r"]
    rows: tuple[str, ...]
    groups: Int64[np.ndarray, " n"]

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.values)

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        return len(self.costs)

    @property
    def has_choices(self) -> bool:
        """True when some items exclude each other."""
        return len(np.unique(self.groups)) < self.n_items

    def elements_of(self, chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " e"]:
        """The elements that the chosen items need together, ``(e,)``."""
        needed = np.zeros(self.n_elements, np.bool_)
        lengths = np.diff(self.indptr)
        needed[self.indices[np.repeat(chosen, lengths)]] = True
        return needed

    def use(self, chosen: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " r"]:
        """What the chosen items take of each row, shared elements once, ``(r,)``."""
        shared = self.costs[self.elements_of(chosen)].sum(axis=0)
        return self.usage[chosen].sum(axis=0) + shared

    def is_feasible(self, chosen: Bool[np.ndarray, " n"]) -> bool:
        """True when the chosen items keep every capacity and every group."""
        slack = TOLERANCE * np.maximum(self.capacities, 1.0)
        if (self.use(chosen) > self.capacities + slack).any():
            return False
        groups = self.groups[chosen]
        return len(np.unique(groups)) == len(groups)

    def value(self, chosen: Bool[np.ndarray, " n"]) -> float:
        """Worth of the chosen items."""
        return float(self.values[chosen].sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """What a search over an instance found.

    Attributes:
        chosen: ``(n,)`` true for the items to take; feasible.
        prices: ``(r,)`` dual value of each row, value per unit; NaN where unknown.
        bound: no feasible choice is worth more; infinite without a guarantee.
        is_optimal: true when the search proved that nothing is worth more.
        is_timed_out: true when it was stopped by its time limit.
    """

    chosen: Bool[np.ndarray, " n"]
    prices: Float64[np.ndarray, " r"]
    bound: float = math.inf
    is_optimal: bool = False
    is_timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalogue:
    """Layers and images that the analytics of a problem need, numbered.

    Attributes:
        number_of: by digest, the number of the layer.
        digests: ``l`` names of the layers.
        compressed_bytes: ``(l,)`` what a pull of each carries.
        uncompressed_bytes: ``(l,)`` what each takes on a disk.
        images: ``i`` names of the images; one that differs from platform to platform
            stands here several times.
        indptr: ``(i + 1,)`` where each image's layers begin in ``layers``.
        layers: numbers of the layers of all images, from their bases upwards.
        image_of: ``(g, a)`` number of each analytic's image on each gateway; -1 where
            its platform has it not.
    """

    number_of: Mapping[str, int]
    digests: tuple[str, ...]
    compressed_bytes: Float64[np.ndarray, " l"]
    uncompressed_bytes: Float64[np.ndarray, " l"]
    images: tuple[str, ...]
    indptr: Int64[np.ndarray, " i1"]
    layers: Int64[np.ndarray, " m"]
    image_of: Int64[np.ndarray, "g a"]

    def marks(self, digests: Collection[str]) -> Bool[np.ndarray, " l"]:
        """True for the layers among these digests, ``(l,)``."""
        marked = np.zeros(len(self.digests), np.bool_)
        known = self.number_of
        marked[[known[digest] for digest in digests if digest in known]] = True
        return marked

    def refs(
        self, images: Int64[np.ndarray, " n"]
    ) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Who needs which layer: positions in ``images``, and layers, in order."""
        lengths = np.diff(self.indptr)[images]
        positions = np.repeat(np.arange(len(images)), lengths)
        begins = np.cumsum(lengths) - lengths
        within = np.arange(len(positions)) - np.repeat(begins, lengths)
        return positions, self.layers[self.indptr[images][positions] + within]

    def image_sums(
        self, of_layers: Float64[np.ndarray, " l"]
    ) -> Float64[np.ndarray, " i"]:
        """A number of each layer, summed over the layers of each image, ``(i,)``."""
        n = len(self.images)
        owners = np.repeat(np.arange(n), np.diff(self.indptr))
        return np.bincount(owners, weights=of_layers[self.layers], minlength=n)


def catalogue_of(problem: PlacementProblem) -> Catalogue:
    """Number the images and layers of a problem, in the order of its analytics."""
    stacks: dict[tuple[str, tuple[Layer, ...]], int] = {}

    def numbers(gateway: Gateway | None) -> Int64[np.ndarray, " a"]:
        by_name: dict[str, int] = {}
        for name in dict.fromkeys(analytic.image for analytic in problem.analytics):
            image = (
                problem.images[name]
                if gateway is None
                else problem.image_at(name, gateway)
            )
            by_name[name] = (
                -1
                if image is None
                else stacks.setdefault((name, image.layers), len(stacks))
            )
        return np.array([by_name[a.image] for a in problem.analytics], np.int64)

    usual = numbers(None)
    image_of = [numbers(g) if g.images else usual for g in problem.gateways]
    number_of: dict[str, int] = {}
    layers: list[int] = []
    compressed: list[int] = []
    uncompressed: list[int] = []
    lengths = [0]
    for _, stack in stacks:
        lengths.append(len(stack))
        for layer in stack:
            number = number_of.setdefault(layer.digest, len(number_of))
            layers.append(number)
            if number == len(compressed):
                compressed.append(layer.compressed_bytes)
                uncompressed.append(layer.uncompressed_bytes)
    return Catalogue(
        number_of=number_of,
        digests=tuple(number_of),
        compressed_bytes=np.array(compressed, np.float64),
        uncompressed_bytes=np.array(uncompressed, np.float64),
        images=tuple(name for name, _ in stacks),
        indptr=np.cumsum(lengths, dtype=np.int64),
        layers=np.array(layers, np.int64),
        image_of=np.stack(image_of),
    )


MAX_LEVELS = 16
"""Deadlines of one line that get a row at first."""

SLACK = 1e-9
"""Relative overrun that counts as being in time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A line that carries layers, and who needs which by when.

    Attributes:
        rate_bps: of the line.
        deadlines_s: ``(k,)`` deadline of each need.
        layers: ``(k,)`` what is needed; pulled once over this line.
        n_bytes: ``(l,)`` what each layer carries.
    """

    rate_bps: float
    deadlines_s: Float64[np.ndarray, " k"]
    layers: Int64[np.ndarray, " k"]
    n_bytes: Float64[np.ndarray, " l"]

    def capacity_bytes(self, deadline_s: float) -> float:
        """What it carries by a deadline."""
        if math.isinf(self.rate_bps) or math.isinf(deadline_s):
            return math.inf
        return self.rate_bps * deadline_s / 8

    def broken_s(
        self, needed: Bool[np.ndarray, " k"] | None = None
    ) -> Float64[np.ndarray, " d"]:
        """Deadlines by which the needs due (all by default) do not fit, rising."""
        due, layers = self.deadlines_s, self.layers
        if needed is not None:
            due, layers = due[needed], layers[needed]
        if math.isinf(self.rate_bps) or not len(due):
            return np.zeros(0)
        first = np.full(len(self.n_bytes), np.inf)
        np.minimum.at(first, layers, due)
        order = np.argsort(first, kind="stable")
        total = np.concatenate([[0.0], np.cumsum(self.n_bytes[order])])
        distinct = np.unique(due[np.isfinite(due)])
        union = total[np.searchsorted(first[order], distinct, side="right")]
        room = self.rate_bps * distinct / 8
        return distinct[union > room * (1 + SLACK)]


def levels_of(
    line: Line, also_s: Float64[np.ndarray, " d"]
) -> Float64[np.ndarray, " d"]:
    """The deadlines that get a row, rising; those of ``also_s`` where they matter."""
    tight = line.broken_s()
    if len(tight) <= MAX_LEVELS:
        return tight
    spread = np.linspace(0, len(tight) - 1, MAX_LEVELS).round().astype(np.int64)
    return np.union1d(tight[spread], np.intersect1d(tight, also_s))


BACKHAUL = "backhaul"
"""Name of the line that all pulls share, among those of the gateways."""


class Resource(NamedTuple):
    """What a row limits: ``amount`` of the row for each unit of the resource."""

    name: str
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A problem as arrays, and what its items stand for.

    Attributes:
        problem: what it was built from.
        catalogue: its images and layers.
        instance: the arrays.
        analytics: ``(n,)`` index of each item's analytic.
        gateways: ``(n,)`` index of each item's gateway.
        deadlines_s: ``(n,)`` when each item's pull must have ended, from the begin of
            the slot.
        resources: what each row of the instance limits.
        lines: by gateway index, and -1 for the backhaul: all that may be pulled.
        line_items: by line, the item of each of its needs.
    """

    problem: PlacementProblem
    catalogue: Catalogue
    instance: Instance
    analytics: Int64[np.ndarray, " n"]
    gateways: Int64[np.ndarray, " n"]
    deadlines_s: Float64[np.ndarray, " n"]
    resources: tuple[Resource, ...]
    lines: Mapping[int, Line]
    line_items: Mapping[int, Int64[np.ndarray, " k"]]

    @property
    def images(self) -> Int64[np.ndarray, " n"]:
        """Number of each item's container image, ``(n,)``."""
        return self.catalogue.image_of[self.gateways, self.analytics]

    def broken_s(
        self, chosen: Bool[np.ndarray, " n"]
    ) -> dict[int, Float64[np.ndarray, " d"]]:
        """By line, the deadlines that a choice breaks; lines that keep all are not in.

        The rows of the instance rule out most of them.
        """
        broken = {
            number: line.broken_s(chosen[self.line_items[number]])
            for number, line in self.lines.items()
        }
        return {number: late for number, late in broken.items() if len(late)}


def present_on(gateway: Gateway) -> frozenset[str]:
    """Layers that need no pull to a gateway."""
    return gateway.layers | gateway.held
