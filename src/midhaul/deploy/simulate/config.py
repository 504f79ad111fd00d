"""Config of deploy.simulate, key by key.

Its tables come first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.deploy.networks import NETWORKS
from midhaul.deploy.plan.choices import AllocatorName, EvictionName, PlacerName
from midhaul.deploy.plan.config import (
    FORECAST,
    HAS_BACK_PRESSURE,
    MAX_OVER_SHARE,
    CurveConfig,
    Forecasts,
    ImagesConfig,
)
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.spec import Spec


class RequestsConfig(Section):
    """Who asks for an analytic when."""

    kind: Literal["poisson", "csv", "parquet"] = setting(
        "poisson",
        "poisson: drawn anew for each repetition; csv: a file in the seed's form, one "
        "version for each repetition; parquet: the same for all.",
    )
    file: Path | None = setting(
        None,
        "version,analytic,arrival_min,lifetime_min (csv), or columns image, arrival_s, "
        "lifetime_s (parquet).",
    )
    versions: tuple[str, ...] = setting(
        ("1", "2", "3", "4", "5"),
        "Versions of the file, in the order of the repetitions (csv).",
        min_length=1,
    )
    rate_per_min: float = setting(
        3.0, "Mean number of arrivals in a minute (poisson).", ge=0
    )
    min_lifetime_min: int = setting(1, "Shortest lifetime, in minutes (poisson).", ge=0)
    max_lifetime_min: int = setting(10, "Longest lifetime, in minutes (poisson).", ge=0)
    is_distinct: bool = setting(True, "No image twice within one minute (poisson).")

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

    images: str = setting(
        ...,
        "Pattern of the names of their container images; the first kind whose pattern "
        "fits counts.",
        min_length=1,
    )
    cloud_curve: str = setting(..., "Curve while one runs in the cloud, of [curves].")
    gateway_curve: str = setting(..., "Curve while one runs on a gateway.")
    saved_bps: float | None = setting(
        None,
        "Upload rate saved on a gateway; by default the difference of the last steps "
        "of its curves.",
        ge=0,
    )
    n_cores: float = setting(0.0, "CPU cores each keeps busy on a gateway.", ge=0)
    memory_bytes: float = setting(0.0, "Memory each holds on a gateway.", ge=0)


class NetworkConfig(Section):
    """The links of the gateway."""

    name: str = setting(
        "optical",
        "optical (100/5 Mbit/s), optical50 (50/5), up10 (100/10), up75 (100/7.5), up25 "
        "(100/2.5), 4G (22.67/16.97) or 3G (9.6/2.9).",
    )
    downlink_bps: float | None = setting(
        None, "Downlink, instead of the named one's.", gt=0
    )
    uplink_bps: float | None = setting(
        None, "Uplink, instead of the named one's.", ge=0
    )
    uplink_trace: Path | None = setting(
        None,
        "Mahimahi trace (*.up) that the uplink follows; of it, the policy knows the "
        "rate periods that have ended.",
    )
    goodput: float = setting(
        1.0, "Share of the downlink that carries layers.", gt=0, le=1
    )

    @model_validator(mode="after")
    def _name_is_known(self) -> Self:
        if self.name not in NETWORKS:
            message = f"network name must be one of {', '.join(NETWORKS)}"
            raise ValueError(message)
        return self


class HostConfig(Section):
    """What the gateway has for analytics."""

    disk_bytes: float = setting(6e9, "Disk for layers.", ge=0)
    disk_unit: Literal["uncompressed", "compressed"] = setting(
        "uncompressed",
        "What a layer takes on the disk. compressed is wrong, and what the seed "
        "charges.",
    )
    n_cores: float = setting(4.0, "CPU cores for analytics.", ge=0)
    memory_bytes: float = setting(8e9, "Memory for analytics.", ge=0)


class StartupConfig(Section):
    """Time from the end of a pull to the first answer: unpacking and starting."""

    fixed_s: float = setting(2.0, "The same for every image.", ge=0)
    s_per_gb: float = setting(10.0, "Seconds per uncompressed gigabyte.", ge=0)


class SimulatedPolicyConfig(Section):
    """One way to decide."""

    name: str = setting("", "Its short name; PLACER+ALLOCATOR+EVICTION by default.")
    placer: PlacerName = setting("mincut", "What moves each slot.")
    allocator: AllocatorName = setting("exact", "Who gets how much of the uplink.")
    eviction: EvictionName = setting("value-per-byte", "Which layers are deleted.")
    sees_lifetimes: bool = setting(
        True, "Whether the placer knows when analytics leave."
    )
    horizon_s: float | None = setting(
        None,
        "Time ahead over which saved upload counts; without, saved rates count, "
        "however soon an analytic leaves.",
        gt=0,
    )
    sees_startup: bool = setting(
        True, "Whether it knows how long unpacking and starting take."
    )
    high_water: float = setting(
        0.8, "Share of the disk beyond which layers are deleted.", gt=0, le=1
    )
    low_water: float = setting(
        0.6, "Share of the disk down to which they are.", gt=0, le=1
    )
    downlink_share: float = setting(
        1.0, "Share of the downlink it counts on.", gt=0, le=1
    )
    uplink_share: float = setting(
        1.0, "Share of what is forecast of the uplink that it gives away.", gt=0, le=1
    )
    forecast: Forecasts = setting("conformal", FORECAST)
    max_over_share: float = setting(0.05, MAX_OVER_SHARE, gt=0, lt=1)
    has_back_pressure: bool = setting(True, HAS_BACK_PRESSURE)
    epsilon: float = setting(0.1, "Guarantee of the placer fptas.", gt=0, lt=1)
    alpha: float = setting(0.1, "Step of raa and raa-as-coded.", gt=0, le=1)
    time_limit_s: float = setting(
        10.0, "Time that milp and mincut may take each slot.", gt=0
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

    kind: str = setting("deploy.simulate", "Kind of the experiment.")
    duration_s: float = setting(1800.0, "Simulated time of one repetition.", gt=0)
    n_repeats: int = setting(5, "How often, each time with other requests.", ge=1)
    slot_s: float = setting(300.0, "Time between two placements.", gt=0)
    rate_period_s: float = setting(60.0, "Time between two allocations.", gt=0)
    images: ImagesConfig = setting(ImagesConfig, "The container images.")
    requests: RequestsConfig = setting(RequestsConfig, "Who comes when.")
    curves: dict[str, CurveConfig] = setting(_seed_curves, "QoS curves by name.")
    kinds: tuple[AnalyticKindConfig, ...] = setting(
        _KINDS, "Kinds of analytic.", min_length=1
    )
    gateway: HostConfig = setting(HostConfig, "The gateway.")
    network: NetworkConfig = setting(NetworkConfig, "Its links.")
    startup: StartupConfig = setting(StartupConfig, "How long analytics take to start.")
    deadline_s: float = setting(
        10.0,
        "A message that waits longer for the uplink is late, and late is no quality.",
        gt=0,
    )
    max_late_share: float = setting(
        0.02,
        "Share of late messages above which a policy that promises a share of periods "
        "is not valid.",
        ge=0,
        le=1,
    )
    with_transport: bool = setting(
        True, "Charge what MQTT and TCP add to each message."
    )
    policies: tuple[SimulatedPolicyConfig, ...] = setting(
        _POLICIES, "Ways to decide, compared on the same requests.", min_length=1
    )
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
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
