"""The workload's clock: what time it is, and waking up on time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """One clock for all times of a load."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment."""
        ...

    async def sleep_until_ns(self, when_ns: int) -> None:
        """Come back at a time of this clock; other tasks run meanwhile, always."""
        ...


class PreciseClock:
    """The monotonic clock, with wake-ups finer than an event loop's timers.

    Event loops count timers in milliseconds. This clock sleeps to shortly before the
    moment and then gives way to other tasks again and again until it has come, so that
    answers are still read in between.

    Args:
        spin_ns: for how long it does so; nothing for a plain sleep.
    """

    def __init__(self, *, spin_ns: int = 1_000_000) -> None:
        self._spin_ns = spin_ns

    def now_ns(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return time.monotonic_ns()

    async def sleep_until_ns(self, when_ns: int) -> None:
        """Sleep, then give way to others until the moment has come."""
        rest_ns = when_ns - time.monotonic_ns() - self._spin_ns
        await asyncio.sleep(max(rest_ns, 0) / 1e9)
        while time.monotonic_ns() < when_ns:
            await asyncio.sleep(0)
