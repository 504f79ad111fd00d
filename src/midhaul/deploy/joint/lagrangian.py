"""Joint placement and rates for large problems: prices, minimum cuts, exchanges.

1. The smallest Lagrangian bound is searched for among prices of uplinks, disks, cores,
   memory and pulls (:mod:`midhaul.deploy.joint.relaxation`), by cutting planes
   (:mod:`midhaul.deploy.joint.plane`). Where analytics have a choice of gateways, their
   own prices are too many for that; prices come from the linear relaxation, and the
   bound is the Lagrangian at them.
2. Each set of prices met on the way suggests a plan, and exchanges better the best of
   them (:mod:`midhaul.deploy.joint.improve`).
3. If value and bound are still apart, only the uplinks stay relaxed: the placement that
   is best at their prices is searched as a whole
   (:mod:`midhaul.deploy.placement.mincut`). It is one more plan, and a better bound.
4. For the best placement rates are divided exactly.

The method is Lagrangian relaxation with a primal heuristic (Fisher, "The Lagrangian
relaxation method for solving integer programming problems", Management Science 27,
1981). Differences:

1. Prices are found by cutting planes and not by subgradient steps, because they are few
   and a price is an answer here.
2. What remains at prices is a minimum cut and a largest step for each analytic, both
   exact, so that the bound is that of the linear relaxation, and better after step 3.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint.improve import Plans
from midhaul.deploy.joint.model import model_of
from midhaul.deploy.joint.plane import minimise
from midhaul.deploy.joint.plans import plan_of, prices_of
from midhaul.deploy.joint.program import Program
from midhaul.deploy.joint.relaxation import Relaxation
from midhaul.deploy.placement.mincut import solve
from midhaul.deploy.placement.reduction import reduce
from midhaul.deploy.rates.hull import HullGreedy
from midhaul.deploy.rates.knapsack import ExactKnapsack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64

    from midhaul.deploy.joint.base import JointPlan
    from midhaul.deploy.joint.model import JointModel
    from midhaul.deploy.joint.relaxation import Priced
    from midhaul.deploy.placement.reduction import Reduced
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import RateAllocator

_OPTIMAL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class JointLagrangian:
    """A plan with a bound and prices, for any size.

    Attributes:
        n_rounds: prices to look at, at most.
        n_tries: exchanges to look at, at most.
        n_exchanged: types of items that may leave or enter in an exchange, at most.
        max_gap: share of the bound that the value may be below it before whole
            placements are searched at the uplinks' prices.
        whole_limit_s: when that search stops, about.
        allocator: divides the uplinks among those that are placed.
    """

    n_rounds: int = 120
    n_tries: int = 1000
    n_exchanged: int = 12
    max_gap: float = 1e-3
    whole_limit_s: float = 10.0
    allocator: RateAllocator = field(default_factory=ExactKnapsack)

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "joint-lagrangian"

    def plan(
        self,
        problem: PlacementProblem,
        uplink_bps: float | Mapping[str, float] | None = None,
    ) -> JointPlan:
        """A plan with a bound; see :class:`~midhaul.deploy.joint.base.JointPlanner`."""
        begin_s = time.perf_counter()
        model = model_of(problem, uplink_bps)
        reduced = reduce(model.instance)
        relaxation = Relaxation(model, reduced)
        plans = Plans(model, reduced)
        if reduced.has_choices:
            prices, priced = _from_program(model, relaxation, plans)
        else:
            prices, priced = self._from_planes(model, relaxation, plans)
        plans.exchange(priced, limit=self.n_exchanged, n_tries=self.n_tries)
        bound = priced.value
        if bound - plans.value > self.max_gap * bound:
            bound = min(bound, self._whole_bound(model, reduced, priced, plans))
        chosen = reduced.lift(plans.chosen, model.instance.n_items)
        rates = model.allocate(model.moved(chosen), self.allocator)
        plan = plan_of(problem, model, chosen, rates, self.allocator)
        bound = max(bound, plan.value)
        rows = np.zeros(len(model.instance.rows))
        rows[reduced.rows] = prices[len(model.gateways) :]
        is_optimal = plan.value >= bound * (1 - _OPTIMAL)
        return replace(
            plan,
            status="optimal" if is_optimal else "feasible",
            bound=bound,
            prices=prices_of(problem, model, prices[: len(model.gateways)], rows),
            solve_s=time.perf_counter() - begin_s,
        )

    def _whole_bound(
        self, model: JointModel, reduced: Reduced, priced: Priced, plans: Plans
    ) -> float:
        """The bound with uplinks alone relaxed: who moves is whole again."""
        values = np.zeros(model.instance.n_items)
        values[reduced.items] = np.maximum(priced.gains, 0.0)
        choice = solve(
            replace(model.instance, values=values), time_limit_s=self.whole_limit_s
        )
        plans.offer(choice.chosen[reduced.items])
        return priced.base + choice.bound

    def _from_planes(
        self, model: JointModel, relaxation: Relaxation, plans: Plans
    ) -> tuple[Float64[np.ndarray, " d"], Priced]:
        """The best prices, while each suggests a plan."""
        best: list[Priced] = []

        def oracle(
            point: Float64[np.ndarray, " d"],
        ) -> tuple[float, Float64[np.ndarray, " d"]]:
            priced = relaxation.at(point)
            plans.follow(priced)
            if not best or priced.value < best[-1].value:
                best.append(priced)
            return priced.value, priced.slope

        # The prices of uplinks if nobody moved are a good place to begin.
        begin = np.zeros(relaxation.n_prices)
        nobody = np.zeros(model.n, np.bool_)
        alone = model.allocate(nobody, HullGreedy(n_rounds=0)).price_per_bps
        begin[: len(model.gateways)] = 0.0 if np.isnan(alone) else alone
        lowest = minimise(oracle, relaxation.point(begin), n_rounds=self.n_rounds)
        return relaxation.prices(lowest.point), best[-1]


def _from_program(
    model: JointModel, relaxation: Relaxation, plans: Plans
) -> tuple[Float64[np.ndarray, " d"], Priced]:
    """Prices from the linear relaxation, with one for each analytic that can choose."""
    relaxed = Program(model).relaxed()
    prices = np.concatenate([relaxed.uplinks, relaxed.rows[relaxation.rows]])
    point = relaxation.point(prices)
    priced = relaxation.at(point, relaxed.analytics)
    plans.follow(priced, relaxed.shares[relaxation.items])
    return relaxation.prices(point), priced
