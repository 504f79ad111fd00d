"""asyncio.run that also works where an event loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_T = TypeVar("_T")


def run_coroutine(
    work: Coroutine[Any, Any, _T], loop_factory: LoopFactory | None = None
) -> _T:
    """Run a coroutine to its end and return what it returns.

    A notebook's cells run inside of an event loop, which cannot wait for another one;
    there the work is done by a thread with a loop of its own. An interrupt cancels it
    and is raised when it has ended in order.

    Args:
        work: the coroutine.
        loop_factory: makes the event loop; asyncio's own by default.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work, loop_factory)
    begun = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def known() -> _T:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError  # a coroutine that runs is in a task
        running.append((asyncio.get_running_loop(), task))
        begun.set()
        return await work

    with ThreadPoolExecutor(1, thread_name_prefix="loop") as pool:
        future = pool.submit(_run, known(), loop_factory)
        try:
            return future.result()
        except KeyboardInterrupt:
            begun.wait()
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            raise


def _run(work: Coroutine[Any, Any, _T], loop_factory: LoopFactory | None) -> _T:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work)
