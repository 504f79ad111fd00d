"""From a config of deploy.simulate to what is simulated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.catalogue import in_compressed_bytes
from midhaul.deploy.control import Policy, Startup
from midhaul.deploy.curves.transport import charged
from midhaul.deploy.networks import Network, network_named
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
from midhaul.deploy.simulate.scenario import Scenario
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.problem import ContainerImage
    from midhaul.deploy.simulate.config import SimulateConfig, SimulatedPolicyConfig
    from midhaul.runs.run import Run

_MINUTE_S = 60.0
_GATEWAY = "gateway"


def simulated_images(config: SimulateConfig, run: Run) -> dict[str, ContainerImage]:
    """The container images, as the disk counts them.

    Raises:
        MidhaulError: one is missing or wrong, or a registry does not answer.
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
    """What comes in one repetition.

    Raises:
        MidhaulError: a file cannot be read, or an image fits no kind.
    """
    rng = np.random.default_rng([config.seed, 31, repeat])
    requests = _requests(config, sorted(images), repeat, rng)
    weights = draw_weights(images, rng)
    network = network_of(config)
    return Scenario(
        analytics=tuple(analytics_of(requests, kinds_of(config), weights)),
        images=images,
        gateway=Gateway(
            name=_GATEWAY,
            disk_bytes=config.gateway.disk_bytes,
            n_cores=config.gateway.n_cores,
            memory_bytes=config.gateway.memory_bytes,
            downlink_bps=network.downlink_bps,
            uplink_bps=network.uplink_bps,
        ),
        network=network,
        duration_s=config.duration_s,
        startup=Startup(
            fixed_s=config.startup.fixed_s, s_per_gb=config.startup.s_per_gb
        ),
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
    """The kinds of analytic, their curves charged with what transports add.

    Raises:
        MidhaulError: a curve cannot be read.
    """
    curves = curves_of(config.curves)
    if (transport := transport_of(is_charged=config.with_transport)) is not None:
        curves = {name: charged(curve, transport) for name, curve in curves.items()}
    kinds: list[AnalyticKind] = []
    for kind in config.kinds:
        cloud, gateway = curves[kind.cloud_curve], curves[kind.gateway_curve]
        difference = cloud.frontier().rates_bps[-1] - gateway.frontier().rates_bps[-1]
        saved_bps = max(0.0, float(difference))
        kinds.append(
            AnalyticKind(
                images=kind.images,
                saved_bps=saved_bps if kind.saved_bps is None else kind.saved_bps,
                n_cores=kind.n_cores,
                memory_bytes=kind.memory_bytes,
                cloud_curve=cloud,
                gateway_curve=gateway,
            )
        )
    return kinds


def network_of(config: SimulateConfig) -> Network:
    """The links of the gateway.

    Raises:
        DataError: the trace cannot be read.
    """
    asked, named = config.network, network_named(config.network.name)
    up = named.uplink_bps if asked.uplink_bps is None else asked.uplink_bps
    down_bps, name, trace = asked.downlink_bps or named.downlink_bps, named.name, None
    if asked.uplink_trace is not None:
        from midhaul.deploy.networks import read_mahimahi  # noqa: PLC0415  if asked for

        trace = read_mahimahi(asked.uplink_trace)
        up, name = trace.mean_bps, f"{named.name}, {trace.name}"
    return Network(name=name, downlink_bps=down_bps, uplink_bps=up, trace=trace)


def policy_of(policy: SimulatedPolicyConfig, config: SimulateConfig) -> Policy:
    """A policy from its config.

    Raises:
        PrerequisiteError: an algorithm's library is not installed.
    """
    startup = Startup(fixed_s=config.startup.fixed_s, s_per_gb=config.startup.s_per_gb)
    return Policy(
        name=policy.label,
        placer=placer_named(
            policy.placer, epsilon=policy.epsilon, time_limit_s=policy.time_limit_s
        ),
        allocator=allocator_named(policy.allocator, alpha=policy.alpha),
        eviction=eviction_named(policy.eviction),
        slot_s=config.slot_s,
        rate_period_s=config.rate_period_s,
        sees_lifetimes=policy.sees_lifetimes,
        horizon_s=policy.horizon_s,
        startup=startup if policy.sees_startup else Startup(),
        high_water=policy.high_water,
        low_water=policy.low_water,
        downlink_share=policy.downlink_share,
        uplink_share=policy.uplink_share,
        forecast=policy.forecast,
        max_over_share=policy.max_over_share,
        has_back_pressure=policy.has_back_pressure,
    )
