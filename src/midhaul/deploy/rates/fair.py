"""Fair shares: proportional, even and weighted rates, and max-min fair qualities.

*Proportional fairness* of rates, equation: the rates that maximise the sum of ``w log
x`` within the uplink, Kelly, Maulloo and Tan, "Rate control for communication networks:
shadow prices, proportional fairness and stability", Journal of the Operational Research
Society 49(3), 1998, section 2. On one link with no limits of its own each gets ``w C /
sum(w)``.

Differences from the paper:

1. No analytic gets more than its best step needs. With such limits the optimum is
   ``x = min(limit, w / price)``, where the price makes the rates add up to the uplink.
2. Quality follows the rate by steps: what is left between two steps is granted but buys
   nothing.

*Even and weighted split* of the uplink are the seed's baselines UA and WA.

*Max-min fairness* of qualities: an allocation is max-min fair when nobody's quality can
rise without a fall of one that is not better: Bertsekas and Gallager, "Data Networks",
2nd edition, 1992, section 6.5.2, for rates; Cao and Zegura, "Utility max-min: an
application-oriented bandwidth allocation scheme", INFOCOM 1999, for utilities, with the
same progressive filling.

Differences from these papers:

1. Quality has steps, for which a max-min fair allocation need not exist. The worst
   analytic is raised to its next step, of equal ones the one whose step costs least; an
   analytic whose next step does not fit stays where it is and the others go on.
2. Weights do not count, except that what remains is only then given to analytics of
   weight 0 when no other can use it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.base import SLACK, check_uplink, of_options, of_rates

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.deploy.rates.base import Demands, RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class EvenSplit:
    """Equal rates, whether they are needed or not: what they do not buy is wasted."""

    name = "even"

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates without a bound.

        Raises:
            DataError: the uplink is negative or NaN.
        """
        check_uplink(uplink_bps)
        n = len(demands)
        share = uplink_bps if math.isinf(uplink_bps) else uplink_bps / max(n, 1)
        return of_rates(demands, np.full(n, share))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSplit:
    """Rates as the weights, whether they are needed or not.

    Analytics of weight 0 get nothing; where all weigh 0, all get the same.
    """

    name = "weighted"

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates without a bound.

        Raises:
            DataError: the uplink is negative or NaN.
        """
        check_uplink(uplink_bps)
        weights = demands.weights
        if not weights.any():
            weights = np.ones(len(demands))
        if math.isinf(uplink_bps):
            return of_rates(demands, np.where(weights > 0, uplink_bps, 0.0))
        # First to a largest of 1, because a sum of huge weights overflows.
        shares = weights / weights.max(initial=1e-300)
        return of_rates(demands, shares * (uplink_bps / max(shares.sum(), 1.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxMinFair:
    """The worst quality first, step by step."""

    name = "maxmin"

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates without a bound.

        Raises:
            DataError: the uplink is negative or NaN.
        """
        check_uplink(uplink_bps)
        rates = demands.rates_bps.tolist()
        qualities = demands.qualities.tolist()
        ends = demands.offsets[1:].tolist()
        options = np.full(len(demands), -1)
        rest = uplink_bps * (1 + SLACK)
        # Weightless last, quality, extra rate of the next step, analytic, that step.
        heap = [
            (weight == 0, 0.0, rates[option], analytic, option)
            for analytic, (weight, option) in enumerate(
                zip(demands.weights.tolist(), demands.offsets.tolist(), strict=False)
            )
        ]
        heapq.heapify(heap)
        while heap:
            is_last, _, extra, analytic, option = heapq.heappop(heap)
            if extra > rest:
                continue
            rest -= extra
            options[analytic] = option
            if option + 1 < ends[analytic]:
                more = rates[option + 1] - rates[option]
                entry = (is_last, qualities[option], more, analytic, option + 1)
                heapq.heappush(heap, entry)
        return of_options(demands, options, bound=np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProportionalFair:
    """Rates as the weights, up to what each can use.

    Analytics of weight 0 get nothing.
    """

    name = "proportional"

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
    """Raise all rates in proportion to their weights, each up to its limit."""
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
