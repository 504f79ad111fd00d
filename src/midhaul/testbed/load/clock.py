"""The workload's clock: what time it is, and waking up on time.

Event loops count timers in milliseconds, which is too coarse for planned sends. On
Linux a timer of the kernel wakes the loop instead: within a tenth of a millisecond, at
a tenth of the CPU time that waiting in a busy loop takes from the nodes beside it.
Elsewhere the busy loop is what remains; it is kept short.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

_SPIN_NS = 1_000_000
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_NONBLOCK_CLOEXEC = 0o2004000
_NS = 1_000_000_000


class Clock(Protocol):
    """One clock for all times of a load."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment."""
        ...

    async def sleep_until_ns(self, when_ns: int) -> None:
        """Come back at a time of this clock; other tasks run meanwhile, always."""
        ...


class SpinClock:
    """The monotonic clock; sleeps to shortly before the moment, then spins.

    Spinning gives way to other tasks all the time, so answers are still read.
    """

    def now_ns(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return time.monotonic_ns()

    async def sleep_until_ns(self, when_ns: int) -> None:
        """Sleep, then give way to others until the moment has come."""
        rest_ns = when_ns - time.monotonic_ns() - _SPIN_NS
        await asyncio.sleep(max(rest_ns, 0) / _NS)
        while time.monotonic_ns() < when_ns:  # noqa: ASYNC110 - time is no event
            await asyncio.sleep(0)


class TimerClock:
    """The monotonic clock with a timer of the Linux kernel; for one sleeper at a time.

    To be made inside the event loop that will use it, and closed there. OSError if the
    kernel gives no timer.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = int(self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC))
        if self._file < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "timerfd_create")
        # struct itimerspec: interval (none) and moment, each seconds and nanoseconds.
        self._moment = ctypes.create_string_buffer(struct.calcsize("@4l"))
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._wake)

    def close(self) -> None:
        """Give the timer back."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def now_ns(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return time.monotonic_ns()

    async def sleep_until_ns(self, when_ns: int) -> None:
        """Sleep until the kernel's timer says that the moment has come."""
        if when_ns <= time.monotonic_ns():
            await asyncio.sleep(0)
            return
        struct.pack_into("@4l", self._moment, 0, 0, 0, when_ns // _NS, when_ns % _NS)
        self._libc.timerfd_settime(self._file, _ABSOLUTE, self._moment, None)
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)


@contextlib.contextmanager
def precise_clock() -> Generator[Clock]:
    """The most precise clock of this machine, for the running event loop."""
    if sys.platform != "linux":
        yield SpinClock()
        return
    clock = TimerClock()
    try:
        yield clock
    finally:
        clock.close()
