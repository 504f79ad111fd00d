"""deploy.plan and deploy.allocate: what happens when a file of these kinds is run."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.joint import price_resources
from midhaul.deploy.plan import tables
from midhaul.deploy.plan.choices import allocator_named, planner_named
from midhaul.deploy.plan.inputs import (
    cloud_curve_of,
    curves_of,
    drawn_analytics,
    images_for,
    listed_analytics,
    problem_of,
    seed_image_names,
    transport_of,
)
from midhaul.deploy.plan.metrics import decided_rows, rate_rows
from midhaul.deploy.rates import Demands, ExactKnapsack, HullGreedy
from midhaul.model import Verdict
from midhaul.runs.section import value_of
from midhaul.stats import known

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from midhaul.deploy.joint import JointPlan, JointPlanner
    from midhaul.deploy.plan.config import AllocateConfig, PlanConfig
    from midhaul.deploy.problem import Analytic, PlacementProblem
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_PART = 0


def plan(config: PlanConfig, run: Run, progress: Progress) -> None:
    """Plan placement and rates by each planner; a MidhaulError names what is wrong."""
    with progress.task("reading images and curves"):
        found = images_for(config, run.file("images.parquet"))
        problem = problem_of(config, found)
    run.tally(*found.tallies)
    for text in found.notes:
        run.note(text)
    if not config.analytics:
        run.note(_DRAWN)
    for analytic in problem.analytics:
        cloud_curve_of(analytic)
    rows = tables.curve_rows(problem.analytics)
    run.write(tables.CURVES, rows, part=_PART)
    tables.note_dominated(problem.analytics, run)
    plans: dict[int, JointPlan] = {}
    done = set(run.parts(tables.SUMMARY.name))
    with progress.task("planning", total=len(config.planners)) as task:
        for number, name in enumerate(config.planners):
            if number not in done or number == 0:
                planner = _planner(name, config, len(problem.analytics))
                plans[number] = planner.plan(problem)
                _write_plan(number, name, problem, plans[number], run)
            task.advance()
    first = plans[0]
    if config.with_prices:
        _write_prices(config, problem, first, run, progress)
    if config.with_export:
        _export(config, problem, first, found.private, run)
    run.verdict = _verdict(problem, first, run)


def _planner(name: str, config: PlanConfig, n_analytics: int) -> JointPlanner:
    limit_s = config.time_limit_s
    return planner_named(name, n_analytics=n_analytics, time_limit_s=limit_s)


def _write_plan(
    number: int, name: str, problem: PlacementProblem, found: JointPlan, run: Run
) -> None:
    uplink = sum(gateway.uplink_bps for gateway in problem.gateways)
    starts_s = tables.start_times(problem, found)
    row = tables.configuration_row(number, name, name, uplink)
    run.write(tables.CONFIGURATIONS, [row], part=number)
    for table, rows in (
        (
            tables.DECISIONS,
            tables.decision_rows(
                number,
                problem.analytics,
                found.rates,
                found.placement.gateway_of,
                starts_s,
                tables.sensors_of(problem),
            ),
        ),
        (tables.PULLS, tables.pull_rows(number, found)),
        (tables.LAYERS, tables.layer_rows(number, problem, found)),
        (tables.USES, tables.use_rows(number, problem, found)),
    ):
        run.write(table, rows, part=number)
    run.write(tables.SUMMARY, _plan_metrics(number, problem, found), part=number)


def _plan_metrics(
    number: int, problem: PlacementProblem, found: JointPlan
) -> list[dict[str, object]]:
    weights = np.array([analytic.weight for analytic in problem.analytics])
    uplink = sum(gateway.uplink_bps for gateway in problem.gateways)
    placed = [a for a in problem.analytics if a.name in found.placement.gateway_of]
    pulls = found.placement.pulls
    rows = rate_rows(number, weights, found.rates, found.bound, uplink)
    values: dict[str, float] = {
        "gap": found.gap if math.isfinite(found.bound) else math.nan,
        "n_on_gateways": len(placed),
        "saved_bps": sum(a.saved_bps for a in placed),
        "pulled_bytes": sum(pull.compressed_bytes for pull in pulls),
        "last_pull_s": max((pull.ends_s for pull in pulls), default=0.0),
        "solve_s": found.solve_s,
    }
    return rows + decided_rows(number, values, len(weights))


_DRAWN = "No analytics are listed: these are drawn by midhaul, and nobody's."
_MOST_PRICES = 3
"""Of all resources, those whose prices stand beside the verdict; the table has all."""


def _write_prices(
    config: PlanConfig,
    problem: PlacementProblem,
    first: JointPlan,
    run: Run,
    progress: Progress,
) -> None:
    planner = _planner(config.planners[0], config, len(problem.analytics))
    n_resources = 4 * len(problem.gateways)
    question = "asking what one more of each resource is worth"
    with progress.task(question, total=n_resources) as task:
        found = price_resources(planner, problem, plan=first, advance=task.advance)
    rows = [
        {
            "configuration": 0,
            "resource": price.resource,
            "step": price.step,
            "gain": price.gain,
            "dual": known(price.dual),
            "sentence": price.sentence,
        }
        for price in found
    ]
    run.write(tables.PRICES, rows, part=_PART)
    for price in found:
        progress.note(price.sentence)
    dearest = sorted(found, key=lambda price: -price.gain)[:_MOST_PRICES]
    for price in dearest:
        run.note(price.sentence)


def _export(
    config: PlanConfig,
    problem: PlacementProblem,
    first: JointPlan,
    private: Collection[str],
    run: Run,
) -> None:
    from midhaul.deploy.exports import (  # noqa: PLC0415  needs PyYAML
        ExportSite,
        Plan,
        Toleration,
        cut_rates,
        export_plan,
        peer_tallies,
    )

    folder = run.file("export/README.txt").parent
    site = value_of(
        ExportSite,
        config.site,
        tolerations=tuple(value_of(Toleration, t) for t in config.site.tolerations),
        private_registries=tuple(sorted(private)),
        plain_http=config.images.plain_http,
    )
    export_plan(folder, problem, first.placement, first.rates, site=site)
    plan = Plan.of(problem, first.placement, first.rates)
    run.tally(cut_rates(plan, site), *peer_tallies(plan, site))


def _verdict(problem: PlacementProblem, first: JointPlan, run: Run) -> Verdict:
    """A plan is what it is: one with a proven gap is valid, and says the gap.

    One that was cut off without any bound may be anything.
    """
    if first.status != "timed_out":
        return Verdict()
    cut = (
        f"The search for {len(problem.analytics)} analytics was stopped by its time "
        "limit"
    )
    if math.isfinite(first.bound):
        run.note(f"{cut}; the plan is proven to lack at most {first.gap:.1%}.")
        return Verdict()
    advice = "Raise time_limit_s, or plan with joint-lagrangian."
    return Verdict(reasons=(f"{cut}, and no bound is known.",), advice=(advice,))


_EXACT_STREAMS = 1000
"""Rates of up to so many are bounded by the exact optimum, beyond by the hulls."""


def allocate(config: AllocateConfig, run: Run, progress: Progress) -> None:
    """Divide each uplink by each allocator.

    A MidhaulError names what cannot be read.
    """
    analytics = _streams(config)
    if not config.analytics:
        run.note(_DRAWN)
    curves = [cloud_curve_of(analytic) for analytic in analytics]
    weights = [analytic.weight for analytic in analytics]
    demands = Demands.of([a.name for a in analytics], weights, curves)
    run.write(tables.CURVES, tables.curve_rows(analytics), part=0)
    pairs = [(up, name) for up in config.uplink_bps for name in config.allocators]
    done = set(run.parts(tables.SUMMARY.name))
    with progress.task("dividing", total=len(pairs)) as task:
        for number, (uplink, name) in enumerate(pairs):
            if number not in done:
                one = _Division(number=number, name=name, uplink=uplink)
                _divide(config, one, analytics, demands, run)
            task.advance()
    tables.note_dominated(analytics, run)
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
    name = f"{one.name}, {one.uplink / 1e6:g} Mbit/s"
    row = tables.configuration_row(one.number, name, one.name, one.uplink)
    run.write(tables.CONFIGURATIONS, [row], part=one.number)
    rows = tables.decision_rows(one.number, analytics, rates, {}, {}, {})
    run.write(tables.DECISIONS, rows, part=one.number)
    found = rate_rows(one.number, demands.weights, rates, bound, one.uplink)
    found += decided_rows(one.number, {"solve_s": solve_s}, 1)
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
