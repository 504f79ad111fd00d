"""The experiment file of deploy.simulate, key by key."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.deploy.config_parts import (
    FORECAST,
    MAX_OVER_SHARE,
    CurveConfig,
    Forecasts,
    ImagesConfig,
)
from midhaul.deploy.simulate.config_parts import (
    AnalyticKindConfig,
    HostConfig,
    NetworkConfig,
    RequestsConfig,
    StartupConfig,
)
from midhaul.runs.config import Config, Section, Spec

PlacerName = Literal[
    "additive-dp",
    "fptas",
    "additive-greedy",
    "marginal-greedy",
    "milp",
    "mincut",
    "nowhere",
]
AllocatorName = Literal[
    "raa",
    "weighted",
    "even",
    "hull",
    "exact",
    "proportional",
    "maxmin",
    "raa-as-coded",
]
EvictionName = Literal["lru", "mru", "lfu", "mfu", "layer-lru", "value-per-byte"]


class PolicyConfig(Section):
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
    PolicyConfig(name="mincut+exact", horizon_s=600.0),
    PolicyConfig(
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
    policies: tuple[PolicyConfig, ...] = Field(
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
