"""Joint placement and rates exactly, as a mixed-integer linear program in HiGHS.

With ``z_as`` for "analytic ``a`` takes step ``s`` in the cloud", ``z'_as`` for the same
on a gateway, ``x_i`` for "item ``i`` is chosen" and ``y_e`` for "``e`` is needed":

    maximise    sum_as w_a q_as z_as + sum_as w_a q'_as z'_as
    subject to  sum_s z'_as           <= sum of x_i over the items of a
                sum_s z_as + sum_i x_i <= 1                     for each analytic a
                x_i <= y_e                                      for e in E_i
                sum_i u_ir x_i + sum_e c_er y_e <= C_r          for each row r
                sum_as r_as z_as + sum_as r'_as z'_as <= U_h    over the sensors at h

The steps of one analytic are a multiple choice (Kellerer, Pferschy and Pisinger,
Knapsack Problems, 2004, chapter 11), the places a set-union knapsack (Goldschmidt,
Nehme and Yu, Naval Research Logistics 41, 1994). Two things make it small:

1. Elements that the same items need are one element.
2. Analytics that nothing tells apart (image, weight, curves, cores, deadline) are one
   with a count: ``z`` and ``x`` are whole numbers up to it, and no solver has to learn
   that swapping two of them changes nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint.lagrangian import JointLagrangian
from midhaul.deploy.joint.model import allocation_of, model_of, plan_of, prices_of
from midhaul.deploy.joint.program import Program
from midhaul.deploy.rates.knapsack import ExactKnapsack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64

    from midhaul.deploy.joint.base import JointPlan, JointPlanner
    from midhaul.deploy.placement.base import Status
    from midhaul.deploy.problem import PlacementProblem

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class JointMilp:
    """The best plan there is, or the best one found in time and how good it can be.

    Attributes:
        time_limit_s: when the search stops, about.
        start: planner of the plan that is the answer if the search finds none that is
            better in time.
    """

    name = "joint-milp"
    time_limit_s: float = 60.0
    start: JointPlanner = field(default_factory=JointLagrangian)

    def plan(
        self,
        problem: PlacementProblem,
        uplink_bps: float | Mapping[str, float] | None = None,
    ) -> JointPlan:
        """An optimal plan; see :class:`~midhaul.deploy.joint.base.JointPlanner`."""
        begin_s = time.perf_counter()
        best = self.start.plan(problem, uplink_bps)
        bound = best.bound
        also_s: dict[int, Float64[np.ndarray, " d"]] = {}
        while True:
            model = model_of(problem, uplink_bps, also_s=also_s)
            program = Program(model)
            relaxed = program.relaxed()
            left_s = max(0.0, self.time_limit_s - (time.perf_counter() - begin_s))
            found = program.search(left_s)
            bound = min(bound, relaxed.bound, found.bound)
            rates = allocation_of(model, found.chosen, found.steps)
            plan = plan_of(problem, model, found.chosen, rates, ExactKnapsack())
            best = plan if plan.value > best.value else best
            broken = model.built.broken_s(found.chosen)
            # A deadline without a row that is broken gets one, and all begins again.
            if not (broken and left_s):
                break
            for line, late in broken.items():
                also_s[line] = np.union1d(also_s.get(line, np.zeros(0)), late)
        # A shared backhaul may still hold up what its rows let through.
        is_whole = best.value >= bound - _TOLERANCE * max(1.0, bound)
        status: Status = "feasible" if found.is_optimal else "timed_out"
        if is_whole:
            status = "optimal"
        return replace(
            best,
            status=status,
            bound=max(best.value, bound),
            prices=prices_of(problem, model, relaxed.uplinks, relaxed.rows),
            solve_s=time.perf_counter() - begin_s,
        )
