"""MILP of a joint problem: columns, rows and classes of equals, as HiGHS takes them.

Columns, in this order: a count for each step of each class (first all steps in the
cloud, then all on a gateway), a count for each move, one 0-1 for each element group.

Rows are collected piece by piece.

*Classes* count once what cannot be told apart: analytics, their items and elements.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.placement.relaxed import quiet_solver
from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.joint.model import JointModel


class Rows:
    """Rows of ``sum <= limit``, piece by piece."""

    def __init__(self) -> None:
        self.n = 0
        self.limits: list[Float64[np.ndarray, " l"]] = []
        self._parts: list[tuple[Any, Any, Any]] = []

    def add(
        self,
        rows: Int64[np.ndarray, " c"],
        columns: Int64[np.ndarray, " c"],
        values: Float64[np.ndarray, " c"],
        limits: Float64[np.ndarray, " l"],
    ) -> None:
        """Add rows, counted from 0 within this call."""
        self._parts.append((rows + self.n, columns, values))
        self.limits.append(limits)
        self.n += len(limits)

    def sparse(self) -> tuple[Any, Any, Any]:
        """Where each row begins, and its columns and values."""
        rows, columns, values = (
            np.concatenate([part[i] for part in self._parts]) for i in range(3)
        )
        order = np.argsort(rows, kind="stable")
        counts = np.bincount(rows, minlength=self.n)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return starts, columns[order].astype(np.int32), values[order]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """A joint problem with each kind of analytic once, ``k`` kinds and ``j`` moves.

    A move is what the members of a class can do alike: go to one gateway.

    Attributes:
        members: by class, its analytics.
        items: by move, the items of the members, in the order of ``members``.
        item_classes: ``(j,)`` class of each move.
        usage: ``(j, r)`` what one item of a move takes of each row.
        needs: ``(m, 2)`` pairs of a move and an element group that it needs.
        costs: ``(f, r)`` what an element group takes of each row.
    """

    members: tuple[Int64[np.ndarray, " c"], ...]
    items: tuple[Int64[np.ndarray, " c"], ...]
    item_classes: Int64[np.ndarray, " j"]
    usage: Float64[np.ndarray, "j r"]
    needs: Int64[np.ndarray, "m 2"]
    costs: Float64[np.ndarray, "f r"]

    @property
    def counts(self) -> Int64[np.ndarray, " k"]:
        """Number of members of each class, ``(k,)``."""
        return np.array([len(members) for members in self.members], np.int64)

    @property
    def first(self) -> Int64[np.ndarray, " k"]:
        """One member of each class, ``(k,)``."""
        return np.array([members[0] for members in self.members], np.int64)


def classes_of(model: JointModel) -> Classes:
    """Analytics that differ in nothing but their names become one class.

    Elements that cost nothing are left out, and those that the same moves need become
    one group.
    """
    instance = model.instance
    items_of: list[list[int]] = [[] for _ in range(model.n)]
    for item, analytic in enumerate(model.item_analytics.tolist()):
        items_of[analytic].append(item)
    kinds: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for analytic in range(model.n):
        kinds[_kind(model, analytic, items_of[analytic])].append(analytic)
    members = [np.array(kind, np.int64) for kind in kinds.values()]
    items: list[Int64[np.ndarray, " c"]] = []
    item_classes: list[int] = []
    for k, kind in enumerate(members):
        for move in range(len(items_of[kind[0]])):
            items.append(np.array([items_of[a][move] for a in kind], np.int64))
            item_classes.append(k)
    movers: dict[int, list[int]] = defaultdict(list)
    is_costly: list[bool] = np.any(instance.costs > 0, axis=1).tolist()
    for move, same in enumerate(items):
        for element in _elements(model, int(same[0])).tolist():
            if is_costly[element]:
                movers[element].append(move)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for element, needed_by in movers.items():
        groups[tuple(needed_by)].append(element)
    needs = [(move, f) for f, needed_by in enumerate(groups) for move in needed_by]
    costs = [instance.costs[elements].sum(axis=0) for elements in groups.values()]
    n_rows = len(instance.capacities)
    usage = [instance.usage[same[0]] for same in items]
    return Classes(
        members=tuple(members),
        items=tuple(items),
        item_classes=np.array(item_classes, np.int64),
        usage=np.array(usage, np.float64).reshape(len(items), n_rows),
        needs=np.array(needs, np.int64).reshape(len(needs), 2),
        costs=np.array(costs, np.float64).reshape(len(costs), n_rows),
    )


def _kind(model: JointModel, analytic: int, items: list[int]) -> tuple[object, ...]:
    """All that can make a difference to a plan."""
    steps, offsets = model.steps, model.steps.offsets
    curves = [
        values[offsets[row] : offsets[row + 1]].tobytes()
        for row in (analytic, model.n + analytic)
        for values in (steps.rates_bps, steps.qualities)
    ]
    moves = [
        part.tobytes()
        for item in items
        for part in (model.instance.usage[item], _elements(model, item))
    ]
    return (model.weights[analytic], model.homes[analytic], *curves, *moves)


def _elements(model: JointModel, item: int) -> Int64[np.ndarray, " m"]:
    """The elements that an item needs."""
    instance = model.instance
    return instance.indices[instance.indptr[item] : instance.indptr[item + 1]]


_TOLERANCE = 1e-9
_GAP = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramSolution:
    """What HiGHS answered: items, steps (-1: none), and a bound on every plan."""

    chosen: Bool[np.ndarray, " i"]
    steps: Int64[np.ndarray, " n"]
    bound: float
    is_optimal: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxed:
    """The dual of the linear relaxation.

    Attributes:
        uplinks: ``(g,)`` value of one more bit/s of each gateway's uplink.
        rows: ``(r,)`` value of one more unit of each row.
        analytics: ``(n,)`` value of a second move of each analytic.
        shares: ``(i,)`` how much of each item the relaxation chooses, 0 to 1.
        bound: no plan is worth more.
    """

    uplinks: Float64[np.ndarray, " g"]
    rows: Float64[np.ndarray, " r"]
    analytics: Float64[np.ndarray, " n"]
    shares: Float64[np.ndarray, " i"]
    bound: float


class Program:
    """Rows and columns of a joint problem, and the way back from a solution."""

    def __init__(self, model: JointModel) -> None:
        """Write down the rows."""
        self._model = model
        self._classes = classes = classes_of(model)
        first = classes.first
        self._n_classes = len(first)
        self._steps = model.select(np.concatenate([first, first + model.n]))
        self._n_steps = len(self._steps.rates_bps)
        self._n_moves = len(classes.items)
        self._n_columns = self._n_steps + self._n_moves + len(classes.costs)
        self._step_rows = np.repeat(
            np.arange(2 * self._n_classes), np.diff(self._steps.offsets)
        )
        self._rows = Rows()
        self._scales: list[float] = []
        self._add_choices()
        self._add_capacities()
        self._add_uplinks()

    def relaxed(self) -> Relaxed:
        """The dual prices of the program without whole numbers."""
        model, n_homes = self._model, len(self._model.gateways)
        highs = self._highs(is_whole=False)
        highs.run()
        duals = np.maximum(0.0, -np.array(highs.getSolution().row_dual))
        n_limits = len(self._scales)
        limits = duals[self._rows.n - n_limits :] / self._scales
        uplinks = limits[n_limits - n_homes :]
        # A choice is worth what it brings in the cloud, and the rest is the move's.
        in_cloud, _ = model.best_values(uplinks)
        analytics = np.zeros(model.n)
        for k, members in enumerate(self._classes.members):
            analytics[members] = duals[k]
        values = np.array(highs.getSolution().col_value)
        shares = np.zeros(model.instance.n_items)
        for move, items in enumerate(self._classes.items):
            shares[items] = values[self._n_steps + move] / len(items)
        return Relaxed(
            uplinks=uplinks,
            rows=limits[: n_limits - n_homes],
            analytics=np.maximum(0.0, analytics - in_cloud),
            shares=shares,
            bound=-float(highs.getInfo().objective_function_value),
        )

    def search(self, time_limit_s: float) -> ProgramSolution:
        """Search for the best plan.

        HiGHS is not given a plan to begin with: it gains no time by it here, and HiGHS
        1.16 may then return that plan with the value of a better one.
        """
        core = require("highspy", "deploy")
        highs = self._highs(is_whole=True)
        highs.setOptionValue("time_limit", time_limit_s)
        highs.setOptionValue("mip_rel_gap", _GAP)
        highs.setOptionValue("mip_abs_gap", _TOLERANCE)
        highs.setOptionValue("mip_feasibility_tolerance", _TOLERANCE)
        highs.run()
        info = highs.getInfo()
        is_optimal = highs.getModelStatus() == core.HighsModelStatus.kOptimal
        values = np.array(highs.getSolution().col_value)
        if len(values) == 0:
            values = np.zeros(self._n_columns)
        chosen, steps = self._read(np.rint(values).astype(np.int64))
        return ProgramSolution(
            chosen=chosen,
            steps=steps,
            bound=-float(info.mip_dual_bound),
            is_optimal=is_optimal,
        )

    def _add_choices(self) -> None:
        """One step each, on a gateway only with a move, a move only with its layers."""
        classes, k = self._classes, self._n_classes
        steps = np.arange(self._n_steps)
        moves = self._n_steps + np.arange(self._n_moves)
        counts = classes.counts.astype(np.float64)
        in_cloud = self._step_rows < k
        self._rows.add(
            np.concatenate([self._step_rows[in_cloud], classes.item_classes]),
            np.concatenate([steps[in_cloud], moves]),
            np.ones(int(in_cloud.sum()) + self._n_moves),
            counts,
        )
        self._rows.add(
            np.concatenate([self._step_rows[~in_cloud] - k, classes.item_classes]),
            np.concatenate([steps[~in_cloud], moves]),
            np.concatenate([np.ones(int((~in_cloud).sum())), -np.ones(self._n_moves)]),
            np.zeros(k),
        )
        n_needs = len(classes.needs)
        needed_by, needed = classes.needs.T
        self._rows.add(
            np.tile(np.arange(n_needs), 2),
            np.concatenate([moves[needed_by], self._n_steps + self._n_moves + needed]),
            np.concatenate(
                [np.ones(n_needs), -counts[classes.item_classes[needed_by]]]
            ),
            np.zeros(n_needs),
        )

    def _add_capacities(self) -> None:
        """Disk, pulls, cores and memory, each as a share of what there is."""
        instance, classes = self._model.instance, self._classes
        columns = np.arange(self._n_steps, self._n_columns)
        for r, capacity in enumerate(instance.capacities.tolist()):
            takes = np.concatenate([classes.usage[:, r], classes.costs[:, r]])
            self._add_limit(columns, takes, capacity)

    def _add_uplinks(self) -> None:
        """The rates of all sensors at a gateway, as a share of its uplink."""
        homes = np.tile(self._model.homes[self._classes.first], 2)[self._step_rows]
        for home, uplink_bps in enumerate(self._model.uplinks_bps.tolist()):
            columns = np.flatnonzero(homes == home)
            self._add_limit(columns, self._steps.rates_bps[columns], uplink_bps)

    def _add_limit(
        self,
        columns: Int64[np.ndarray, " c"],
        takes: Float64[np.ndarray, " c"],
        capacity: float,
    ) -> None:
        scale = capacity if capacity > 0 else float(takes.max(initial=1.0))
        used = takes > 0
        self._scales.append(scale)
        self._rows.add(
            np.zeros(int(used.sum()), np.int64),
            columns[used],
            takes[used] / scale,
            np.array([capacity / scale]),
        )

    def _highs(self, *, is_whole: bool) -> Any:
        """HiGHS with this program, silent."""
        core = require("highspy", "deploy")
        weights = self._steps.weights[self._step_rows]
        lp = core.HighsLp()
        lp.num_col_, lp.num_row_ = self._n_columns, self._rows.n
        cost = np.zeros(self._n_columns)
        cost[: self._n_steps] = -weights * self._steps.qualities
        lp.col_cost_ = cost
        lp.col_lower_ = np.zeros(self._n_columns)
        highest = self._highest()
        lp.row_lower_ = np.full(self._rows.n, -core.kHighsInf)
        lp.row_upper_ = np.concatenate(self._rows.limits)
        lp.a_matrix_.format_ = core.MatrixFormat.kRowwise
        starts, indices, values = self._rows.sparse()
        lp.a_matrix_.start_ = starts
        lp.a_matrix_.index_ = indices
        lp.a_matrix_.value_ = values
        # Rows imply these limits; in the relaxation they shall have all of the prices.
        unlimited = np.where(highest > 0, core.kHighsInf, 0.0)
        lp.col_upper_ = highest if is_whole else unlimited
        if is_whole:
            lp.integrality_ = [core.HighsVarType.kInteger] * self._n_columns
        highs = quiet_solver()
        highs.setOptionValue("primal_feasibility_tolerance", _TOLERANCE)
        highs.passModel(lp)
        return highs

    def _highest(self) -> Float64[np.ndarray, " c"]:
        """The upper limits of all columns; 0 for what cannot be carried alone."""
        classes, model = self._classes, self._model
        counts = classes.counts.astype(np.float64)
        homes = np.tile(model.homes[classes.first], 2)[self._step_rows]
        fits = self._steps.rates_bps <= model.uplinks_bps[homes] * (1 + _TOLERANCE)
        return np.concatenate(
            [
                np.tile(counts, 2)[self._step_rows] * fits,
                counts[classes.item_classes],
                np.ones(len(classes.costs)),
            ]
        )

    def _read(
        self, columns: Int64[np.ndarray, " c"]
    ) -> tuple[Bool[np.ndarray, " i"], Int64[np.ndarray, " n"]]:
        """Chosen items and steps: members of a class take what is there, in order."""
        classes = self._classes
        chosen = np.zeros(self._model.instance.n_items, np.bool_)
        steps = np.full(self._model.n, -1, np.int64)
        n_moved = np.zeros(self._n_classes, np.int64)
        taken = [self._taken(columns, row) for row in range(2 * self._n_classes)]
        for move, items in enumerate(classes.items):
            k = int(classes.item_classes[move])
            # Who has no rate need not be moved.
            wanted = len(taken[self._n_classes + k]) - int(n_moved[k])
            n = min(int(columns[self._n_steps + move]), wanted)
            chosen[items[n_moved[k] : n_moved[k] + n]] = True
            n_moved[k] += n
        for k, members in enumerate(classes.members):
            on_gateway = taken[self._n_classes + k][: int(n_moved[k])]
            in_cloud = taken[k][: len(members) - len(on_gateway)]
            steps[members[: len(on_gateway)]] = on_gateway
            steps[members[len(on_gateway) : len(on_gateway) + len(in_cloud)]] = in_cloud
        return chosen, steps

    def _taken(
        self, columns: Int64[np.ndarray, " c"], row: int
    ) -> Int64[np.ndarray, " t"]:
        """The steps that the members of a class take in the cloud or on a gateway."""
        counts = columns[self._steps.offsets[row] : self._steps.offsets[row + 1]]
        return np.repeat(np.arange(len(counts)), counts)
