"""Bounds of a reduced placement: linear relaxation, exact search, spectral norm.

*HiGHS* has the linear relaxation, and small ones exactly. Variables are items, types
and bundles: an item needs its type, a type its bundles. HiGHS: Huangfu and Hall,
Mathematical Programming Computation 10, 2018.

*A bound for dense sharing*: no large set of items avoids a large set of elements. Where
every item needs a random tenth of all elements, the linear relaxation pays for each
element in part, gets each item in part, and says next to nothing. But whoever keeps a
capacity leaves elements out, of cost ``B`` = total - capacity at least, and the chosen
items avoid all of these: a biclique of items and elements that do not need each other.
Let ``v`` be the worth of items, ``w`` the cost of elements, and ``K`` a matrix with any
entries where item i needs element e, and elsewhere

    K_ie >= sqrt(v_i w_e)

With ``x`` for the chosen items and ``z`` for the elements left out, ``x_i z_e`` is 0
where i needs e. So with ``a_i = sqrt(v_i) x_i`` and ``b_e = sqrt(w_e) z_e``

    (sum_i v_i x_i) (sum_e w_e z_e) <= a K b <= |K| |a| |b|

in the spectral norm, and as ``|a|^2`` is the value and ``|b|^2`` the cost left out,

    value <= |K|^2 / B.

Bicliques are bounded by eigenvalues in Haemers (Journal of Combinatorial Theory B 82,
2001); the best ``K`` is a form of Lovasz' number (IEEE Transactions on Information
Theory 25, 1979). Any ``K`` is a bound; the search for a good one alternates between
singular values that are cut off and entries that are put right (ADMM: Boyd and others,
Foundations and Trends in Machine Learning 3, 2011). Differences:

1. Elements and items have weights. Items that need the same are one, with the sum of
   their worths; that holds as well if only some of them are chosen.
2. One row counts. What items take of it for themselves is left out, and items that need
   nothing shared of it are added as they are; both make the bound higher.
3. The bound is computed from the eigenvalues of the matrix that was found, not from
   what the search believes.
"""

from __future__ import annotations

import math
import time
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


MOST_CELLS = 4_000_000
"""Items times elements beyond which a step would take minutes."""
_CUT = 0.15
"""Share of the sum of singular values by which a step lowers them at first."""
_EVERY, _PATIENCE = 4, 20
"""Steps after which the norm is computed, and after which it must have become less."""
_ENOUGH = 5e-4
"""Share by which it must have."""
_ROUNDING = 1e-9


def spectral_bound(
    reduced: Reduced,
    prices: Float64[np.ndarray, " r"],
    *,
    time_limit_s: float,
    n_steps: int = 400,
) -> float:
    """No feasible choice is worth more; infinite where this says nothing.

    Exclusion between items is relaxed. Of all rows the one counts whose capacity is
    worth most.
    """
    row = int(np.argmax(prices * reduced.capacities))
    costs = reduced.costs[:, row]
    left_out = float(costs.sum() - reduced.limits[row])
    needs = np.zeros((reduced.n_types, reduced.n_bundles), np.bool_)
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    needs[owners, reduced.indices] = True
    needs = needs[:, costs > 0]
    worth = np.bincount(reduced.types, reduced.values, reduced.n_types)
    counts = needs.any(axis=1)
    free = float(worth[~counts].sum())
    if left_out <= 0 or not counts.any() or counts.sum() * len(costs) > MOST_CELLS:
        return math.inf
    norm = least_norm(
        np.sqrt(worth[counts]),
        np.sqrt(costs[costs > 0]),
        needs[counts],
        time_limit_s=time_limit_s,
        n_steps=n_steps,
    )
    return free + norm**2 / left_out * (1 + _ROUNDING)


def least_norm(
    rows: Float64[np.ndarray, " m"],
    columns: Float64[np.ndarray, " n"],
    is_open: Bool[np.ndarray, "m n"],
    *,
    time_limit_s: float,
    n_steps: int,
) -> float:
    """A small spectral norm among matrices that are at least ``rows * columns``.

    Both are at least 0; where ``is_open``, entries are free.
    """
    if len(rows) < len(columns):
        rows, columns, is_open = columns, rows, is_open.T
    least = rows[:, None] * columns
    share = float(is_open.mean())
    end_s = time.monotonic() + time_limit_s
    matrix = np.where(is_open, least * (1 - 1 / share), least)
    best = first = last = min(_norm(matrix), _norm(least))
    drift = np.zeros_like(matrix)
    cut = 0.0
    for step in range(1, n_steps + 1):
        if time.monotonic() > end_s:
            break
        moved = matrix - drift
        squares, vectors = np.linalg.eigh(moved.T @ moved)
        values = np.sqrt(np.maximum(squares, 0))[::-1]
        cut = cut or _CUT * float(values.sum())
        ceiling = _ceiling(values, cut)
        n_over = int((values > ceiling).sum())
        over = vectors[:, ::-1][:, :n_over]
        low = moved - ((moved @ over) * (1 - ceiling / values[:n_over])) @ over.T
        matrix = low + drift
        matrix = np.where(is_open, matrix, np.maximum(matrix, least))
        drift += low - matrix
        if step % _EVERY == 0:
            best = min(best, _norm(matrix))
        if step % _PATIENCE == 0:
            # The first steps lead through worse matrices, so the start is no measure.
            if last < first and best > last * (1 - _ENOUGH):
                break
            last = best
    return best


def _norm(matrix: Float64[np.ndarray, "m n"]) -> float:
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(matrix.T @ matrix)[-1])))


def _ceiling(values: Float64[np.ndarray, " n"], cut: float) -> float:
    """Where falling values must be cut off so that they lose ``cut`` together."""
    means = (np.cumsum(values) - cut) / np.arange(1, len(values) + 1)
    return max(0.0, float(means[np.flatnonzero(values > means)[-1]]))
