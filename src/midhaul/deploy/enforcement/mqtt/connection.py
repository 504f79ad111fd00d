"""One connection to a broker, from CONNECT to its end, in the best version there is.

What a user of it has to do himself: acknowledge messages, and choose the packet ids of
those that it publishes, of 1 to :data:`MOST_MID`. Below MQTT are TCP, TLS over TCP, and
websockets over either.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from midhaul.deploy.enforcement.mqtt.packets import (
    MalformedPacketError,
    PacketKind,
    Prop,
    Properties,
    Publish,
    ReplyPacket,
    Splitter,
    first_of,
    packet,
    properties_bytes,
    publish_packet,
    reply_packet,
    subscribe_packet,
    text,
    unsubscribe_packet,
)
from midhaul.errors import require

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    import aiohttp

    from midhaul.deploy.enforcement.bridge_config import Endpoint

_READ_BYTES = 1 << 16
_CLOSES_S = 0.5


class Wire(Protocol):
    """A stream of bytes in both directions."""

    async def read(self) -> bytes:
        """What has come; empty when the other side has closed."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, whole packets at a time; waits while the other side is slow."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


async def open_wire(
    endpoint: Endpoint, host: str, port: int, context: ssl.SSLContext | None
) -> Wire:
    """Connect to one of the addresses of an endpoint, by TLS where there is a context.

    An OSError where there is no connection; a PrerequisiteError where the library for
    websockets is not installed.
    """
    name = endpoint.server_name or host if context is not None else None
    if endpoint.transport == "websockets":
        return await _open_websocket(endpoint, host, port, context)
    error = OSError(f"{host} has no address")
    for address in await _addresses(host, port):
        try:
            reader, writer = await asyncio.open_connection(
                address,
                port,
                ssl=context,
                server_hostname=name,
                local_addr=_from(endpoint),
            )
        except OSError as said:
            error = said
        else:
            return _Tcp(reader, writer)
    raise error


async def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a name.

    Asked for in a thread that nobody waits for at the end: a name server that does not
    answer must not keep a bridge from stopping.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: list[str] = []
        error: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as said:
            error = said
        except UnicodeError as said:  # a name that is none
            error = OSError(f"{host}: {said}")
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, found, error)

    threading.Thread(target=ask, daemon=True, name=f"resolve {host}").start()
    return await answer


def _from(endpoint: Endpoint) -> tuple[str, int] | None:
    return (endpoint.bind_address, 0) if endpoint.bind_address else None


class _Tcp:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(_READ_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSES_S):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


async def _open_websocket(
    endpoint: Endpoint, host: str, port: int, context: ssl.SSLContext | None
) -> Wire:
    require("aiohttp", "deploy")
    import aiohttp  # noqa: PLC0415  optional

    scheme = "ws" if context is None else "wss"
    shown = f"[{host}]" if ":" in host else host
    connector = aiohttp.TCPConnector(local_addr=_from(endpoint))
    session = aiohttp.ClientSession(connector=connector)
    try:
        stream = await session.ws_connect(
            f"{scheme}://{shown}:{port}{endpoint.path}",
            protocols=("mqtt",),
            ssl=True if context is None else context,
            server_hostname=endpoint.server_name or None if context else None,
            max_msg_size=0,
            autoping=True,
        )
    except BaseException as error:
        await session.close()
        if isinstance(error, aiohttp.ClientError):
            message = f"websocket on {host}:{port}{endpoint.path}: {error}"
            raise ConnectionError(message) from error
        raise
    return _Websocket(session, stream)


class _Websocket:
    def __init__(
        self, session: aiohttp.ClientSession, stream: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._session, self._socket = session, stream

    async def read(self) -> bytes:
        from aiohttp import WSMsgType  # noqa: PLC0415  optional

        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return message.data
        if message.type is WSMsgType.ERROR:
            raise ConnectionError(str(message.data))
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSES_S):
                await self._socket.close()
        await self._session.close()


MOST_MID = 60_000
"""Packet ids of messages; those above are for subscriptions."""

FAILED = 0x80
"""Reason codes from here on mean that something was refused."""

_ROOM_BYTES = 1 << 18  # for topics and properties, mostly
_OPENING_S = 15.0
_ANSWER_S = 30.0
_GOODBYE_S = 0.5
_NO_LOCAL, _AS_PUBLISHED, _NO_RETAINED = 4, 8, 0x20
_BRIDGE_BIT = 0x80
_VERSIONS = {"5": 5, "3.1.1 (bridge)": 4 | _BRIDGE_BIT, "3.1.1": 4}
_TRIED = {
    "auto": ("5", "3.1.1 (bridge)", "3.1.1"),
    "5": ("5",),
    "3.1.1": ("3.1.1 (bridge)", "3.1.1"),
}
_WRONG_VERSION = {0x01, 0x84}
_REFUSALS = {
    1: "this version of MQTT",
    2: "the client identifier",
    3: "everybody at present",
    4: "user or password",
    5: "this client, which is not authorised",
    0x84: "this version of MQTT",
    0x85: "the client identifier",
    0x86: "user or password",
    0x87: "this client, which is not authorised",
    0x8A: "this client, which is banned",
}


_FAREWELLS = {
    0x87: "this client is not authorised for what it did",
    0x8B: "it is shutting down",
    0x8E: "another client has come with the same identifier",
    0x95: "a packet was too large",
    0x97: "a quota is exceeded",
    0x9A: "it keeps no messages",
}


class ConnectionLostError(OSError):
    """A connection that could not be had, or is not there any more."""


class VersionRefusedError(ConnectionLostError):
    """The broker does not speak this version of MQTT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What a broker publishes, retained, when its client has gone without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who connects.

    Attributes:
        client_id: its identifier.
        password: of its user.
        context: for TLS; None without.
        will: what is said when it is lost.
        most_bytes: of a packet; the payload of a larger one is not held.
    """

    client_id: str
    password: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = None
    will: Will | None = None
    most_bytes: int = 16_000_000


class Connection:
    """A connection that is open; see :func:`connect`.

    Attributes:
        protocol: ``5``, ``3.1.1 (bridge)`` or ``3.1.1``.
        is_session_present: whether the broker has kept a session.
        receive_maximum: messages that may be on their way to it.
        most_packet_bytes: that it takes.
        most_qos: that it knows.
        has_retain: whether it keeps messages.
    """

    def __init__(self, wire: Wire, protocol: str, splitter: Splitter) -> None:
        self._wire = wire
        self._splitter = splitter
        self._mids = itertools.cycle(range(MOST_MID + 1, 1 << 16))
        self._answers: dict[int, asyncio.Future[ReplyPacket]] = {}
        self._heard_s = self._said_s = time.monotonic()
        self._ready: list[Publish | ReplyPacket] = []
        self._ping_s = 60.0
        self.protocol = protocol
        self.is_session_present = False
        self.receive_maximum = 65_535
        self.most_packet_bytes = 1 << 28
        self.most_qos = 2
        self.has_retain = True
        self.has_subscription_ids = protocol == "5"

    @property
    def is_five(self) -> bool:
        """Whether it is MQTT 5."""
        return self.protocol == "5"

    async def receive(self) -> list[Publish | ReplyPacket]:
        """What has come, but for answers that somebody waits for.

        Raises:
            ConnectionLostError: the broker has closed, or said what is no MQTT.
        """
        while True:
            found = [one for one in self._ready if not self._is_answer(one)]
            self._ready = []
            if found:
                return found
            self._ready = await self._read()

    async def _read(self) -> list[Publish | ReplyPacket]:
        try:
            data = await self._wire.read()
            if not data:
                message = "the broker has closed the connection"
                raise ConnectionLostError(message)
            self._heard_s = time.monotonic()
            return self._splitter.feed(data)
        except MalformedPacketError as error:
            message = f"the broker has sent {error}"
            raise ConnectionLostError(message) from error

    def _is_answer(self, one: Publish | ReplyPacket) -> bool:
        if isinstance(one, Publish):
            return False
        if one.kind is PacketKind.PINGRESP:
            return True
        if one.kind is PacketKind.DISCONNECT:
            said = _FAREWELLS.get(one.reason, f"reason {one.reason:#x}")
            message = f"the broker has ended the connection: {said}"
            raise ConnectionLostError(message)
        if one.kind in {PacketKind.SUBACK, PacketKind.UNSUBACK}:
            future = self._answers.pop(one.mid, None)
            if future is not None and not future.done():
                future.set_result(one)
            return True
        return False

    def takes(self, message: Publish) -> bool:
        """Whether a message is small enough for the broker."""
        most = self.most_packet_bytes
        if len(message.payload) + _ROOM_BYTES < most:
            return True
        return len(publish_packet(message, is_five=self.is_five)) <= most

    async def publish(self, message: Publish) -> None:
        """Send a message.

        Raises:
            OSError: the connection is lost.
        """
        await self._send(publish_packet(message, is_five=self.is_five))

    async def reply(self, answers: Sequence[tuple[PacketKind, int]]) -> None:
        """Send PUBACK, PUBREC, PUBREL or PUBCOMP, each for its packet id.

        Raises:
            OSError: the connection is lost.
        """
        if answers:
            await self._send(b"".join(reply_packet(*answer) for answer in answers))

    async def subscribe(
        self,
        filters: Sequence[tuple[str, int]],
        *,
        number: int = 0,
        has_retained: bool = True,
    ) -> list[str]:
        """Subscribe, while somebody reads.

        Args:
            filters: with the highest QoS of each.
            number: identifier of the subscription.
            has_retained: whether what is retained is sent, MQTT 5.

        Returns:
            The filters that the broker refuses.

        Raises:
            OSError: the connection is lost.
        """
        flags = _NO_LOCAL | _AS_PUBLISHED if self.is_five else 0
        if self.is_five and not has_retained:
            flags |= _NO_RETAINED
        asked = [(name, qos | flags) for name, qos in filters]
        number = number if self.has_subscription_ids else 0
        answer = await self._ask(
            lambda mid: subscribe_packet(
                mid, asked, number=number, is_five=self.is_five
            )
        )
        pairs = zip(filters, answer.reasons, strict=False)
        return [name for (name, _), reason in pairs if reason >= FAILED]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """End subscriptions, while somebody reads.

        Raises:
            OSError: the connection is lost.
        """
        await self._ask(
            lambda mid: unsubscribe_packet(mid, filters, is_five=self.is_five)
        )

    async def _ask(self, packet_of: Callable[[int], bytes]) -> ReplyPacket:
        mid = next(self._mids)
        future = asyncio.get_running_loop().create_future()
        self._answers[mid] = future
        try:
            await self._send(packet_of(mid))
            async with asyncio.timeout(_ANSWER_S):
                return await future
        except TimeoutError as error:
            message = "the broker does not answer a subscription"
            raise ConnectionLostError(message) from error
        finally:
            self._answers.pop(mid, None)

    async def stay_alive(self) -> None:
        """Ask a silent broker whether it is there, until it is not.

        Raises:
            ConnectionLostError: it does not answer.
        """
        while True:
            now_s = time.monotonic()
            if now_s - self._heard_s > 1.5 * self._ping_s:
                message = f"the broker was silent for {1.5 * self._ping_s:g} s"
                raise ConnectionLostError(message)
            quiet_s = now_s - min(self._said_s, self._heard_s)
            if quiet_s >= self._ping_s / 2:
                try:
                    async with asyncio.timeout(self._ping_s):
                        await self._send(packet(PacketKind.PINGREQ << 4))
                except TimeoutError as error:
                    message = f"the broker took nothing for {self._ping_s:g} s"
                    raise ConnectionLostError(message) from error
                quiet_s = 0.0
            await asyncio.sleep(max(0.1, self._ping_s / 2 - quiet_s))

    async def close(self, *, is_said: bool) -> None:
        """End it.

        Args:
            is_said: whether the broker is told, so that it says no will.
        """
        if is_said:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._send(packet(PacketKind.DISCONNECT << 4))
        await self._wire.close()

    async def _send(self, data: bytes) -> None:
        self._said_s = time.monotonic()
        await self._wire.write(data)

    async def open(self, endpoint: Endpoint, login: Login) -> None:
        """Say CONNECT and wait for the answer.

        Raises:
            VersionRefusedError: it is another version of MQTT that the broker speaks.
            ConnectionLostError: the broker refuses, or does not answer.
        """
        self._ping_s = float(endpoint.keepalive_s)
        await self._send(_connect_packet(endpoint, login, self.protocol))
        try:
            while not self._ready:
                self._ready = await self._read()
        except ConnectionLostError as error:
            # Brokers that do not know a version may close without an answer.
            raise VersionRefusedError(str(error)) from error
        answer = self._ready.pop(0)
        if isinstance(answer, Publish) or answer.kind is not PacketKind.CONNACK:
            message = "the broker does not begin with CONNACK"
            raise ConnectionLostError(message)
        if answer.reason:
            said = _REFUSALS.get(answer.reason, "the connection")
            message = f"the broker refuses {said} (reason {answer.reason:#x})"
            is_version = answer.reason in _WRONG_VERSION
            raise (VersionRefusedError if is_version else ConnectionLostError)(message)
        self.is_session_present = answer.is_session_present
        self._adopt(answer.properties)
        self.has_retain = self.has_retain and endpoint.has_retain

    def _adopt(self, limits: Properties) -> None:
        self.receive_maximum = first_of(limits, Prop.RECEIVE_MAXIMUM, 65_535)
        self.most_packet_bytes = first_of(limits, Prop.MAXIMUM_PACKET, 1 << 28)
        self.most_qos = first_of(limits, Prop.MAXIMUM_QOS, 2)
        self.has_retain = bool(first_of(limits, Prop.RETAIN_AVAILABLE, 1))
        ids = first_of(limits, Prop.SUBSCRIPTION_ID_AVAILABLE, 1)
        self.has_subscription_ids = self.is_five and bool(ids)
        keepalive_s = first_of(limits, Prop.SERVER_KEEP_ALIVE, int(self._ping_s))
        self._ping_s = float(keepalive_s or self._ping_s)


def _connect_packet(endpoint: Endpoint, login: Login, protocol: str) -> bytes:
    is_five = protocol == "5"
    will, password = login.will, login.password
    has_user = bool(endpoint.username) or (password is not None and not is_five)
    flags = (
        (2 if endpoint.is_clean_start else 0)
        | (4 | 1 << 3 if will else 0)  # at least once
        | (32 if will and endpoint.has_retain else 0)
        | (64 if password is not None else 0)
        | (128 if has_user else 0)
    )
    head = text("MQTT") + bytes((_VERSIONS[protocol], flags))
    parts = [head, struct.pack("!H", endpoint.keepalive_s)]
    if is_five:
        parts.append(properties_bytes([(Prop.SESSION_EXPIRY, _expiry_s(endpoint))]))
    parts.append(text(login.client_id))
    if will:
        parts += [b"\0"] if is_five else []
        parts += [text(will.topic), text(will.payload)]
    if has_user:
        parts.append(text(endpoint.username))
    if password is not None:
        parts.append(text(password))
    return packet(PacketKind.CONNECT << 4, *parts)


def _expiry_s(endpoint: Endpoint) -> int:
    return 0 if endpoint.is_clean_start else endpoint.session_expiry_s


async def connect(endpoint: Endpoint, login: Login, *, attempt: int = 0) -> Connection:
    """Connect to a broker, in the best version of MQTT that it speaks.

    ``attempt`` chooses among its addresses. An OSError, of which that of TLS is one,
    where there is no connection, or the broker refuses it.
    """
    addresses = endpoint.addresses()
    host, port = addresses[attempt % len(addresses)]
    versions = _TRIED[endpoint.protocol]
    is_second = False
    for protocol in (*versions[:1], *versions):
        try:
            async with asyncio.timeout(_OPENING_S):
                return await _opened(endpoint, login, (host, port), protocol)
        except VersionRefusedError:
            if protocol == versions[-1] and is_second:
                raise
            is_second = True  # a broker that just stops closes as well
        except TimeoutError as error:
            message = f"{host}:{port} does not answer in {_OPENING_S:g} s"
            raise ConnectionLostError(message) from error
    raise AssertionError  # there is always a last version


async def _opened(
    endpoint: Endpoint, login: Login, address: tuple[str, int], protocol: str
) -> Connection:
    wire = await open_wire(endpoint, *address, login.context)
    splitter = Splitter(login.most_bytes, is_five=protocol == "5")
    connection = Connection(wire, protocol, splitter)
    try:
        await connection.open(endpoint, login)
    except BaseException:
        await connection.close(is_said=False)
        raise
    return connection
