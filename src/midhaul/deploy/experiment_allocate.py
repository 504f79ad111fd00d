"""deploy.allocate: what happens when a file of that kind is run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy import plan_rows, tables
from midhaul.deploy.choices import allocator_named
from midhaul.deploy.inputs import (
    cloud_curve_of,
    curves_of,
    drawn_analytics,
    listed_analytics,
    seed_image_names,
    transport_of,
)
from midhaul.deploy.rates import Demands, ExactKnapsack, HullGreedy
from midhaul.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.deploy.config import AllocateConfig
    from midhaul.deploy.problem import Analytic
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_EXACT_STREAMS = 1000
"""Rates of up to so many are bounded by the exact optimum, beyond by the hulls."""


def allocate(config: AllocateConfig, run: Run, progress: Progress) -> None:
    """Divide each uplink by each allocator.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: a curve cannot be read, or an analytic has none.
    """
    analytics = _streams(config)
    curves = [cloud_curve_of(analytic) for analytic in analytics]
    weights = [analytic.weight for analytic in analytics]
    demands = Demands.of([a.name for a in analytics], weights, curves)
    run.write(tables.CURVES, plan_rows.curve_rows(analytics), part=0)
    pairs = [(up, name) for up in config.uplink_bps for name in config.allocators]
    done = set(run.parts(tables.SUMMARY.name))
    with progress.task("dividing", total=len(pairs)) as task:
        for number, (uplink, name) in enumerate(pairs):
            if number not in done:
                one = _Division(number=number, name=name, uplink=uplink)
                _divide(config, one, analytics, demands, run)
            task.advance()
    plan_rows.note_dominated(analytics, run)
    run.verdict = Verdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Division:
    """One uplink, divided by one allocator."""

    number: int
    name: str
    uplink: float


def _divide(
    config: AllocateConfig,
    one: _Division,
    analytics: Sequence[Analytic],
    demands: Demands,
    run: Run,
) -> None:
    allocator = allocator_named(one.name, alpha=config.alpha)
    begin_s = time.perf_counter()
    rates = allocator.allocate(demands, one.uplink)
    solve_s = time.perf_counter() - begin_s
    bound = min(rates.bound, _bound(demands, one.uplink))
    run.write(
        tables.CONFIGURATIONS,
        [
            {
                "configuration": one.number,
                "name": f"{one.name}, {one.uplink / 1e6:g} Mbit/s",
                "planner": one.name,
                "uplink_bps": one.uplink,
                "settings": "{}",
            }
        ],
        part=one.number,
    )
    rows = plan_rows.decision_rows(one.number, analytics, rates, {}, {})
    run.write(tables.DECISIONS, rows, part=one.number)
    found = plan_rows.rate_metrics(
        one.number, demands.weights, rates, bound, one.uplink
    )
    found += plan_rows.metric_rows(one.number, [("solve_s", solve_s, "s")], 1)
    run.write(tables.SUMMARY, found, part=one.number)


def _bound(demands: Demands, uplink_bps: float) -> float:
    """The tightest bound that is cheap to have, the same for every allocator."""
    bound = HullGreedy().allocate(demands, uplink_bps).bound
    if len(demands) > _EXACT_STREAMS:
        return bound
    return min(bound, ExactKnapsack().allocate(demands, uplink_bps).bound)


def _streams(config: AllocateConfig) -> list[Analytic]:
    transport = transport_of(is_charged=config.with_transport)
    if config.analytics:
        return listed_analytics(config.analytics, curves_of(config.curves), transport)
    rng = np.random.default_rng([config.seed, 1])
    return drawn_analytics(config.draw, seed_image_names(), transport, rng)
