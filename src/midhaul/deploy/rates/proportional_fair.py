"""Proportional fairness of rates.

Equation: the rates that maximise the sum of ``w log x`` within the uplink, Kelly,
Maulloo and Tan, "Rate control for communication networks: shadow prices, proportional
fairness and stability", Journal of the Operational Research Society 49(3), 1998,
section 2. On one link with no limits of its own each gets ``w C / sum(w)``.

Differences from the paper:

1. No analytic gets more than its best step needs. With such limits the optimum is
   ``x = min(limit, w / price)``, where the price makes the rates add up to the uplink.
2. Quality follows the rate by steps: what is left between two steps is granted but buys
   nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.base import check_uplink, of_rates

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.deploy.rates.base import Demands, RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class ProportionalFair:
    """Rates as the weights, up to what each can use.

    Analytics of weight 0 get nothing.
    """

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "proportional"

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates without a bound.

        Raises:
            DataError: the uplink is negative or NaN.
        """
        check_uplink(uplink_bps)
        limits = np.where(
            demands.weights > 0, demands.rates_bps[demands.offsets[1:] - 1], 0.0
        )
        return of_rates(demands, fill(limits, demands.weights, uplink_bps))


def fill(
    limits_bps: Float64[np.ndarray, " n"],
    weights: Float64[np.ndarray, " n"],
    uplink_bps: float,
) -> Float64[np.ndarray, " n"]:
    """Raise all rates in proportion to their weights, each up to its limit.

    Args:
        limits_bps: 0 where the weight is 0.
        weights: of at least 0.
        uplink_bps: what all get together, at most.
    """
    if limits_bps.sum() <= uplink_bps:
        return limits_bps.copy()
    has_weight = weights > 0
    levels = np.zeros(len(weights))
    levels[has_weight] = limits_bps[has_weight] / weights[has_weight]
    order = np.argsort(levels, kind="stable")
    full = np.concatenate([[0.0], np.cumsum(limits_bps[order])])[:-1]
    # Weight of those that are not full when each in turn becomes so.
    open_weight = np.cumsum(weights[order][::-1])[::-1]
    used = full + levels[order] * open_weight
    first = int(np.argmax(used >= uplink_bps))  # of those that do not become full
    level = max(uplink_bps - full[first], 0.0) / open_weight[first]
    return np.minimum(limits_bps, weights * level)
