"""Worker processes of a live run: ``python -m midhaul.deploy.live.worker ROLE ...``.

OPTIONS is JSON. Orders come as lines of JSON on stdin, and what happens goes to stdout
in the same form. When stdin is closed, the process ends.

========  =========================================================
role      what it is
========  =========================================================
publish   all sensors, beside the gateway
consume   all analytics of one place, ``cloud`` or ``gateway``
bridge    the pacing bridge from the gateway's broker to the cloud's
pull      the gateway's layer store and its puller
========  =========================================================

The *sensors* send messages at planned times, at the knobs granted. Plans are absolute:
message *k* of an analytic is planned at ``first + k * period``, whatever happened to
those before. A message without a rate is planned and not sent.

The *analytics* answer messages in the cloud, and send answers from the gateway.

The cloud's consumer also scores, because it alone may know the truth. Detection runs in
one thread, so that the connection stays alive meanwhile.

The *puller* is the gateway's side of the registry: it pulls, holds and deletes when it
is told to.

It alone has the layer store open, and runs in the gateway's namespace, so that layers
come over the shaped link. Orders are carried out side by side: a hold does not wait for
a pull.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import to_json

from midhaul.deploy.enforcement.bridge_config import Endpoint, read_bridge
from midhaul.deploy.live.channel import (
    HERE,
    RESULT,
    UP,
    Assignment,
    Header,
    WorkerChannel,
    content_of,
    encode_answer,
    orders,
    pack,
    tell,
    unpack,
)
from midhaul.deploy.live.config import WorkloadConfig
from midhaul.deploy.live.workload import WORKLOADS, Workload, workload_named
from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.failures import RegistryRetries
from midhaul.deploy.store.puller import Puller
from midhaul.deploy.store.store import LayerStore
from midhaul.deploy.store.store_index import dump_index
from midhaul.errors import DataError, MidhaulError

if TYPE_CHECKING:
    from collections.abc import Coroutine

_N_CACHED = 2048
_NS = 1_000_000_000


class Publisher:
    """All sensors, over one connection to the gateway's broker."""

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
    """The life of the process: obeys ``{"do": "assign", "assigned": {…}}``."""
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


class Consumer:
    """Answers messages one after another; it is at the broker of its place."""

    def __init__(
        self, endpoint: Endpoint, place: str, workloads: dict[str, Workload]
    ) -> None:
        self._place = place
        self._workloads = workloads
        self._started: dict[str, Workload] = {}
        self._queue: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue()
        is_cloud = place == "cloud"
        filters = (f"{UP}/+", f"{RESULT}/+") if is_cloud else (f"{HERE}/+",)
        self.channel = WorkerChannel(endpoint, f"consumer-{place}", filters, self._take)

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
    endpoint: Endpoint, place: str, config: WorkloadConfig, seed: int, threshold: float
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


_RETRIES = RegistryRetries(n_most=40, first_s=0.1, longest_s=1.0)


class RunClock:
    """Seconds on the experiment's clock, whose zero is told later."""

    def __init__(self) -> None:
        self.begin_ns = 0

    def __call__(self) -> float:
        """The time."""
        return (time.monotonic_ns() - self.begin_ns) / 1e9


class GatewayWorker:
    """What the orders act on; the registry is ``host:port``."""

    def __init__(
        self, store: LayerStore, puller: Puller, registry: str, clock: RunClock
    ) -> None:
        self._store = store
        self._puller = puller
        self._registry = registry
        self._clock = clock

    async def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order and say how it went."""
        found: dict[str, Any] = {}
        try:
            match order["do"]:
                case "begin":
                    self._clock.begin_ns = order["begin_ns"]
                case "pull":
                    found = await self._pull(order["image"])
                case "hold":
                    await asyncio.to_thread(self._store.hold, order["image"])
                case "release":
                    await asyncio.to_thread(self._store.release, order["image"])
                case "delete":
                    found = {"deleted": await asyncio.to_thread(self._delete, order)}
                case _:
                    state = self._store.state()
                    found = {
                        "index": dump_index(state).decode(),
                        "held": sorted(state.held),
                    }
        except MidhaulError as error:
            found = {"error": error.message}
        except Exception as error:  # noqa: BLE001  whoever waits for it has to hear
            found = {"error": repr(error)}
        tell(reply=order["id"], **found)

    async def _pull(self, image: str) -> dict[str, Any]:
        begins_s = self._clock()
        record = await self._puller.pull(f"{self._registry}/{image}:1", name=image)
        return {
            "begins_s": begins_s,
            "ends_s": self._clock(),
            "pulled_bytes": record.pulled_bytes,
            "resumed_bytes": record.resumed_bytes,
            "n_retries": record.n_retries,
        }

    def _delete(self, order: dict[str, Any]) -> list[tuple[str, int]]:
        return [(digest, self._store.delete(digest)) for digest in order["digests"]]


async def pull(folder: Path, registry: str, seed: int) -> None:
    """The life of the process; the seed is of the waits between attempts."""
    clock = RunClock()
    rng = np.random.default_rng([seed, 7])
    with LayerStore(folder, clock=clock) as store:
        async with RegistryClient(plain_http=(registry,)) as client:
            puller = Puller(store, client, rng=rng, retries=_RETRIES, clock=clock)
            gateway = GatewayWorker(store, puller, registry, clock)
            tell(ready=True)
            tasks: set[asyncio.Task[None]] = set()
            async for order in orders():
                task = asyncio.create_task(gateway.obey(order))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def main(argv: list[str]) -> None:
    """Run one role, whose options are JSON, until stdin is closed."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    options: dict[str, Any] = json.loads(argv[1])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_role(argv[0], options))


def _role(name: str, options: dict[str, Any]) -> Coroutine[Any, Any, None]:
    match name:
        case "publish":
            return publish(
                _endpoint(options),
                _workload(options),
                options["seed"],
                options.get("expiry_s"),
            )
        case "consume":
            return consume(
                _endpoint(options),
                options["place"],
                _workload(options),
                options["seed"],
                options["threshold"],
            )
        case "pull":
            return pull(Path(options["folder"]), options["registry"], options["seed"])
        case _:
            return bridge(Path(options["file"]))


async def bridge(file: Path) -> None:
    """Run a pacing bridge."""
    from midhaul.deploy.enforcement.bridge import Bridge  # noqa: PLC0415  optional

    stop = asyncio.Event()
    one = Bridge(read_bridge(file), clock=time.monotonic, rng=np.random.default_rng())
    running = asyncio.create_task(one.run(stop))
    tell(ready=True)
    async for _ in orders():
        pass
    stop.set()
    await running


def _endpoint(options: dict[str, Any]) -> Endpoint:
    return Endpoint(host=options["host"], port=options["port"])


def _workload(options: dict[str, Any]) -> WorkloadConfig:
    return WorkloadConfig.model_validate_json(to_json(options["workload"]))


if __name__ == "__main__":
    main(sys.argv[1:])
