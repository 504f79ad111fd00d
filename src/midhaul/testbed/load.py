"""The load generator: sends what a scenario says and records what became of it.

An open loop counts latency from the *planned* send and never waits for an answer, so a
stalled node cannot hide its own queue ("coordinated omission", Tene). In a closed loop
a request is planned for the moment at which the previous one was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.testbed.running import Guard, RunningLoad
from midhaul.testbed.scenarios import Offline, Server, cycle_length
from midhaul.testbed.warmup import SteadyWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from midhaul.testbed.clock import Clock
    from midhaul.testbed.records import RequestRecord
    from midhaul.testbed.running import Ending, OnDone
    from midhaul.testbed.scenarios import Scenario, Stop
    from midhaul.testbed.target import Target
    from midhaul.testbed.warmup import Warmup

    IsOver = Callable[[int, float], bool]


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
    running: RunningLoad,
    rng: np.random.Generator,
    is_over: IsOver,
) -> None:
    """One phase of a load: send until it is over or the guard ends it.

    Args:
        running: the load.
        rng: chance of the arrivals.
        is_over: of the number sent and the seconds they were planned over.
    """
    match running.scenario:
        case Server():
            await _send_open(running, running.scenario, rng, is_over)
        case Offline():
            await _send_pile(running, running.scenario, is_over)
        case _:
            await _send_closed(running, is_over)


async def _send_open(
    running: RunningLoad,
    scenario: Server,
    rng: np.random.Generator,
    is_over: IsOver,
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
