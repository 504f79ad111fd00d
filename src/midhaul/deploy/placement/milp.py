"""The exact placer: the set-union knapsack as a mixed-integer linear program.

The program is the one of :mod:`midhaul.deploy.placement.arrays`, as Goldschmidt,
Nehme and Yu state it (Naval Research Logistics 41, 1994), solved by HiGHS (Huangfu and
Hall, Mathematical Programming Computation 10, 2018). Differences from the paper:

1. There are several capacities, and items that exclude each other.
2. Elements are no integer variables: with whole items the least ``y_e`` is whole.

Prices are duals of the *linear relaxation*: the value that a bit more of a capacity
brings if analytics could be split. A whole plan changes in jumps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.placement.arrays import Choice
from midhaul.deploy.placement.building import place_by
from midhaul.deploy.placement.marginal_greedy import solve_greedily
from midhaul.deploy.placement.relaxed import linear_program, quiet_solver
from midhaul.deploy.placement.tabu import TabuSearch
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Built, Instance
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem

_ROW_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MilpPlacer:
    """A placer: the best placement there is, if it is found in time.

    Attributes:
        time_limit_s: how long the solver may take; what it found until then is taken.
        mip_gap: relative gap between value and bound that counts as none.
        search: what betters the solver's choice where it may not be the best.
        clock: measures the time of the search, in seconds.
    """

    name = "milp"
    time_limit_s: float = 60.0
    mip_gap: float = 1e-6
    search: TabuSearch | None = field(default_factory=TabuSearch)
    clock: Callable[[], float] = time.perf_counter

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem.

        Raises:
            PrerequisiteError: highspy or numba is not installed.
        """

        def solve(built: Built) -> Choice:
            return solve_milp(
                built.instance,
                time_limit_s=self.time_limit_s,
                mip_gap=self.mip_gap,
                has_prices=True,
            )

        return place_by(problem, solve, search=self.search, clock=self.clock)


def solve_milp(
    instance: Instance,
    *,
    time_limit_s: float = 60.0,
    mip_gap: float = 1e-6,
    has_prices: bool = False,
) -> Choice:
    """Solve an instance to optimality; the marginal greedy's choice is the fallback.

    The choice is not handed to the solver as a start: with one, HiGHS 1.16 now and then
    reports an objective that its own solution does not have.

    With ``has_prices`` the linear relaxation is solved for its duals, too.
    """
    highspy: Any = require("highspy", "deploy")
    n_rows = len(instance.rows)
    if instance.n_items == 0:
        nothing = np.zeros(0, np.bool_)
        return Choice(
            chosen=nothing, prices=np.zeros(n_rows), bound=0.0, is_optimal=True
        )
    greedy = solve_greedily(instance).chosen
    value_scale = float(instance.values.max()) or 1.0
    model = _model(instance, value_scale)
    prices = np.full(n_rows, np.nan)
    if has_prices:
        prices = _prices(instance, model, value_scale, time_limit_s)
    solver = _solver(time_limit_s)
    solver.setOptionValue("mip_rel_gap", mip_gap)
    solver.setOptionValue("mip_abs_gap", 0.0)
    solver.setOptionValue("mip_feasibility_tolerance", _ROW_TOLERANCE)
    model.integrality_ = [highspy.HighsVarType.kInteger] * instance.n_items + [
        highspy.HighsVarType.kContinuous
    ] * instance.n_elements
    solver.passModel(model)
    solver.run()
    return _choice(instance, solver, greedy, prices, value_scale)


def _choice(
    instance: Instance,
    solver: Any,
    greedy: Bool[np.ndarray, " n"],
    prices: Float64[np.ndarray, " r"],
    value_scale: float,
) -> Choice:
    """What the solver found; the greedy's choice where that is worth more."""
    status, info = solver.getModelStatus().name, solver.getInfo()
    found = np.asarray(solver.getSolution().col_value)[: instance.n_items]
    chosen = found > 0.5 if len(found) else greedy  # noqa: PLR2004 - whole
    is_whole = instance.is_feasible(chosen)
    if not is_whole or instance.value(chosen) < instance.value(greedy):
        chosen = greedy
    is_optimal = status == "kOptimal" and is_whole
    # Whatever stopped the solver before it had a bound, nothing is worth more than all.
    bound = float(instance.values.sum())
    if status in {"kOptimal", "kTimeLimit"} and info.valid:
        bound = min(bound, -float(info.mip_dual_bound) * value_scale)
    return Choice(
        chosen=chosen,
        bound=bound,
        is_optimal=is_optimal,
        is_timed_out=status == "kTimeLimit",
        prices=prices,
    )


def _prices(
    instance: Instance, model: Any, value_scale: float, time_limit_s: float
) -> Float64[np.ndarray, " r"]:
    """Duals of the rows in the linear relaxation; NaN when time ran out."""
    solver = _solver(time_limit_s)
    solver.passModel(model)
    solver.run()
    n_rows = len(instance.rows)
    if solver.getModelStatus().name != "kOptimal":
        return np.full(n_rows, np.nan)
    duals = np.asarray(solver.getSolution().row_dual)[:n_rows]
    return np.maximum(-duals, 0.0) * value_scale / _scale(instance)


def _solver(time_limit_s: float) -> Any:
    solver = quiet_solver()
    solver.setOptionValue("time_limit", float(time_limit_s))
    solver.setOptionValue("primal_feasibility_tolerance", _ROW_TOLERANCE)
    return solver


def _scale(instance: Instance) -> Float64[np.ndarray, " r"]:
    """What each row is divided by, so that the solver sees numbers near one."""
    return np.where(instance.capacities > 0, instance.capacities, 1.0)


def _model(instance: Instance, value_scale: float) -> Any:
    """The linear program: items, then elements; capacities, groups, implications."""
    costs = np.append(-instance.values / value_scale, np.zeros(instance.n_elements))
    return linear_program(costs, *_matrix(instance))


def _matrix(
    instance: Instance,
) -> tuple[
    Int64[np.ndarray, " k"],
    Int64[np.ndarray, " k"],
    Float64[np.ndarray, " k"],
    Float64[np.ndarray, " u"],
]:
    """Row, column and entry of all that is not zero, and the rows' upper limits."""
    n, n_rows, n_needs = instance.n_items, len(instance.rows), len(instance.indices)
    scale = _scale(instance)
    item, own_row = np.nonzero(instance.usage)
    element, cost_row = np.nonzero(instance.costs)
    _, group_of, sizes = np.unique(
        instance.groups, return_inverse=True, return_counts=True
    )
    # An item that is alone in its group needs no row.
    is_choice = sizes > 1
    members = np.flatnonzero(is_choice[group_of])
    number = np.cumsum(is_choice) - 1
    n_groups = int(is_choice.sum())
    owners = np.repeat(np.arange(n), np.diff(instance.indptr))
    needs = n_rows + n_groups + np.arange(n_needs)
    parts = (
        (own_row, item, (instance.usage / scale)[item, own_row]),
        (cost_row, n + element, (instance.costs / scale)[element, cost_row]),
        (n_rows + number[group_of[members]], members, np.ones(len(members))),
        (needs, owners, np.ones(n_needs)),
        (needs, n + instance.indices, -np.ones(n_needs)),
    )
    rows, columns, entries = (np.concatenate(part) for part in zip(*parts, strict=True))
    upper = np.concatenate(
        [instance.capacities / scale, np.ones(n_groups), np.zeros(n_needs)]
    )
    return rows, columns, entries, upper
