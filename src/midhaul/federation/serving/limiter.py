"""How often, and how many at once: limits that calls of one provider wait for."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Limiter:
    """Places for calls at the same time, and a rate at which they may begin.

    The rate is a virtual queue (the generic cell rate algorithm): each call is given a
    time to begin, a burst early at most. ``Retry-After`` of a provider moves it on. A
    rate is of calls per second, infinite for any number.
    """

    def __init__(
        self, *, n_at_once: int, rate_hz: float, burst: int, clock: Callable[[], float]
    ) -> None:
        self._places = asyncio.Semaphore(n_at_once)
        self._gap_s = 0.0 if math.isinf(rate_hz) else 1.0 / rate_hz
        self._burst_s = self._gap_s * (burst - 1)
        self._clock = clock
        self._next_s = -math.inf
        self._closed_until_s = -math.inf
        self.n_waiting = 0

    def pause(self, seconds: float) -> None:
        """Let no call begin for a while: the provider asked for it."""
        until = self._clock() + seconds
        self._closed_until_s = max(self._closed_until_s, until)

    async def enter(self, patience_s: float) -> bool:
        """Wait for a place and a time to begin; :meth:`leave` gives the place back.

        False where the wait is, or would be, longer than ``patience_s``.
        """
        begun = self._clock()
        if self._places.locked():
            if not await self._found_place(patience_s):
                return False
        else:
            await self._places.acquire()
        try:
            return await self._found_time(patience_s - (self._clock() - begun))
        except BaseException:
            self._places.release()
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    async def _found_place(self, patience_s: float) -> bool:
        self.n_waiting += 1
        try:
            async with asyncio.timeout(max(0.0, patience_s)):
                await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self.n_waiting -= 1
        return True

    async def _found_time(self, patience_s: float) -> bool:
        """Take the next time to begin and wait for it; a place is held."""
        now = self._clock()
        begin = max(now, self._next_s - self._burst_s, self._closed_until_s)
        wait_s = begin - now
        if wait_s > patience_s:
            self._places.release()
            return False
        if self._gap_s:
            self._next_s = max(self._next_s, begin) + self._gap_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return True
