"""The experiment file of deploy.live, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.deploy.plan.choices import EvictionName, PlanAllocatorName, PlanPlacerName
from midhaul.deploy.plan.config import (
    FORECAST,
    HAS_BACK_PRESSURE,
    MAX_OVER_SHARE,
    Forecasts,
)
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.spec import Spec


class LiveImagesConfig(Section):
    """The container images that are made, pushed and pulled."""

    file: Path | None = setting(
        None,
        "Parquet file with the columns image, position, digest and compressed_bytes, "
        "uncompressed_bytes or size_bytes; 24 made-up images without.",
    )
    scale: float = setting(
        0.05,
        "Factor on all sizes; 1/time_scale keeps the share of a slot that a pull "
        "takes.",
        gt=0,
    )


class LiveRequestsConfig(Section):
    """Who asks for an analytic when; times before they are divided by time_scale."""

    file: Path | None = setting(
        None, "Parquet (image, arrival_s, lifetime_s) or the seed's CSV; drawn without."
    )
    version: str = setting("1", "Which rows of a CSV file to take.")
    rate_per_min: float = setting(
        5.0, "Mean number of new analytics in a minute.", ge=0
    )
    min_lifetime_min: int = setting(1, "Shortest lifetime, in minutes.", ge=0)
    max_lifetime_min: int = setting(10, "Longest lifetime, in minutes.", ge=0)

    @model_validator(mode="after")
    def _lifetimes_are_in_order(self) -> Self:
        if self.min_lifetime_min > self.max_lifetime_min:
            message = "min_lifetime_min is above max_lifetime_min"
            raise ValueError(message)
        return self


class LiveGatewayConfig(Section):
    """What the gateway has for analytics."""

    disk_bytes: float = setting(400e6, "Disk for layers, in uncompressed bytes.", ge=0)
    n_cores: float = setting(4.0, "CPU cores for analytics.", ge=0)
    n_cores_each: float = setting(
        0.25, "CPU cores that each analytic keeps busy.", ge=0
    )


class LiveLinkConfig(Section):
    """The link between gateway and cloud, shaped by the kernel."""

    downlink_bps: float = setting(100e6, "Cloud to gateway.", gt=0)
    uplink_bps: float = setting(
        5e6,
        "Gateway to cloud; without any nothing can be pulled, as pulls are "
        "acknowledged.",
        gt=0,
    )
    uplink_trace: Path | None = setting(
        None,
        "Mahimahi trace (*.up) that the uplink follows, second by second, instead of "
        "uplink_bps; of it, the plan knows the rate periods that have ended.",
    )
    queue_s: float = setting(0.4, "How long a packet may wait for the link.", gt=0)


class WorkloadConfig(Section):
    """What analytics send, and what is done with it."""

    image_period_s: float = setting(
        2.0, "Time between two images of one analytic.", gt=0
    )
    sound_period_s: float = setting(
        3.0, "Time between two sounds of one analytic.", gt=0
    )
    sound_images: str = setting(
        "audio*",
        "Pattern of the container images that classify sounds; all others detect "
        "things on images.",
    )
    detector: Spec = setting(Spec("builtin:street-m"), "Detector for the images.")
    n_curve_images: int = setting(
        40, "Images from which the QoS curve is measured.", ge=1
    )
    n_curve_sounds: int = setting(
        96, "Sounds from which the QoS curve is measured.", ge=1
    )


class PlanningConfig(Section):
    """How the gateway decides."""

    placer: PlanPlacerName = setting("mincut", "What moves each slot.")
    allocator: PlanAllocatorName = setting("exact", "Who gets how much of the uplink.")
    eviction: EvictionName = setting("value-per-byte", "Which layers are deleted.")
    sees_lifetimes: bool = setting(
        True, "Whether the placer knows when analytics leave."
    )
    horizon_s: float | None = setting(
        300.0,
        "Time ahead, before scaling, over which saved upload counts; without, saved "
        "rates count, however soon an analytic leaves.",
        gt=0,
    )
    uplink_share: float = setting(
        0.95, "Share of what is forecast of the uplink that is given away.", gt=0, le=1
    )
    forecast: Forecasts = setting("conformal", FORECAST)
    max_over_share: float = setting(0.05, MAX_OVER_SHARE, gt=0, lt=1)
    has_back_pressure: bool = setting(True, HAS_BACK_PRESSURE)
    pull_share: float = setting(
        0.9, "Share of the measured pull rate that the placer counts on.", gt=0, le=1
    )
    slack_s: float = setting(
        0.3,
        "Real time at the begin of a slot to plan and delete, before pulls are planned "
        "to begin.",
        ge=0,
    )
    has_ack_reserve: bool = setting(
        True,
        "Whether the uplink that acknowledgements of a pull take is kept free while "
        "something is pulled.",
    )
    high_water: float = setting(
        0.95, "Share of the disk beyond which layers are deleted.", gt=0, le=1
    )
    low_water: float = setting(
        0.8, "Share of the disk down to which they are.", gt=0, le=1
    )

    @model_validator(mode="after")
    def _waters_are_in_order(self) -> Self:
        if self.low_water > self.high_water:
            message = "low_water is above high_water"
            raise ValueError(message)
        return self


class FaultConfig(Section):
    """Something that breaks on purpose, and comes back."""

    what: Literal["gateway-broker", "cloud-broker", "registry"] = setting(
        ..., "Which process ends."
    )
    at_s: float = setting(..., "When, in real seconds after the begin.", ge=0)
    down_s: float = setting(1.0, "How long until it is started again.", ge=0)


class LiveLimitsConfig(Section):
    """What is demanded of a run, so that it may be believed."""

    max_late_s: float = setting(0.2, "The 99th percentile of sent minus planned.", gt=0)
    max_link_error: float = setting(
        0.15, "How much slower than the downlink pulls may be, as a share.", gt=0
    )
    max_busy: float = setting(
        0.9, "Share of the machine's CPU time in use.", gt=0, le=1
    )
    max_late_share: float = setting(
        0.02,
        "Share of the messages that were sent and are late or missing.",
        ge=0,
        le=1,
    )
    max_lost_saving: float = setting(
        0.1,
        "Share of the saving that moves promised and that did not come.",
        ge=0,
        le=1,
    )
    max_queue_s: float = setting(
        1.0, "The 95th percentile of the wait of a message that has come.", gt=0
    )
    max_period_late_s: float = setting(
        1.0, "By how much a rate period may begin late.", gt=0
    )


class LiveConfig(Config):
    """Plan, pull, move and allocate for real, in two namespaces of one machine."""

    kind: str = setting("deploy.live", "Kind of the experiment.")
    duration_s: float = setting(
        60.0, "Real time for which analytics come and send.", gt=0
    )
    n_repeats: int = setting(1, "How often, each time with other requests.", ge=1)
    time_scale: float = setting(
        20.0,
        "By what slots, rate periods, arrivals and lifetimes are divided; messages and "
        "links keep real time.",
        gt=0,
    )
    slot_s: float = setting(300.0, "Time between two placements, before scaling.", gt=0)
    rate_period_s: float = setting(
        60.0, "Time between two allocations, before scaling.", gt=0
    )
    deadline_s: float = setting(
        10.0,
        "A message that is scored later than so long after its planned send is late; "
        "late is no quality.",
        gt=0,
    )
    images: LiveImagesConfig = setting(LiveImagesConfig, "The container images.")
    requests: LiveRequestsConfig = setting(LiveRequestsConfig, "Who comes when.")
    gateway: LiveGatewayConfig = setting(LiveGatewayConfig, "The gateway.")
    link: LiveLinkConfig = setting(LiveLinkConfig, "The link.")
    workload: WorkloadConfig = setting(WorkloadConfig, "What analytics send.")
    planning: PlanningConfig = setting(PlanningConfig, "How the gateway decides.")
    limits: LiveLimitsConfig = setting(LiveLimitsConfig, "What is demanded of a run.")
    faults: tuple[FaultConfig, ...] = setting((), "What breaks on purpose.")

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
