"""A load that is running: what was sent, what is outstanding, and how it goes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from midhaul.testbed.records import RequestRecord
from midhaul.testbed.scenarios import node_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from midhaul.testbed.clock import Clock
    from midhaul.testbed.scenarios import Scenario
    from midhaul.testbed.target import Reply, Target
    from midhaul.testbed.warmup import SteadyWatch

    OnDone = Callable[[RequestRecord, Reply], None]

Ending = Literal["complete", "arrivals over", "too many outstanding", "nobody answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """When a load is ended early, because going on would prove nothing.

    Attributes:
        max_outstanding: requests on their way at once; bounds the memory.
        max_failures: failures in a row.
    """

    max_outstanding: int = 10_000
    max_failures: int = 100


class RunningLoad:
    """Sends requests one by one and keeps their records.

    Args:
        scenario: how the workload behaves.
        target: where requests go.
        images: ids, in the order in which they are asked.
        nodes: names of the nodes, which take turns.
        clock: of all times.
        timeout_s: after which a request counts as failed.
        guard: when to end early.
        on_done: called with each finished request and its reply.

    Attributes:
        is_warmup: true while what is sent belongs to the warm-up.
        ending: how the load ended, so far.
        watch: follows the latencies of the warm-up, if there is one.
        records: what became of the requests, in the order of their ends.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        target: Target,
        images: tuple[str, ...],
        nodes: tuple[str, ...],
        clock: Clock,
        timeout_s: float,
        guard: Guard,
        on_done: OnDone | None,
    ) -> None:
        self.scenario = scenario
        self.nodes = nodes
        self.clock = clock
        self.is_warmup = True
        self.ending: Ending = "complete"
        self.watch: SteadyWatch | None = None
        self.records: list[RequestRecord] = []
        self._target = target
        self._images = images
        self._timeout_s = timeout_s
        self._guard = guard
        self._on_done = on_done
        self._begin_ns = clock.now_ns()
        self._n_sent = 0
        self._n_failures = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._fault: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        """False once something ended the load."""
        return self.ending == "complete" and self._fault is None

    def since_s(self, begin_ns: int) -> float:
        """Seconds since a moment of the clock."""
        return (self.clock.now_ns() - begin_ns) / 1e9

    def start(self, number: int, planned_ns: int) -> None:
        """Send a request and do not wait for its answer."""
        self.spawn(self.ask(number, planned_ns))
        if len(self._tasks) > self._guard.max_outstanding:
            self.ending = "too many outstanding"

    def spawn(self, work: Coroutine[None, None, object]) -> None:
        """Run something beside the rest; its exception ends the load."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    async def drain(self) -> None:
        """Wait for everything that still runs.

        Raises:
            BaseException: what the target or ``on_done`` raised.
        """
        while self._tasks and self._fault is None:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        if self._fault is not None:
            raise self._fault

    def cancel(self) -> None:
        """Give up what still runs."""
        for task in self._tasks:
            task.cancel()

    def _finish(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = self._fault or task.exception()

    def ask(self, number: int, planned_ns: int) -> Coroutine[None, None, int]:
        """Send a request of the phase that is on; returns when its answer was there."""
        request = self._n_sent
        self._n_sent += 1
        return self._ask(number, planned_ns, request, is_warmup=self.is_warmup)

    async def _ask(
        self, number: int, planned_ns: int, request: int, *, is_warmup: bool
    ) -> int:
        node = self.nodes[node_of(self.scenario, number, len(self.nodes))]
        images = self._images_of(number)
        sent_ns = self.clock.now_ns()
        reply = await self._target.send(node, images, timeout_s=self._timeout_s)
        done_ns = self.clock.now_ns()
        record = RequestRecord(
            request=request,
            is_warmup=is_warmup,
            node=node,
            images=images,
            planned_ns=planned_ns - self._begin_ns,
            sent_ns=sent_ns - self._begin_ns,
            done_ns=done_ns - self._begin_ns,
            status=reply.status,
            error=reply.error,
            sent_bytes=reply.sent_bytes,
            received_bytes=reply.received_bytes,
            meta=reply.meta,
        )
        self.records.append(record)
        self._follow(record)
        if self._on_done is not None:
            self._on_done(record, reply)
        return done_ns

    def _images_of(self, number: int) -> tuple[str, ...]:
        size = self.scenario.images_per_request
        n = len(self._images)
        return tuple(self._images[(number * size + i) % n] for i in range(size))

    def _follow(self, record: RequestRecord) -> None:
        """Let a finished request count for steadiness and for failures in a row."""
        if not record.is_ok:
            self._n_failures += 1
            if self._n_failures >= self._guard.max_failures:
                self.ending = "nobody answers"
            return
        self._n_failures = 0
        if record.is_warmup and self.watch is not None:
            is_felt = self.scenario.is_latency_meaningful
            felt_ns = record.latency_ns if is_felt else record.service_ns
            self.watch.add(felt_ns / 1e9)
