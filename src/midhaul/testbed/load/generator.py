"""Load generator: sends what a scenario says, and records what became of it.

It runs against nodes over HTTP, on an event loop of its own, and knows what was sent,
what is outstanding, and how it goes.

An open loop counts latency from the *planned* send and never waits for an answer, so a
stalled node cannot hide its own queue ("coordinated omission", Tene). In a closed loop
a request is planned for the moment at which the previous one was answered.

Event loops count timers in milliseconds, which is too coarse for planned sends. On
Linux a timer of the kernel wakes the loop instead: within a tenth of a millisecond, at
a tenth of the CPU time that waiting in a busy loop takes from the nodes beside it.
Elsewhere the busy loop is what remains; it is kept short.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import struct
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import uvloop

from midhaul.machine.coroutines import run_coroutine
from midhaul.testbed.load.records import RequestRecord
from midhaul.testbed.load.scenarios import (
    Offline,
    Server,
    SteadyWatch,
    cycle_length,
    node_of,
)
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence

    import numpy as np

    from midhaul.testbed.load.records import Reply, Target
    from midhaul.testbed.load.scenarios import Scenario, Stop, Warmup
    from midhaul.wire import Answer

    OnDone = Callable[[RequestRecord, Reply], None]
    IsOver = Callable[[int, float], bool]

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

    Images are ids in the order in which they are asked; ``on_done`` is called with each
    finished request and its reply.

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
        """Wait for all that runs; what the target or ``on_done`` raised is raised."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a cell's load came to.

    Attributes:
        records: every request, warm-up included, in the order they were sent.
        ending: how it ended; only ``complete`` asked for all that was wanted.
        is_steady: true when the warm-up ended because two windows agreed, or when none
            was asked for.
    """

    records: tuple[RequestRecord, ...]
    ending: Ending
    is_steady: bool

    @property
    def judged(self) -> tuple[RequestRecord, ...]:
        """The requests after the warm-up."""
        return tuple(record for record in self.records if not record.is_warmup)


async def generate(  # noqa: PLR0913
    scenario: Scenario,
    target: Target,
    images: Sequence[str],
    *,
    stop: Stop,
    nodes: Sequence[str],
    rng: np.random.Generator,
    clock: Clock,
    timeout_s: float,
    warmup: Warmup | None = None,
    guard: Guard | None = None,
    on_done: OnDone | None = None,
) -> Load:
    """Send a load and wait for all of its answers.

    Equal ``rng``, ``images`` and ``nodes`` give the judged requests the same images,
    nodes and gaps, however long the warm-up took: cells can be compared in pairs.

    Args:
        scenario: how the workload behaves.
        target: where requests go.
        images: ids, asked in this order and again from the first.
        stop: when enough judged requests were sent.
        nodes: names of the nodes, which take turns.
        rng: chance of the arrivals.
        clock: of all times.
        timeout_s: after which a request counts as failed.
        warmup: when the cell counts as steady; without one, it counts from the begin.
        guard: when to end early.
        on_done: called with each finished request and its reply, in the loop's thread.

    Raises:
        ValueError: there are no images or no nodes.
    """
    if not images or not nodes:
        message = f"a load needs images and nodes, found {len(images)} and {len(nodes)}"
        raise ValueError(message)
    running = RunningLoad(
        scenario=scenario,
        target=target,
        images=tuple(images),
        nodes=tuple(nodes),
        clock=clock,
        timeout_s=timeout_s,
        guard=guard or Guard(),
        on_done=on_done,
    )
    warm_rng, judged_rng = rng.spawn(2)
    is_steady = True
    try:
        if warmup is not None:
            is_steady = await _warm_up(running, warmup, warm_rng)
        running.is_warmup = False
        await _send_all(running, judged_rng, stop.is_reached)
        await running.drain()
    finally:
        running.cancel()
    return Load(
        records=tuple(sorted(running.records, key=lambda record: record.request)),
        ending=running.ending,
        is_steady=is_steady,
    )


async def _warm_up(
    running: RunningLoad, warmup: Warmup, rng: np.random.Generator
) -> bool:
    """Send until two windows agree, or no longer; true when they agreed."""
    watch = SteadyWatch(
        warmup, cycle=cycle_length(running.scenario, len(running.nodes))
    )
    running.watch = watch

    def is_over(n: int, elapsed_s: float) -> bool:
        del elapsed_s
        return watch.is_steady or n >= warmup.max_requests

    await _send_all(running, rng, is_over)
    return watch.is_steady


async def _send_all(
    running: RunningLoad, rng: np.random.Generator, is_over: IsOver
) -> None:
    """One phase of a load: send until it is over or the guard ends it.

    ``is_over`` is asked with the number sent and the seconds they were planned over.
    """
    match running.scenario:
        case Server():
            await _send_open(running, running.scenario, rng, is_over)
        case Offline():
            await _send_pile(running, running.scenario, is_over)
        case _:
            await _send_closed(running, is_over)


async def _send_open(
    running: RunningLoad, scenario: Server, rng: np.random.Generator, is_over: IsOver
) -> None:
    """Send when the arrivals say so, whatever was answered."""
    begin_ns = running.clock.now_ns()
    for number, offset_s in enumerate(scenario.arrivals.times(rng)):
        if not running.goes_on or is_over(number, offset_s):
            return
        planned_ns = begin_ns + round(offset_s * 1e9)
        await running.clock.sleep_until_ns(planned_ns)
        running.start(number, planned_ns)
    if not running.is_warmup:
        running.ending = "arrivals over"


async def _send_closed(running: RunningLoad, is_over: IsOver) -> None:
    """Send when the previous request was answered."""
    begin_ns = planned_ns = running.clock.now_ns()
    number = 0
    while running.goes_on and not is_over(number, (planned_ns - begin_ns) / 1e9):
        planned_ns = await running.ask(number, planned_ns)
        number += 1


async def _send_pile(running: RunningLoad, scenario: Offline, is_over: IsOver) -> None:
    """Send as fast as answers come, some requests at once, all planned at the begin."""
    begin_ns = running.clock.now_ns()
    number = 0

    async def work() -> None:
        nonlocal number
        while running.goes_on and not is_over(number, running.since_s(begin_ns)):
            number += 1
            await running.ask(number - 1, begin_ns)

    for _ in range(scenario.in_flight):
        running.spawn(work())
    await running.drain()


class HttpTarget:
    """Nodes that answer over HTTP, and the images to ask them about.

    Addresses by name of the node, encoded bytes by id of the image.
    """

    def __init__(
        self, client: Client, urls: Mapping[str, str], images: Mapping[str, bytes]
    ) -> None:
        self._client = client
        self._urls = urls
        self._images = images

    async def send(
        self, node: str, images: Sequence[str], *, timeout_s: float
    ) -> Answer:
        """Ask a node about some images."""
        items = [(image, self._images[image]) for image in images]
        return await self._client.infer(self._urls[node], items, timeout_s=timeout_s)


def run_load(  # noqa: PLR0913
    scenario: Scenario,
    urls: Mapping[str, str],
    images: Mapping[str, bytes],
    order: Sequence[str],
    *,
    stop: Stop,
    rng: np.random.Generator,
    timeout_s: float,
    warmup: Warmup | None = None,
    guard: Guard | None = None,
    on_done: Callable[[RequestRecord, Reply], None] | None = None,
) -> Load:
    """Send a load to nodes over HTTP and wait for all of its answers.

    Blocks its thread, in which an event loop of its own runs. Garbage collection rests
    meanwhile: its pauses would make sends late.

    Args:
        scenario: how the workload behaves.
        urls: address by name of the node; they take turns in this order.
        images: encoded bytes by id.
        order: ids in the order in which they are asked.
        stop: when enough judged requests were sent.
        rng: chance of the arrivals.
        timeout_s: after which a request counts as failed.
        warmup: when the cell counts as steady; without one, it counts from the begin.
        guard: when to end early.
        on_done: called with each finished request and its answer.
    """

    async def work() -> Load:
        async with Client() as client:
            with precise_clock() as clock:
                return await generate(
                    scenario,
                    HttpTarget(client, urls, images),
                    order,
                    stop=stop,
                    nodes=tuple(urls),
                    rng=rng,
                    clock=clock,
                    timeout_s=timeout_s,
                    warmup=warmup,
                    guard=guard,
                    on_done=on_done,
                )

    with _no_garbage_collection():
        return run_coroutine(work(), uvloop.new_event_loop)


@contextlib.contextmanager
def _no_garbage_collection() -> Generator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
