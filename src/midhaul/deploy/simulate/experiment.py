"""deploy.simulate: what happens when a file of that kind is run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.catalogue import in_compressed_bytes
from midhaul.deploy.control import Policy, Startup
from midhaul.deploy.curves.transport import charged
from midhaul.deploy.networks import Network, network_named
from midhaul.deploy.placement.mincut import load_kernels
from midhaul.deploy.plan.choices import allocator_named, eviction_named, placer_named
from midhaul.deploy.plan.inputs import curves_of, find_images, transport_of
from midhaul.deploy.problem import Gateway
from midhaul.deploy.requests import (
    AnalyticKind,
    AnalyticRequest,
    analytics_of,
    draw_weights,
    poisson_requests,
    read_requests,
    read_requests_csv,
)
from midhaul.deploy.simulate import tables
from midhaul.deploy.simulate.metrics import metric_samples
from midhaul.deploy.simulate.scenario import Scenario
from midhaul.deploy.simulate.tables import write_frame, write_history
from midhaul.deploy.simulate.world import simulate_gateway
from midhaul.errors import ConfigError
from midhaul.model import Tally, Verdict
from midhaul.runs.kept import KeptTables
from midhaul.runs.metric import summary_rows
from midhaul.runs.section import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.deploy.problem import ContainerImage
    from midhaul.deploy.simulate.config import SimulateConfig, SimulatedPolicyConfig
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_WITHIN = 0.02
"""By how much a share of periods may miss what was promised."""

_FEW = 2
"""Periods of a repetition that may be over by chance, where there are few."""

_ROUNDING = 1e-6


def simulate(config: SimulateConfig, run: Run, progress: Progress) -> None:
    """Simulate a gateway under each policy, on the same requests.

    Repetitions that a resumed run has finished are kept. A MidhaulError is an image, a
    curve, a request or a trace that cannot be read.
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


_MINUTE_S = 60.0
_GATEWAY = "gateway"


def simulated_images(config: SimulateConfig, run: Run) -> dict[str, ContainerImage]:
    """The container images, as the disk counts them.

    A MidhaulError where one is missing or wrong, or a registry does not answer.
    """
    if config.images.kind in {"registry", "engine"}:
        names = {kind.images for kind in config.kinds}
        if any("*" in name or "?" in name for name in names):
            message = (
                f"images of kind {config.images.kind} are looked up by their names"
            )
            hint = "give each of [[kinds]] the whole name of an image, not a pattern"
            raise ConfigError(message, hint)
    else:
        names = set[str]()
    wanted = [(name, None) for name in sorted(names)]
    found = find_images(config.images, wanted, config.seed)
    run.tally(*found.tallies)
    for text in found.notes:
        run.note(text)
    images = dict(found.images)
    if config.gateway.disk_unit == "compressed":
        return in_compressed_bytes(images)
    return images


def scenario_of(
    config: SimulateConfig, images: Mapping[str, ContainerImage], repeat: int
) -> Scenario:
    """What comes in one repetition; a MidhaulError where an image fits no kind."""
    rng = np.random.default_rng([config.seed, 31, repeat])
    requests = _requests(config, sorted(images), repeat, rng)
    weights = draw_weights(images, rng)
    network = network_of(config)
    return Scenario(
        analytics=tuple(analytics_of(requests, kinds_of(config), weights)),
        images=images,
        gateway=value_of(
            Gateway,
            config.gateway,
            name=_GATEWAY,
            downlink_bps=network.downlink_bps,
            uplink_bps=network.uplink_bps,
        ),
        network=network,
        duration_s=config.duration_s,
        startup=value_of(Startup, config.startup),
        goodput=config.network.goodput,
        deadline_s=config.deadline_s,
    )


def _requests(
    config: SimulateConfig, images: list[str], repeat: int, rng: np.random.Generator
) -> list[AnalyticRequest]:
    asked = config.requests
    if asked.kind == "csv" and asked.file is not None:
        found = read_requests_csv(asked.file, asked.versions[repeat])
    elif asked.kind == "parquet" and asked.file is not None:
        found = read_requests(asked.file)
    else:
        found = poisson_requests(
            images,
            n_minutes=math.ceil(config.duration_s / _MINUTE_S),
            rate_per_min=asked.rate_per_min,
            lifetimes_min=(asked.min_lifetime_min, asked.max_lifetime_min),
            rng=rng,
            is_distinct=asked.is_distinct,
        )
    return [request for request in found if request.arrival_s < config.duration_s]


def kinds_of(config: SimulateConfig) -> list[AnalyticKind]:
    """The kinds of analytic, their curves charged with what transports add."""
    curves = curves_of(config.curves)
    if (transport := transport_of(is_charged=config.with_transport)) is not None:
        curves = {name: charged(curve, transport) for name, curve in curves.items()}
    kinds: list[AnalyticKind] = []
    for kind in config.kinds:
        cloud, gateway = curves[kind.cloud_curve], curves[kind.gateway_curve]
        difference = cloud.frontier().rates_bps[-1] - gateway.frontier().rates_bps[-1]
        saved_bps = max(0.0, float(difference))
        kinds.append(
            value_of(
                AnalyticKind,
                kind,
                saved_bps=saved_bps if kind.saved_bps is None else kind.saved_bps,
                cloud_curve=cloud,
                gateway_curve=gateway,
            )
        )
    return kinds


def network_of(config: SimulateConfig) -> Network:
    """The links of the gateway; a DataError where the trace cannot be read."""
    asked, named = config.network, network_named(config.network.name)
    up = named.uplink_bps if asked.uplink_bps is None else asked.uplink_bps
    down_bps, name, trace = asked.downlink_bps or named.downlink_bps, named.name, None
    if asked.uplink_trace is not None:
        from midhaul.traces import read_mahimahi  # noqa: PLC0415  if asked for

        trace = read_mahimahi(asked.uplink_trace)
        up, name = trace.mean_bps, f"{named.name}, {trace.name}"
    return Network(name=name, downlink_bps=down_bps, uplink_bps=up, trace=trace)


def policy_of(policy: SimulatedPolicyConfig, config: SimulateConfig) -> Policy:
    """A policy from its config.

    A PrerequisiteError where a library is not installed.
    """
    return value_of(
        Policy,
        policy,
        name=policy.label,
        placer=placer_named(
            policy.placer, epsilon=policy.epsilon, time_limit_s=policy.time_limit_s
        ),
        allocator=allocator_named(policy.allocator, alpha=policy.alpha),
        eviction=eviction_named(policy.eviction),
        slot_s=config.slot_s,
        rate_period_s=config.rate_period_s,
        startup=value_of(Startup, config.startup) if policy.sees_startup else Startup(),
    )
