"""What every joint planner offers, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from midhaul.model.display import MOST_ROWS, Display, Shown, counted, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.placement.base import Placement, Status
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import RateAllocation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class JointPlan(Shown):
    """Where each analytic runs, and how much uplink it gets there.

    Attributes:
        status: how the search went.
        placement: who runs on which gateway; its value is the weighted saved upload
            rate, which nothing has maximised here.
        rates: rate, step and quality of all analytics, in the order of the problem. A
            step counts on the frontier of the curve that holds where the analytic runs.
        bound: no plan has a higher value; infinite when the planner gives no guarantee.
        total_weight: sum of the weights of all analytics.
        prices: by resource, ``GATEWAY.uplink_bps``, ``GATEWAY.disk_bytes`` and so on:
            value that one more unit would bring where the whole numbers of the problem
            did not matter; empty when the planner knows none.
        solve_s: time that the search took.
    """

    status: Status
    placement: Placement
    rates: RateAllocation
    bound: float
    total_weight: float
    prices: Mapping[str, float] = field(default_factory=dict[str, float])
    solve_s: float = 0.0

    @property
    def value(self) -> float:
        """Sum of weight times quality."""
        return self.rates.value

    @property
    def quality(self) -> float:
        """Weighted quality, 0 to 1; 0 where nothing has a weight."""
        return self.value / self.total_weight if self.total_weight > 0 else 0.0

    @property
    def gap(self) -> float:
        """How far the value may be below the best one, as a share of the bound."""
        if self.bound <= 0:
            return 0.0
        return 1.0 if math.isinf(self.bound) else max(0.0, 1 - self.value / self.bound)

    def _display(self) -> Display:
        """How good it is, and who runs where at which rate."""
        where, rates = self.placement.gateway_of, self.rates
        names = rates.names[:MOST_ROWS]
        text = f"{self.status}, quality {number(self.quality)}, {len(where):,} of "
        text += f"{counted(len(rates.steps), 'analytic')} on gateways"
        is_bounded = math.isfinite(self.bound)
        return Display(
            text=f"{text}, gap {self.gap:.2%}" if is_bounded else text,
            columns=("analytic", "runs on", "rate_bps", "quality"),
            rows=[
                (name, where.get(name, "cloud"), rate, quality)
                for name, rate, quality in zip(
                    names, rates.rates_bps, rates.qualities, strict=False
                )
            ],
            n_rows=len(rates.steps),
        )


class JointPlanner(Protocol):
    """An algorithm that decides what runs where and who gets how much, at once."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        ...

    def plan(
        self,
        problem: PlacementProblem,
        uplink_bps: float | Mapping[str, float] | None = None,
    ) -> JointPlan:
        """A plan that keeps every limit of the problem and every uplink.

        Args:
            problem: the analytics, each with both curves. An analytic's sensor stands
                at the first gateway of its entry in ``sites``, or else at the first
                gateway of the problem, and what it uploads crosses that one's uplink.
            uplink_bps: one uplink for every gateway, or one by gateway name; what the
                gateways of the problem say by default.

        Raises:
            DataError: an analytic has no curves, or an uplink is negative or NaN.
        """
        ...
