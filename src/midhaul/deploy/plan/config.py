"""Config of deploy.plan and deploy.allocate, key by key, and tables of other kinds.

The tables that all experiment files of the area share stand first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from midhaul.deploy.exports.plan import ExportSite, Toleration
from midhaul.deploy.plan.choices import PlanAllocatorName, is_planner
from midhaul.deploy.store.manifests import parse_platform
from midhaul.errors import DataError
from midhaul.runs.config import Config, Section
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
MAX_OVER_SHARE = (
    "Share of rate periods in which the uplink may carry less than conformal counts on."
)

PlatformName = Annotated[str, AfterValidator(_platform)]


class ImagesConfig(Section):
    """Where container images and the sizes of their layers come from."""

    kind: Literal["builtin", "file", "registry", "engine"] = Field(
        default="builtin",
        description="builtin: 24 made-up images; file: a Parquet table of layers; "
        "registry: manifests of any OCI registry; engine: the local Docker engine.",
    )
    file: Path | None = Field(
        default=None,
        description="Parquet file with the columns image, position, digest and "
        "compressed_bytes, uncompressed_bytes or size_bytes (file).",
    )
    scale: float = Field(
        default=1.0, gt=0, description="Factor on the sizes of the built-in images."
    )
    platform: PlatformName = Field(
        default="linux/amd64",
        description="Which image of an index to take where a gateway names none: "
        "linux/arm64, linux/arm/v7, or the names that Debian and the kernel have, such "
        "as aarch64, x86_64 and armhf (registry, file).",
    )
    plain_http: tuple[str, ...] = Field(
        default=(),
        description="Registries, HOST:PORT, that are asked without TLS; those on "
        "loopback are asked by what they speak (registry).",
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of a certificate authority, beside those of the system "
        "and of /etc/docker/certs.d (registry).",
    )
    mirrors: dict[str, tuple[str, ...]] = Field(
        default_factory=dict[str, tuple[str, ...]],
        description="By registry, such as docker.io, mirrors HOST[:PORT][/PATH] that "
        "are asked before it (registry).",
    )
    reader: Literal["midhaul", "skopeo"] = Field(
        default="midhaul",
        description="Who asks registries; skopeo knows registries.conf, and no sizes "
        "on a disk (registry).",
    )
    uncompressed_ratio: float = Field(
        default=1.85,
        ge=1,
        description="Uncompressed over compressed bytes, where only these are known.",
    )

    @model_validator(mode="after")
    def _file_is_given(self) -> Self:
        if self.kind == "file" and self.file is None:
            message = "images of kind file need the key file"
            raise ValueError(message)
        return self


class CurveConfig(Section):
    """A QoS curve: what quality each upload rate buys."""

    source: Spec = Field(
        default=Spec("seed:audio-cloud"),
        description="seed:NAME (audio-cloud, audio-gateway, yolo-cloud, yolo-gateway), "
        "table:FILE (columns knob, rate_bps, quality), awstream:FILE, or run:FOLDER of "
        "a testbed run.",
    )
    configuration: str = Field(
        default="",
        description="Which curve of the file, or which detector of the run; the first "
        "by default.",
    )
    metric: str = Field(
        default="f1", description="Metric of the run that is the quality (run)."
    )
    message_hz: float = Field(
        default=0.0,
        ge=0,
        description="Messages per second: the image rate of a run; 0 for the file's.",
    )


class AnalyticConfig(Section):
    """One analytic, or several of a kind."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]*$", description="Unique name, fit for DNS."
    )
    image: str = Field(description="Its container image.")
    n: int = Field(default=1, ge=1, description="How many of it there are.")
    weight: float = Field(default=1.0, ge=0, description="How much each counts.")
    cloud_curve: str = Field(
        default="", description="Curve while it runs in the cloud, one of [curves]."
    )
    gateway_curve: str = Field(
        default="", description="Curve while it runs on a gateway, one of [curves]."
    )
    saved_bps: float | None = Field(
        default=None,
        ge=0,
        description="Upload rate saved on a gateway; by default the difference of the "
        "last steps of its curves.",
    )
    n_cores: float = Field(default=0.0, ge=0, description="CPU cores it keeps busy.")
    memory_bytes: float = Field(default=0.0, ge=0, description="Memory it holds.")
    lifetime_s: float | None = Field(
        default=None, gt=0, description="How long it stays; for ever without."
    )
    sites: tuple[str, ...] = Field(
        default=(),
        description="Gateways it may go to, all by default; its sensor stands at the "
        "first and uploads over its uplink.",
    )


class GatewayConfig(Section):
    """One gateway and its links."""

    name: str = Field(
        default="gateway", pattern=r"^[a-z0-9][a-z0-9.-]*$", description="Unique name."
    )
    platform: PlatformName | None = Field(
        default=None,
        description="PlatformName whose images it runs, with layers and sizes of their "
        "own; that of images without.",
    )
    disk_bytes: float = Field(
        default=3e9, ge=0, description="Disk for layers, uncompressed."
    )
    n_cores: float = Field(default=4.0, ge=0, description="CPU cores for analytics.")
    memory_bytes: float = Field(default=8e9, ge=0, description="Memory for analytics.")
    downlink_bps: float = Field(default=100e6, ge=0, description="Rate of its pulls.")
    uplink_bps: float = Field(default=5e6, ge=0, description="Rate of its uploads.")
    images: tuple[str, ...] = Field(
        default=(), description="Container images whose layers it has already."
    )


class DrawConfig(Section):
    """Analytics that are drawn where none is listed: the seed's two kinds."""

    n: int = Field(default=35, ge=0, description="How many analytics to draw.")
    max_lifetime_s: float | None = Field(
        default=None,
        gt=0,
        description="Lifetimes are drawn up to this, in minutes; for ever without.",
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

    kind: str = Field(default="deploy.allocate", description="Kind of the experiment.")
    curves: dict[str, CurveConfig] = Field(
        default_factory=dict[str, CurveConfig],
        description="QoS curves by name.",
    )
    analytics: tuple[AnalyticConfig, ...] = Field(
        default=(), description="Who wants upload rate; drawn when empty."
    )
    draw: DrawConfig = Field(
        default_factory=DrawConfig, description="What is drawn when none is listed."
    )
    uplink_bps: tuple[float, ...] = Field(
        default=(2.5e6, 5e6, 7.5e6, 10e6),
        min_length=1,
        description="Uplinks to divide.",
    )
    allocators: tuple[PlanAllocatorName, ...] = Field(
        default=("even", "weighted", "raa", "hull", "exact"),
        min_length=1,
        description="Allocators to compare.",
    )
    with_transport: bool = Field(
        default=True, description="Charge what MQTT and TCP add to each message."
    )
    alpha: float = Field(default=0.01, gt=0, le=1, description="Step of raa.")

    @model_validator(mode="after")
    def _uplinks_are_rates(self) -> Self:
        if any(not rate >= 0 for rate in self.uplink_bps):
            message = f"uplink_bps must be at least 0, found {list(self.uplink_bps)}"
            raise ValueError(message)
        _check_curves(self.analytics, self.curves)
        return self


class PlanConfig(Config):
    """Placement and rates for a moment: what to move where, and who gets how much."""

    kind: str = Field(default="deploy.plan", description="Kind of the experiment.")
    images: ImagesConfig = Field(
        default_factory=ImagesConfig, description="The container images."
    )
    curves: dict[str, CurveConfig] = Field(
        default_factory=dict[str, CurveConfig], description="QoS curves by name."
    )
    analytics: tuple[AnalyticConfig, ...] = Field(
        default=(), description="The analytics; drawn when empty."
    )
    draw: DrawConfig = Field(
        default_factory=DrawConfig, description="What is drawn when none is listed."
    )
    gateways: tuple[GatewayConfig, ...] = Field(
        default=(GatewayConfig(),), min_length=1, description="The gateways."
    )
    slot_s: float = Field(
        default=300.0, gt=0, description="Time in which the pulls must end."
    )
    startup_s_per_gb: float = Field(
        default=0.0,
        ge=0,
        description="Time from the end of a pull to the first answer, per uncompressed "
        "gigabyte of the image.",
    )
    backhaul_bps: float | None = Field(
        default=None, gt=0, description="Rate that all pulls share; unlimited without."
    )
    has_peer_pulls: bool = Field(
        default=False, description="Whether gateways take layers from each other."
    )
    planners: tuple[str, ...] = Field(
        default=("joint", "mincut+exact"),
        min_length=1,
        description="joint (whichever fits the size), joint-milp, joint-lagrangian, or "
        "PLACER+ALLOCATOR: first places, then rates.",
    )
    time_limit_s: float = Field(
        default=60.0, gt=0, description="Time that each exact search may take."
    )
    with_transport: bool = Field(
        default=True, description="Charge what MQTT and TCP add to each message."
    )
    with_prices: bool = Field(
        default=True, description="Say what one more Mbit/s, GB or core is worth."
    )
    with_export: bool = Field(
        default=True,
        description="Write manifests, pre-pull jobs, tc script and rate map of the "
        "first planner into the run's files.",
    )
    site: SiteConfig = Field(
        default_factory=SiteConfig, description="Where the plan will be applied."
    )

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
