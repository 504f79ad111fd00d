"""What one more unit of a resource is worth, in a sentence that a person can act on.

Two answers are given. *By planning anew* with one more unit is what a person would get.
The *dual price* is what the linear relaxation promises for a little more. Analytics and
layers are whole, so the two may differ: a gigabyte may admit a container image that
half of it would not, or change nothing because two are needed. Where they differ, the
sentence has both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.deploy.joint.base import JointPlan, JointPlanner
    from midhaul.deploy.problem import Gateway, PlacementProblem

_NOTHING = 5e-4
_DIFFERENCE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one more unit of a resource would bring.

    Attributes:
        resource: ``GATEWAY.uplink_bps``, ``GATEWAY.disk_bytes`` and so on.
        step: the unit, ``1 Mbit/s``, ``1 GB`` or ``1 core``.
        gain: weighted quality, 0 to 1, that planning anew with it gains.
        dual: what the dual price promises for it; NaN when the planner knows none.
        sentence: the same, in words.
    """

    resource: str
    step: str
    gain: float
    dual: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    field: str
    amount: float
    step: str
    more: str
    noun: str


_UNITS = (
    _Unit(
        field="uplink_bps", amount=1e6, step="1 Mbit/s", more="Mbit/s", noun="uplink"
    ),
    _Unit(field="disk_bytes", amount=1e9, step="1 GB", more="GB of disk", noun="disk"),
    _Unit(field="n_cores", amount=1.0, step="1 core", more="core", noun="CPU"),
    _Unit(
        field="memory_bytes",
        amount=1e9,
        step="1 GB",
        more="GB of memory",
        noun="memory",
    ),
)


def price_resources(
    planner: JointPlanner,
    problem: PlacementProblem,
    uplink_bps: float | Mapping[str, float] | None = None,
    *,
    plan: JointPlan | None = None,
    advance: Callable[[], object] = lambda: None,
) -> tuple[Price, ...]:
    """What one more Mbit/s, GB or core of each gateway is worth.

    The problem is planned anew for every resource that has a limit.

    Args:
        planner: makes the plans.
        problem: what is planned.
        uplink_bps: as :meth:`~midhaul.deploy.joint.base.JointPlanner.plan` takes it.
        plan: the plan of the problem, if it is there already.
        advance: called after each resource, limited or not; there are four of each
            gateway.
    """
    if uplink_bps is not None:
        problem = _with_uplinks(problem, uplink_bps)
    before = planner.plan(problem) if plan is None else plan
    found: list[Price] = []
    for number, gateway in enumerate(problem.gateways):
        for unit in _UNITS:
            capacity = getattr(gateway, unit.field)
            if math.isinf(capacity):
                advance()
                continue
            richer = replace(gateway, **{unit.field: capacity + unit.amount})
            gateways = list(problem.gateways)
            gateways[number] = richer
            after = planner.plan(replace(problem, gateways=tuple(gateways)))
            where = f" at {gateway.name}" if len(gateways) > 1 else ""
            found.append(_price(unit, gateway, where, before, after))
            advance()
    return tuple(found)


def summary(prices: tuple[Price, ...]) -> str:
    """All sentences in one, what is worth most first."""
    by_gain = sorted(prices, key=lambda price: -price.gain)
    return "; ".join(price.sentence for price in by_gain)


def _price(
    unit: _Unit, gateway: Gateway, where: str, before: JointPlan, after: JointPlan
) -> Price:
    name = f"{gateway.name}.{unit.field}"
    # The plan of before can be kept, so that more never brings less.
    gain = max(0.0, after.quality - before.quality)
    dual = math.nan
    if name in before.prices and before.total_weight > 0:
        dual = before.prices[name] * unit.amount / before.total_weight
    is_exact = before.status == after.status == "optimal"
    return Price(
        resource=name,
        step=unit.step,
        gain=gain,
        dual=dual,
        sentence=_sentence(unit, where, gain, dual, is_exact=is_exact),
    )


def _sentence(
    unit: _Unit, where: str, gain: float, dual: float, *, is_exact: bool
) -> str:
    about = "" if is_exact else "about "
    promised = 0.0 if math.isnan(dual) else dual
    if gain < _NOTHING and promised < _NOTHING:
        return f"the {unit.noun}{where} is not the bottleneck"
    price = f"its price promises +{promised:.2g}"
    if gain < _NOTHING:
        return (
            f"1 more {unit.more}{where} alone changes nothing, though {price}: "
            "more of it, or of something else, is needed"
        )
    words = f"1 more {unit.more}{where} is worth {about}+{gain:.2g} weighted QoS"
    if not math.isnan(dual) and abs(dual - gain) > _DIFFERENCE * gain:
        words += f" ({price} for a little: plans change in jumps)"
    return words


def _with_uplinks(
    problem: PlacementProblem, uplink_bps: float | Mapping[str, float]
) -> PlacementProblem:
    """The problem whose gateways have these uplinks."""
    gateways = tuple(
        replace(
            gateway,
            uplink_bps=uplink_bps[gateway.name]
            if isinstance(uplink_bps, Mapping)
            else uplink_bps,
        )
        for gateway in problem.gateways
    )
    return replace(problem, gateways=gateways)
