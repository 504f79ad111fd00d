"""Config of deploy.simulate, key by key.

Its tables come first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.deploy.networks import NETWORKS
from midhaul.deploy.plan.choices import AllocatorName, EvictionName, PlacerName
from midhaul.deploy.plan.config import (
    FORECAST,
    MAX_OVER_SHARE,
    CurveConfig,
    Forecasts,
    ImagesConfig,
)
from midhaul.runs.config import Config, Section
from midhaul.runs.spec import Spec


class RequestsConfig(Section):
    """Who asks for an analytic when."""

    kind: Literal["poisson", "csv", "parquet"] = Field(
        default="poisson",
        description="poisson: drawn anew for each repetition; csv: a file in the "
        "seed's form, one version for each repetition; parquet: the same for all.",
    )
    file: Path | None = Field(
        default=None,
        description="version,analytic,arrival_min,lifetime_min (csv), or columns "
        "image, arrival_s, lifetime_s (parquet).",
    )
    versions: tuple[str, ...] = Field(
        default=("1", "2", "3", "4", "5"),
        min_length=1,
        description="Versions of the file, in the order of the repetitions (csv).",
    )
    rate_per_min: float = Field(
        default=3.0, ge=0, description="Mean number of arrivals in a minute (poisson)."
    )
    min_lifetime_min: int = Field(
        default=1, ge=0, description="Shortest lifetime, in minutes (poisson)."
    )
    max_lifetime_min: int = Field(
        default=10, ge=0, description="Longest lifetime, in minutes (poisson)."
    )
    is_distinct: bool = Field(
        default=True, description="No image twice within one minute (poisson)."
    )

    @model_validator(mode="after")
    def _requests_can_be(self) -> Self:
        if self.kind != "poisson" and self.file is None:
            message = f"requests of kind {self.kind} need the key file"
            raise ValueError(message)
        if self.min_lifetime_min > self.max_lifetime_min:
            message = "min_lifetime_min is above max_lifetime_min"
            raise ValueError(message)
        return self


class AnalyticKindConfig(Section):
    """What all analytics of one kind have in common."""

    images: str = Field(
        min_length=1,
        description="Pattern of the names of their container images; the first kind "
        "whose pattern fits counts.",
    )
    cloud_curve: str = Field(
        description="Curve while one runs in the cloud, of [curves]."
    )
    gateway_curve: str = Field(description="Curve while one runs on a gateway.")
    saved_bps: float | None = Field(
        default=None,
        ge=0,
        description="Upload rate saved on a gateway; by default the difference of the "
        "last steps of its curves.",
    )
    n_cores: float = Field(
        default=0.0, ge=0, description="CPU cores each keeps busy on a gateway."
    )
    memory_bytes: float = Field(
        default=0.0, ge=0, description="Memory each holds on a gateway."
    )


class NetworkConfig(Section):
    """The links of the gateway."""

    name: str = Field(
        default="optical",
        description="optical (100/5 Mbit/s), optical50 (50/5), up10 (100/10), up75 "
        "(100/7.5), up25 (100/2.5), 4G (22.67/16.97) or 3G (9.6/2.9).",
    )
    downlink_bps: float | None = Field(
        default=None, gt=0, description="Downlink, instead of the named one's."
    )
    uplink_bps: float | None = Field(
        default=None, ge=0, description="Uplink, instead of the named one's."
    )
    uplink_trace: Path | None = Field(
        default=None,
        description="Mahimahi trace (*.up) that the uplink follows; of it, the policy "
        "knows the rate periods that have ended.",
    )
    goodput: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the downlink that carries layers.",
    )

    @model_validator(mode="after")
    def _name_is_known(self) -> Self:
        if self.name not in NETWORKS:
            message = f"network name must be one of {', '.join(NETWORKS)}"
            raise ValueError(message)
        return self


class HostConfig(Section):
    """What the gateway has for analytics."""

    disk_bytes: float = Field(default=6e9, ge=0, description="Disk for layers.")
    disk_unit: Literal["uncompressed", "compressed"] = Field(
        default="uncompressed",
        description="What a layer takes on the disk. compressed is wrong, and what the "
        "seed charges.",
    )
    n_cores: float = Field(default=4.0, ge=0, description="CPU cores for analytics.")
    memory_bytes: float = Field(default=8e9, ge=0, description="Memory for analytics.")


class StartupConfig(Section):
    """Time from the end of a pull to the first answer: unpacking and starting."""

    fixed_s: float = Field(default=2.0, ge=0, description="The same for every image.")
    s_per_gb: float = Field(
        default=10.0, ge=0, description="Seconds per uncompressed gigabyte."
    )


class SimulatedPolicyConfig(Section):
    """One way to decide."""

    name: str = Field(
        default="", description="Its short name; PLACER+ALLOCATOR+EVICTION by default."
    )
    placer: PlacerName = Field(default="mincut", description="What moves each slot.")
    allocator: AllocatorName = Field(
        default="exact", description="Who gets how much of the uplink."
    )
    eviction: EvictionName = Field(
        default="value-per-byte", description="Which layers are deleted."
    )
    sees_lifetimes: bool = Field(
        default=True, description="Whether the placer knows when analytics leave."
    )
    horizon_s: float | None = Field(
        default=None,
        gt=0,
        description="Time ahead over which saved upload counts; without, saved rates "
        "count, however soon an analytic leaves.",
    )
    sees_startup: bool = Field(
        default=True,
        description="Whether it knows how long unpacking and starting take.",
    )
    high_water: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of the disk beyond which layers are deleted.",
    )
    low_water: float = Field(
        default=0.6, gt=0, le=1, description="Share of the disk down to which they are."
    )
    downlink_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of the downlink it counts on."
    )
    uplink_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of what is forecast of the uplink that it gives away.",
    )
    forecast: Forecasts = Field(default="conformal", description=FORECAST)
    max_over_share: float = Field(default=0.05, gt=0, lt=1, description=MAX_OVER_SHARE)
    has_back_pressure: bool = Field(
        default=True,
        description="Whether knobs go down within a rate period while messages wait, "
        "and messages past their deadline are dropped rather than sent.",
    )
    epsilon: float = Field(
        default=0.1, gt=0, lt=1, description="Guarantee of the placer fptas."
    )
    alpha: float = Field(
        default=0.1, gt=0, le=1, description="Step of raa and raa-as-coded."
    )
    time_limit_s: float = Field(
        default=10.0, gt=0, description="Time that milp and mincut may take each slot."
    )

    @property
    def label(self) -> str:
        """What tables and charts call it."""
        return self.name or f"{self.placer}+{self.allocator}+{self.eviction}"

    @model_validator(mode="after")
    def _waters_are_in_order(self) -> Self:
        if self.low_water > self.high_water:
            message = "low_water is above high_water"
            raise ValueError(message)
        return self


def _seed_curves() -> dict[str, CurveConfig]:
    names = ("audio-cloud", "audio-gateway", "yolo-cloud", "yolo-gateway")
    return {name: CurveConfig(source=Spec(f"seed:{name}")) for name in names}


_KINDS = (
    AnalyticKindConfig(
        images="audio*",
        cloud_curve="audio-cloud",
        gateway_curve="audio-gateway",
        n_cores=0.513,
        memory_bytes=0.627e9,
    ),
    AnalyticKindConfig(
        images="yolo*",
        cloud_curve="yolo-cloud",
        gateway_curve="yolo-gateway",
        n_cores=0.556,
        memory_bytes=1.046e9,
    ),
)
_POLICIES = (
    SimulatedPolicyConfig(name="mincut+exact", horizon_s=600.0),
    SimulatedPolicyConfig(
        name="as the seed decides",
        placer="additive-dp",
        allocator="raa-as-coded",
        eviction="lru",
        sees_lifetimes=False,
        sees_startup=False,
        has_back_pressure=False,
    ),
)


class SimulateConfig(Config):
    """A gateway over time, in simulated time, under one or more policies."""

    kind: str = Field(default="deploy.simulate", description="Kind of the experiment.")
    duration_s: float = Field(
        default=1800.0, gt=0, description="Simulated time of one repetition."
    )
    n_repeats: int = Field(
        default=5, ge=1, description="How often, each time with other requests."
    )
    slot_s: float = Field(
        default=300.0, gt=0, description="Time between two placements."
    )
    rate_period_s: float = Field(
        default=60.0, gt=0, description="Time between two allocations."
    )
    images: ImagesConfig = Field(
        default_factory=ImagesConfig, description="The container images."
    )
    requests: RequestsConfig = Field(
        default_factory=RequestsConfig, description="Who comes when."
    )
    curves: dict[str, CurveConfig] = Field(
        default_factory=_seed_curves, description="QoS curves by name."
    )
    kinds: tuple[AnalyticKindConfig, ...] = Field(
        default=_KINDS, min_length=1, description="Kinds of analytic."
    )
    gateway: HostConfig = Field(default_factory=HostConfig, description="The gateway.")
    network: NetworkConfig = Field(
        default_factory=NetworkConfig, description="Its links."
    )
    startup: StartupConfig = Field(
        default_factory=StartupConfig, description="How long analytics take to start."
    )
    deadline_s: float = Field(
        default=10.0,
        gt=0,
        description="A message that waits longer for the uplink is late, and late is "
        "no quality.",
    )
    max_late_share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Share of late messages above which a policy that promises a share "
        "of periods is not valid.",
    )
    with_transport: bool = Field(
        default=True, description="Charge what MQTT and TCP add to each message."
    )
    policies: tuple[SimulatedPolicyConfig, ...] = Field(
        default=_POLICIES,
        min_length=1,
        description="Ways to decide, compared on the same requests.",
    )
    n_resamples: int = Field(
        default=1000, ge=100, description="Bootstrap resamples behind each interval."
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        n = self.slot_s / self.rate_period_s
        if n < 1 or abs(n - round(n)) > 1e-9 * n:
            message = (
                "slot_s must be a whole number of times rate_period_s, found "
                f"{self.slot_s:g} and {self.rate_period_s:g}"
            )
            raise ValueError(message)
        labels = [policy.label for policy in self.policies]
        if len(set(labels)) < len(labels):
            message = f"policy names must be unique, found {labels}"
            raise ValueError(message)
        for kind in self.kinds:
            for curve in (kind.cloud_curve, kind.gateway_curve):
                if curve not in self.curves:
                    message = f"kind {kind.images} names {curve}, not in [curves]"
                    raise ValueError(message)
        n_versions = len(self.requests.versions)
        if self.requests.kind == "csv" and n_versions < self.n_repeats:
            message = f"{self.n_repeats} repeats need as many versions of the file"
            raise ValueError(message)
        return self
