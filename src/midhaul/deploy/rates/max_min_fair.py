"""Max-min fairness of qualities.

An allocation is max-min fair when nobody's quality can rise without a fall of one that
is not better: Bertsekas and Gallager, "Data Networks", 2nd edition, 1992, section
6.5.2, for rates; Cao and Zegura, "Utility max-min: an application-oriented bandwidth
allocation scheme", INFOCOM 1999, for utilities, with the same progressive filling.

Differences from the papers:

1. Quality has steps, for which a max-min fair allocation need not exist. The worst
   analytic is raised to its next step, of equal ones the one whose step costs least; an
   analytic whose next step does not fit stays where it is and the others go on.
2. Weights do not count, except that what remains is only then given to analytics of
   weight 0 when no other can use it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.base import SLACK, check_uplink, of_options

if TYPE_CHECKING:
    from midhaul.deploy.rates.base import Demands, RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxMinFair:
    """The worst quality first, step by step."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "maxmin"

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
