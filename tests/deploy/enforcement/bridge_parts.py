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

from midhaul.deploy.enforcement.bridge import Bridge
from midhaul.deploy.enforcement.bridge_config import BridgeConfig, Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from midhaul.deploy.enforcement.broker import Broker
    from midhaul.deploy.enforcement.rate_map import RateMap

_PATH = "/usr/bin:/bin:/usr/sbin:/usr/local/sbin"
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path=_PATH) is None, reason="needs mosquitto"
)


def config_of(
    folder: Path, local: Broker, remote: Broker, rate_map: RateMap, **more: Any
) -> BridgeConfig:
    """The config of a bridge between two brokers, with its rate map written."""
    rate_map.write(folder / "rates.json")
    return BridgeConfig(
        rates=str(folder / "rates.json"),
        stats=str(folder / "stats.json"),
        local=Endpoint(host=local.host, port=local.port),
        remote=Endpoint(host=remote.host, port=remote.port),
        **{"watch_s": 0.05, "drain_s": 0.0, **more},
    )


@contextlib.asynccontextmanager
async def bridging(config: BridgeConfig) -> AsyncGenerator[Bridge]:
    """A bridge that runs; it is stopped at the end, and its error is raised."""
    stop = asyncio.Event()
    bridge = Bridge(config, clock=time.monotonic, rng=np.random.default_rng(0))
    task = asyncio.create_task(bridge.run(stop))
    try:
        yield bridge
    finally:
        stop.set()
        await task


async def until(is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - brokers and files set no event
            await asyncio.sleep(0.02)


async def publish(broker: Broker, topic: str, payloads: list[bytes]) -> None:
    """Publish messages; returns when the broker has acknowledged them all."""
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for payload in payloads:
            await client.publish(topic, payload, 1)


class Found(list[aiomqtt.Message]):
    """Messages that arrived, and how often their reader has connected."""

    n_connects = 0


@contextlib.asynccontextmanager
async def collecting(broker: Broker) -> AsyncGenerator[Found]:
    """All messages that a broker passes on from now, through its restarts."""
    found = Found()

    async def collect() -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    broker.host, broker.port, identifier="test", clean_session=False
                ) as client:
                    await client.subscribe("#", 1)
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


def counters(folder: Path) -> dict[str, Any]:
    """The counters as the bridge has written them last."""
    return json.loads((folder / "stats.json").read_text(encoding="utf-8"))
