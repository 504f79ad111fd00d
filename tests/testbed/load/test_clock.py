"""Waking up on time."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from midhaul.testbed.load.generator import Clock, SpinClock, precise_clock

if TYPE_CHECKING:
    from collections.abc import Callable


def run(loop: str, work: Callable[[Clock], Any]) -> Any:
    """Run something with the precise clock on one of the two event loops."""

    async def main() -> Any:
        with precise_clock() as clock:
            return await work(clock)

    return asyncio.run(main()) if loop == "asyncio" else uvloop.run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nobody_wakes_early(loop: str) -> None:
    """However short the sleep, its moment has come when it is over."""

    async def work(clock: Clock) -> None:
        for gap_ns in (3_000_000, 200_000, 20_000, 1, 0, -5):
            when_ns = clock.now_ns() + gap_ns
            await clock.sleep_until_ns(when_ns)
            assert clock.now_ns() >= when_ns

    run(loop, work)


def test_the_spinning_clock_does_not_wake_early_either() -> None:
    """The clock of other systems keeps the same promise."""

    async def work() -> None:
        clock = SpinClock()
        when_ns = clock.now_ns() + 3_000_000
        await clock.sleep_until_ns(when_ns)
        assert clock.now_ns() >= when_ns

    asyncio.run(work())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_others_run_though_the_sleeper_is_late(loop: str) -> None:
    """A generator that is behind its plan still lets answers be read."""

    async def work(clock: Clock) -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        for _ in range(10):
            await clock.sleep_until_ns(clock.now_ns() - 1)
        task.cancel()
        return turns

    assert run(loop, work) >= 9


@pytest.mark.skipif(sys.platform != "linux", reason="the timer is one of Linux")
def test_a_cancelled_sleep_leaves_the_timer_usable() -> None:
    """A sleep that was given up does not wake or block the next one."""

    async def work(clock: Clock) -> None:
        first = asyncio.ensure_future(clock.sleep_until_ns(clock.now_ns() + 10**9))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        when_ns = clock.now_ns() + 2_000_000
        await clock.sleep_until_ns(when_ns)
        assert clock.now_ns() >= when_ns

    run("uvloop", work)
