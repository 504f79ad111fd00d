"""Scenario and history: what is simulated, and what is written down meanwhile.

Times are seconds after the begin. The names are those of the tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from midhaul.deploy.control import Startup
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.networks import Network
    from midhaul.deploy.problem import Analytic, ContainerImage, Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The world that a policy acts in; a DataError names what cannot be.

    The gateway's own links do not count, but those of the network; ``startup`` is how
    long images really take from the end of a pull to the first answer, and ``goodput``
    the share of the downlink that carries layers.
    """

    analytics: tuple[Analytic, ...]
    images: Mapping[str, ContainerImage]
    gateway: Gateway
    network: Network
    duration_s: float
    startup: Startup = field(default_factory=Startup)
    goodput: float = 1.0
    deadline_s: float = 10.0

    def __post_init__(self) -> None:
        """Check names and numbers."""
        if not (self.duration_s > 0 and math.isfinite(self.duration_s)):
            message = f"expected a duration above 0 s, found {self.duration_s}"
            raise DataError(message)
        if not self.deadline_s > 0:
            message = f"expected a deadline above 0 s, found {self.deadline_s}"
            raise DataError(message)
        if not 0 < self.goodput <= 1:
            message = f"expected a goodput above 0, at most 1, found {self.goodput}"
            raise DataError(message)
        if len({a.name for a in self.analytics}) < len(self.analytics):
            message = "expected each analytic once"
            raise DataError(message)
        for analytic in self.analytics:
            if analytic.image not in self.images:
                message = (
                    f"analytic {analytic.name} needs the container image "
                    f"{analytic.image}, which is not among the {len(self.images)} known"
                )
                raise DataError(message)

    @property
    def pull_bps(self) -> float:
        """The rate at which layers come."""
        return self.network.downlink_bps * self.goodput


MoveOutcome = Literal[
    "started", "left before the pull ended", "left while starting", "cut", "open"
]
"""open: the experiment ended before anybody could know; cut: its slot ended first."""

PullOutcome = Literal["done", "cut", "skipped", "open"]
"""cut: its slot ended first; skipped: all who wanted it had left before its begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One rate period: who ran where, and what the uplink did; a row of ``periods``."""

    begins_s: float
    lasts_s: float
    n_cloud: int
    n_moving: int
    n_gateway: int
    uplink_bps: float
    assumed_bps: float
    allocated_bps: float
    demanded_bps: float
    sent_bps: float
    received_bps: float
    late_bytes: float
    is_overshoot: bool
    stored_bytes: int
    n_steps_down: int
    n_messages: float
    n_late: float
    planned_qos: float | None
    qos: float | None
    bound_qos: float | None
    saved_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one analytic was granted in one rate period."""

    begins_s: float
    analytic: str
    place: Literal["cloud", "gateway"]
    rate_bps: float
    knob: float | None
    quality: float


@dataclass(slots=True, kw_only=True)
class SimulatedPull:
    """One pull, while it goes on and after it, for its movers; a row of ``pulls``."""

    image: str
    slot_s: float
    planned_begins_s: float
    planned_ends_s: float
    planned_bytes: int
    movers: tuple[str, ...]
    begins_s: float | None = None
    ends_s: float | None = None
    pulled_bytes: int = 0
    outcome: PullOutcome = "open"
    is_wasted: bool = False


@dataclass(slots=True, kw_only=True)
class Move:
    """One analytic that a placement moves to the gateway.

    ``promised_until_s`` is until when the plan promised a saving, ``leaves_s`` when the
    analytic leaves or the experiment ends, and ``starts_s`` None where it never
    started.
    """

    analytic: Analytic
    slot_s: float
    planned_starts_s: float
    promised_until_s: float
    leaves_s: float
    starts_s: float | None = None
    outcome: MoveOutcome = "open"

    @property
    def is_realised(self) -> bool | None:
        """Whether it moved; None where the experiment ended before that was known."""
        return None if self.outcome == "open" else self.outcome == "started"

    @property
    def planned_saved_bits(self) -> float:
        """What the plan promised to save."""
        promised_s = max(0.0, self.promised_until_s - self.planned_starts_s)
        return self.analytic.saved_bps * promised_s

    @property
    def saved_bits(self) -> float:
        """What was saved of that, in the time for which it was promised."""
        if self.starts_s is None:
            return 0.0
        until_s = min(self.leaves_s, self.promised_until_s)
        return self.analytic.saved_bps * max(0.0, until_s - self.starts_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """One layer that was deleted."""

    at_s: float
    digest: str
    uncompressed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision and how long it took: a row of ``algorithm_times``."""

    at_s: float
    what: Literal["placement", "eviction", "rates"]
    took_s: float
    n: int
    value: float | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that happened to one gateway under one policy, in order."""

    periods: list[Period] = field(default_factory=list[Period])
    rates: list[Rate] = field(default_factory=list[Rate])
    pulls: list[SimulatedPull] = field(default_factory=list[SimulatedPull])
    moves: list[Move] = field(default_factory=list[Move])
    evictions: list[Eviction] = field(default_factory=list[Eviction])
    decisions: list[Decision] = field(default_factory=list[Decision])
