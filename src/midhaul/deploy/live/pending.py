"""A placement that may take longer than the loop can wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from midhaul.deploy.placement.base import Placement


class PendingPlacement:
    """At most one placement that is being planned, of the slot that asked for it.

    Args:
        patience_s: for which a slot waits for its placement.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._task: asyncio.Task[Placement] | None = None
        self._slot_s = 0.0

    async def ask(
        self, slot_s: float, plan: Callable[[], Coroutine[Any, Any, Placement]]
    ) -> None:
        """Begin to plan, and wait a little; while one is planned, no other is.

        Args:
            slot_s: begin of the slot.
            plan: what plans it.
        """
        if self._task is None:
            self._task, self._slot_s = asyncio.create_task(plan()), slot_s
            await asyncio.wait({self._task}, timeout=self._patience_s)

    def take(self) -> tuple[Placement, float] | None:
        """The placement and the begin of its slot, once; None while there is none."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        return task.result(), self._slot_s

    async def close(self) -> None:
        """Give up what is being planned."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
