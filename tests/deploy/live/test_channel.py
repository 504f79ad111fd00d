"""The connection of a worker to its broker, against a real one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.deploy.enforcement.bridge_parts import (
    listening,
    needs_mosquitto,
    publish,
    until,
)

from midhaul.deploy.enforcement.bridge_config import Endpoint
from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.live.channel import WorkerChannel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@contextlib.asynccontextmanager
async def living(*channels: WorkerChannel) -> AsyncGenerator[None]:
    """Channels that stay connected meanwhile."""
    tasks = [asyncio.create_task(channel.live()) for channel in channels]
    try:
        for channel in channels:
            async with asyncio.timeout(30):
                await channel.is_up.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@needs_mosquitto
def test_what_is_sent_while_the_broker_is_away_comes_when_it_is_back(
    tmp_path: Path,
) -> None:
    """In its order, with what was sent before and after."""

    async def scene() -> None:
        with Broker(tmp_path) as broker:
            endpoint = Endpoint(host=broker.host, port=broker.port)
            found: list[tuple[str, bytes]] = []
            reader = WorkerChannel(
                endpoint, "reader", ["a/#"], lambda *one: found.append(one)
            )
            writer = WorkerChannel(endpoint, "writer")
            async with living(reader, writer):
                writer.send("a/b", b"0")
                await until(lambda: len(found) == 1)
                broker.stop()
                for number in range(1, 5):
                    writer.send("a/b", b"%d" % number)
                broker.start()
                await until(lambda: ("a/b", b"4") in found)
                writer.send("a/c", b"5")
                await until(lambda: ("a/c", b"5") in found)
            # At least once: what was on its way at the stop may come again.
            came = list(dict.fromkeys(payload for _, payload in found))
            assert came == [b"%d" % number for number in range(6)]

    asyncio.run(scene())


@needs_mosquitto
def test_what_came_while_a_worker_was_away_waits_for_it(tmp_path: Path) -> None:
    """The broker keeps its session, and what it has is acknowledged once."""

    async def scene() -> None:
        with Broker(tmp_path) as broker:
            endpoint = Endpoint(host=broker.host, port=broker.port)
            found: list[bytes] = []
            for n_expected in (0, 3, 3):
                reader = WorkerChannel(
                    endpoint, "reader", ["a/#"], lambda _topic, one: found.append(one)
                )
                async with living(reader):
                    await until(lambda n=n_expected: len(found) >= n)
                if not n_expected:
                    await publish(broker, "a/b", [b"1", b"2", b"3"])
            assert found == [b"1", b"2", b"3"]

    asyncio.run(scene())


@needs_mosquitto
def test_messages_expire_after_the_time_that_they_are_given(tmp_path: Path) -> None:
    """The broker is told, rounded up, so that nobody forwards what is of no use."""

    async def scene() -> None:
        with Broker(tmp_path) as broker:
            endpoint = Endpoint(host=broker.host, port=broker.port)
            writer = WorkerChannel(endpoint, "writer", expiry_s=41.5)
            async with listening(broker, "a") as found, living(writer):
                writer.send("a", b"x")
                await until(lambda: len(found) == 1)
            assert found[0].properties.MessageExpiryInterval == 42

    asyncio.run(scene())
