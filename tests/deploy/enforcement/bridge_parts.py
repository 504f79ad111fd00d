"""What tests of the bridge share: brokers, a bridge in this process, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import numpy as np
import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

from midhaul.deploy.enforcement.bridge import Bridge
from midhaul.deploy.enforcement.bridge_config import BridgeConfig, Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from midhaul.deploy.enforcement.lab import Broker
    from midhaul.deploy.enforcement.rate_map import RateMap

_PATH = "/usr/bin:/bin:/usr/sbin:/usr/local/sbin"
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path=_PATH) is None, reason="needs mosquitto"
)


def config_of(
    folder: Path, local: Broker, remote: Broker, rate_map: RateMap, **more: Any
) -> BridgeConfig:
    """The config of a bridge between two brokers, with its rate map written."""
    folder.mkdir(exist_ok=True)
    rate_map.write(folder / "rates.json")
    return BridgeConfig(
        rates=str(folder / "rates.json"),
        stats=str(folder / "stats.json"),
        local=Endpoint(host=local.host, port=local.port),
        remote=Endpoint(host=remote.host, port=remote.port),
        **{
            "watch_s": 0.05,
            "drain_s": 0.0,
            "queue_file": str(folder / "bridge.queue"),
            **more,
        },
    )


@contextlib.asynccontextmanager
async def bridging(
    config: BridgeConfig, *, secrets: Mapping[str, str] | None = None
) -> AsyncGenerator[Bridge]:
    """A bridge that runs; it is stopped at the end, and its error is raised."""
    stop = asyncio.Event()
    bridge = _bridge(config, secrets)
    task = asyncio.create_task(bridge.run(stop))
    try:
        yield bridge
    finally:
        stop.set()
        await task


async def gives_up(config: BridgeConfig, timeout_s: float = 30.0) -> None:
    """Run a bridge that nobody stops, until its error is raised."""
    async with asyncio.timeout(timeout_s):
        await _bridge(config).run(asyncio.Event())


def _bridge(config: BridgeConfig, secrets: Mapping[str, str] | None = None) -> Bridge:
    rng = np.random.default_rng(0)
    return Bridge(config, clock=time.monotonic, rng=rng, secrets=secrets)


async def until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - brokers and files set no event
            await asyncio.sleep(0.02)


async def publish(
    broker: Broker, topic: str, payloads: list[bytes], *, qos: int = 1, **more: Any
) -> None:
    """Publish messages; returns when the broker has acknowledged them all."""
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos, **more)


class Found(list[aiomqtt.Message]):
    """Messages that arrived, and how often their reader has connected."""

    n_connects = 0


@contextlib.asynccontextmanager
async def collecting(broker: Broker, *, qos: int = 1) -> AsyncGenerator[Found]:
    """All messages that a broker passes on from now, through its restarts."""
    found = Found()

    async def collect() -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    broker.host, broker.port, identifier="test", clean_session=False
                ) as client:
                    await client.subscribe("#", qos)
                    found.n_connects += 1
                    async for message in client.messages:
                        found.append(message)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(collect())
    await until(lambda: found.n_connects > 0)
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def listening(
    broker: Broker, topic: str = "#"
) -> AsyncGenerator[list[aiomqtt.Message]]:
    """What a broker passes on, with the flag RETAIN and properties as published."""
    found: list[aiomqtt.Message] = []
    options = SubscribeOptions(qos=2, retainAsPublished=True)
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe(topic, options=options)

        async def collect() -> None:
            async for message in client.messages:
                found.append(message)  # noqa: PERF401 - one by one, as they come

        task = asyncio.create_task(collect())
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.wait({task})


async def retained(broker: Broker, topic: str) -> list[bytes]:
    """What a broker keeps under a topic, or below it."""
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe([(topic, 1), ("end/of/retained", 1)])
        await client.publish("end/of/retained", b"", 1)
        found: list[bytes] = []
        async for message in client.messages:
            if str(message.topic) == "end/of/retained":
                return found
            found.append(bytes(message.payload))
    return found


async def connected(*bridges: Bridge) -> None:
    """Wait until bridges have both their brokers."""
    for bridge in bridges:
        await until(
            lambda one=bridge: (
                one.stats()["local"]["is_connected"]
                and one.stats()["remote"]["is_connected"]
            )
        )


def is_balanced(counts: dict[str, Any]) -> bool:
    """Whether no message is missing in a bridge's counters."""
    return counts["n_in"] == counts["n_out"] + counts["n_dropped"] + counts["n_queued"]


def counters(folder: Path) -> dict[str, Any]:
    """The counters as the bridge has written them last."""
    return json.loads((folder / "stats.json").read_text(encoding="utf-8"))
