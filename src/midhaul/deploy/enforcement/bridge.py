"""An MQTT bridge that paces: it forwards topics at the rates that a plan grants them.

It subscribes at a local broker, queues what comes by lane
(:mod:`midhaul.deploy.enforcement.pacer`), and publishes to a remote broker no faster
than the rate map allows. Either broker may go away and come back: the bridge reconnects
with growing, random pauses; what was sent and not acknowledged is sent again, before
all else; what comes meanwhile waits within stated bounds, and what does not fit is
counted.

Delivery is at least once (QoS 1): a message whose acknowledgement was lost arrives
twice. While the bridge is away from the local broker, that broker keeps messages for
it, under its name and within its own bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt

from midhaul.deploy.enforcement.bridge_ends import (
    client_of,
    stay_connected,
    until_lost,
)
from midhaul.deploy.enforcement.bridge_queue import BridgeQueue, Message
from midhaul.deploy.enforcement.rate_map import read_rate_map, replace_text
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig
    from midhaul.deploy.enforcement.lanes import Waiting

_LOG = logging.getLogger(__name__)


class Bridge:
    """A pacing bridge; :meth:`run` is its life.

    Args:
        config: which brokers, which bounds; its rate map is read here.
        clock: seconds on a monotonic clock.
        rng: draws the pauses between attempts to connect.
        passwords: by ``local`` and ``remote``, where a user is named.

    Raises:
        DataError: there is no usable rate map.
    """

    def __init__(
        self,
        config: BridgeConfig,
        *,
        clock: Callable[[], float],
        rng: np.random.Generator,
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._passwords = passwords or {}
        self._file = Path(config.rates)
        self._seen = _version(self._file)
        self._queue = BridgeQueue(config, read_rate_map(self._file), clock=clock)
        self._room = asyncio.Semaphore(config.max_in_flight)
        self._local: aiomqtt.Client | None = None

    def stats(self) -> dict[str, Any]:
        """All counters, as what JSON can hold."""
        return self._queue.plain()

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until told to stop, then send what waits for up to ``drain_s``."""
        receiving = asyncio.create_task(self._stay("local"))
        sending = asyncio.create_task(self._stay("remote"))
        watching = asyncio.create_task(self._watch())
        stopping = asyncio.create_task(stop.wait())
        tasks = (receiving, sending, watching)
        try:
            await asyncio.wait({*tasks, stopping}, return_when="FIRST_COMPLETED")
            if stopping.done():
                await _end(receiving)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._config.drain_s):
                        await self._queue.drained()
        finally:
            for task in (*tasks, stopping):
                await _end(task)
            await self._tell()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _stay(self, end: str) -> None:
        """Keep one of the two connections, and use it."""
        config, counts = self._config, self._queue.counts
        is_local = end == "local"
        await stay_connected(
            lambda: client_of(
                config.local if is_local else config.remote,
                identifier=config.name if is_local else f"{config.name}-out",
                password=self._passwords.get(end),
                is_kept=is_local,
            ),
            self._receive if is_local else self._send,
            counts.local if is_local else counts.remote,
            rng=self._rng,
            clock=self._clock,
        )

    async def _receive(self, client: aiomqtt.Client) -> None:
        """Take what the local broker has, until it goes away."""
        await self._subscribe(client, self._queue.rate_map.rates_bps)
        self._local = client
        try:
            async for message in client.messages:
                topic, is_retained = str(message.topic), message.retain
                self._queue.put(topic, message.payload, is_retained=is_retained)
        finally:
            self._local = None

    async def _send(self, client: aiomqtt.Client) -> None:
        """Publish what may leave, until the remote broker goes away."""
        self._room = asyncio.Semaphore(self._config.max_in_flight)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(until_lost(client))
                while True:
                    await self._room.acquire()
                    waiting = await self._queue.next()
                    group.create_task(self._publish(client, waiting))
        finally:
            self._queue.return_unsent()

    async def _publish(self, client: aiomqtt.Client, waiting: Waiting[Message]) -> None:
        message = waiting.message
        await client.publish(
            message.remote_topic,
            message.payload,
            self._config.qos,
            retain=message.is_retained,
            timeout=math.inf,
        )
        self._queue.acknowledge(waiting)
        self._room.release()

    async def _watch(self) -> None:
        """Take over a rate map that has changed, and tell the counters."""
        while True:
            await self._tell()
            await asyncio.sleep(self._config.watch_s)
            version = _version(self._file)
            if version == self._seen:
                continue
            self._seen = version
            before = self._queue.rate_map.rates_bps
            try:
                self._queue.adopt(read_rate_map(self._file))
            except DataError as error:
                _LOG.warning("the rate map before holds: %s", error.message)
                self._queue.counts.map_error = error.message
                continue
            await self._resubscribe(before)

    async def _resubscribe(self, before: Mapping[str, float]) -> None:
        client, now = self._local, self._queue.rate_map.rates_bps
        if client is None:
            return
        with contextlib.suppress(aiomqtt.MqttError):  # a lost connection starts anew
            await self._subscribe(client, [name for name in now if name not in before])
            if gone := [name for name in before if name not in now]:
                await client.unsubscribe(gone)

    async def _subscribe(self, client: aiomqtt.Client, filters: Iterable[str]) -> None:
        if wanted := [(name, self._config.qos) for name in filters]:
            await client.subscribe(wanted)

    async def _tell(self) -> None:
        """Write the counters to their file and publish them at the local broker."""
        config = self._config
        text = json.dumps(self.stats())
        if config.stats:
            try:
                replace_text(Path(config.stats), text + "\n")
            except OSError as error:  # a full disk must not stop messages
                _LOG.warning("the counters cannot be written: %s", error)
        if config.stats_topic and self._local is not None:
            with contextlib.suppress(aiomqtt.MqttError):
                await self._local.publish(config.stats_topic, text, 0)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _version(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
