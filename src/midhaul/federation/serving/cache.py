"""Answers by content: a cache, and one set of calls for equal requests at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from midhaul.federation.serving.settings import CacheSettings

Value = TypeVar("Value")


class AnswerCache(Generic[Value]):
    """The answers used last, none of them too old.

    Args:
        settings: how many and how old.
        clock: seconds.
    """

    def __init__(self, settings: CacheSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        """Number of answers, too old ones included."""
        return len(self._kept)

    def get(self, key: Hashable) -> Value | None:
        """The answer of a key; None where there is none that is young enough."""
        found = self._kept.get(key)
        if found is None:
            return None
        made_s, value = found
        if self._clock() - made_s > self._settings.max_age_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep an answer; the one not used for the longest time may have to go."""
        if self._settings.n_answers <= 0:
            return
        self._kept[key] = (self._clock(), value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._settings.n_answers:
            self._kept.popitem(last=False)


class Flights(Generic[Value]):
    """Work under way, shared by everybody who wants the same.

    Work goes on as long as somebody waits for it, and is cancelled with the last one.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Value]] = {}
        self._n_waiting: dict[asyncio.Task[Value], int] = {}

    def __len__(self) -> int:
        """Pieces of work under way."""
        return len(self._n_waiting)

    async def join(
        self, key: Hashable, work: Callable[[], Coroutine[None, None, Value]]
    ) -> tuple[Value, bool]:
        """Wait for the work of a key; begin it where nobody has.

        Args:
            key: what is wanted.
            work: does it.

        Returns:
            Its value, and true where somebody else had begun it.
        """
        task = self._tasks.get(key)
        is_shared = task is not None
        if task is None:
            task = asyncio.create_task(work())
            self._tasks[key] = task
            self._n_waiting[task] = 0
            task.add_done_callback(lambda done: self._end(key, done))
        self._n_waiting[task] += 1
        try:
            return await asyncio.shield(task), is_shared
        except asyncio.CancelledError:
            if task in self._n_waiting and self._n_waiting[task] == 1:
                if self._tasks.get(key) is task:
                    del self._tasks[key]  # who comes now begins anew
                task.cancel()
            raise
        finally:
            if task in self._n_waiting:
                self._n_waiting[task] -= 1

    async def close(self, *, drain_s: float) -> None:
        """Wait until all work has ended, and cancel what has not by then.

        Args:
            drain_s: how long to wait before.
        """
        if self._n_waiting and drain_s > 0:
            await asyncio.wait(list(self._n_waiting), timeout=drain_s)
        tasks = list(self._n_waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Hashable, task: asyncio.Task[Value]) -> None:
        self._n_waiting.pop(task, None)
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it
