"""One end of a bridge: the connection to a broker, what it takes there and gives there.

A message that came is acknowledged when the store has it: QoS 1 with PUBACK, QoS 2
with PUBREC (method B of MQTT 5.0, section 4.3.3). One that is sent has its packet id in
the store before, so that it is sent again under the same one, by another process if
need be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from midhaul.deploy.enforcement.bridge_loops import (
    HELLO_TOPIC,
    OWN_TOPICS,
    check_without_no_local,
)
from midhaul.deploy.enforcement.mqtt.connection import Login, Will, connect
from midhaul.deploy.enforcement.mqtt.packets import (
    PacketKind,
    Prop,
    Publish,
    ReplyPacket,
)
from midhaul.deploy.enforcement.rate_map import needed, overlap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    import numpy as np

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig
    from midhaul.deploy.enforcement.bridge_loops import Neighbours
    from midhaul.deploy.enforcement.bridge_queue import BridgeQueue
    from midhaul.deploy.enforcement.bridge_store import BridgeStore
    from midhaul.deploy.enforcement.mqtt.connection import Connection
    from midhaul.deploy.enforcement.mqtt.packets import Properties

    Answer = tuple[PacketKind, int]

EndName = Literal["local", "remote"]

_LOG = logging.getLogger(__name__)
_LEAST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_STEADY_S = 5.0  # a connection that lived that long starts the pauses anew
_LEAST_PACKET = 1 << 17
_MOST_GROUPS = 10_000
_HELLOS = 3  # connections that may end over a hello before none is said any more
_OFFENDED_S = 1.0  # within which one ends that ends over a hello
_GOODBYE_S = 0.5

_WITHOUT_RETAIN = (
    "its protocol hides whether live messages are retained: the remote broker keeps "
    "what was retained when the bridge connected, and clearing it is not passed on"
)
_WITHOUT_PROPERTIES = (
    "its protocol has no properties: message expiry, content type, response topic, "
    "correlation data and user properties end here, and loops over it are not found"
)
_WITHOUT_NO_LOCAL = "its protocol returns to a client what it has published itself"
_WITHOUT_IDS = (
    "it has no subscription identifiers: filters that overlap in a part may bring "
    "messages twice"
)


@dataclass(slots=True, kw_only=True)
class EndCounts:
    """How the connection to one broker went.

    ``n_sessions_lost`` is how often the broker had forgotten what it kept for this
    client: what was published meanwhile is lost, and not known. ``n_copies`` are copies
    of one message that came because filters overlap; only the first one is counted as a
    message. ``error`` is why it is not up, or was not last time, ``cannot`` what cannot
    be had from this broker, and ``refused`` the filters that it refuses.
    """

    is_connected: bool = False
    n_connects: int = 0
    n_sessions_lost: int = 0
    n_copies: int = 0
    error: str = ""
    protocol: str = ""
    cannot: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])


class BridgeEnd:
    """One end of a bridge, ``local`` or ``remote``.

    What is received here goes to ``takes``, what is published here comes from
    ``gives``. ``on_change`` is called when the connection is there, and when it is
    gone.
    """

    def __init__(
        self,
        name: EndName,
        config: BridgeConfig,
        login: Login,
        *,
        takes: BridgeQueue,
        gives: BridgeQueue,
        store: BridgeStore,
        neighbours: Neighbours,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self.name: EndName = name
        self._config, self._login = config, login
        self._endpoint = config.local if name == "local" else config.remote
        self._takes, self._gives, self._store = takes, gives, store
        self._neighbours = neighbours
        self._on_change = on_change
        self._received = store.received(name)
        known: list[str] = json.loads(store.fact(f"{name}.filters") or "[]")
        self._filters = known
        self._is_known = bool(store.fact(f"{name}.session"))
        self._numbered: dict[str, int] = {}
        self._groups: dict[str, tuple[int, set[int]]] = {}
        self._connection: Connection | None = None
        self._n_hellos = 0
        self.counts = EndCounts()
        self.is_stopping = False

    async def session(self, attempt: int) -> None:
        """Connect, and use the connection until it is lost.

        That is an OSError, alone or in a group; a MidhaulError, in a group, is that the
        bridge cannot go on.
        """
        connection = await connect(self._endpoint, self._login, attempt=attempt)
        self._connection = connection
        begin_s, is_left = time.monotonic(), True
        try:
            self._begin(connection)
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.stay_alive())
                group.create_task(self._receive(connection))
                await self._open(connection)
                group.create_task(self._send(connection))
        except asyncio.CancelledError:
            is_left = False
            raise
        finally:
            self._connection = None
            self.counts.is_connected = False
            if time.monotonic() - begin_s > _OFFENDED_S:
                self._n_hellos = 0
            self._gives.return_unsent()
            if not is_left:
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await self._state(connection, is_up=False)
            await connection.close(is_said=not is_left)
            if is_left:
                await self._on_change()

    def _begin(self, connection: Connection) -> None:
        """Find out what is left of the session before."""
        counts = self.counts
        counts.n_connects += 1
        counts.error, counts.protocol = "", connection.protocol
        counts.cannot = self._cannot(connection)
        for one in counts.cannot:
            _LOG.warning("%s broker: %s", self.name, one)
        is_present = connection.is_session_present
        if not is_present:
            self._received.clear()
            self._store.ask("DELETE FROM received WHERE end = ?", (self.name,))
            is_lost = self._is_known and not self._endpoint.is_clean_start
            counts.n_sessions_lost += is_lost and bool(self._filters)
            self._filters = []
        self._is_known = True
        self._store.keep(f"{self.name}.session", "1")
        self._gives.limit(connection.receive_maximum)

    def _cannot(self, connection: Connection) -> list[str]:
        found: list[str] = []
        reach = self._neighbours.reaches[self.name]
        if connection.protocol == "3.1.1":
            if reach.takes:
                found.append(_WITHOUT_RETAIN)
            if self._config.down:
                check_without_no_local(self.name, reach)
                found.append(_WITHOUT_NO_LOCAL)
        if not connection.is_five:
            found.append(_WITHOUT_PROPERTIES)
        if not connection.has_subscription_ids and _overlapping(needed(reach.takes)):
            found.append(_WITHOUT_IDS)
        if not connection.has_retain and reach.gives:
            found.append("it keeps no messages: the flag RETAIN is taken off")
        if connection.most_qos < 2 and reach.gives:  # noqa: PLR2004 - of MQTT
            found.append(f"its highest QoS is {connection.most_qos}")
        return found

    async def _open(self, connection: Connection) -> None:
        """Take up what was left, subscribe, and say hello."""
        mids = self._gives.resume(is_present=connection.is_session_present)
        await connection.reply([(PacketKind.PUBREL, mid) for mid in mids])
        await self._subscribe(connection, is_first=True)
        if self._config.is_loop_checked and self._n_hellos < _HELLOS:
            # A broker that ends connections over topics which it does not allow would
            # never be reached; after a few tries no hello is said to it.
            self._n_hellos += 1
            refused = await connection.subscribe([(HELLO_TOPIC, 0)])
            if refused:
                self.counts.cannot.append("it refuses to have loops looked for")
            await self._hello(connection, is_answer=False)
        elif self._config.is_loop_checked:
            self.counts.cannot.append("it does not let loops be looked for")
        self.counts.is_connected = True
        await self._on_change()

    async def _hello(self, connection: Connection, *, is_answer: bool) -> None:
        payload = self._neighbours.hello(self.name, is_answer=is_answer)
        await connection.publish(Publish(topic=HELLO_TOPIC, payload=payload))

    async def refresh(self) -> None:
        """The filters have changed."""
        connection = self._connection
        if connection is None or not self.counts.is_connected:
            return
        with contextlib.suppress(OSError):  # a lost connection starts anew
            await self._subscribe(connection, is_first=False)
            if self._config.is_loop_checked and self._n_hellos < _HELLOS:
                await self._hello(connection, is_answer=False)

    async def _subscribe(self, connection: Connection, *, is_first: bool) -> None:
        """Have the filters that are needed, and no others.

        All are asked for at a first time, since that brings what is retained.
        """
        wanted = needed(self._neighbours.reaches[self.name].takes)
        overlapping = _overlapping(wanted)
        qos = self._config.qos
        self._numbered = {one: self._numbered.get(one, 0) for one in overlapping}
        for number, one in enumerate(overlapping, start=1):
            self._numbered[one] = number
        had = set() if is_first else set(self._filters)
        plain = [(one, qos) for one in wanted if one not in had | overlapping.keys()]
        refused: list[str] = []
        if plain:
            refused += await connection.subscribe(plain)
        for one, number in self._numbered.items():
            refused += await connection.subscribe(
                [(one, qos)], number=number, has_retained=one not in had
            )
        if gone := [one for one in self._filters if one not in wanted]:
            await connection.unsubscribe(gone)
        self._filters = wanted
        self._store.keep(f"{self.name}.filters", json.dumps(wanted))
        self.counts.refused = refused
        if refused:
            _LOG.warning("%s broker refuses %s", self.name, ", ".join(refused))

    async def _receive(self, connection: Connection) -> None:
        """Take what the broker has, keep it, and acknowledge it then."""
        while True:
            answers: list[Answer] = []
            for one in await connection.receive():
                if isinstance(one, Publish):
                    await self._came(connection, one, answers)
                else:
                    self._heard(one, answers)
            self._store.commit()
            self._takes.admit()
            await connection.reply(answers)

    async def _came(
        self, connection: Connection, message: Publish, answers: list[Answer]
    ) -> None:
        if self.is_stopping and message.qos:
            return  # it comes again when the bridge does
        if message.qos == 1:
            answers.append((PacketKind.PUBACK, message.mid))
        elif message.qos:
            answers.append((PacketKind.PUBREC, message.mid))
            if message.mid in self._received:
                return
            self._received.add(message.mid)
            self._store.ask(
                "INSERT OR IGNORE INTO received VALUES (?, ?)", (self.name, message.mid)
            )
        if message.topic == HELLO_TOPIC:
            if self._neighbours.hear(self.name, message.payload):
                await self._hello(connection, is_answer=True)
        elif not self._is_own(message.topic) and not self._is_copy(message):
            self._takes.put(message)

    def _is_own(self, topic: str) -> bool:
        config = self._config
        own = {config.stats_topic, config.state_topic}
        return topic.startswith(OWN_TOPICS) or topic in own

    def _is_copy(self, message: Publish) -> bool:
        """Whether a message came already, by another filter that has it too.

        Copies have other subscription identifiers than the first; what is published
        twice has the same again.
        """
        ids = _subscription_ids(message.properties)
        if not ids:
            return False
        content = hash((message.payload, message.is_retained))
        last, seen = self._groups.get(message.topic, (None, set[int]()))
        if last == content and not ids & seen:
            seen |= ids
            self.counts.n_copies += 1
            return True
        if len(self._groups) >= _MOST_GROUPS:
            self._groups.clear()
        self._groups[message.topic] = (content, ids)
        return False

    def _heard(self, reply: ReplyPacket, answers: list[Answer]) -> None:
        mid = reply.mid
        match reply.kind:
            case PacketKind.PUBREL:
                self._received.discard(mid)
                self._store.ask(
                    "DELETE FROM received WHERE end = ? AND mid = ?", (self.name, mid)
                )
                answers.append((PacketKind.PUBCOMP, mid))
            case PacketKind.PUBREC:
                if self._gives.recorded(mid, reply.reason):
                    answers.append((PacketKind.PUBREL, mid))
            case PacketKind.PUBACK | PacketKind.PUBCOMP:
                self._gives.acknowledged(mid, reply.reason)
            case _:
                pass

    async def _send(self, connection: Connection) -> None:
        """Publish what may leave."""
        gives = self._gives
        while True:
            ready: list[tuple[int, Publish]] = []
            for waiting in await gives.next():
                number = waiting.message.number
                contents = self._store.contents(number)
                message = gives.ready(waiting, *contents, connection)
                if message is not None:
                    ready.append((number, message))
            self._store.commit()
            for number, message in ready:
                await connection.publish(message)
                if not message.qos:
                    gives.arrived(number)

    async def say(self, topic: str, text: str) -> None:
        """Publish something of the bridge's own; nothing where there is no broker."""
        if self._connection is not None and self.counts.is_connected:
            with contextlib.suppress(OSError):
                message = Publish(topic=topic, payload=text.encode())
                await self._connection.publish(message)

    async def say_state(self, *, is_up: bool) -> None:
        """Publish whether the remote broker is reached."""
        if self._connection is not None and self.counts.is_connected:
            with contextlib.suppress(OSError):
                await self._state(self._connection, is_up=is_up)

    async def _state(self, connection: Connection, *, is_up: bool) -> None:
        topic = self._config.state_topic
        if topic:
            payload = b"1" if is_up else b"0"
            await connection.publish(
                Publish(topic=topic, payload=payload, is_retained=connection.has_retain)
            )


def login_of(config: BridgeConfig, name: EndName, secrets: Mapping[str, str]) -> Login:
    """Who connects at one end.

    A ConfigError where a certificate or password is not read. ``secrets`` has passwords
    by end, and those of private keys by end and ``_key``.
    """
    is_local = name == "local"
    endpoint = config.local if is_local else config.remote
    will = Will(topic=config.state_topic, payload=b"0") if config.state_topic else None
    return Login(
        client_id=endpoint.client_id
        or (config.name if is_local else f"{config.name}-out"),
        password=endpoint.password(secrets.get(name)),
        context=endpoint.context(name, secrets.get(f"{name}_key")),
        will=will,
        most_bytes=config.max_message_bytes + _LEAST_PACKET,
    )


async def stay_connected(
    session: Callable[[int], Awaitable[None]],
    counts: EndCounts,
    name: str,
    *,
    rng: np.random.Generator,
    clock: Callable[[], float],
) -> None:
    """Have a session, and another one when it is lost, until cancelled.

    Pauses double from 0.1 s to 10 s; each is drawn between its half and its whole, so
    that many bridges do not all come back to a broker in the same moment. ``session``
    connects and uses the connection; it is told the number of attempts since the last
    connection that held. ``name`` is the broker's, for the log.
    """
    pause_s, attempt = _LEAST_PAUSE_S, 0
    while True:
        begin_s = clock()
        try:
            await session(attempt)
        except* OSError as group:
            counts.error = "; ".join(str(error) for error in _leaves(group))
            _LOG.warning("%s broker: %s", name, counts.error)
        finally:
            counts.is_connected = False
        attempt += 1
        if clock() - begin_s > _STEADY_S:
            pause_s, attempt = _LEAST_PAUSE_S, 0
        await asyncio.sleep(pause_s * rng.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _overlapping(filters: Collection[str]) -> dict[str, None]:
    """Filters that have topics in common with others."""
    return {
        one: None
        for one in filters
        if any(one != other and overlap(one, other) for other in filters)
    }


def _subscription_ids(properties: Properties) -> set[int]:
    return {
        value
        for key, value in properties
        if key == Prop.SUBSCRIPTION_ID and isinstance(value, int)
    }


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        is_group = isinstance(error, BaseExceptionGroup)
        found += _leaves(error) if is_group else [error]
    return found
