"""What all allocators do at their begin and end: check the uplink, write the answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.base import RateAllocation
from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.deploy.rates.base import Demands

SLACK = 1e-9
"""Share of an uplink by which sums of floating-point rates may seem to exceed it."""


def check_uplink(uplink_bps: float) -> None:
    """Refuse an uplink that is none; infinite is allowed.

    Raises:
        DataError: it is negative or NaN.
    """
    if math.isnan(uplink_bps) or uplink_bps < 0:
        message = f"expected an uplink of at least 0 bit/s, found {uplink_bps}"
        raise DataError(message)


def weighted_values(demands: Demands) -> Float64[np.ndarray, " s"]:
    """Weight times quality of every step."""
    return np.repeat(demands.weights, np.diff(demands.offsets)) * demands.qualities


def of_options(
    demands: Demands,
    options: Int64[np.ndarray, " n"],
    *,
    bound: float,
    price_per_bps: float = math.nan,
) -> RateAllocation:
    """The allocation that grants each analytic just what its step needs.

    Args:
        demands: who asked.
        options: index of each one's step in the flat arrays; -1 for none.
        bound: no allocation has a higher value; infinite without a guarantee.
        price_per_bps: worth of one more bit/s; NaN where unknown.
    """
    has_step = options >= 0
    rates_bps = np.zeros(len(demands))
    rates_bps[has_step] = demands.rates_bps[options[has_step]]
    qualities = np.zeros(len(demands))
    qualities[has_step] = demands.qualities[options[has_step]]
    # Not `@`: it starts threads whose time a small sum never brings back.
    value = float((demands.weights * qualities).sum())
    return RateAllocation(
        status="optimal" if value >= bound - SLACK * abs(bound) else "feasible",
        value=value,
        bound=max(bound, value),
        steps=np.where(has_step, options - demands.offsets[:-1], -1),
        rates_bps=rates_bps,
        qualities=qualities,
        price_per_bps=price_per_bps,
        names=demands.names,
    )


def of_rates(demands: Demands, rates_bps: Float64[np.ndarray, " n"]) -> RateAllocation:
    """The allocation in which each analytic runs the best step that its rate pays for.

    Without a guarantee: the bound is infinite. Rates are kept as granted, even where a
    step needs less.

    Args:
        demands: who asked.
        rates_bps: ``(n,)`` what each is granted.
    """
    counts = np.diff(demands.offsets)
    paid = demands.rates_bps <= np.repeat(rates_bps * (1 + SLACK), counts)
    n_paid = np.concatenate([[0], np.cumsum(paid)])
    steps = np.diff(n_paid[demands.offsets]) - 1
    answer = of_options(
        demands,
        np.where(steps >= 0, demands.offsets[:-1] + steps, -1),
        bound=math.inf,
    )
    return RateAllocation(
        status="feasible",
        value=answer.value,
        bound=math.inf,
        steps=answer.steps,
        rates_bps=rates_bps,
        qualities=answer.qualities,
        names=demands.names,
    )
