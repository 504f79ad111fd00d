"""Time that passes only when everybody sleeps, and a node that lives in it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence


T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()


class VirtualClock:
    """The clock of the running virtual loop."""

    def now_ns(self) -> int:
        """Nanoseconds since the loop was made."""
        return round(asyncio.get_running_loop().time() * 1e9)

    async def sleep_until_ns(self, when_ns: int) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(max(0.0, (when_ns - self.now_ns()) / 1e9))


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run something in virtual time, from second 0."""
    with contextlib.closing(VirtualLoop()) as loop:
        return loop.run_until_complete(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReply:
    """An answer."""

    status: str = "ok"
    error: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)
    sent_bytes: int = 100
    received_bytes: int = 10


class FakeNodes:
    """Nodes that answer one request at a time, each after its service time.

    Args:
        service_s: service time by the number of the request, from 0, over all nodes.
        freeze_s: from and until when no node does anything.
    """

    def __init__(
        self,
        service_s: Callable[[int], float] = lambda _: 0.01,
        *,
        freeze_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.most_outstanding = 0
        self._service_s = service_s
        self._freeze_s = freeze_s
        self._outstanding = 0
        self._locks: dict[str, asyncio.Lock] = {}

    async def send(
        self, node: str, images: Sequence[str], *, timeout_s: float
    ) -> FakeReply:
        """Queue, serve, answer; or time out."""
        number = len(self.asked)
        self.asked.append((node, tuple(images)))
        self._outstanding += 1
        self.most_outstanding = max(self.most_outstanding, self._outstanding)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._serve(node, self._service_s(number))
        except TimeoutError:
            return FakeReply(status="timeout", error="no answer", received_bytes=0)
        finally:
            self._outstanding -= 1

    async def _serve(self, node: str, service_s: float) -> FakeReply:
        async with self._locks.setdefault(node, asyncio.Lock()):
            await asyncio.sleep(service_s)
            now = asyncio.get_running_loop().time()
            begin, end = self._freeze_s
            if begin <= now < end:
                await asyncio.sleep(end - now)
        return FakeReply(meta={"node_ns": round(service_s * 1e9), "answered_by": node})
