"""deploy.simulate: what happens when a file of that kind is run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.placement.mincut import load_kernels
from midhaul.deploy.simulate import tables
from midhaul.deploy.simulate.inputs import policy_of, scenario_of, simulated_images
from midhaul.deploy.simulate.metrics import metric_samples
from midhaul.deploy.simulate.tables import write_frame, write_history
from midhaul.deploy.simulate.world import simulate_gateway
from midhaul.model import Tally, Verdict
from midhaul.runs.kept import KeptTables
from midhaul.runs.metric import summary_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.deploy.control import Policy
    from midhaul.deploy.simulate.config import SimulateConfig, SimulatedPolicyConfig
    from midhaul.deploy.simulate.scenario import Scenario
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_WITHIN = 0.02
"""By how much a share of periods may miss what was promised."""

_FEW = 2
"""Periods of a repetition that may be over by chance, where there are few."""

_ROUNDING = 1e-6


def simulate(config: SimulateConfig, run: Run, progress: Progress) -> None:
    """Simulate a gateway under each policy, on the same requests.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed; finished repetitions are kept.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: an image, a curve, a request or a trace cannot be read.
    """
    images = simulated_images(config, run)
    scenarios = [
        scenario_of(config, images, repeat) for repeat in range(config.n_repeats)
    ]
    policies = [policy_of(policy, config) for policy in config.policies]
    write_frame(config, scenarios, run)
    repeats = KeptTables(run, tables.REPEATS)
    done = repeats.parts(tables.REPEATS)
    jobs = [(c, r) for r in range(config.n_repeats) for c in range(len(policies))]
    _warm_up(config, scenarios[0], policies)
    with progress.task("simulating", total=len(jobs)) as task:
        for number, repeat in jobs:
            part = number * config.n_repeats + repeat
            if part not in done:
                history = simulate_gateway(scenarios[repeat], policies[number])
                n_requests = len(scenarios[repeat].analytics)
                totals = write_history(
                    run, history, number, repeat, n_requests=n_requests, part=part
                )
                repeats.write(tables.REPEATS, [totals], part)
            task.advance()
    _sum_up(config, repeats.read(tables.REPEATS).to_pylist(), run)


def _warm_up(
    config: SimulateConfig, scenario: Scenario, policies: Sequence[Policy]
) -> None:
    """One slot for nobody, so that loading and compiling are in no algorithm's time."""
    short = replace(scenario, duration_s=min(config.slot_s, config.duration_s))
    if any(policy.placer.name == "mincut" for policy in policies):
        load_kernels()
    for policy in policies:
        simulate_gateway(short, policy)


def _sum_up(
    config: SimulateConfig, repeats: Sequence[dict[str, Any]], run: Run
) -> None:
    """Write the summary and judge the run."""
    verdict = Verdict()
    for number, policy in enumerate(config.policies):
        mine = [row for row in repeats if row["configuration"] == number]
        rng = np.random.default_rng([config.seed, 32, number])
        found = metric_samples(mine, policy.label)
        rows = summary_rows(found, number, rng, config.n_resamples)
        run.write(tables.SUMMARY, rows, part=number)
        verdict += _judge(policy, mine) + _keeping(policy, mine, config.max_late_share)
    run.verdict = verdict


def _judge(
    policy: SimulatedPolicyConfig, repeats: Sequence[Mapping[str, Any]]
) -> Verdict:
    """What speaks against the numbers of one policy."""
    reasons: dict[str, str] = {}
    if any(row["n_periods"] == 0 for row in repeats):
        reasons["a repetition without any analytic has no quality"] = (
            "raise requests.rate_per_min or duration_s"
        )
    n_open = sum(row["n_open"] for row in repeats)
    n_known = sum(row["n_planned"] for row in repeats)
    if n_open > n_known:
        reasons[
            f"{policy.label}: the end of the experiment cut off {n_open} of "
            f"{n_open + n_known} moves, so planned and realised say little"
        ] = "raise duration_s, or lower slot_s"
    return Verdict(reasons=tuple(reasons), advice=tuple(reasons.values()))


def _keeping(
    policy: SimulatedPolicyConfig,
    repeats: Sequence[Mapping[str, Any]],
    max_late_share: float,
) -> Verdict:
    """How often a policy sent more than the uplink carries, and how much came late.

    It speaks against a policy that promised otherwise; those that others are compared
    with promise nothing.
    """
    n_periods = sum(row["n_allocations"] for row in repeats)
    n_messages = sum(row["n_messages"] for row in repeats)
    most = max(_WITHIN, _FEW / max(1, min(row["n_allocations"] for row in repeats)))
    has_promised = policy.forecast == "conformal" and policy.has_back_pressure
    has_promised &= policy.allocator != "raa-as-coded"
    return Verdict.of(
        Tally(
            what=f"rate periods of {policy.label} were granted more than the uplink "
            "carried",
            n=sum(row["n_overshoot"] for row in repeats),
            of=n_periods,
            max_share=min(1.0, policy.max_over_share + most) if has_promised else 1.0,
            advice="Lower max_over_share or uplink_share, or decide more often with a "
            "shorter rate_period_s.",
        ),
        Tally(
            what=f"messages of {policy.label} waited beyond their deadline and count "
            "as no quality",
            n=math.ceil(sum(row["n_late"] for row in repeats) - _ROUNDING),
            of=math.ceil(n_messages),
            max_share=max_late_share if has_promised else 1.0,
            advice="Keep has_back_pressure, lower max_over_share, or raise deadline_s.",
        ),
    )
