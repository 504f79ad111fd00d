"""From a config to what the loop needs: images, analytics, the link, the policy."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.catalogue import builtin_images, read_images
from midhaul.deploy.control import Policy, Startup
from midhaul.deploy.networks import Network
from midhaul.deploy.plan.choices import allocator_named, eviction_named, placer_named
from midhaul.deploy.problem import Gateway
from midhaul.deploy.requests import (
    AnalyticKind,
    analytics_of,
    draw_weights,
    poisson_requests,
    read_requests,
    read_requests_csv,
)
from midhaul.errors import DataError
from midhaul.runs.section import value_of
from midhaul.traces import read_mahimahi

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from midhaul.deploy.live.config import LiveConfig
    from midhaul.deploy.live.pulls import PullModel
    from midhaul.deploy.live.workload import MeasuredCurves
    from midhaul.deploy.problem import Analytic, ContainerImage
    from midhaul.deploy.requests import AnalyticRequest

_MINUTE_S = 60.0
_PLANS = 0.2  # share of a slot that its placement may take


def images_of(config: LiveConfig) -> dict[str, ContainerImage]:
    """The container images at their full sizes; those that are made are scaled."""
    if config.images.file is not None:
        return read_images(config.images.file)
    return builtin_images(seed=config.seed)


def requests_of(
    config: LiveConfig, images: Collection[str], repeat: int
) -> list[AnalyticRequest]:
    """Who asks for what when, in real seconds after the begin of a repetition.

    A DataError where the file cannot be read, or names an image that is not there.
    """
    wanted, scale = config.requests, config.time_scale
    if wanted.file is None:
        found = poisson_requests(
            sorted(images),
            n_minutes=int(np.ceil(config.duration_s * scale / _MINUTE_S)),
            rate_per_min=wanted.rate_per_min,
            lifetimes_min=(wanted.min_lifetime_min, wanted.max_lifetime_min),
            rng=np.random.default_rng([config.seed, 1, repeat]),
        )
    elif wanted.file.suffix == ".csv":
        found = read_requests_csv(wanted.file, wanted.version)
    else:
        found = read_requests(wanted.file)
    if unknown := sorted({one.image for one in found} - set(images)):
        message = f"requests ask for {unknown[0]}, which is not among the images"
        raise DataError(message, f"there are {', '.join(sorted(images)[:5])}, …")
    scaled = [
        replace(one, arrival_s=one.arrival_s / scale, lifetime_s=one.lifetime_s / scale)
        for one in found
    ]
    return [one for one in scaled if one.arrival_s < config.duration_s]


def workload_of(config: LiveConfig, image: str) -> str:
    """What the analytics of an image do: ``images`` or ``sounds``."""
    is_sound = fnmatchcase(image, config.workload.sound_images)
    return "sounds" if is_sound else "images"


def analytics_from(
    config: LiveConfig,
    requests: Sequence[AnalyticRequest],
    curves: Mapping[str, MeasuredCurves],
) -> list[Analytic]:
    """One analytic for each request, with the curves that were measured."""
    images = sorted({request.image for request in requests})
    weights = draw_weights(images, np.random.default_rng([config.seed, 2]))
    kinds = [
        AnalyticKind(
            images=image,
            saved_bps=measured.saved_bps,
            n_cores=config.gateway.n_cores_each,
            memory_bytes=0.0,
            cloud_curve=measured.cloud,
            gateway_curve=measured.gateway,
        )
        for image in images
        for measured in [curves[workload_of(config, image)]]
    ]
    return analytics_of(requests, kinds, weights)


def network_of(config: LiveConfig) -> Network:
    """The link, with its trace where there is one.

    A DataError if that is unreadable.
    """
    link = config.link
    if link.uplink_trace is None:
        return Network(
            name="constant", downlink_bps=link.downlink_bps, uplink_bps=link.uplink_bps
        )
    trace = read_mahimahi(link.uplink_trace)
    return Network(
        name=trace.name,
        downlink_bps=link.downlink_bps,
        uplink_bps=trace.mean_bps,
        trace=trace,
    )


def gateway_of(config: LiveConfig, model: PullModel) -> Gateway:
    """The gateway, whole, with the pull rate that was measured."""
    return Gateway(
        name="gateway",
        disk_bytes=config.gateway.disk_bytes,
        n_cores=config.gateway.n_cores,
        downlink_bps=model.pull_bps,
        uplink_bps=config.link.uplink_bps,
    )


def policy_of(config: LiveConfig, model: PullModel) -> Policy:
    """How the gateway decides, in real seconds."""
    planning, slot_s = config.planning, config.slot_s / config.time_scale
    horizon_s = planning.horizon_s
    return value_of(
        Policy,
        planning,
        name=policy_name(config),
        placer=placer_named(planning.placer, time_limit_s=_PLANS * slot_s),
        allocator=allocator_named(planning.allocator),
        eviction=eviction_named(planning.eviction),
        slot_s=slot_s,
        rate_period_s=config.rate_period_s / config.time_scale,
        horizon_s=None if horizon_s is None else horizon_s / config.time_scale,
        startup=Startup(fixed_s=model.fixed_s + model.start_s),
        downlink_share=planning.pull_share,
    )


def policy_name(config: LiveConfig) -> str:
    """PLACER+ALLOCATOR+EVICTION."""
    planning = config.planning
    return f"{planning.placer}+{planning.allocator}+{planning.eviction}"


def settings_of(config: LiveConfig) -> str:
    """What else tells this way to decide from others, as JSON."""
    link = config.link
    trace = link.uplink_trace
    return json.dumps(
        {
            "sees_lifetimes": config.planning.sees_lifetimes,
            "forecast": config.planning.forecast,
            "max_over_share": config.planning.max_over_share,
            "downlink_bps": link.downlink_bps,
            "uplink": trace.name if trace is not None else link.uplink_bps,
            "disk_bytes": config.gateway.disk_bytes,
            "time_scale": config.time_scale,
        }
    )
