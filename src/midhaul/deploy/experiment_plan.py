"""deploy.plan: what happens when a file of that kind is run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy import plan_rows, tables
from midhaul.deploy.choices import planner_named
from midhaul.deploy.inputs import cloud_curve_of, images_for, problem_of
from midhaul.deploy.joint import price_resources
from midhaul.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from midhaul.deploy.config import PlanConfig
    from midhaul.deploy.joint import JointPlan, JointPlanner
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_PART = 0


def plan(config: PlanConfig, run: Run, progress: Progress) -> None:
    """Plan placement and rates by each planner.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: an image, a curve or a name is wrong.
    """
    with progress.task("reading images and curves"):
        found = images_for(config, run.file("images.parquet"))
        problem = problem_of(config, found)
    run.tally(*found.tallies)
    for text in found.notes:
        run.note(text)
    for analytic in problem.analytics:
        cloud_curve_of(analytic)
    rows = plan_rows.curve_rows(problem.analytics)
    run.write(tables.CURVES, rows, part=_PART)
    plan_rows.note_dominated(problem.analytics, run)
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
    run.verdict = _verdict(problem, first)


def _planner(name: str, config: PlanConfig, n_analytics: int) -> JointPlanner:
    limit_s = config.time_limit_s
    return planner_named(name, n_analytics=n_analytics, time_limit_s=limit_s)


def _write_plan(
    number: int, name: str, problem: PlacementProblem, found: JointPlan, run: Run
) -> None:
    uplink = sum(gateway.uplink_bps for gateway in problem.gateways)
    starts_s = plan_rows.start_times(problem, found)
    run.write(
        tables.CONFIGURATIONS,
        [
            {
                "configuration": number,
                "name": name,
                "planner": name,
                "uplink_bps": uplink,
                "settings": "{}",
            }
        ],
        part=number,
    )
    for table, rows in (
        (
            tables.DECISIONS,
            plan_rows.decision_rows(
                number,
                problem.analytics,
                found.rates,
                found.placement.gateway_of,
                starts_s,
            ),
        ),
        (tables.PULLS, plan_rows.pull_rows(number, found)),
        (tables.LAYERS, plan_rows.layer_rows(number, problem, found)),
        (tables.USES, plan_rows.use_rows(number, problem, found)),
    ):
        run.write(table, rows, part=number)
    run.write(tables.SUMMARY, _plan_metrics(number, problem, found), part=number)


def _plan_metrics(
    number: int, problem: PlacementProblem, found: JointPlan
) -> list[dict[str, Any]]:
    weights = np.array([analytic.weight for analytic in problem.analytics])
    uplink = sum(gateway.uplink_bps for gateway in problem.gateways)
    placed = [a for a in problem.analytics if a.name in found.placement.gateway_of]
    pulls = found.placement.pulls
    rows = plan_rows.rate_metrics(number, weights, found.rates, found.bound, uplink)
    values: list[tuple[str, float, str]] = [
        ("gap", found.gap if math.isfinite(found.bound) else math.nan, ""),
        ("n_on_gateways", len(placed), ""),
        ("saved_bps", sum(a.saved_bps for a in placed), "bit/s"),
        ("pulled_bytes", sum(pull.compressed_bytes for pull in pulls), "B"),
        ("last_pull_s", max((pull.ends_s for pull in pulls), default=0.0), "s"),
        ("solve_s", found.solve_s, "s"),
    ]
    return rows + plan_rows.metric_rows(number, values, len(weights))


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
            "dual": None if math.isnan(price.dual) else price.dual,
            "sentence": price.sentence,
        }
        for price in found
    ]
    run.write(tables.PRICES, rows, part=_PART)
    for price in found:
        progress.note(price.sentence)


def _export(
    config: PlanConfig,
    problem: PlacementProblem,
    first: JointPlan,
    private: Collection[str],
    run: Run,
) -> None:
    from midhaul.deploy.exports import (  # noqa: PLC0415  needs PyYAML
        Plan,
        Site,
        Toleration,
        cut_rates,
        export_plan,
        peer_tallies,
    )

    folder = run.file("export/README.txt").parent
    values = config.site.model_dump()
    values["tolerations"] = tuple(Toleration(**t) for t in values["tolerations"])
    site = Site(
        **values,
        private_registries=tuple(sorted(private)),
        plain_http=config.images.plain_http,
    )
    export_plan(folder, problem, first.placement, first.rates, site=site)
    plan = Plan.of(problem, first.placement, first.rates)
    run.tally(cut_rates(plan, site), *peer_tallies(plan, site))


def _verdict(problem: PlacementProblem, first: JointPlan) -> Verdict:
    if first.status == "timed_out":
        reason = (
            f"The search for {len(problem.analytics)} analytics was stopped by its "
            f"time limit; the plan may lack up to {first.gap:.1%} to the best one."
        )
        advice = "Raise time_limit_s, or plan with joint-lagrangian."
        return Verdict(reasons=(reason,), advice=(advice,))
    return Verdict()
