"""Packing intervals into a disk, exactly: the search behind the offline limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.placement.relaxed import quiet_solver
from midhaul.errors import SimulationError, require

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64


def pack(
    *,
    values: Float64[np.ndarray, " k"],
    sizes: Float64[np.ndarray, " k"],
    firsts: Int64[np.ndarray, " k"],
    lasts: Int64[np.ndarray, " k"],
    capacities: Float64[np.ndarray, " t"],
    time_limit_s: float,
    gap: float,
) -> tuple[float, float]:
    """The most valuable set of intervals that fits at every time.

    Args:
        values: worth of each interval.
        sizes: what it takes at each time in ``firsts[k] .. lasts[k] - 1``.
        firsts: its first time.
        lasts: the time after its last one.
        capacities: what there is at each time.
        time_limit_s: for the search.
        gap: relative distance of value and bound that counts as none.

    Returns:
        The value that was found, and a bound on every value.

    Raises:
        SimulationError: HiGHS failed.
    """
    highspy: Any = require("highspy", "deploy")
    n, n_rows = len(values), len(capacities)
    lengths = np.maximum(lasts - firsts, 0)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.concatenate(
        [np.arange(a, b) for a, b in zip(firsts, lasts, strict=True)] or [np.zeros(0)]
    )
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = n, n_rows
    # In units of the largest size: HiGHS's tolerances are absolute.
    unit = max(float(sizes.max(initial=0)), 1.0)
    worth = max(float(values.max(initial=0)), 1.0)
    model.col_cost_ = -values / worth
    model.col_lower_, model.col_upper_ = np.zeros(n), np.ones(n)
    model.row_lower_ = np.full(n_rows, -highspy.kHighsInf)
    model.row_upper_ = np.maximum(capacities, 0) / unit
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.start_ = starts.astype(np.int32)
    matrix.index_ = rows.astype(np.int32)
    matrix.value_ = np.repeat(sizes / unit, lengths)
    model.integrality_ = [highspy.HighsVarType.kInteger] * n
    solver = quiet_solver()
    solver.setOptionValue("time_limit", float(time_limit_s))
    solver.setOptionValue("mip_rel_gap", gap)
    solver.passModel(model)
    if solver.run() == highspy.HighsStatus.kError:
        message = "HiGHS failed on the offline limit of an eviction policy"
        raise SimulationError(message)
    info = solver.getInfo()
    found = -info.objective_function_value * worth
    if not np.isfinite(found):
        found = 0.0  # keeping nothing is always possible
    bound = min(-info.mip_dual_bound * worth, float(values.sum()))
    return found, max(bound, found)
