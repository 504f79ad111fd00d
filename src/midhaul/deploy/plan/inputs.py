"""Inputs of a plan: from a config to a problem of analytics, images and gateways.

Container images are found by name and platform, wherever a config says they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.catalogue import builtin_images, conflicting_digests, read_platforms
from midhaul.deploy.curves.readers import read_awstream, read_run, read_table
from midhaul.deploy.curves.seed_curves import seed_curve
from midhaul.deploy.curves.transport import MqttTransport, charged
from midhaul.deploy.problem import Analytic, Gateway, PlacementProblem
from midhaul.deploy.requests import (
    AnalyticKind,
    AnalyticRequest,
    analytics_of,
    draw_weights,
)
from midhaul.deploy.store.manifests import parse_platform
from midhaul.errors import ConfigError, DataError
from midhaul.model import Tally
from midhaul.runs.section import value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from midhaul.deploy.curves.qos_curve import QosCurve
    from midhaul.deploy.plan.config import (
        AnalyticConfig,
        CurveConfig,
        DrawConfig,
        GatewayConfig,
        ImagesConfig,
        PlanConfig,
    )
    from midhaul.deploy.problem import ContainerImage
    from midhaul.deploy.store.reader import ImageRecord

Wanted = tuple[str, str | None]
"""Name of a container image and the platform it is wanted for; None for the usual."""

_Offers = dict[str, dict[str, "ContainerImage"]]  # by name and platform
_ON_NETWORK, _ON_DISK = "on the network", "on a disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """Container images for a plan, and what is to be said of them.

    ``images`` has each for the usual platform, or for the first that has it.
    ``by_platform`` has them by platform as it was wanted and by name, and None for an
    image that is not offered for it; a platform or a name is missing where ``images``
    holds. ``private`` are registries that wanted to know who asks.
    """

    images: Mapping[str, ContainerImage]
    by_platform: Mapping[str | None, Mapping[str, ContainerImage | None]]
    tallies: tuple[Tally, ...] = ()
    notes: tuple[str, ...] = ()
    private: frozenset[str] = frozenset()


def find_images(
    config: ImagesConfig, wanted: Iterable[Wanted], seed: int, keep: Path | None = None
) -> FoundImages:
    """Find container images, each for the platforms that it is wanted for.

    A registry is asked for nothing else. What it said is written to ``keep``, so that
    the plan can be made again when its tags have moved on; what is there from an
    earlier attempt is not asked for again. ``seed`` is for what is made up. A DataError
    names all images that are missing or wrong, a NodeError is a registry that does not
    answer as it should, a PrerequisiteError a missing engine or password.
    """
    pairs = list(dict.fromkeys(wanted))
    if config.kind == "registry":
        return _of_registries(config, pairs, keep)
    if config.kind == "file":
        return _of_file(config, pairs)
    if config.kind == "engine":
        return _of_engine(config, pairs)
    images = builtin_images(scale=config.scale, seed=seed)
    return FoundImages(images=images, by_platform={})


def _of_file(config: ImagesConfig, wanted: Collection[Wanted]) -> FoundImages:
    assert config.file is not None  # noqa: S101 - the config says so
    offers: _Offers = {}
    by_platform = read_platforms(
        config.file, uncompressed_ratio=config.uncompressed_ratio
    )
    for platform, images in by_platform.items():
        for name, image in images.items():
            offers.setdefault(name, {})[platform] = image
    conflicts = conflicting_digests(config.file)
    tally = Tally(
        what="layers have several sizes, of which the largest counts",
        n=len(conflicts),
        of=len(
            {x.digest for o in offers.values() for i in o.values() for x in i.layers}
        ),
        max_share=1.0,
        advice=f"Write {config.file.name} anew: a digest has one size.",
        places=tuple(digest[:19] for digest in conflicts),
    )
    return _chosen(config, offers, wanted, (tally,), _ON_DISK)


def _of_engine(config: ImagesConfig, wanted: Collection[Wanted]) -> FoundImages:
    from midhaul.deploy import store  # noqa: PLC0415  needs aiohttp

    found = store.read_engine(sorted({name for name, _ in wanted}))
    offers: _Offers = {
        name: {one.platform: one.image(config.uncompressed_ratio)}
        for name, one in found.items()
    }
    return _chosen(config, offers, wanted, (), _ON_NETWORK)


def _of_registries(
    config: ImagesConfig, wanted: Collection[Wanted], keep: Path | None
) -> FoundImages:
    from midhaul.deploy import store  # noqa: PLC0415  needs aiohttp

    usual = config.platform
    asked = {
        (name, str(parse_platform(platform or usual))): None
        for name, platform in wanted
    }
    known = store.read_layers(keep) if keep is not None else []
    records = {
        key: one
        for one in known
        if (key := (one.image.name, one.asked_platform)) in asked
    }
    reading = store.read_wanted(
        [key for key in asked if key not in records],
        ratio=config.uncompressed_ratio,
        access=store.Access(
            plain_http=frozenset(config.plain_http),
            ca_file=config.ca_file,
            mirrors=config.mirrors,
        ),
        with_skopeo=config.reader == "skopeo",
    )
    records |= reading.records
    if keep is not None and records:
        store.write_layers(records.values(), keep)
    have = {name for name, _ in records}
    bad = {
        f"{name} for {platform}": error
        for (name, platform), error in reading.problems.items()
        if name not in have or not isinstance(error, store.NotOfferedError)
    }
    if bad:
        raise store.all_of(bad, len(asked))
    offers: _Offers = {}
    for record in records.values():
        offers.setdefault(record.image.name, {})[record.platform] = record.image
    found = _chosen(config, offers, wanted, _tallies(records.values()), _ON_DISK)
    notes = dict.fromkeys(one.remark for one in records.values() if one.remark)
    notes |= {
        f"mirror {mirror} was left out: {why}": None
        for mirror, why in reading.mirrors_down.items()
    }
    return FoundImages(
        images=found.images,
        by_platform=found.by_platform,
        tallies=found.tallies,
        notes=tuple(notes),
        private=frozenset(
            store.parse_reference(one.reference).registry
            for one in records.values()
            if one.is_private
        ),
    )


def _chosen(
    config: ImagesConfig,
    offers: _Offers,
    wanted: Collection[Wanted],
    tallies: tuple[Tally, ...],
    where: str,
) -> FoundImages:
    """What is wanted of what is offered; a DataError where that is none of them."""
    by_platform: dict[str | None, dict[str, ContainerImage | None]] = {}
    for name, platform in wanted:
        if name in offers:
            asked = platform or config.platform
            one = _best(offers[name], asked)
            if one is None and platform is None and config.kind != "registry":
                one = next(iter(offers[name].values()))  # nobody asked for a platform
            by_platform.setdefault(platform, {})[name] = one
    images = {
        name: by_platform.get(None, {}).get(name) or next(iter(some.values()))
        for name, some in offers.items()
    }
    pairs = [(n, p, one) for p, some in by_platform.items() for n, one in some.items()]
    possible = {name for name, _, one in pairs if one is not None}
    if nowhere := sorted({name for name, _, _ in pairs} - possible):
        said = "".join(
            f"\n  {name}, only for: {', '.join(sorted(offers[name]))}"
            for name in nowhere
        )
        message = f"not offered for the platforms of their gateways:{said}"
        raise DataError(message, "build them for these platforms, or change platform")
    missing = [f"{n} for {p or config.platform}" for n, p, one in pairs if one is None]
    ruled_out = Tally(
        what="pairs of a container image and a platform are ruled out, since the image "
        "is not offered for it",
        n=len(missing),
        of=len(pairs),
        max_share=1.0,
        advice="Build the images for these platforms, too.",
        places=tuple(missing),
    )
    used = [one for _, _, one in pairs if one is not None]
    return FoundImages(
        images=images,
        by_platform=by_platform,
        tallies=(_estimates(used, where), ruled_out, *tallies),
    )


def _best(offers: Mapping[str, ContainerImage], asked: str) -> ContainerImage | None:
    """The image for a platform, or an older variant; one without a platform fits."""
    wanted = parse_platform(asked)
    fitting = [
        (parse_platform(platform).variant if platform else 0, image)
        for platform, image in offers.items()
        if not platform or wanted.runs(parse_platform(platform))
    ]
    return max(fitting, key=lambda pair: pair[0], default=(0, None))[1]


def _estimates(images: Iterable[ContainerImage], where: str) -> Tally:
    """How many layers have a size that is not known."""
    layers = {layer.digest: layer for image in images for layer in image.layers}
    guessed = [layer for layer in layers.values() if layer.is_estimated]
    total, unsure = (
        sum(layer.uncompressed_bytes for layer in some) / 1e6
        for some in (layers.values(), guessed)
    )
    return Tally(
        what=f"layers, {unsure:,.1f} of {total:,.1f} MB, have estimated sizes {where}",
        n=len(guessed),
        of=len(layers),
        max_share=1.0,
        advice="Give them exact sizes from an engine or a layer store, or set "
        "images.uncompressed_ratio to what such layers have.",
        places=tuple(layer.digest[:19] for layer in guessed),
    )


def _tallies(records: Collection[ImageRecord]) -> tuple[Tally, ...]:
    """What a registry's images leave to be assumed."""
    unnamed = [one.reference for one in records if not one.is_named]
    foreign = {digest for one in records for digest in one.foreign}
    return (
        Tally(
            what="container images name no platform and are taken to fit",
            n=len(unnamed),
            of=len(records),
            max_share=1.0,
            advice="Push them with a configuration that names os and architecture.",
            places=tuple(unnamed),
        ),
        Tally(
            what="layers are foreign: their registry need not have them",
            n=len(foreign),
            of=len({x.digest for one in records for x in one.image.layers}),
            max_share=1.0,
            advice="Gateways must reach the places that the manifest names.",
            places=tuple(digest[:19] for digest in sorted(foreign)),
        ),
    )


_MINUTE_S = 60.0
_SEED_KINDS = ("audio", "yolo")
_SEED_CORES = {"audio": 0.513, "yolo": 0.556}
_SEED_MEMORY = {"audio": 0.0784, "yolo": 0.1308}  # share of the gateway's
_SEED_GATEWAY_BYTES = 8e9
_SEED_IMAGES = tuple(f"{kind}{n}" for kind in _SEED_KINDS for n in range(1, 13))


def curves_of(configs: Mapping[str, CurveConfig]) -> dict[str, QosCurve]:
    """The QoS curves that a config names, payload only.

    A ConfigError is a source that there is not, a DataError a file or run without a
    curve.
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
    """The curve of an analytic in the cloud; a ConfigError where it has none."""
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
        one = value_of(
            Analytic,
            config,
            cloud_curve=cloud,
            gateway_curve=gateway,
            saved_bps=config.saved_bps or 0.0,
            lifetime_s=math.inf if config.lifetime_s is None else config.lifetime_s,
        )
        one = with_transport(one, transport)
        if config.saved_bps is None:
            one = replace(one, saved_bps=_saved_bps(one))
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

    ``yolo`` in the name of an image makes an object detector of it, any other is an
    audio classifier.
    """
    chosen = rng.integers(0, len(names), draw.n)
    lasting = np.full(draw.n, math.inf)
    if draw.max_lifetime_s is not None:
        n_minutes = max(1, int(draw.max_lifetime_s / _MINUTE_S))
        lasting = rng.integers(1, n_minutes + 1, draw.n) * _MINUTE_S
    requests = [
        AnalyticRequest(
            image=names[int(place)], arrival_s=0.0, lifetime_s=float(lifetime_s)
        )
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

    ``keep`` and errors are those of :func:`find_images`.
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
    """The placement problem of a config; a MidhaulError names what is wrong with it."""
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
    return value_of(
        Gateway,
        config,
        layers=frozenset(x.digest for image in there if image for x in image.layers),
        images=images,
    )
