"""Even and weighted split of the uplink: the seed's baselines UA and WA."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.base import check_uplink, of_rates

if TYPE_CHECKING:
    from midhaul.deploy.rates.base import Demands, RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class EvenSplit:
    """Equal rates, whether they are needed or not: what they do not buy is wasted."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "even"

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

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "weighted"

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
