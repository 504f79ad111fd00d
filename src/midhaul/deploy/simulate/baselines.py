"""What others do, to compare with: place nothing, and overshoot as the seed does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.deploy.curves.seed_curves import seed_model
from midhaul.deploy.placement.base import Placement
from midhaul.deploy.rates.raa import Raa

if TYPE_CHECKING:
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Nowhere:
    """Leaves everybody in the cloud."""

    name = "nowhere"

    def place(self, problem: PlacementProblem) -> Placement:
        """No move; the bound is what moving everybody would be worth."""
        bound = sum(analytic.value_bps for analytic in problem.analytics)
        return Placement(status="feasible", value=0.0, bound=bound, gateway_of={})


@dataclass(frozen=True, slots=True, kw_only=True)
class RaaAsCoded:
    """The seed's greedy with the seed's overshoot. It breaks RateAllocator's promise.

    The seed does not charge the rate of the knob with which an analytic starts, so that
    together the rates exceed the uplink by all those starts. Here the allocator is
    given that much more uplink. Where even the smallest rates do not fit, that also
    drops fewer analytics than the seed does.
    """

    name = "raa-as-coded"
    raa: Raa = field(default_factory=Raa)

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates that together may exceed the uplink.

        A DataError if it is negative or NaN.
        """
        extra_bps = sum(
            self._start_bps(demands, analytic) for analytic in range(len(demands))
        )
        return self.raa.allocate(demands, uplink_bps + extra_bps)

    def _start_bps(self, demands: Demands, analytic: int) -> float:
        """What an analytic sends before anything was decided."""
        model = self.raa.model_of(demands.names[analytic])
        first = float(demands.rates_bps[demands.offsets[analytic]])
        return first if model is None or model.start > 0 else 0.0


def raa_as_coded(*, alpha: float) -> RaaAsCoded:
    """The seed's greedy with all that the seed believes of its two kinds."""
    return RaaAsCoded(raa=Raa(alpha=alpha, model_of=seed_model))
