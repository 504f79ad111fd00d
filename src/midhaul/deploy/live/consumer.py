"""The analytics: in the cloud they answer messages, on the gateway they send answers.

The cloud's consumer also scores, because it alone may know the truth. Detection runs in
one thread, so that the connection stays alive meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.channel import Channel, orders, tell
from midhaul.deploy.live.messages import (
    HERE,
    RESULT,
    UP,
    Header,
    encode_answer,
    pack,
    unpack,
)
from midhaul.deploy.live.workload import WORKLOADS, Workload, workload_named
from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.deploy.enforcement.endpoint import Endpoint
    from midhaul.deploy.live.config import WorkloadConfig


class Consumer:
    """Answers messages one after another.

    Args:
        endpoint: the broker beside it.
        place: ``cloud`` or ``gateway``.
        workloads: by name.
    """

    def __init__(
        self, endpoint: Endpoint, place: str, workloads: dict[str, Workload]
    ) -> None:
        self._place = place
        self._workloads = workloads
        self._started: dict[str, Workload] = {}
        self._queue: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue()
        is_cloud = place == "cloud"
        filters = (f"{UP}/+", f"{RESULT}/+") if is_cloud else (f"{HERE}/+",)
        self.channel = Channel(endpoint, f"consumer-{place}", filters, self._take)

    def _take(self, topic: str, payload: bytes) -> None:
        self._queue.put_nowait((topic, payload, time.monotonic_ns()))

    async def live(self) -> None:
        """Answer what comes, until cancelled."""
        while True:
            topic, payload, received_ns = await self._queue.get()
            try:
                header, body = unpack(payload)
            except DataError:
                continue
            if self._place == "gateway":
                answer = await asyncio.to_thread(self._answer, header, body)
                result = pack(header, encode_answer(answer))
                self.channel.send(f"{RESULT}/{topic.rpartition('/')[2]}", result)
                continue
            quality = await asyncio.to_thread(self._score, topic, header, body)
            tell(
                scored=asdict(header),
                n_bytes=len(payload),
                received_ns=received_ns,
                scored_ns=time.monotonic_ns(),
                quality=quality,
            )

    async def start(self, analytic: str, workload: str) -> None:
        """Load the program of an analytic of its own, as its container would."""
        fresh = self._workloads[workload].fresh
        self._started[analytic] = await asyncio.to_thread(fresh)

    def end(self, analytic: str) -> None:
        """Forget the program of an analytic."""
        self._started.pop(analytic, None)

    def _answer(self, header: Header, body: bytes) -> Any:
        known = self._workloads[header.workload]
        return self._started.get(header.analytic, known).answer(body)

    def _score(self, topic: str, header: Header, body: bytes) -> float:
        is_result = topic.startswith(RESULT)
        answer = json.loads(body) if is_result else self._answer(header, body)
        return self._workloads[header.workload].score(header.content, answer)


async def consume(
    endpoint: Endpoint,
    place: str,
    config: WorkloadConfig,
    seed: int,
    threshold: float,
) -> None:
    """The life of the process: obeys ``start`` and ``end`` of an analytic."""
    workloads = {name: workload_named(name, config, seed) for name in WORKLOADS}
    images: Any = workloads["images"]
    images.threshold = threshold
    for workload in workloads.values():
        warm = workload.message(0, 1.0)
        workload.score(0, workload.answer(warm))
    consumer = Consumer(endpoint, place, workloads)
    tasks = [asyncio.create_task(consumer.channel.live())]
    tasks.append(asyncio.create_task(consumer.live()))
    await consumer.channel.is_up.wait()
    tell(ready=True)
    async for order in orders():
        if order["do"] == "start":
            await consumer.start(order["analytic"], order["workload"])
        elif order["do"] == "end":
            consumer.end(order["analytic"])
        tell(reply=order["id"])
    for task in tasks:
        task.cancel()
