"""Channels of a live worker: JSON lines on stdin and stdout, and MQTT to a broker.

What is published is a line of JSON that says which message this is, then its body.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import time
import zlib
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.enforcement.bridge_ends import EndCounts, stay_connected
from midhaul.deploy.enforcement.mqtt.connection import (
    MOST_MID,
    ConnectionLostError,
    Login,
    connect,
)
from midhaul.deploy.enforcement.mqtt.packets import PacketKind, Prop, Publish
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from midhaul.deploy.enforcement.bridge_config import Endpoint
    from midhaul.deploy.enforcement.mqtt.connection import Connection

UP = "live/up"
"""Messages for the cloud; the last level is the lane of an analytic."""
HERE = "live/here"
"""Messages for an analytic on the gateway."""
RESULT = "live/result"
"""Answers of an analytic on the gateway, for the cloud."""

N_CONTENTS = 96
"""Different messages of a workload; an analytic begins at one of them and goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which message this is, of those of its analytic, and what content it shows.

    ``knob`` says how much of it is sent, None where no rate was granted; ``sent_ns`` is
    None where it was not. Times are on the machine's monotonic clock.
    """

    analytic: str
    workload: str
    number: int
    content: int
    place: str
    knob: float | None
    planned_ns: int
    sent_ns: int | None


def content_of(analytic: str, number: int) -> int:
    """What the message of some number shows."""
    return (zlib.crc32(analytic.encode()) + number) % N_CONTENTS


def pack(header: Header, body: bytes) -> bytes:
    """A message as it is published."""
    head = json.dumps(asdict(header), separators=(",", ":"))
    return head.encode() + b"\n" + body


def unpack(payload: bytes) -> tuple[Header, bytes]:
    """Header and body of a message; a DataError where it is none of ours."""
    head, _, body = payload.partition(b"\n")
    try:
        return Header(**json.loads(head)), body
    except (ValueError, TypeError) as error:
        message = f"expected a message with a header, found {payload[:40]!r}"
        raise DataError(message) from error


def encode_answer(answer: object) -> bytes:
    """An answer as the body of a result."""
    return json.dumps(answer, separators=(",", ":")).encode()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one analytic's sensor does until it is told otherwise.

    ``lane`` is the last level of its topics; ``knob`` is None where it has no rate.
    """

    lane: int
    workload: str
    place: str
    knob: float | None
    first_ns: int
    period_ns: int
    until_ns: int


class WorkerChannel:
    """A connection to a broker that comes back; what is sent meanwhile waits.

    The broker keeps messages under ``name`` while the connection is away; ``take`` is
    called with the topic and payload of each. Nobody need forward what was sent after
    ``expiry_s``.
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
            answers: list[tuple[PacketKind, int]] = []
            for one in await connection.receive():
                if isinstance(one, Publish):
                    if self._take is not None:
                        self._take(one.topic, one.payload)
                    if one.qos:
                        answers.append((PacketKind.PUBACK, one.mid))
                elif one.kind is PacketKind.PUBACK and one.mid == self._sent[0]:
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
