"""A reduced placement for HiGHS: its linear relaxation, and small ones exactly.

Variables are items, types and bundles: an item needs its type, a type its bundles.
HiGHS: Huangfu and Hall, Mathematical Programming Computation 10, 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.reduction import Reduced

FEASIBILITY = 1e-9
"""By how much the solver may break a row, as a share of what the row is scaled by."""


class Solved(NamedTuple):
    """The best choice or None, and a bound: minus infinity when none is feasible."""

    chosen: Bool[np.ndarray, " k"] | None
    bound: float
    is_timed_out: bool


def quiet_solver() -> Any:
    """A new HiGHS that prints nothing.

    The number of its threads is left alone: all solvers of a process share them, and
    one that asks for another number than the first did fails.
    """
    highspy: Any = require("highspy", "deploy")
    solver = highspy._core._Highs()  # noqa: SLF001 - the outer class prints a banner
    solver.setOptionValue("output_flag", False)  # noqa: FBT003 - its own call
    return solver


def linear_program(
    costs: Float64[np.ndarray, " c"],
    rows: Int64[np.ndarray, " m"],
    columns: Int64[np.ndarray, " m"],
    entries: Float64[np.ndarray, " m"],
    upper: Float64[np.ndarray, " q"],
) -> Any:
    """HiGHS's model of columns from 0 to 1 and of rows that have upper limits."""
    highspy: Any = require("highspy", "deploy")
    order = np.lexsort((columns, rows))
    counts = np.bincount(rows, minlength=len(upper))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(costs), len(upper)
    model.col_cost_ = costs
    model.col_lower_, model.col_upper_ = np.zeros(len(costs)), np.ones(len(costs))
    model.row_lower_ = np.full(len(upper), -highspy.kHighsInf)
    model.row_upper_ = upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.append(0, np.cumsum(counts)).astype(np.int32)
    model.a_matrix_.index_ = columns[order].astype(np.int32)
    model.a_matrix_.value_ = entries[order]
    return model


def duals(
    reduced: Reduced, time_limit_s: float
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " g"]] | None:
    """Prices of rows and groups near the relaxation's optimum; None when timed out.

    An interior point is enough, and it is found much faster than a corner where
    gateways are alike.
    """
    scale, worth = reduced.scale, float(reduced.values.max())
    solver = _solver(reduced, scale, worth, time_limit_s)
    solver.setOptionValue("solver", "ipm")
    solver.setOptionValue("run_crossover", "off")
    solver.run()
    solution = solver.getSolution()
    if not solution.dual_valid:
        return None
    dual = np.maximum(-np.asarray(solution.row_dual), 0) * worth
    n_rows, n_groups = len(scale), int(reduced.groups.max()) + 1
    return dual[:n_rows] / scale, dual[n_rows : n_rows + n_groups]


def solve_exactly(
    reduced: Reduced,
    *,
    start: Bool[np.ndarray, " k"] | None,
    least_gain: float,
    time_limit_s: float,
    n_nodes: int | None = None,
) -> Solved:
    """The best choice of a small reduced instance, and a bound.

    It begins from a feasible ``start``, if any, and looks at ``n_nodes`` nodes at most;
    capacities may be negative.
    """
    highspy: Any = require("highspy", "deploy")
    if (reduced.capacities < 0).any():
        return Solved(None, -np.inf, is_timed_out=False)
    n_items = len(reduced.items)
    if n_items == 0:
        return Solved(np.zeros(0, np.bool_), 0.0, is_timed_out=False)
    worth = float(reduced.values.max())
    solver = _solver(reduced, _core_scale(reduced), worth, time_limit_s)
    n_columns = n_items + reduced.n_types + reduced.n_bundles
    solver.changeColsIntegrality(
        n_columns,
        np.arange(n_columns, dtype=np.int32),
        np.array([highspy.HighsVarType.kInteger] * n_columns),
    )
    for name in ("mip_feasibility_tolerance", "primal_feasibility_tolerance"):
        solver.setOptionValue(name, FEASIBILITY)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", least_gain / worth)
    if n_nodes is not None:
        solver.setOptionValue("mip_max_nodes", n_nodes)
    if start is not None:
        is_open = np.bincount(reduced.types[start], minlength=reduced.n_types) > 0
        first = highspy.HighsSolution()
        bundles = reduced.bundles_of(start)
        first.col_value = np.concatenate([start, is_open, bundles]).astype(float)
        solver.setSolution(first)
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solved(None, -np.inf, is_timed_out=False)
    chosen = None
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        chosen = np.asarray(solver.getSolution().col_value)[:n_items] > 0.5  # noqa: PLR2004
    is_timed_out = status != highspy.HighsModelStatus.kOptimal
    return Solved(chosen, -float(info.mip_dual_bound) * worth, is_timed_out)


def _core_scale(reduced: Reduced) -> Float64[np.ndarray, " r"]:
    """What rows are divided by: the largest number in each that matters."""
    largest = reduced.own.max(axis=0)
    if reduced.n_bundles:
        largest = np.maximum(largest, reduced.costs.max(axis=0))
    scale = np.maximum(np.minimum(largest, reduced.capacities), 1e-9 * largest)
    return np.where(scale > 0, scale, 1.0)


def _solver(
    reduced: Reduced,
    scale: Float64[np.ndarray, " r"],
    worth: float,
    time_limit_s: float,
) -> Any:
    """HiGHS with the relaxation of a reduced instance, to be minimised."""
    others = np.zeros(reduced.n_types + reduced.n_bundles)
    costs = np.append(-reduced.values / worth, others)
    solver = quiet_solver()
    solver.setOptionValue("time_limit", max(0.05, float(time_limit_s)))
    solver.passModel(linear_program(costs, *_matrix(reduced, scale)))
    return solver


def _matrix(
    reduced: Reduced, scale: Float64[np.ndarray, " r"]
) -> tuple[
    Int64[np.ndarray, " m"],
    Int64[np.ndarray, " m"],
    Float64[np.ndarray, " m"],
    Float64[np.ndarray, " q"],
]:
    """Rows, columns and entries, and upper limits: capacities, groups, implications."""
    n_items, n_types = len(reduced.items), reduced.n_types
    n_rows, n_groups = len(scale), int(reduced.groups.max()) + 1
    items = np.arange(n_items)
    item, own_row = np.nonzero(reduced.own)
    bundle, cost_row = np.nonzero(reduced.costs)
    owners = np.repeat(np.arange(n_types), np.diff(reduced.indptr))
    first = n_rows + n_groups
    arcs = first + n_items + np.arange(len(owners))
    parts = (
        (own_row, item, (reduced.own / scale)[item, own_row]),
        (
            cost_row,
            n_items + n_types + bundle,
            (reduced.costs / scale)[bundle, cost_row],
        ),
        (n_rows + reduced.groups, items, np.ones(n_items)),
        (first + items, items, np.ones(n_items)),
        (first + items, n_items + reduced.types, -np.ones(n_items)),
        (arcs, n_items + owners, np.ones(len(owners))),
        (arcs, n_items + n_types + reduced.indices, -np.ones(len(owners))),
    )
    rows, columns, entries = (np.concatenate(part) for part in zip(*parts, strict=True))
    limits = (reduced.capacities / scale, np.ones(n_groups))
    implied = np.zeros(n_items + len(owners))
    return rows, columns, entries, np.concatenate([*limits, implied])
