"""First places, then rates: what a joint plan is measured against.

The seed works like this (IoT-System-Server): container images are chosen by the upload
rate that they save, and then the uplink is divided among what runs where. Each half may
be optimal, and the whole need not be: an analytic that saves much may have little to
gain from what it saves.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint.base import JointPlan
from midhaul.deploy.joint.model import model_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.placement.base import Placer
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import RateAllocator


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """Any placer, and any allocator after it.

    Attributes:
        placer: decides who runs where, by saved upload rate.
        allocator: divides the uplinks afterwards.
        has_weights: false where places are chosen as if all weights were one, as the
            seed does.
    """

    placer: Placer
    allocator: RateAllocator
    has_weights: bool = True

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return f"{self.placer.name}+{self.allocator.name}"

    def plan(
        self,
        problem: PlacementProblem,
        uplink_bps: float | Mapping[str, float] | None = None,
    ) -> JointPlan:
        """A plan without a bound; see :class:`~midhaul.deploy.joint.base.JointPlanner`.

        An analytic that is placed stays so even where it gets no rate.
        """
        begin_s = time.perf_counter()
        model = model_of(problem, uplink_bps)
        equal = tuple(replace(a, weight=1.0) for a in problem.analytics)
        seen = problem if self.has_weights else replace(problem, analytics=equal)
        placement = self.placer.place(seen)
        moved = np.array([a.name in placement.gateway_of for a in problem.analytics])
        rates = model.allocate(moved.astype(np.bool_), self.allocator)
        return JointPlan(
            status="feasible",
            placement=placement,
            rates=rates,
            bound=math.inf,
            total_weight=float(model.weights.sum()),
            solve_s=time.perf_counter() - begin_s,
        )
