"""From a config to a problem: curves, container images, analytics and gateways."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.curve_readers import read_awstream, read_run, read_table
from midhaul.deploy.image_sources import FoundImages, find_images
from midhaul.deploy.problem import Analytic, Gateway, PlacementProblem
from midhaul.deploy.requests import (
    AnalyticKind,
    Request,
    analytics_of,
    draw_weights,
)
from midhaul.deploy.seed_curves import seed_curve
from midhaul.deploy.transport import MqttTransport, charged
from midhaul.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midhaul.deploy.config import DrawConfig, PlanConfig
    from midhaul.deploy.config_parts import (
        AnalyticConfig,
        CurveConfig,
        GatewayConfig,
    )
    from midhaul.deploy.curves import QosCurve

_MINUTE_S = 60.0
_SEED_KINDS = ("audio", "yolo")
_SEED_CORES = {"audio": 0.513, "yolo": 0.556}
_SEED_MEMORY = {"audio": 0.0784, "yolo": 0.1308}  # share of the gateway's
_SEED_GATEWAY_BYTES = 8e9
_SEED_IMAGES = tuple(f"{kind}{n}" for kind in _SEED_KINDS for n in range(1, 13))


def curves_of(configs: Mapping[str, CurveConfig]) -> dict[str, QosCurve]:
    """The QoS curves that a config names, payload only.

    Raises:
        ConfigError: a source is none of those that there are.
        DataError: a file or run cannot be read or holds no curve.
    """
    return {name: _curve(name, config) for name, config in configs.items()}


def _curve(name: str, config: CurveConfig) -> QosCurve:
    source, _, where = str(config.source).partition(":")
    if source == "seed":
        kind, _, site = where.partition("-")
        if kind in _SEED_KINDS and site in {"cloud", "gateway"}:
            return replace(seed_curve(kind, site), name=name)  # pyright: ignore[reportArgumentType]  looked at just above
    file, hz = Path(where), config.message_hz
    if source == "table":
        curve = read_table(file, config.configuration, message_hz=hz)
        return replace(curve, name=name)
    if source == "awstream":
        return replace(read_awstream(file, message_hz=hz).curve, name=name)
    if source == "run":
        found = read_run(
            file, message_hz=hz, metric=config.metric, detector=config.configuration
        )
        return replace(found.curve, name=name)
    message = f"curve {name}: expected KIND:WHERE as its source, found {config.source}"
    hint = "seed:audio-cloud, table:FILE, awstream:FILE or run:FOLDER"
    raise ConfigError(message, hint)


def with_transport(analytic: Analytic, transport: MqttTransport | None) -> Analytic:
    """An analytic whose curves say what its messages take on the link."""
    if transport is None or analytic.cloud_curve is None:
        return analytic
    assert analytic.gateway_curve is not None  # noqa: S101 - both or none
    return replace(
        analytic,
        cloud_curve=charged(analytic.cloud_curve, transport),
        gateway_curve=charged(analytic.gateway_curve, transport),
    )


def cloud_curve_of(analytic: Analytic) -> QosCurve:
    """The curve of an analytic in the cloud.

    Raises:
        ConfigError: it has none.
    """
    if analytic.cloud_curve is None:
        message = f"analytic {analytic.name} has no QoS curve, so it can get no rate"
        raise ConfigError(message, "give it cloud_curve and gateway_curve of [curves]")
    return analytic.cloud_curve


def transport_of(*, is_charged: bool) -> MqttTransport | None:
    """MQTT with QoS 1, or nothing."""
    return MqttTransport() if is_charged else None


def listed_analytics(
    configs: Iterable[AnalyticConfig],
    curves: Mapping[str, QosCurve],
    transport: MqttTransport | None,
) -> list[Analytic]:
    """The analytics that a config lists; ``n`` of one get numbers behind their name."""
    found: list[Analytic] = []
    for config in configs:
        cloud = curves.get(config.cloud_curve)
        gateway = curves.get(config.gateway_curve)
        one = Analytic(
            name=config.name,
            image=config.image,
            weight=config.weight,
            n_cores=config.n_cores,
            memory_bytes=config.memory_bytes,
            cloud_curve=cloud,
            gateway_curve=gateway,
            lifetime_s=math.inf if config.lifetime_s is None else config.lifetime_s,
        )
        one = with_transport(one, transport)
        saved_bps = config.saved_bps
        if saved_bps is None:
            saved_bps = _saved_bps(one)
        one = replace(one, saved_bps=saved_bps)
        found += [replace(one, name=name) for name in _names_of(config)]
    return found


def _saved_bps(analytic: Analytic) -> float:
    """Rate of the best step in the cloud less that on a gateway; 0 without curves."""
    if analytic.cloud_curve is None or analytic.gateway_curve is None:
        return 0.0
    rates = [
        c.frontier().rates_bps[-1]
        for c in (analytic.cloud_curve, analytic.gateway_curve)
    ]
    return max(0.0, float(rates[0] - rates[1]))


def drawn_analytics(
    draw: DrawConfig,
    names: Sequence[str],
    transport: MqttTransport | None,
    rng: np.random.Generator,
) -> list[Analytic]:
    """Analytics of the seed's two kinds: images uniform, weights uniform by image.

    Args:
        draw: how many, and for how long.
        names: container images to draw from; ``yolo`` in a name makes it an object
            detector, any other is an audio classifier.
        transport: what their curves are charged.
        rng: the source of chance.
    """
    chosen = rng.integers(0, len(names), draw.n)
    lasting = np.full(draw.n, math.inf)
    if draw.max_lifetime_s is not None:
        n_minutes = max(1, int(draw.max_lifetime_s / _MINUTE_S))
        lasting = rng.integers(1, n_minutes + 1, draw.n) * _MINUTE_S
    requests = [
        Request(image=names[int(place)], arrival_s=0.0, lifetime_s=float(lifetime_s))
        for place, lifetime_s in zip(chosen, lasting, strict=True)
    ]
    kinds = [_seed_kind("yolo", "*yolo*"), _seed_kind("audio", "*")]
    weights = draw_weights(names, rng)
    found = analytics_of(requests, kinds, weights)
    return [with_transport(analytic, transport) for analytic in found]


def seed_image_names() -> tuple[str, ...]:
    """Names of the seed's 24 container images."""
    return _SEED_IMAGES


def _seed_kind(kind: str, images: str) -> AnalyticKind:
    cloud = seed_curve(kind, "cloud")  # pyright: ignore[reportArgumentType]  ours
    gateway = seed_curve(kind, "gateway")  # pyright: ignore[reportArgumentType]  ours
    return AnalyticKind(
        images=images,
        saved_bps=float(cloud.rates_bps[-1] - gateway.rates_bps[-1]),
        n_cores=_SEED_CORES[kind],
        memory_bytes=_SEED_MEMORY[kind] * _SEED_GATEWAY_BYTES,
        cloud_curve=cloud,
        gateway_curve=gateway,
    )


def images_for(config: PlanConfig, keep: Path | None = None) -> FoundImages:
    """The container images of a plan, for the platforms of its gateways.

    Args:
        config: the experiment.
        keep: as of :func:`midhaul.deploy.image_sources.find_images`.

    Raises:
        MidhaulError: images are missing or wrong, or a registry does not answer.
    """
    if not config.analytics and config.images.kind in {"registry", "engine"}:
        message = "analytics: expected some, because their images are to be looked up"
        raise ConfigError(message, "list them as [[analytics]] with name and image")
    names = tuple(gateway.name for gateway in config.gateways)
    wanted: list[tuple[str, str | None]] = []
    for gateway in config.gateways:
        here = [a for a in config.analytics if gateway.name in (a.sites or names)]
        wanted += [(analytic.image, gateway.platform) for analytic in here]
        wanted += [(image, gateway.platform) for image in gateway.images]
    return find_images(config.images, wanted, config.seed, keep)


def problem_of(config: PlanConfig, found: FoundImages) -> PlacementProblem:
    """The placement problem of a config.

    Args:
        config: the experiment.
        found: its container images.

    Raises:
        MidhaulError: an image, a curve or a name is wrong.
    """
    rng = np.random.default_rng([config.seed, 1])
    transport = transport_of(is_charged=config.with_transport)
    images = found.images
    names = {analytic.image for analytic in config.analytics}
    names |= {image for gateway in config.gateways for image in gateway.images}
    if missing := names - images.keys():
        message = f"container images not found: {', '.join(sorted(missing))}"
        hint = f"there are {len(images)}: {', '.join(sorted(images)[:8])} ..."
        raise DataError(message, hint)
    if config.analytics:
        curves = curves_of(config.curves)
        analytics = listed_analytics(config.analytics, curves, transport)
    else:
        analytics = drawn_analytics(config.draw, list(images), transport, rng)
    sites = {
        name: entry.sites
        for entry in config.analytics
        if entry.sites
        for name in _names_of(entry)
    }
    problem = PlacementProblem(
        analytics=tuple(analytics),
        images=images,
        gateways=tuple(_gateway(entry, found) for entry in config.gateways),
        slot_s=config.slot_s,
        backhaul_bps=config.backhaul_bps or math.inf,
        has_peer_pulls=config.has_peer_pulls,
        sites=sites,
    )
    used = {analytic.image for analytic in analytics}
    startup_s = dict.fromkeys(used, 0.0)
    for image in problem.all_images():
        if image.name in used:
            takes_s = config.startup_s_per_gb * image.uncompressed_bytes / 1e9
            startup_s[image.name] = max(startup_s[image.name], takes_s)
    return replace(problem, startup_s=startup_s)


def _names_of(config: AnalyticConfig) -> list[str]:
    if config.n == 1:
        return [config.name]
    return [f"{config.name}.{number}" for number in range(config.n)]


def _gateway(config: GatewayConfig, found: FoundImages) -> Gateway:
    images = {
        name: image
        for name, image in found.by_platform.get(config.platform, {}).items()
        if image != found.images[name]
    }
    there = [images.get(name, found.images[name]) for name in config.images]
    return Gateway(
        name=config.name,
        disk_bytes=config.disk_bytes,
        n_cores=config.n_cores,
        memory_bytes=config.memory_bytes,
        downlink_bps=config.downlink_bps,
        uplink_bps=config.uplink_bps,
        layers=frozenset(x.digest for image in there if image for x in image.layers),
        images=images,
    )
