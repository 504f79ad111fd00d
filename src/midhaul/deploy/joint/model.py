"""Joint problem as arrays: the set-union knapsack of its places, and all steps.

Row ``a`` of the steps belongs to analytic ``a`` in the cloud, row ``n + a`` to the same
one on a gateway. Every planner of this package works on this form.

What a planner chose of items and steps becomes a plan again here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint.base import JointPlan
from midhaul.deploy.placement.arrays import Choice
from midhaul.deploy.placement.building import build, to_placement
from midhaul.deploy.rates.base import SLACK, Demands, RateAllocation, of_options
from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.curves.qos_curve import QosCurve
    from midhaul.deploy.placement.arrays import Built, Instance
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic, PlacementProblem
    from midhaul.deploy.rates.base import RateAllocator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointModel:
    """A joint problem as arrays, ``n`` analytics and ``g`` gateways.

    Attributes:
        built: the places, as placers see them; it knows every analytic that can move.
        weights: ``(n,)`` of the analytics.
        steps: ``2 n`` curves in a row: all in the cloud, then all on a gateway.
        homes: ``(n,)`` the gateway whose uplink an analytic's traffic crosses.
        uplinks_bps: ``(g,)`` uplink of each gateway, finite.
        gateways: ``(g,)`` their names.
    """

    built: Built
    weights: Float64[np.ndarray, " n"]
    steps: Demands
    homes: Int64[np.ndarray, " n"]
    uplinks_bps: Float64[np.ndarray, " g"]
    gateways: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of analytics."""
        return len(self.weights)

    @property
    def instance(self) -> Instance:
        """Items, elements and capacities of the places."""
        return self.built.instance

    @property
    def item_analytics(self) -> Int64[np.ndarray, " i"]:
        """The analytic that each item of the instance moves, ``(i,)``."""
        return self.built.analytics

    @property
    def step_rows(self) -> Int64[np.ndarray, " s"]:
        """The curve that each step belongs to, ``(s,)``."""
        return np.repeat(np.arange(2 * self.n), np.diff(self.steps.offsets))

    @property
    def step_homes(self) -> Int64[np.ndarray, " s"]:
        """The gateway whose uplink each step takes, ``(s,)``."""
        return np.tile(self.homes, 2)[self.step_rows]

    @property
    def step_values(self) -> Float64[np.ndarray, " s"]:
        """Weight times quality of each step, ``(s,)``."""
        return np.tile(self.weights, 2)[self.step_rows] * self.steps.qualities

    def moved(self, chosen: Bool[np.ndarray, " i"]) -> Bool[np.ndarray, " n"]:
        """True for the analytics that chosen items bring to a gateway, ``(n,)``."""
        moved = np.zeros(self.n, np.bool_)
        moved[self.item_analytics[chosen]] = True
        return moved

    def chosen_of(self, gateway_of: Mapping[str, str]) -> Bool[np.ndarray, " i"]:
        """The items that a placement chooses, ``(i,)``."""
        pairs = zip(self.built.analytics, self.built.gateways, strict=True)
        return np.array(
            [gateway_of.get(self.steps.names[a]) == self.gateways[g] for a, g in pairs],
            np.bool_,
        )

    def rows(self, moved: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The curve that holds for each analytic, ``(n,)``."""
        return np.arange(self.n) + self.n * moved

    def allocate(
        self, moved: Bool[np.ndarray, " n"], allocator: RateAllocator
    ) -> RateAllocation:
        """Rates of all analytics, each home's uplink divided by itself."""
        rows = self.rows(moved)
        steps = np.full(self.n, -1, np.int64)
        rates_bps = np.zeros(self.n)
        qualities = np.zeros(self.n)
        parts: list[RateAllocation] = []
        for home in np.unique(self.homes):
            members = np.flatnonzero(self.homes == home)
            demands = self.select(rows[members])
            part = allocator.allocate(demands, float(self.uplinks_bps[home]))
            steps[members] = part.steps
            rates_bps[members] = part.rates_bps
            qualities[members] = part.qualities
            parts.append(part)
        is_optimal = all(part.status == "optimal" for part in parts)
        return RateAllocation(
            status="optimal" if is_optimal else "feasible",
            value=float(self.weights @ qualities),
            bound=float(sum(part.bound for part in parts)),
            steps=steps,
            rates_bps=rates_bps,
            qualities=qualities,
            price_per_bps=parts[0].price_per_bps if len(parts) == 1 else math.nan,
            names=tuple(self.steps.names[row] for row in rows.tolist()),
        )

    def select(self, rows: Int64[np.ndarray, " k"]) -> Demands:
        """The demands of some curves, in the order asked for."""
        all_steps = self.steps
        lengths = np.diff(all_steps.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        begins = np.repeat(all_steps.offsets[rows] - offsets[:-1], lengths)
        take = begins + np.arange(offsets[-1])
        return Demands(
            names=tuple(all_steps.names[row] for row in rows),
            weights=all_steps.weights[rows],
            offsets=offsets,
            knobs=all_steps.knobs[take],
            rates_bps=all_steps.rates_bps[take],
            qualities=all_steps.qualities[take],
        )

    def best_values(
        self, prices_per_bps: Float64[np.ndarray, " g"]
    ) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """What each is worth in the cloud and on a gateway, rates paid, at least 0."""
        best = self._step_profits(prices_per_bps)
        worth = np.maximum(np.maximum.reduceat(best, self.steps.offsets[:-1]), 0.0)
        return worth[: self.n], worth[self.n :]

    def best_rates_bps(
        self, rows: Int64[np.ndarray, " n"], prices_per_bps: Float64[np.ndarray, " g"]
    ) -> Float64[np.ndarray, " n"]:
        """The rate of each analytic's best step at prices, ``(n,)``; 0 for no step."""
        profits = self._step_profits(prices_per_bps)
        offsets = self.steps.offsets
        best = np.maximum.reduceat(profits, offsets[:-1])
        is_best = profits == best[self.step_rows]
        first = np.maximum.reduceat(
            np.where(is_best, -np.arange(len(profits)), -len(profits)), offsets[:-1]
        )
        rates_bps = np.where(best > 0, self.steps.rates_bps[-first], 0.0)
        return rates_bps[rows]

    def _step_profits(
        self, prices_per_bps: Float64[np.ndarray, " g"]
    ) -> Float64[np.ndarray, " s"]:
        homes = self.step_homes
        profits = self.step_values - prices_per_bps[homes] * self.steps.rates_bps
        # A step that its uplink cannot carry alone is in no plan.
        fits = self.steps.rates_bps <= self.uplinks_bps[homes] * (1 + SLACK)
        return np.where(fits, profits, -np.inf)


def model_of(
    problem: PlacementProblem,
    uplink_bps: float | Mapping[str, float] | None,
    *,
    also_s: Mapping[int, Float64[np.ndarray, " d"]] | None = None,
) -> JointModel:
    """The arrays of a joint problem; ``also_s`` as :func:`.building.build` takes it.

    A DataError says that an analytic has no curves, a curve no useful step, or that an
    uplink is negative, NaN or missing.
    """
    analytics = problem.analytics
    curves = [_curves(analytic) for analytic in analytics]
    weights = np.array([analytic.weight for analytic in analytics], np.float64)
    steps = Demands.of(
        [analytic.name for analytic in analytics] * 2,
        [*weights, *weights],
        [cloud for cloud, _ in curves] + [gateway for _, gateway in curves],
    )
    names = tuple(gateway.name for gateway in problem.gateways)
    first = {name: (name,) for name in names[:1]}
    homes = [
        names.index((problem.sites.get(a.name) or first[names[0]])[0])
        for a in analytics
    ]
    # Placers may leave out who saves nothing; here quality decides.
    free = replace(
        problem,
        analytics=tuple(replace(a, saved_bps=1.0, weight=1.0) for a in analytics),
    )
    built = build(free, also_s=also_s)
    highest_bps = float(steps.rates_bps.sum())
    uplinks_bps = [min(u, highest_bps) for u in _uplinks(problem, uplink_bps)]
    return JointModel(
        built=built,
        weights=weights,
        steps=steps,
        homes=np.array(homes, np.int64),
        uplinks_bps=np.array(uplinks_bps, np.float64),
        gateways=names,
    )


def _curves(analytic: Analytic) -> tuple[QosCurve, QosCurve]:
    if analytic.cloud_curve is None or analytic.gateway_curve is None:
        message = f"analytic {analytic.name}: expected two QoS curves, found none"
        raise DataError(message, "give cloud_curve and gateway_curve")
    return analytic.cloud_curve, analytic.gateway_curve


def _uplinks(
    problem: PlacementProblem, uplink_bps: float | Mapping[str, float] | None
) -> list[float]:
    """The uplink of each gateway, in their order."""
    found: list[float] = []
    for gateway in problem.gateways:
        rate_bps = uplink_bps
        if rate_bps is None:
            rate_bps = gateway.uplink_bps
        elif isinstance(rate_bps, Mapping):
            if gateway.name not in rate_bps:
                message = (
                    f"expected an uplink for each gateway, {gateway.name} has none"
                )
                raise DataError(message)
            rate_bps = rate_bps[gateway.name]
        if not rate_bps >= 0:
            message = (
                f"gateway {gateway.name}: expected an uplink of at least 0 bit/s, "
                f"found {rate_bps}"
            )
            raise DataError(message)
        found.append(float(rate_bps))
    return found


def allocation_of(
    model: JointModel, chosen: Bool[np.ndarray, " i"], steps: Int64[np.ndarray, " n"]
) -> RateAllocation:
    """The rates that just pay for steps, each where its analytic runs; -1 for none."""
    demands = model.select(model.rows(model.moved(chosen)))
    options = np.where(steps >= 0, demands.offsets[:-1] + steps, -1)
    return of_options(demands, options, bound=math.inf)


def plan_of(
    problem: PlacementProblem,
    model: JointModel,
    chosen: Bool[np.ndarray, " i"],
    rates: RateAllocation,
    allocator: RateAllocator,
) -> JointPlan:
    """The plan that items and rates make; without a bound.

    An analytic that gets no rate on its gateway stays in the cloud, where it gets none.
    So does one whose pull would be late after all; then rates are divided anew.
    """
    chosen = chosen & (rates.steps[model.item_analytics] >= 0)
    placement = _placed(
        problem, model, chosen, np.full(len(model.instance.rows), np.nan)
    )
    if len(placement.gateway_of) < int(chosen.sum()):
        kept = model.moved(model.chosen_of(placement.gateway_of))
        rates = model.allocate(kept, allocator)
    return JointPlan(
        status="feasible",
        placement=placement,
        rates=rates,
        bound=math.inf,
        total_weight=float(model.weights.sum()),
    )


def prices_of(
    problem: PlacementProblem,
    model: JointModel,
    uplinks: Float64[np.ndarray, " g"],
    rows: Float64[np.ndarray, " r"],
) -> dict[str, float]:
    """Prices by resource: of a bit/s more of each uplink, a unit more of each row."""
    nothing = np.zeros(model.instance.n_items, np.bool_)
    prices = dict(_placed(problem, model, nothing, rows).prices)
    for name, price in zip(model.gateways, uplinks.tolist(), strict=True):
        prices[f"{name}.uplink_bps"] = price
    return prices


def _placed(
    problem: PlacementProblem,
    model: JointModel,
    chosen: Bool[np.ndarray, " i"],
    prices: Float64[np.ndarray, " r"],
) -> Placement:
    """The placement of chosen items, its value as placers count it."""
    placement = to_placement(model.built, Choice(chosen=chosen, prices=prices), 0.0)
    placed = placement.gateway_of
    value = sum(a.value_bps for a in problem.analytics if a.name in placed)
    return replace(placement, value=float(value))
