"""A worker's ends: JSON lines on stdin and stdout, and a connection to a broker."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import aiomqtt
import numpy as np
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from midhaul.deploy.enforcement.bridge_ends import stay_connected
from midhaul.deploy.enforcement.bridge_stats import EndCounts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from midhaul.deploy.enforcement.endpoint import Endpoint

_LONGEST_LINE = 1 << 24
_SESSION_S = 3600


async def orders() -> AsyncGenerator[dict[str, Any]]:
    """The lines of stdin, until it is closed; a closed one means that all is over."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        yield json.loads(line)


def tell(**fields: object) -> None:
    """Write one line to stdout."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Channel:
    """A connection to a broker that comes back; what is sent meanwhile waits.

    Args:
        endpoint: the broker.
        name: under which it keeps messages while the connection is away.
        filters: topics to subscribe to.
        take: called with the topic and payload of each message that comes.
        expiry_s: after which nobody need forward what was sent; None for never.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        filters: Sequence[str] = (),
        take: Callable[[str, bytes], None] | None = None,
        *,
        expiry_s: float | None = None,
    ) -> None:
        self._properties: Properties | None = None
        if expiry_s is not None:
            self._properties = Properties(PacketTypes.PUBLISH)
            self._properties.MessageExpiryInterval = math.ceil(expiry_s)
        self._endpoint = endpoint
        self._name = name
        self._filters = [(topic, 1) for topic in filters]
        self._take = take
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._news = asyncio.Event()
        self.is_up = asyncio.Event()

    def send(self, topic: str, payload: bytes) -> None:
        """Publish, at least once, as soon as the broker is there."""
        self._waiting.append((topic, payload))
        self._news.set()

    async def live(self) -> None:
        """Stay connected until cancelled."""
        await stay_connected(
            self._session,
            EndCounts(),
            self._name,
            rng=np.random.default_rng(),
            clock=time.monotonic,
            lost=(aiomqtt.MqttError, OSError),
        )

    async def _session(self, _attempt: int) -> None:
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = _SESSION_S
        async with aiomqtt.Client(
            self._endpoint.host,
            self._endpoint.port,
            identifier=self._name,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=kept,
            keepalive=self._endpoint.keepalive_s,
        ) as client:
            await self._use(client)

    async def _use(self, client: aiomqtt.Client) -> None:
        if self._filters:
            await client.subscribe(self._filters)
        self.is_up.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(client))
            group.create_task(self._publish(client))

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if self._take is not None:
                self._take(str(message.topic), bytes(message.payload))

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            while self._waiting:
                topic, payload = self._waiting[0]
                await client.publish(topic, payload, 1, properties=self._properties)
                self._waiting.popleft()
            self._news.clear()
            await self._news.wait()
