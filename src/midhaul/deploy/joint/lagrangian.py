"""Lagrangian relaxation of joint planning: prices, minimum cuts, exchanges.

For large problems, places and rates are planned in four steps.

1. The smallest Lagrangian bound is searched for among prices of uplinks, disks, cores,
   memory and pulls, by cutting planes. Where analytics have a choice of gateways,
   their own prices are too many for that; prices come from the linear relaxation, and
   the bound is the Lagrangian at them.
2. Each set of prices met on the way suggests a plan, and exchanges better the best of
   them.
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

In the *relaxation* every capacity and every uplink has a price.

With ``lambda_h`` per bit/s of the uplink at ``h`` and ``mu_r`` per unit of row ``r``,
an analytic is worth ``c_a = max(0, max_s w_a q_as - lambda_h r_as)`` in the cloud and
``g_a``, likewise, on a gateway. What remains is a closure of highest weight, a minimum
cut (:mod:`midhaul.deploy.placement.closure`):

    L(lambda, mu) = lambda U + mu C + sum_a c_a
                    + max over closures of sum_i (g_a - c_a - mu u_i) x_i
                                         - sum_e (mu c_e) y_e

No plan is worth more than ``L`` at any prices, and the smallest ``L`` is the optimum of
the linear relaxation (Geoffrion, Mathematical Programming Study 2, 1974: both parts
have the integrality property). ``L`` is convex and has a price per row, a handful; its
slope is what is left of each row.

Items of one analytic on several gateways exclude each other. Each such analytic has one
more price ``nu_a``, paid by all of its items and paid back once.

*Plans* come from prices, and better ones from them: who goes to a gateway, then rates.

At prices every item has a gain and a rent, the price of what it takes. Items in order
of gain over rent, each if it fits with the layers that it still needs, are a first
plan. Better ones come from *exchanges*: one or two types of items (those that need the
same layers) or one item leave, another type enters first, and the order fills the rest.
Rates are divided anew for each, unless prices show that it cannot be better than the
best plan so far: who moves ``S`` has at most ``lambda U + sum_a c_a + sum of gains in
S``.

The smallest value of this convex function in a few prices is found by Kelley's *cutting
planes* (Journal of SIAM 8, 1960) in the trust region of the boxstep method, Marsten,
Hogan and Blankenship, "The boxstep method for large-scale optimization", Operations
Research 23(3), 1975. The model is the largest of all planes seen; its minimum within a
box around the best point is looked at next.

Difference from the paper: the box grows after a point that brought a tenth of what the
model promised and shrinks after one that did not, rather than the search being ended
within each box.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint.model import model_of, plan_of, prices_of
from midhaul.deploy.joint.program import Program
from midhaul.deploy.placement.closure import CutNetwork
from midhaul.deploy.placement.mincut import solve
from midhaul.deploy.placement.reduction import reduce
from midhaul.deploy.placement.relaxed import quiet_solver
from midhaul.deploy.rates.hull import HullGreedy
from midhaul.deploy.rates.knapsack import ExactKnapsack
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.joint.base import JointPlan
    from midhaul.deploy.joint.model import JointModel
    from midhaul.deploy.placement.reduction import Reduced
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import RateAllocator

    Oracle = Callable[
        [Float64[np.ndarray, " d"]], tuple[float, Float64[np.ndarray, " d"]]
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PricedPlan:
    """What all prices together lead to.

    Attributes:
        value: ``L``, from above.
        slope: ``(d,)`` a subgradient in the coordinates of the point.
        gains: ``(k,)`` what each item of the reduced instance earns before it pays for
            places: better on the gateway by this.
        profits: ``(k,)`` the same less its own places.
        type_rents: ``(t,)`` price of all bundles that the items of a type need.
        is_open: ``(t,)`` types of items in the best closure.
        base: what a plan that moves nobody is worth at most, at the uplinks' prices.
    """

    value: float
    base: float
    slope: Float64[np.ndarray, " d"]
    gains: Float64[np.ndarray, " k"]
    profits: Float64[np.ndarray, " k"]
    type_rents: Float64[np.ndarray, " t"]
    is_open: Bool[np.ndarray, " t"]


class JointRelaxation:
    """``L`` on the unit cube: coordinate 1 is the highest price that can make sense.

    Coordinates are the uplinks of all gateways, then the rows of the reduced instance.
    """

    def __init__(self, model: JointModel, reduced: Reduced) -> None:
        """Find the highest prices: one row's price cannot be worth more than all."""
        self._model = model
        self._reduced = reduced
        self._analytics = model.item_analytics[reduced.items]
        self._network = CutNetwork(reduced.indptr, reduced.indices, reduced.n_bundles)
        self._capacities = np.concatenate([model.uplinks_bps, reduced.capacities])
        self._n_homes = len(model.uplinks_bps)
        zero = np.zeros(self._n_homes)
        most = float(np.maximum(*model.best_values(zero)).sum())
        self._highest = np.divide(
            most,
            self._capacities,
            out=np.zeros(len(self._capacities)),
            where=self._capacities > 0,
        )
        self._limit_to_slopes()

    def _limit_to_slopes(self) -> None:
        """No uplink's price need be higher than the steepest way to spend it."""
        model = self._model
        rates_bps = model.steps.rates_bps
        slopes = model.step_values[rates_bps > 0] / rates_bps[rates_bps > 0]
        steepest = np.zeros(self._n_homes)
        np.maximum.at(steepest, model.step_homes[rates_bps > 0], slopes)
        self._highest[: self._n_homes] = np.minimum(
            self._highest[: self._n_homes], steepest
        )

    @property
    def n_prices(self) -> int:
        """Number of coordinates."""
        return len(self._highest)

    @property
    def items(self) -> Int64[np.ndarray, " k"]:
        """Items of the instance that may be chosen, ``(k,)``."""
        return self._reduced.items

    @property
    def rows(self) -> Int64[np.ndarray, " r"]:
        """Rows of the instance that have a price, ``(r,)``."""
        return self._reduced.rows

    def prices(self, point: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, " d"]:
        """Prices per bit/s and per unit of each row at a point."""
        return point * self._highest

    def point(self, prices: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, " d"]:
        """The point of some prices, cut to the cube."""
        shares = np.divide(
            prices, self._highest, out=np.zeros(len(prices)), where=self._highest > 0
        )
        return np.clip(shares, 0.0, 1.0)

    def at(
        self,
        point: Float64[np.ndarray, " d"],
        second: Float64[np.ndarray, " n"] | None = None,
    ) -> PricedPlan:
        """``L`` at shares of the highest prices, with prices of moving if any."""
        model, reduced = self._model, self._reduced
        prices = self.prices(point)
        uplinks, rows = prices[: self._n_homes], prices[self._n_homes :]
        in_cloud, on_gateway = model.best_values(uplinks)
        gains = (on_gateway - in_cloud)[self._analytics]
        profits = gains - reduced.own @ rows
        left = profits if second is None else profits - second[self._analytics]
        weights = np.zeros(reduced.n_types)
        np.add.at(weights, reduced.types, np.maximum(left, 0.0))
        costs = reduced.costs @ rows
        closure = self._network.best(weights, costs)
        chosen = closure.types[reduced.types] & (left > 0)
        base = float(uplinks @ model.uplinks_bps) + float(in_cloud.sum())
        paid_back = 0.0 if second is None else float(second.sum())
        spare = self._capacities - self._used(uplinks, chosen)
        return PricedPlan(
            value=base + float(rows @ reduced.capacities) + closure.weight + paid_back,
            base=base,
            slope=spare * self._highest,
            gains=gains,
            profits=profits,
            type_rents=np.add.reduceat(
                np.append(costs[reduced.indices], 0.0), reduced.indptr[:-1]
            )
            * (np.diff(reduced.indptr) > 0),
            is_open=closure.types,
        )

    def _used(
        self, uplinks: Float64[np.ndarray, " g"], chosen: Bool[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " d"]:
        """What best steps and chosen items take; who moves twice counts twice."""
        model = self._model
        everyone = np.arange(model.n)
        in_cloud = model.best_rates_bps(everyone, uplinks)
        change = model.best_rates_bps(everyone + model.n, uplinks) - in_cloud
        movers = self._analytics[chosen]
        spent = np.bincount(model.homes, in_cloud, self._n_homes)
        spent += np.bincount(model.homes[movers], change[movers], self._n_homes)
        return np.concatenate([spent, self._reduced.use(chosen)])


_QUICK = HullGreedy(n_rounds=0)
_CAREFUL = HullGreedy(gap=5e-4, n_rounds=10)


class Plans:
    """The best choice of items so far, and the search for better ones.

    Attributes:
        chosen: ``(k,)`` items of the reduced instance.
        value: what they are worth, about: rates are divided by a greedy.
    """

    def __init__(self, model: JointModel, reduced: Reduced) -> None:
        """Begin with everything in the cloud."""
        require("numba", "deploy")
        self._model = model
        self._reduced = reduced
        self._seen: set[bytes] = set()
        self.chosen = np.zeros(len(reduced.items), np.bool_)
        self.value = 0.0
        self.offer(self.chosen)

    def offer(self, chosen: Bool[np.ndarray, " k"]) -> bool:
        """Keep a feasible choice if it is better than the best so far."""
        known = chosen.tobytes()
        if known in self._seen:
            return False
        self._seen.add(known)
        lifted = self._reduced.lift(chosen, self._model.instance.n_items)
        moved = self._model.moved(lifted)
        quick = self._model.allocate(moved, _QUICK)
        if quick.bound <= self.value or self._model.built.broken_s(lifted):
            return False
        value = max(quick.value, self._model.allocate(moved, _CAREFUL).value)
        if value <= self.value:
            return False
        self.chosen, self.value = chosen, value
        return True

    def fill(
        self, order: Int64[np.ndarray, " m"], kept: Bool[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " k"]:
        """Items added in an order to some that are kept, each if it fits."""
        chosen = kept.copy()
        self._reduced.add(order, chosen, *self._reduced.left_by(chosen))
        return chosen

    def follow(
        self, priced: PricedPlan, shares: Float64[np.ndarray, " k"] | None = None
    ) -> None:
        """Offer the plans that fill up by larger share, or by the best closure."""
        nobody = np.zeros(len(self.chosen), np.bool_)
        order = self._order(priced)
        self.offer(self.fill(order, nobody))
        if shares is None:
            shares = priced.is_open[self._reduced.types].astype(np.float64)
        first = order[np.argsort(-shares[order], kind="stable")]
        self.offer(self.fill(first, nobody))

    def exchange(self, priced: PricedPlan, *, limit: int, n_tries: int) -> None:
        """Look for better choices among exchanges, until none of them helps.

        At most ``limit`` types and items may leave, and as many types enter.
        """
        order = self._order(priced)
        is_better = True
        while is_better:
            is_better = False
            for kept, first in self._exchanges(priced, limit):
                if n_tries <= 0:
                    return
                n_tries -= 1
                chosen = self.fill(np.concatenate([first, order]), kept)
                ceiling = priced.base + float(priced.gains[chosen].sum())
                if ceiling > self.value and self.offer(chosen):
                    is_better = True
                    break

    def _exchanges(
        self, priced: PricedPlan, limit: int
    ) -> Iterator[tuple[Bool[np.ndarray, " k"], Int64[np.ndarray, " m"]]]:
        """Who stays and who enters first, the most promising exchanges first."""
        reduced = self._reduced
        profits = self._by_type(np.maximum(priced.profits, 0.0)) - priced.type_rents
        is_open = np.zeros(reduced.n_types, np.bool_)
        is_open[reduced.types[self.chosen]] = True
        by_profit = np.argsort(profits, kind="stable")
        open_types = by_profit[is_open[by_profit]][:limit]
        leaving = [self.chosen & (reduced.types == t) for t in open_types]
        items = np.flatnonzero(self.chosen)
        items = items[np.argsort(priced.profits[items], kind="stable")]
        singles = [np.arange(len(self.chosen)) == item for item in items[:limit]]
        closed = by_profit[::-1][~is_open[by_profit[::-1]]][:limit]
        entering = [
            np.flatnonzero((reduced.types == t) & (priced.gains > 0)) for t in closed
        ]
        entering = [who[np.argsort(-priced.profits[who])] for who in entering]
        entering.append(np.zeros(0, np.int64))
        both = [one | other for one, other in itertools.combinations(leaving, 2)]
        leaving = [np.zeros_like(self.chosen), *leaving, *singles, *both]
        for out, enter in itertools.product(leaving, entering):
            yield self.chosen & ~out, enter

    def _order(self, priced: PricedPlan) -> Int64[np.ndarray, " m"]:
        """Items that gain, by the gain over the rent of their type, then their own."""
        reduced = self._reduced
        gains = np.maximum(priced.gains, 0.0)
        rents = priced.gains - priced.profits
        type_rents = priced.type_rents + self._by_type(rents * (gains > 0))
        density = self._by_type(gains) / np.maximum(type_rents, 1e-12)
        order = np.lexsort(
            (-priced.profits, -density[reduced.types], priced.profits <= 0)
        )
        return order[gains[order] > 0]

    def _by_type(self, values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " t"]:
        """Sums of what the items of each type have."""
        sums = np.zeros(self._reduced.n_types)
        np.add.at(sums, self._reduced.types, values)
        return sums


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

    name = "joint-lagrangian"
    n_rounds: int = 120
    n_tries: int = 1000
    n_exchanged: int = 12
    max_gap: float = 1e-3
    whole_limit_s: float = 10.0
    allocator: RateAllocator = field(default_factory=ExactKnapsack)

    def plan(
        self,
        problem: PlacementProblem,
        uplink_bps: float | Mapping[str, float] | None = None,
    ) -> JointPlan:
        """A plan with a bound; see :class:`~midhaul.deploy.joint.base.JointPlanner`."""
        begin_s = time.perf_counter()
        model = model_of(problem, uplink_bps)
        reduced = reduce(model.instance)
        relaxation = JointRelaxation(model, reduced)
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
        self, model: JointModel, reduced: Reduced, priced: PricedPlan, plans: Plans
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
        self, model: JointModel, relaxation: JointRelaxation, plans: Plans
    ) -> tuple[Float64[np.ndarray, " d"], PricedPlan]:
        """The best prices, while each suggests a plan."""
        best: list[PricedPlan] = []

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
    model: JointModel, relaxation: JointRelaxation, plans: Plans
) -> tuple[Float64[np.ndarray, " d"], PricedPlan]:
    """Prices from the linear relaxation, with one for each analytic that can choose."""
    relaxed = Program(model).relaxed()
    prices = np.concatenate([relaxed.uplinks, relaxed.rows[relaxation.rows]])
    point = relaxation.point(prices)
    priced = relaxation.at(point, relaxed.analytics)
    plans.follow(priced, relaxed.shares[relaxation.items])
    return relaxation.prices(point), priced


_FIRST_RADIUS = 0.1
_PROMISED = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowest:
    """The best point of a search, the value there, and what no value is below."""

    point: Float64[np.ndarray, " d"]
    value: float
    least: float


def minimise(
    oracle: Oracle,
    start: Float64[np.ndarray, " d"],
    *,
    n_rounds: int = 100,
    gap: float = 1e-5,
) -> Lowest:
    """The smallest value of a convex function on the unit cube.

    The oracle gives value and a subgradient at a point; ``gap`` is a share of the
    value.
    """
    best = np.clip(start, 0.0, 1.0)
    value, slope = oracle(best)
    model = _Model(len(best))
    model.add(best, value, slope)
    radius = _FIRST_RADIUS
    for _ in range(n_rounds):
        point, least = model.lowest(best - radius, best + radius)
        promised = value - least
        if promised <= gap * abs(value):
            if radius >= 1.0:
                break
            radius = 1.0
            continue
        found, slope = oracle(point)
        model.add(point, found, slope)
        if found < value - _PROMISED * promised:
            radius = min(1.0, 2 * radius)
        else:
            radius /= 2
        if found < value:
            best, value = point, found
    _, least = model.lowest(np.zeros(len(best)), np.ones(len(best)))
    return Lowest(point=best, value=value, least=least)


class _Model:
    """The largest of all planes seen, as a linear program."""

    def __init__(self, n: int) -> None:
        self._core = require("highspy", "deploy")
        self._highs = quiet_solver()
        infinite = self._core.kHighsInf
        self._columns = np.arange(n + 1, dtype=np.int32)
        for _ in range(n):
            self._highs.addVar(0.0, 1.0)
        self._highs.addVar(-infinite, infinite)
        self._highs.changeColCost(n, 1.0)

    def add(
        self,
        point: Float64[np.ndarray, " d"],
        value: float,
        slope: Float64[np.ndarray, " d"],
    ) -> None:
        """A plane that touches the function at a point."""
        self._highs.addRow(
            value - float(slope @ point),
            self._core.kHighsInf,
            len(self._columns),
            self._columns,
            np.append(-slope, 1.0),
        )

    def lowest(
        self, low: Float64[np.ndarray, " d"], high: Float64[np.ndarray, " d"]
    ) -> tuple[Float64[np.ndarray, " d"], float]:
        """The lowest point of the model within a box, and its height."""
        n = len(low)
        low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
        self._highs.changeColsBounds(n, self._columns[:n], low, high)
        self._highs.run()
        values = np.array(self._highs.getSolution().col_value)
        # Solvers keep bounds to a tolerance; and no price is -0.
        return np.clip(values[:n], low, high) + 0.0, float(values[n])
