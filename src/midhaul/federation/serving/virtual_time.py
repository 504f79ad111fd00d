"""An asyncio event loop whose time does not pass but jumps to the next timer.

A wait of an hour takes microseconds, and nothing but waits takes any time: what is
computed between them takes none. So latencies come out as they were put in, whatever
the machine and its load, and a run of one seed gives the same numbers everywhere. Only
coroutines may run in it: a thread or a socket would be at work while time jumps, and is
refused.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

Value = TypeVar("Value")


class _Jumping(selectors.DefaultSelector):
    """A selector that, instead of waiting, lets the time jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Whatever is ready now; otherwise the time moves on."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            message = (
                "nothing is left to do, and somebody still waits: for a thread, a "
                "socket, or each other; in virtual time only coroutines may run"
            )
            raise RuntimeError(message)
        self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that begins at 0 s and whose time jumps; see the module."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Threads do not go with a time that jumps.

        Raises:
            RuntimeError: always.
        """
        del executor, args
        message = f"{func!r} wants a thread; in virtual time only coroutines may run"
        raise RuntimeError(message)


def run_virtual(
    main: Callable[[Callable[[], float]], Coroutine[Any, Any, Value]],
) -> Value:
    """Run a coroutine in virtual time.

    Args:
        main: makes it, given the clock of its loop.
    """
    found: list[Value] = []

    async def keep() -> None:
        # Not as the task's result: the runner writes out that one, arrays and all,
        # when it restores the handler of SIGINT.
        found.append(await main(asyncio.get_running_loop().time))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(keep())
    return found[0]
