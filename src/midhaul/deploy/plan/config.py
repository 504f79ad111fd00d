"""Config of deploy.plan and deploy.allocate, key by key, and tables of other kinds.

The tables that all experiment files of the area share stand first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from midhaul.deploy.exports.plan import ExportSite, Toleration
from midhaul.deploy.plan.choices import PlanAllocatorName, is_planner
from midhaul.deploy.store.manifests import parse_platform
from midhaul.errors import DataError
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.section import section
from midhaul.runs.spec import Spec


def _platform(text: str) -> str:
    """A platform in Go's names, for whatever name it has."""
    try:
        return str(parse_platform(text))
    except DataError as error:
        raise ValueError(error.message) from error


Forecasts = Literal["conformal", "last", "ewma", "least", "oracle"]

FORECAST = (
    "What is counted on of an uplink that changes: conformal keeps to max_over_share; "
    "last, the period before; ewma, a mean that forgets; least, the least of five "
    "periods; oracle knows what comes."
)
HAS_BACK_PRESSURE = (
    "Whether knobs go down within a rate period while messages wait, and messages "
    "past their deadline are dropped rather than sent."
)
MAX_OVER_SHARE = (
    "Share of rate periods in which the uplink may carry less than conformal counts on."
)

PlatformName = Annotated[str, AfterValidator(_platform)]


class ImagesConfig(Section):
    """Where container images and the sizes of their layers come from."""

    kind: Literal["builtin", "file", "registry", "engine"] = setting(
        "builtin",
        "builtin: 24 made-up images; file: a Parquet table of layers; registry: "
        "manifests of any OCI registry; engine: the local Docker engine.",
    )
    file: Path | None = setting(
        None,
        "Parquet file with the columns image, position, digest and compressed_bytes, "
        "uncompressed_bytes or size_bytes (file).",
    )
    scale: float = setting(1.0, "Factor on the sizes of the built-in images.", gt=0)
    platform: PlatformName = setting(
        "linux/amd64",
        "Which image of an index to take where a gateway names none: linux/arm64, "
        "linux/arm/v7, or the names that Debian and the kernel have, such as aarch64, "
        "x86_64 and armhf (registry, file).",
    )
    plain_http: tuple[str, ...] = setting(
        (),
        "Registries, HOST:PORT, that are asked without TLS; those on loopback are "
        "asked by what they speak (registry).",
    )
    ca_file: Path | None = setting(
        None,
        "PEM file of a certificate authority, beside those of the system and of "
        "/etc/docker/certs.d (registry).",
    )
    mirrors: dict[str, tuple[str, ...]] = setting(
        dict[str, tuple[str, ...]],
        "By registry, such as docker.io, mirrors HOST[:PORT][/PATH] that are asked "
        "before it (registry).",
    )
    reader: Literal["midhaul", "skopeo"] = setting(
        "midhaul",
        "Who asks registries; skopeo knows registries.conf, and no sizes on a disk "
        "(registry).",
    )
    uncompressed_ratio: float = setting(
        1.85, "Uncompressed over compressed bytes, where only these are known.", ge=1
    )

    @model_validator(mode="after")
    def _file_is_given(self) -> Self:
        if self.kind == "file" and self.file is None:
            message = "images of kind file need the key file"
            raise ValueError(message)
        return self


class CurveConfig(Section):
    """A QoS curve: what quality each upload rate buys."""

    source: Spec = setting(
        Spec("seed:audio-cloud"),
        "seed:NAME (audio-cloud, audio-gateway, yolo-cloud, yolo-gateway), table:FILE "
        "(columns knob, rate_bps, quality), awstream:FILE, or run:FOLDER of a testbed "
        "run.",
    )
    configuration: str = setting(
        "",
        "Which curve of the file, or which detector of the run; the first by default.",
    )
    metric: str = setting("f1", "Metric of the run that is the quality (run).")
    message_hz: float = setting(
        0.0, "Messages per second: the image rate of a run; 0 for the file's.", ge=0
    )


class AnalyticConfig(Section):
    """One analytic, or several of a kind."""

    name: str = setting(
        ..., "Unique name, fit for DNS.", pattern=r"^[a-z0-9][a-z0-9.-]*$"
    )
    image: str = setting(..., "Its container image.")
    n: int = setting(1, "How many of it there are.", ge=1)
    weight: float = setting(1.0, "How much each counts.", ge=0)
    cloud_curve: str = setting("", "Curve while it runs in the cloud, one of [curves].")
    gateway_curve: str = setting(
        "", "Curve while it runs on a gateway, one of [curves]."
    )
    saved_bps: float | None = setting(
        None,
        "Upload rate saved on a gateway; by default the difference of the last steps "
        "of its curves.",
        ge=0,
    )
    n_cores: float = setting(0.0, "CPU cores it keeps busy.", ge=0)
    memory_bytes: float = setting(0.0, "Memory it holds.", ge=0)
    lifetime_s: float | None = setting(
        None, "How long it stays; for ever without.", gt=0
    )
    sites: tuple[str, ...] = setting(
        (),
        "Gateways it may go to, all by default; its sensor stands at the first and "
        "uploads over its uplink.",
    )


class GatewayConfig(Section):
    """One gateway and its links."""

    name: str = setting("gateway", "Unique name.", pattern=r"^[a-z0-9][a-z0-9.-]*$")
    platform: PlatformName | None = setting(
        None,
        "PlatformName whose images it runs, with layers and sizes of their own; that "
        "of images without.",
    )
    disk_bytes: float = setting(3e9, "Disk for layers, uncompressed.", ge=0)
    n_cores: float = setting(4.0, "CPU cores for analytics.", ge=0)
    memory_bytes: float = setting(8e9, "Memory for analytics.", ge=0)
    downlink_bps: float = setting(100e6, "Rate of its pulls.", ge=0)
    uplink_bps: float = setting(5e6, "Rate of its uploads.", ge=0)
    images: tuple[str, ...] = setting(
        (), "Container images whose layers it has already."
    )


class DrawConfig(Section):
    """Analytics that are drawn where none is listed: the seed's two kinds."""

    n: int = setting(35, "How many analytics to draw.", ge=0)
    max_lifetime_s: float | None = setting(
        None, "Lifetimes are drawn up to this, in minutes; for ever without.", gt=0
    )


class TolerationConfig(section(Toleration)):
    """A taint of gateways that analytics and pulls put up with."""


class SiteConfig(
    section(
        ExportSite,
        without=("private_registries", "plain_http"),
        sections={Toleration: TolerationConfig},
    )
):
    """Where a plan will be applied; its exports say so."""


class AllocateConfig(Config):
    """Rates alone: one uplink, several allocators."""

    kind: str = setting("deploy.allocate", "Kind of the experiment.")
    curves: dict[str, CurveConfig] = setting(
        dict[str, CurveConfig], "QoS curves by name."
    )
    analytics: tuple[AnalyticConfig, ...] = setting(
        (), "Who wants upload rate; drawn when empty."
    )
    draw: DrawConfig = setting(DrawConfig, "What is drawn when none is listed.")
    uplink_bps: tuple[float, ...] = setting(
        (2.5e6, 5e6, 7.5e6, 10e6), "Uplinks to divide.", min_length=1
    )
    allocators: tuple[PlanAllocatorName, ...] = setting(
        ("even", "weighted", "raa", "hull", "exact"),
        "Allocators to compare.",
        min_length=1,
    )
    with_transport: bool = setting(
        True, "Charge what MQTT and TCP add to each message."
    )
    alpha: float = setting(0.01, "Step of raa.", gt=0, le=1)

    @model_validator(mode="after")
    def _uplinks_are_rates(self) -> Self:
        if any(not rate >= 0 for rate in self.uplink_bps):
            message = f"uplink_bps must be at least 0, found {list(self.uplink_bps)}"
            raise ValueError(message)
        _check_curves(self.analytics, self.curves)
        return self


class PlanConfig(Config):
    """Placement and rates for a moment: what to move where, and who gets how much."""

    kind: str = setting("deploy.plan", "Kind of the experiment.")
    images: ImagesConfig = setting(ImagesConfig, "The container images.")
    curves: dict[str, CurveConfig] = setting(
        dict[str, CurveConfig], "QoS curves by name."
    )
    analytics: tuple[AnalyticConfig, ...] = setting(
        (), "The analytics; drawn when empty."
    )
    draw: DrawConfig = setting(DrawConfig, "What is drawn when none is listed.")
    gateways: tuple[GatewayConfig, ...] = setting(
        (GatewayConfig(),), "The gateways.", min_length=1
    )
    slot_s: float = setting(300.0, "Time in which the pulls must end.", gt=0)
    startup_s_per_gb: float = setting(
        0.0,
        "Time from the end of a pull to the first answer, per uncompressed gigabyte of "
        "the image.",
        ge=0,
    )
    backhaul_bps: float | None = setting(
        None, "Rate that all pulls share; unlimited without.", gt=0
    )
    has_peer_pulls: bool = setting(
        False, "Whether gateways take layers from each other."
    )
    planners: tuple[str, ...] = setting(
        ("joint", "mincut+exact"),
        "joint (whichever fits the size), joint-milp, joint-lagrangian, or "
        "PLACER+ALLOCATOR: first places, then rates.",
        min_length=1,
    )
    time_limit_s: float = setting(60.0, "Time that each exact search may take.", gt=0)
    with_transport: bool = setting(
        True, "Charge what MQTT and TCP add to each message."
    )
    with_prices: bool = setting(True, "Say what one more Mbit/s, GB or core is worth.")
    with_export: bool = setting(
        True,
        "Write manifests, pre-pull jobs, tc script and rate map of the first planner "
        "into the run's files.",
    )
    site: SiteConfig = setting(SiteConfig, "Where the plan will be applied.")

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Self:
        for planner in self.planners:
            if not is_planner(planner):
                message = f"planners: expected joint or PLACER+ALLOCATOR, not {planner}"
                raise ValueError(message)
        names = [gateway.name for gateway in self.gateways]
        if len(set(names)) < len(names):
            message = f"gateway names must be unique, found {names}"
            raise ValueError(message)
        for analytic in self.analytics:
            if unknown := set(analytic.sites) - set(names):
                message = f"{analytic.name} may go to {sorted(unknown)}: no gateway"
                raise ValueError(message)
        _check_curves(self.analytics, self.curves)
        return self


def _check_curves(
    analytics: tuple[AnalyticConfig, ...], curves: dict[str, CurveConfig]
) -> None:
    """Refuse names of analytics that are repeated and of curves that are not there."""
    names = [analytic.name for analytic in analytics]
    if len(set(names)) < len(names):
        message = f"analytic names must be unique, found {names}"
        raise ValueError(message)
    for analytic in analytics:
        for curve in (analytic.cloud_curve, analytic.gateway_curve):
            if curve and curve not in curves:
                message = f"{analytic.name} names the curve {curve}, not in [curves]"
                raise ValueError(message)
