"""The sensors beside the gateway: messages at planned times, at the knobs granted.

Plans are absolute: message *k* of an analytic is planned at ``first + k * period``,
whatever happened to those before. A message without a rate is planned and not sent.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.channel import (
    HERE,
    UP,
    Header,
    WorkerChannel,
    content_of,
    orders,
    pack,
    tell,
)
from midhaul.deploy.live.workload import WORKLOADS, Workload, workload_named

if TYPE_CHECKING:
    from midhaul.deploy.enforcement.bridge_config import Endpoint
    from midhaul.deploy.live.config import WorkloadConfig

_N_CACHED = 2048
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one analytic's sensor does until it is told otherwise.

    Attributes:
        lane: last level of its topics.
        workload: ``images`` or ``sounds``.
        place: where its analytic runs.
        knob: setting that its rate buys; None where it has no rate.
        first_ns: planned send of its first message.
        period_ns: time between two messages.
        until_ns: when it stops.
    """

    lane: int
    workload: str
    place: str
    knob: float | None
    first_ns: int
    period_ns: int
    until_ns: int


class Publisher:
    """All sensors, over one connection.

    Args:
        workloads: by name.
        channel: to the gateway's broker.
    """

    def __init__(self, workloads: dict[str, Workload], channel: WorkerChannel) -> None:
        self._channel = channel
        self._assigned: dict[str, Assignment] = {}
        self._numbers: dict[str, int] = {}
        self._news = asyncio.Event()

        @lru_cache(_N_CACHED)
        def body(workload: str, content: int, knob: float) -> bytes:
            return workloads[workload].message(content, knob)

        self._body = body

    def assign(self, assigned: dict[str, dict[str, Any]]) -> None:
        """Take over what every sensor does; those that are not named stop."""
        self._assigned = {name: Assignment(**one) for name, one in assigned.items()}
        self._news.set()

    async def live(self) -> None:
        """Send what is due, until cancelled."""
        while True:
            name, planned_ns = self._next()
            self._news.clear()
            wait_s = (planned_ns - time.monotonic_ns()) / _NS if name else None
            if wait_s is None or wait_s > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._news.wait()
                except TimeoutError:
                    pass
                else:
                    continue
            if name in self._assigned:
                self._send(name, self._assigned[name])
                await asyncio.sleep(0)

    def _next(self) -> tuple[str, int]:
        """Whose message comes next, and when; no name where none does."""
        found = ("", 0)
        for name, one in self._assigned.items():
            number = self._numbers.get(name, 0)
            planned_ns = one.first_ns + number * one.period_ns
            is_over = planned_ns >= one.until_ns
            if not is_over and (not found[0] or planned_ns < found[1]):
                found = (name, planned_ns)
        return found

    def _send(self, name: str, one: Assignment) -> None:
        number = self._numbers.get(name, 0)
        self._numbers[name] = number + 1
        content = content_of(name, number)
        header = Header(
            analytic=name,
            workload=one.workload,
            number=number,
            content=content,
            place=one.place,
            knob=one.knob,
            planned_ns=one.first_ns + number * one.period_ns,
            sent_ns=None if one.knob is None else time.monotonic_ns(),
        )
        n_bytes = None
        if one.knob is not None:
            payload = pack(header, self._body(one.workload, content, one.knob))
            n_bytes = len(payload)
            topic = UP if one.place == "cloud" else HERE
            self._channel.send(f"{topic}/{one.lane}", payload)
        tell(planned=asdict(header), n_bytes=n_bytes)


async def publish(
    endpoint: Endpoint, config: WorkloadConfig, seed: int, expiry_s: float | None
) -> None:
    """The life of the process: obeys ``{"do": "assign", "assigned": {…}}``.

    Args:
        endpoint: the gateway's broker.
        config: what the sensors send.
        seed: of the messages.
        expiry_s: after which nobody need forward a message; None for never.
    """
    workloads = {name: workload_named(name, config, seed) for name in WORKLOADS}
    for workload in workloads.values():
        workload.message(0, workload.knobs[0])
    channel = WorkerChannel(endpoint, "publisher", expiry_s=expiry_s)
    publisher = Publisher(workloads, channel)
    tasks = [asyncio.create_task(channel.live())]
    tasks.append(asyncio.create_task(publisher.live()))
    await channel.is_up.wait()
    tell(ready=True)
    async for order in orders():
        if order["do"] == "assign":
            publisher.assign(order["assigned"])
    for task in tasks:
        task.cancel()
