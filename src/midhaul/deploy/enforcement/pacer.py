"""Pacing: what may leave when, so that each lane keeps its rate and all the uplink.

Each lane and the uplink have a leaky bucket (:mod:`midhaul.deploy.enforcement.bucket`);
a message leaves when both are empty. Over every window of *W* seconds a lane sends at
most ``rate * (W + lateness_s)`` and one message, and so do all together on the uplink.
Time is an argument, nothing here waits.

What lanes leave of the uplink can be shared in proportion to their rates by start-time
fair queueing: P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996.
Differences from the paper:

1. A lane is served by its own bucket first; start tags divide only what remains.
2. Lanes that together ask for more than the uplink are scaled down in proportion.
3. Of several lanes whose buckets are empty, the one goes first that has been allowed to
   for longest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic

from midhaul.deploy.enforcement.bucket import NEVER, Bucket
from midhaul.deploy.enforcement.lanes import Bounds, Lane, LaneCounts, T, Waiting
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Pacer(Generic[T]):
    """Queues of many lanes, and when each message may leave.

    Args:
        uplink_bps: what all lanes together may send; infinite for no cap.
        now_s: the time, on the clock of all other calls.
        bounds: of each lane's queue.
        lateness_s: by how much a timer may be late without loss of rate.
        is_work_conserving: whether lanes share what others leave of the uplink. A lane
            may then exceed its own rate, all together still never the uplink.

    Raises:
        DataError: the uplink is negative or NaN.
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

        A lane that is not named any more gets a rate of zero; its messages wait.

        Raises:
            DataError: a rate is negative, infinite or NaN, or the uplink is negative or
                NaN.
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
        """Take a lane away.

        Returns:
            What happened in it so far, and what waits in it, the oldest first.
        """
        gone = self._lanes.pop(lane)
        return gone.counts, list(gone.queue)

    def discard(self, is_gone: Callable[[T], bool]) -> list[Waiting[T]]:
        """Take messages out of all queues that need not be sent any more.

        Returns:
            Those messages; they count as dropped, and take nothing of the rates.
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
        """Put a message into a lane's queue.

        Args:
            lane: a name that :meth:`set_rates` knows.
            message: what to send.
            n_bytes: what it takes on the wire.
            now_s: when it came.

        Returns:
            What was dropped to keep the bounds; the message itself, where there was no
            room for it.
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

        What they took of the rates is spent. Of messages in a full queue one goes.

        Returns:
            What was dropped to keep the bounds.
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
