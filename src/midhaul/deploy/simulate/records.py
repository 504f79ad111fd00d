"""What is written down while a gateway is simulated.

Times are seconds after the begin. The names are those of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from midhaul.deploy.problem import Analytic

MoveOutcome = Literal[
    "started", "left before the pull ended", "left while starting", "cut", "open"
]
"""open: the experiment ended before anybody could know; cut: its slot ended first."""

PullOutcome = Literal["done", "cut", "skipped", "open"]
"""cut: its slot ended first; skipped: all who wanted it had left before its begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One rate period: who ran where, and what the uplink did.

    Attributes:
        begins_s: begin.
        lasts_s: length.
        n_cloud: analytics in the cloud at its begin, those moving included.
        n_moving: those of them that are on their way to the gateway.
        n_gateway: analytics on the gateway at its begin.
        uplink_bps: what the uplink carried at most, mean of the period.
        assumed_bps: what was forecast that it carries.
        allocated_bps: sum of the rates granted.
        demanded_bps: sum of the rates that the chosen steps send.
        sent_bps: what crossed the uplink, mean of the period.
        received_bps: what was pulled, mean of the period.
        late_bytes: most bytes that waited for the uplink at any time of it.
        is_overshoot: true where more was granted than the uplink carried.
        stored_bytes: layers on the disk at its end, uncompressed.
        n_steps_down: how often knobs went down within it, as messages waited.
        n_messages: messages that were sent in it.
        n_late: those of them that waited beyond their deadline, or to the end.
        planned_qos: weighted mean quality; null while there is no analytic.
        qos: the same of what was sent in it, where late messages are worth nothing.
        bound_qos: no allocation has a higher one; null where nobody knows.
        saved_bps: upload rate that analytics on the gateway saved, mean of the period.
    """

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
    """One pull, while it goes on and after it.

    Attributes:
        image: container image.
        slot_s: begin of the slot that planned it.
        planned_begins_s: begin as planned.
        planned_ends_s: end as planned.
        planned_bytes: compressed bytes as planned.
        movers: names of the analytics that it is for.
        begins_s: real begin; None where it was skipped or is yet to come.
        ends_s: real end; None where it did not end.
        pulled_bytes: compressed bytes that came.
        outcome: what became of it.
        is_wasted: true where bytes came and none of its analytics started.
    """

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

    Attributes:
        analytic: who.
        slot_s: begin of the slot that planned it.
        planned_starts_s: when it was to start on the gateway.
        promised_until_s: until when the plan promised a saving.
        leaves_s: when it leaves, or the experiment ends.
        starts_s: when it started on the gateway; None where it never did.
        outcome: what became of it.
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
    """One decision and how long it took.

    Attributes:
        at_s: when it was taken.
        what: of what sort it is.
        took_s: time that it took.
        n: analytics that it was about; layers that were deleted.
        value: of the decision; None for evictions.
        bound: no decision has a higher value; None when unknown.
    """

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
