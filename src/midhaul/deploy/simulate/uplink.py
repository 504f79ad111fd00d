"""A fluid uplink: what is demanded beyond its rate waits, and goes later or never.

With demand *d*, rate *c* and *b* bits waiting, over an interval of width *w*::

    b' = max(0, b + (d - c) w)

First come, first served, and all analytics share the wait. Bits that came in one
interval and leave in another have waited for the difference of the begins of the two;
beyond the deadline they are late. A pacer that drops what is late spends no rate on it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Chunk:
    """Bits that came in one interval.

    Attributes:
        period: number of the rate period that it belongs to.
        came_s: begin of its interval.
        bits: those of them that still wait.
        n_bits: all of them.
        n_messages: messages that they are.
        quality: what they are worth together.
    """

    period: int
    came_s: float
    bits: float
    n_bits: float
    n_messages: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBits:
    """Bits that were late.

    Attributes:
        period: number of the rate period in which they came.
        n_messages: messages that they are.
        quality: what they would have been worth.
    """

    period: int
    n_messages: float
    quality: float


class FluidUplink:
    """The queue before an uplink.

    Args:
        deadline_s: bits that wait longer are late.
        has_expiry: whether what is late is dropped.
    """

    def __init__(self, *, deadline_s: float, has_expiry: bool) -> None:
        self._deadline_s = deadline_s
        self._has_expiry = has_expiry
        self._queue: deque[_Chunk] = deque()
        self.waiting_bits = 0.0

    def carry(
        self,
        *,
        period: int,
        at_s: float,
        width_s: float,
        demand_bps: float,
        rate_bps: float,
        n_messages: float,
        quality: float,
    ) -> tuple[float, list[LateBits]]:
        """Let an interval pass.

        Args:
            period: number of the rate period.
            at_s: begin of the interval.
            width_s: its width.
            demand_bps: what is sent to the uplink all the time.
            rate_bps: what it carries.
            n_messages: messages that come.
            quality: what they are worth together, if they are not late.

        Returns:
            Bits that left, and what turned out to be late.
        """
        late: list[LateBits] = []
        if self._has_expiry:
            late += self._expire(at_s)
        came = demand_bps * width_s
        if came > 0:
            self._queue.append(_Chunk(period, at_s, came, came, n_messages, quality))
        room = rate_bps * width_s
        left = 0.0
        while self._queue and left < room:
            head = self._queue[0]
            bits = min(head.bits, room - left)
            left += bits
            head.bits -= bits
            if at_s - head.came_s > self._deadline_s:
                late.append(_late(head, bits))
            if head.bits > 0:
                break
            self._queue.popleft()
        self._recount()
        return left, late

    def end(self) -> list[LateBits]:
        """End it all: what still waits will not arrive."""
        late = [_late(chunk, chunk.bits) for chunk in self._queue]
        self._queue.clear()
        self._recount()
        return late

    def _expire(self, at_s: float) -> list[LateBits]:
        late: list[LateBits] = []
        while self._queue and at_s - self._queue[0].came_s > self._deadline_s:
            chunk = self._queue.popleft()
            late.append(_late(chunk, chunk.bits))
        return late

    def _recount(self) -> None:
        self.waiting_bits = sum(chunk.bits for chunk in self._queue)


def _late(chunk: _Chunk, bits: float) -> LateBits:
    share = bits / chunk.n_bits
    return LateBits(
        period=chunk.period,
        n_messages=share * chunk.n_messages,
        quality=share * chunk.quality,
    )
