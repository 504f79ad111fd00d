"""Pacer: leaky buckets and lanes, so that each rate is kept and so is the uplink.

Each lane and the uplink have a leaky bucket; a message leaves when both are empty. Over
every window of *W* seconds a lane sends at most ``rate * (W + lateness_s)`` and one
message, and so do all together on the uplink. Time is an argument, nothing here waits.

What lanes leave of the uplink can be shared in proportion to their rates by start-time
fair queueing: P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996.
Differences from the paper:

1. A lane is served by its own bucket first; start tags divide only what remains.
2. Lanes that together ask for more than the uplink are scaled down in proportion.
3. Of several lanes whose buckets are empty, the one goes first that has been allowed to
   for longest.

The *leaky bucket* has a rate that may change; it says when the next message may leave.

The generic cell rate algorithm (ITU-T I.371, annex A) in its continuous form: sending
*n* bits fills the bucket by *n*, it drains at its rate, and the next message may leave
when it is empty. Over every window of *W* seconds therefore::

    bits <= rate * (W + slack_s) + one message

Differences from the standard:

1. The level is kept in bits, not in time, so that the rate can change at any moment and
   the bound holds for its integral.
2. Messages have sizes of their own; a cell is one size.

A *lane* is the queue of what one rate is granted to, with its bounds and its counts.

It is a topic, or all topics of a filter; messages leave it in the order in which they
came.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NEVER = math.inf
"""A time that does not come."""

_TOLERANCE_BITS = 0.5  # clocks are floats: it is empty a hair before it is


class Bucket:
    """A leaky bucket; an infinite rate is one that is always empty.

    Time does not run backwards. A timer may be late by ``slack_s`` without loss of
    rate; zero is exact.
    """

    __slots__ = ("_at_s", "_level_bits", "_slack_s", "rate_bps")

    def __init__(self, rate_bps: float, now_s: float, slack_s: float) -> None:
        self.rate_bps = rate_bps
        self._level_bits = 0.0
        self._at_s = now_s
        self._slack_s = slack_s

    def _drain(self, now_s: float) -> None:
        if math.isinf(self.rate_bps):
            return
        passed_s = max(0.0, now_s - self._at_s)
        floor = min(self._level_bits, -self.rate_bps * self._slack_s)
        self._level_bits = max(floor, self._level_bits - self.rate_bps * passed_s)
        self._at_s = max(self._at_s, now_s)

    def set_rate(self, rate_bps: float, now_s: float) -> None:
        """Change the rate from now on."""
        if math.isinf(self.rate_bps):
            self._level_bits, self._at_s = 0.0, now_s
        self._drain(now_s)
        self.rate_bps = rate_bps
        if math.isfinite(rate_bps):
            self._level_bits = max(self._level_bits, -rate_bps * self._slack_s)

    def fill(self, n_bits: float, now_s: float) -> None:
        """Something left."""
        self._drain(now_s)
        if math.isfinite(self.rate_bps):
            self._level_bits += n_bits

    def free_s(self) -> float:
        """When it is empty; never at a rate of zero."""
        if self.rate_bps <= 0:
            return NEVER
        if math.isinf(self.rate_bps):
            return -NEVER
        rest = self._level_bits - _TOLERANCE_BITS
        return self._at_s + rest / self.rate_bps


T = TypeVar("T")

Drop = Literal["oldest", "newest"]
"""Which message goes when a queue is full: the oldest, or the one that comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may wait in each lane; ``drop`` goes when there is no room.

    Bytes are on the wire, together; a larger message has no room at all. A DataError
    where no message fits.
    """

    n_messages: int = 100
    n_bytes: int = 16_000_000
    drop: Drop = "oldest"

    def __post_init__(self) -> None:
        """Check that something may wait."""
        if self.n_messages < 1 or self.n_bytes < 1:
            message = (
                "expected room for at least one message and one byte, found "
                f"{self.n_messages} messages and {self.n_bytes} bytes"
            )
            raise DataError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Generic[T]):
    """A message in a queue, whatever it is, and what it takes on the wire.

    ``number`` counts all messages that came, so that order can be restored.
    """

    lane: str
    number: int
    message: T
    n_bytes: int
    came_s: float


@dataclass(slots=True, kw_only=True)
class LaneCounts:
    """What happened in one lane; bytes are those on the wire.

    A message that was put back and left again counts twice in ``n_out``; delays are of
    those that left, in the queue.
    """

    n_in: int = 0
    n_out: int = 0
    n_dropped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_dropped: int = 0
    delay_s: float = 0.0
    max_delay_s: float = 0.0

    def add(self, other: LaneCounts) -> None:
        """Count together."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            is_longest = one.name == "max_delay_s"
            setattr(self, one.name, max(mine, theirs) if is_longest else mine + theirs)


class Lane(Generic[T]):
    """The queue of one lane; the oldest message is at its head."""

    __slots__ = ("_bounds", "bucket", "counts", "n_bytes", "queue", "spare_s")

    def __init__(self, bucket: Bucket, bounds: Bounds) -> None:
        self._bounds = bounds
        self.bucket = bucket
        self.queue: deque[Waiting[T]] = deque()
        self.n_bytes = 0
        self.counts = LaneCounts()
        self.spare_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """True where something waits that may leave at some time."""
        return bool(self.queue) and self.bucket.rate_bps > 0

    def append(self, waiting: Waiting[T]) -> list[Waiting[T]]:
        """Add a message that came; what was dropped for it, or itself."""
        self.counts.n_in += 1
        self.counts.bytes_in += waiting.n_bytes
        if waiting.n_bytes > self._bounds.n_bytes:
            return self._dropped([waiting])
        self.queue.append(waiting)
        self.n_bytes += waiting.n_bytes
        return self.trim()

    def return_head(self, waiting: Waiting[T]) -> None:
        """Put a message back before all others; :meth:`trim` has to follow."""
        self.queue.appendleft(waiting)
        self.n_bytes += waiting.n_bytes

    def pop(self, now_s: float) -> Waiting[T]:
        """The oldest message, which leaves now."""
        waiting = self.queue.popleft()
        self.n_bytes -= waiting.n_bytes
        delay_s = now_s - waiting.came_s
        self.counts.n_out += 1
        self.counts.bytes_out += waiting.n_bytes
        self.counts.delay_s += delay_s
        self.counts.max_delay_s = max(self.counts.max_delay_s, delay_s)
        return waiting

    def trim(self) -> list[Waiting[T]]:
        """Drop messages until the bounds are kept."""
        gone: list[Waiting[T]] = []
        bounds = self._bounds
        while len(self.queue) > bounds.n_messages or self.n_bytes > bounds.n_bytes:
            is_oldest = bounds.drop == "oldest"
            waiting = self.queue.popleft() if is_oldest else self.queue.pop()
            self.n_bytes -= waiting.n_bytes
            gone.append(waiting)
        return self._dropped(gone)

    def discard(self, is_gone: Callable[[T], bool]) -> list[Waiting[T]]:
        """Drop the messages of which something is so."""
        gone = [one for one in self.queue if is_gone(one.message)]
        if gone:
            numbers = {one.number for one in gone}
            self.queue = deque(one for one in self.queue if one.number not in numbers)
            self.n_bytes -= sum(one.n_bytes for one in gone)
        return self._dropped(gone)

    def _dropped(self, gone: list[Waiting[T]]) -> list[Waiting[T]]:
        self.counts.n_dropped += len(gone)
        self.counts.bytes_dropped += sum(one.n_bytes for one in gone)
        return gone


class Pacer(Generic[T]):
    """Queues of many lanes, and when each message may leave.

    All lanes together send at most ``uplink_bps``, which may be infinite; a DataError
    where it is negative or NaN. A timer may be late by ``lateness_s`` without loss of
    rate. Where it is work-conserving, lanes share what others leave of the uplink: one
    may then exceed its own rate, all together still never the uplink.
    """

    def __init__(
        self,
        *,
        uplink_bps: float = math.inf,
        now_s: float = 0.0,
        bounds: Bounds | None = None,
        lateness_s: float = 0.0,
        is_work_conserving: bool = False,
    ) -> None:
        _check("uplink", uplink_bps)
        self._bounds = bounds or Bounds()
        self._lateness_s = lateness_s
        self._is_work_conserving = is_work_conserving
        self._uplink_bps = uplink_bps
        self._uplink = Bucket(uplink_bps, now_s, lateness_s)
        self._lanes: dict[str, Lane[T]] = {}
        self._number = 0
        self._spare_s = 0.0

    def set_rates(
        self,
        rates_bps: Mapping[str, float],
        now_s: float,
        *,
        uplink_bps: float | None = None,
    ) -> None:
        """Change the rates, and the uplink where it is given, from now on.

        A lane that is not named any more gets a rate of zero; its messages wait. A
        DataError is a rate that is negative, infinite or NaN.
        """
        for name, rate_bps in rates_bps.items():
            _check(f"lane {name}", rate_bps)
            if math.isinf(rate_bps):
                message = f"lane {name}: expected a finite rate, found {rate_bps}"
                raise DataError(message)
        if uplink_bps is not None:
            _check("uplink", uplink_bps)
            self._uplink_bps = uplink_bps
            self._uplink.set_rate(uplink_bps, now_s)
        asked_bps = sum(rates_bps.values())
        is_too_much = asked_bps > self._uplink_bps
        scale = self._uplink_bps / asked_bps if is_too_much else 1.0
        for name in {**self._lanes, **rates_bps}:
            rate_bps = rates_bps.get(name, 0.0)
            if name not in self._lanes:
                self._lanes[name] = Lane(
                    Bucket(0.0, now_s, self._lateness_s), self._bounds
                )
            self._lanes[name].bucket.set_rate(rate_bps * scale, now_s)

    def remove(self, lane: str) -> tuple[LaneCounts, list[Waiting[T]]]:
        """Take a lane away: what happened and what waits in it, the oldest first."""
        gone = self._lanes.pop(lane)
        return gone.counts, list(gone.queue)

    def discard(self, is_gone: Callable[[T], bool]) -> list[Waiting[T]]:
        """Take messages out of all queues that need not be sent any more.

        These are returned. They count as dropped, and take nothing of the rates.
        """
        return [gone for lane in self._lanes.values() for gone in lane.discard(is_gone)]

    @property
    def rates_bps(self) -> dict[str, float]:
        """What each lane gets, scaled down where they ask for more than the uplink."""
        return {name: lane.bucket.rate_bps for name, lane in self._lanes.items()}

    @property
    def counts(self) -> dict[str, LaneCounts]:
        """What happened so far, by lane."""
        return {name: lane.counts for name, lane in self._lanes.items()}

    def n_waiting(self, lane: str) -> int:
        """Messages that wait in a lane."""
        return len(self._lanes[lane].queue)

    @property
    def n_bytes(self) -> int:
        """What all messages that wait take on the wire."""
        return sum(lane.n_bytes for lane in self._lanes.values())

    def __len__(self) -> int:
        """Messages that wait in all lanes."""
        return sum(len(lane.queue) for lane in self._lanes.values())

    def offer(
        self, lane: str, message: T, n_bytes: int, now_s: float
    ) -> list[Waiting[T]]:
        """Put a message into a lane's queue, which :meth:`set_rates` has named.

        What was dropped to keep the bounds is returned: the message itself, where there
        was no room for it.
        """
        self._number += 1
        waiting = Waiting(
            lane=lane,
            number=self._number,
            message=message,
            n_bytes=n_bytes,
            came_s=now_s,
        )
        return self._lanes[lane].append(waiting)

    def put_back(self, unsent: Iterable[Waiting[T]]) -> list[Waiting[T]]:
        """Return messages that left but did not arrive to the heads of their queues.

        What they took of the rates is spent. Of messages in a full queue one goes; what
        was dropped is returned.
        """
        for waiting in sorted(unsent, key=lambda one: -one.number):
            self._lanes[waiting.lane].return_head(waiting)
        return [gone for lane in self._lanes.values() for gone in lane.trim()]

    def next_s(self) -> float:
        """When the next message may leave; infinite when none ever may as it stands."""
        lanes = [lane for lane in self._lanes.values() if lane.is_waiting]
        if not lanes:
            return NEVER
        uplink_s = self._uplink.free_s()
        if self._is_work_conserving:
            return uplink_s
        return max(uplink_s, min(lane.bucket.free_s() for lane in lanes))

    def take(self, now_s: float) -> Waiting[T] | None:
        """The message that may leave now, taken from its queue; None when none may."""
        if self.next_s() > now_s:
            return None
        lanes = [lane for lane in self._lanes.values() if lane.is_waiting]
        due = [lane for lane in lanes if lane.bucket.free_s() <= now_s]
        if due:
            here = min(due, key=_since_s)
            here.bucket.fill(8.0 * here.queue[0].n_bytes, now_s)
        else:
            here = self._take_spare(lanes)
        self._uplink.fill(8.0 * here.queue[0].n_bytes, now_s)
        return here.pop(now_s)

    def _take_spare(self, lanes: list[Lane[T]]) -> Lane[T]:
        """The lane that is next to use what others leave; it spends none of its own."""
        here = min(lanes, key=lambda lane: max(lane.spare_s, self._spare_s))
        self._spare_s = max(here.spare_s, self._spare_s)
        lasts_s = 8.0 * here.queue[0].n_bytes / here.bucket.rate_bps
        here.spare_s = self._spare_s + lasts_s
        return here


def _since_s(lane: Lane[T]) -> float:
    """Since when the head of a lane has been allowed to leave."""
    return max(lane.bucket.free_s(), lane.queue[0].came_s)


def _check(what: str, rate_bps: float) -> None:
    if math.isnan(rate_bps) or rate_bps < 0:
        message = f"{what}: expected a rate of at least 0 bit/s, found {rate_bps}"
        raise DataError(message)
