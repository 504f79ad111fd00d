"""The experiment files of deploy.plan and deploy.allocate, key by key."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from midhaul.deploy.config_parts import (
    Allocators,
    AnalyticConfig,
    CurveConfig,
    GatewayConfig,
    ImagesConfig,
)
from midhaul.runs.config import Config, Section

_PLANNER = re.compile(
    r"^(joint|joint-milp|joint-lagrangian|"
    r"(additive-dp|fptas|additive-greedy|marginal-greedy|milp|mincut)"
    r"\+(raa|weighted|even|hull|exact|proportional|maxmin))$"
)


class DrawConfig(Section):
    """Analytics that are drawn where none is listed: the seed's two kinds."""

    n: int = Field(default=35, ge=0, description="How many analytics to draw.")
    max_lifetime_s: float | None = Field(
        default=None,
        gt=0,
        description="Lifetimes are drawn up to this, in minutes; for ever without.",
    )


class SiteConfig(Section):
    """Where a plan will be applied; its exports say so."""

    namespace: str = Field(default="default", description="Namespace of Kubernetes.")
    registry: str = Field(
        default="",
        description="Put before the names of container images, e.g. "
        "registry.local:5000/.",
    )
    node_label: str = Field(
        default="kubernetes.io/hostname",
        description="Label of nodes that holds a gateway's name.",
    )
    gateway_broker: str = Field(
        default="127.0.0.1:1883", description="MQTT broker of each gateway."
    )
    cloud_broker: str = Field(
        default="127.0.0.1:1884", description="MQTT broker of the cloud."
    )
    topic: str = Field(
        default="iot/{analytic}/#", description="Topics of an analytic at its gateway."
    )
    device: str = Field(
        default="eth0", description="Network device of a gateway's uplink."
    )


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
    allocators: tuple[Allocators, ...] = Field(
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
            if not _PLANNER.match(planner):
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
