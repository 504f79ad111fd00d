"""The experiment file of deploy.live, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.deploy.plan.choices import (
    EvictionName,
    PlanAllocatorName,
    PlanPlacerName,
)
from midhaul.deploy.plan.config import (
    FORECAST,
    MAX_OVER_SHARE,
    Forecasts,
)
from midhaul.runs.config import Config, Section
from midhaul.runs.spec import Spec


class LiveImagesConfig(Section):
    """The container images that are made, pushed and pulled."""

    file: Path | None = Field(
        default=None,
        description="Parquet file with the columns image, position, digest and "
        "compressed_bytes, uncompressed_bytes or size_bytes; 24 made-up images "
        "without.",
    )
    scale: float = Field(
        default=0.05,
        gt=0,
        description="Factor on all sizes; 1/time_scale keeps the share of a slot that "
        "a pull takes.",
    )


class LiveRequestsConfig(Section):
    """Who asks for an analytic when; times before they are divided by time_scale."""

    file: Path | None = Field(
        default=None,
        description="Parquet (image, arrival_s, lifetime_s) or the seed's CSV; drawn "
        "without.",
    )
    version: str = Field(default="1", description="Which rows of a CSV file to take.")
    rate_per_min: float = Field(
        default=5.0, ge=0, description="Mean number of new analytics in a minute."
    )
    min_lifetime_min: int = Field(
        default=1, ge=0, description="Shortest lifetime, in minutes."
    )
    max_lifetime_min: int = Field(
        default=10, ge=0, description="Longest lifetime, in minutes."
    )

    @model_validator(mode="after")
    def _lifetimes_are_in_order(self) -> Self:
        if self.min_lifetime_min > self.max_lifetime_min:
            message = "min_lifetime_min is above max_lifetime_min"
            raise ValueError(message)
        return self


class LiveGatewayConfig(Section):
    """What the gateway has for analytics."""

    disk_bytes: float = Field(
        default=400e6, ge=0, description="Disk for layers, in uncompressed bytes."
    )
    n_cores: float = Field(default=4.0, ge=0, description="CPU cores for analytics.")
    n_cores_each: float = Field(
        default=0.25, ge=0, description="CPU cores that each analytic keeps busy."
    )


class LiveLinkConfig(Section):
    """The link between gateway and cloud, shaped by the kernel."""

    downlink_bps: float = Field(default=100e6, gt=0, description="Cloud to gateway.")
    uplink_bps: float = Field(
        default=5e6,
        gt=0,
        description="Gateway to cloud; without any nothing can be pulled, as pulls are "
        "acknowledged.",
    )
    uplink_trace: Path | None = Field(
        default=None,
        description="Mahimahi trace (*.up) that the uplink follows, second by second, "
        "instead of uplink_bps; of it, the plan knows the rate periods that have "
        "ended.",
    )
    queue_s: float = Field(
        default=0.4, gt=0, description="How long a packet may wait for the link."
    )


class WorkloadConfig(Section):
    """What analytics send, and what is done with it."""

    image_period_s: float = Field(
        default=2.0, gt=0, description="Time between two images of one analytic."
    )
    sound_period_s: float = Field(
        default=3.0, gt=0, description="Time between two sounds of one analytic."
    )
    sound_images: str = Field(
        default="audio*",
        description="Pattern of the container images that classify sounds; all others "
        "detect things on images.",
    )
    detector: Spec = Field(
        default=Spec("builtin:street-m"), description="Detector for the images."
    )
    n_curve_images: int = Field(
        default=40, ge=1, description="Images from which the QoS curve is measured."
    )
    n_curve_sounds: int = Field(
        default=96, ge=1, description="Sounds from which the QoS curve is measured."
    )


class PlanningConfig(Section):
    """How the gateway decides."""

    placer: PlanPlacerName = Field(
        default="mincut", description="What moves each slot."
    )
    allocator: PlanAllocatorName = Field(
        default="exact", description="Who gets how much of the uplink."
    )
    eviction: EvictionName = Field(
        default="value-per-byte", description="Which layers are deleted."
    )
    sees_lifetimes: bool = Field(
        default=True, description="Whether the placer knows when analytics leave."
    )
    horizon_s: float | None = Field(
        default=300.0,
        gt=0,
        description="Time ahead, before scaling, over which saved upload counts; "
        "without, saved rates count, however soon an analytic leaves.",
    )
    uplink_share: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Share of what is forecast of the uplink that is given away.",
    )
    forecast: Forecasts = Field(default="conformal", description=FORECAST)
    max_over_share: float = Field(default=0.05, gt=0, lt=1, description=MAX_OVER_SHARE)
    has_back_pressure: bool = Field(
        default=True,
        description="Whether knobs go down within a rate period while messages wait, "
        "and messages past their deadline are dropped rather than sent.",
    )
    pull_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of the measured pull rate that the placer counts on.",
    )
    slack_s: float = Field(
        default=0.3,
        ge=0,
        description="Real time at the begin of a slot to plan and delete, before "
        "pulls are planned to begin.",
    )
    has_ack_reserve: bool = Field(
        default=True,
        description="Whether the uplink that acknowledgements of a pull take is kept "
        "free while something is pulled.",
    )
    high_water: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Share of the disk beyond which layers are deleted.",
    )
    low_water: float = Field(
        default=0.8, gt=0, le=1, description="Share of the disk down to which they are."
    )

    @model_validator(mode="after")
    def _waters_are_in_order(self) -> Self:
        if self.low_water > self.high_water:
            message = "low_water is above high_water"
            raise ValueError(message)
        return self


class FaultConfig(Section):
    """Something that breaks on purpose, and comes back."""

    what: Literal["gateway-broker", "cloud-broker", "registry"] = Field(
        description="Which process ends."
    )
    at_s: float = Field(ge=0, description="When, in real seconds after the begin.")
    down_s: float = Field(
        default=1.0, ge=0, description="How long until it is started again."
    )


class LiveLimitsConfig(Section):
    """What is demanded of a run, so that it may be believed."""

    max_late_s: float = Field(
        default=0.2, gt=0, description="The 99th percentile of sent minus planned."
    )
    max_link_error: float = Field(
        default=0.15,
        gt=0,
        description="How much slower than the downlink pulls may be, as a share.",
    )
    max_busy: float = Field(
        default=0.9, gt=0, le=1, description="Share of the machine's CPU time in use."
    )
    max_late_share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Share of the messages that were sent and are late or missing.",
    )
    max_lost_saving: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the saving that moves promised and that did not come.",
    )
    max_queue_s: float = Field(
        default=1.0,
        gt=0,
        description="The 95th percentile of the wait of a message that has come.",
    )
    max_period_late_s: float = Field(
        default=1.0, gt=0, description="By how much a rate period may begin late."
    )


class LiveConfig(Config):
    """Plan, pull, move and allocate for real, in two namespaces of one machine."""

    kind: str = Field(default="deploy.live", description="Kind of the experiment.")
    duration_s: float = Field(
        default=60.0, gt=0, description="Real time for which analytics come and send."
    )
    n_repeats: int = Field(
        default=1, ge=1, description="How often, each time with other requests."
    )
    time_scale: float = Field(
        default=20.0,
        gt=0,
        description="By what slots, rate periods, arrivals and lifetimes are divided; "
        "messages and links keep real time.",
    )
    slot_s: float = Field(
        default=300.0, gt=0, description="Time between two placements, before scaling."
    )
    rate_period_s: float = Field(
        default=60.0, gt=0, description="Time between two allocations, before scaling."
    )
    deadline_s: float = Field(
        default=10.0,
        gt=0,
        description="A message that is scored later than so long after its planned "
        "send is late; late is no quality.",
    )
    images: LiveImagesConfig = Field(
        default_factory=LiveImagesConfig, description="The container images."
    )
    requests: LiveRequestsConfig = Field(
        default_factory=LiveRequestsConfig, description="Who comes when."
    )
    gateway: LiveGatewayConfig = Field(
        default_factory=LiveGatewayConfig, description="The gateway."
    )
    link: LiveLinkConfig = Field(
        default_factory=LiveLinkConfig, description="The link."
    )
    workload: WorkloadConfig = Field(
        default_factory=WorkloadConfig, description="What analytics send."
    )
    planning: PlanningConfig = Field(
        default_factory=PlanningConfig, description="How the gateway decides."
    )
    limits: LiveLimitsConfig = Field(
        default_factory=LiveLimitsConfig, description="What is demanded of a run."
    )
    faults: tuple[FaultConfig, ...] = Field(
        default=(), description="What breaks on purpose."
    )

    @model_validator(mode="after")
    def _periods_fit(self) -> Self:
        n = self.slot_s / self.rate_period_s
        if n < 1 or abs(n - round(n)) > 1e-6:  # noqa: PLR2004  rounding of floats
            message = (
                f"slot_s must be a whole number of times rate_period_s, found "
                f"{self.slot_s:g} and {self.rate_period_s:g}"
            )
            raise ValueError(message)
        return self
