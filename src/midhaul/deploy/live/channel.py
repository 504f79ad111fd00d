"""A worker's ends: JSON lines on stdin and stdout, and a connection to a broker."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.enforcement.bridge_ends import stay_connected
from midhaul.deploy.enforcement.bridge_stats import EndCounts
from midhaul.deploy.enforcement.mqtt.connection import (
    MOST_MID,
    ConnectionLostError,
    Login,
    connect,
)
from midhaul.deploy.enforcement.mqtt.packets import Kind, Prop, Publish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from midhaul.deploy.enforcement.endpoint import Endpoint
    from midhaul.deploy.enforcement.mqtt.connection import Connection

_LONGEST_LINE = 1 << 24


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
        kept = {"protocol": "5", "is_clean_start": False}
        self._endpoint = endpoint.model_copy(update=kept)
        self._login = Login(client_id=name)
        self._filters = [(topic, 1) for topic in filters]
        self._take = take
        self._properties = (
            () if expiry_s is None else ((Prop.MESSAGE_EXPIRY, math.ceil(expiry_s)),)
        )
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._news = asyncio.Event()
        self._mids = itertools.cycle(range(1, MOST_MID + 1))
        self._sent: tuple[int, asyncio.Event] = (0, asyncio.Event())
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
            self._login.client_id,
            rng=np.random.default_rng(),
            clock=time.monotonic,
        )

    async def _session(self, attempt: int) -> None:
        connection = await connect(self._endpoint, self._login, attempt=attempt)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.stay_alive())
                group.create_task(self._receive(connection))
                if self._filters:
                    await self._subscribe(connection)
                self.is_up.set()
                group.create_task(self._publish(connection))
        finally:
            await connection.close(is_said=True)

    async def _subscribe(self, connection: Connection) -> None:
        if refused := await connection.subscribe(self._filters):
            message = f"the broker refuses {', '.join(refused)}"
            raise ConnectionLostError(message)

    async def _receive(self, connection: Connection) -> None:
        while True:
            answers: list[tuple[Kind, int]] = []
            for one in await connection.receive():
                if isinstance(one, Publish):
                    if self._take is not None:
                        self._take(one.topic, one.payload)
                    if one.qos:
                        answers.append((Kind.PUBACK, one.mid))
                elif one.kind is Kind.PUBACK and one.mid == self._sent[0]:
                    self._sent[1].set()
            await connection.reply(answers)

    async def _publish(self, connection: Connection) -> None:
        """Publish what waits, each message when the broker has the one before."""
        while True:
            while self._waiting:
                topic, payload = self._waiting[0]
                mid, has_it = self._sent = next(self._mids), asyncio.Event()
                await connection.publish(
                    Publish(
                        topic=topic,
                        payload=payload,
                        qos=1,
                        mid=mid,
                        properties=self._properties,
                    )
                )
                await has_it.wait()
                self._waiting.popleft()
            self._news.clear()
            await self._news.wait()
