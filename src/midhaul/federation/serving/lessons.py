"""What an online policy learns from: how requests ended, one after another.

To learn anew may take seconds, so that it is done in a thread of its own, and requests
are decided by the policy as it was meanwhile. In virtual time it is done in line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from midhaul.federation.policies.base import Situation, SubsetPolicy
    from midhaul.federation.problem import Answers

_LOG = logging.getLogger(__name__)
_MOST = 1000


class Lessons:
    """Hands what happened to the policy, where it is an online one.

    Args:
        policy: that decides.
        in_thread: learn in a thread, by :meth:`run`; otherwise at once.

    Attributes:
        n_dropped: requests that were not learned from, as there were too many.
    """

    def __init__(self, policy: SubsetPolicy, *, in_thread: bool) -> None:
        learn: Any = getattr(policy, "learn", None)
        self._learn = learn if callable(learn) else None
        self._in_thread = in_thread
        self._waiting: deque[tuple[Situation, Answers]] = deque()
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.n_dropped = 0

    def give(self, situation: Situation, fused: Answers) -> None:
        """Say how a request ended; how good its answer was, nobody can tell."""
        if self._learn is None:
            return
        if not self._in_thread:
            self._learn(situation, fused, np.full(1, np.nan))
            return
        if len(self._waiting) >= _MOST:
            self.n_dropped += 1
            return
        self._waiting.append((situation, fused))
        self._there.set()

    def start(self) -> None:
        """Begin to learn in a thread."""
        if self._learn is not None and self._in_thread:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Learn no more; the lesson under way is learned to its end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        assert self._learn is not None  # noqa: S101 - see start
        while True:
            await self._there.wait()
            self._there.clear()
            while self._waiting:
                situation, fused = self._waiting.popleft()
                lesson = asyncio.to_thread(
                    self._learn, situation, fused, np.full(1, np.nan)
                )
                try:
                    await asyncio.shield(lesson)
                except Exception:  # noqa: BLE001  requests go on without it
                    _LOG.exception("the policy could not learn from a request")
