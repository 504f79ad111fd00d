"""The uplink in equal shares: the seed's baseline UA."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.answer import check_uplink, of_rates

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
