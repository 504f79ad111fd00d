"""From chosen items and steps to a plan."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint.base import JointPlan
from midhaul.deploy.placement.building import to_placement
from midhaul.deploy.placement.instance import Choice
from midhaul.deploy.rates.answer import of_options

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.joint.model import JointModel
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import RateAllocation, RateAllocator


def allocation_of(
    model: JointModel, chosen: Bool[np.ndarray, " i"], steps: Int64[np.ndarray, " n"]
) -> RateAllocation:
    """The rates that just pay for steps.

    Args:
        model: the problem.
        chosen: ``(i,)`` items that are chosen.
        steps: ``(n,)`` step of each analytic where it runs; -1 for none.
    """
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

    Args:
        problem: what is planned.
        model: the same as arrays.
        chosen: ``(i,)`` items that are chosen, feasible.
        rates: of all analytics.
        allocator: divides the uplinks where the schedule changes who moves.
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
    """Prices by resource.

    Args:
        problem: what is planned.
        model: the same as arrays.
        uplinks: ``(g,)`` value of one more bit/s of each gateway's uplink.
        rows: ``(r,)`` value of one more unit of each row.
    """
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
    choice = Choice(
        chosen=chosen,
        bound=math.inf,
        is_optimal=False,
        is_timed_out=False,
        prices=prices,
    )
    placement = to_placement(model.built, choice, 0.0)
    placed = placement.gateway_of
    value = sum(a.value_bps for a in problem.analytics if a.name in placed)
    return replace(placement, value=float(value))
