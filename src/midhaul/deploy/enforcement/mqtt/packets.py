"""The packets of MQTT 5.0 and 3.1.1 that a client sends and receives, as bytes.

OASIS, MQTT Version 5.0 (2019) and MQTT Version 3.1.1 (2014), chapters 2 and 3.

Differences from the standards:

1. Only what a client needs; AUTH is not known.
2. A received message beyond a stated size keeps its topic and its length, and loses its
   payload, so that it can be counted without being held.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Value = int | str | bytes | tuple[str, str]
Properties = tuple[tuple[int, Value], ...]

_HEAD_BYTES = 1 << 17  # holds every topic and packet id
_VARINT_BYTES = 4


class MalformedPacketError(ValueError):
    """Bytes that are no packet of MQTT."""


class PacketKind(IntEnum):
    """The type of a packet."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Prop(IntEnum):
    """Identifiers of properties, MQTT 5.0, section 2.2.2.2."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    SERVER_KEEP_ALIVE = 0x13
    REASON = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER = 0x26
    MAXIMUM_PACKET = 0x27
    SUBSCRIPTION_ID_AVAILABLE = 0x29


_BYTE = {0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A}
_TWO = {0x13, 0x21, 0x22, 0x23}
_FOUR = {0x02, 0x11, 0x18, 0x27}
_TEXT = {0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F}
_BINARY = {0x09, 0x16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A message.

    Attributes:
        topic: its topic.
        payload: what it carries; empty where it was cut.
        qos: 0, 1 or 2.
        is_retained: the flag RETAIN.
        is_dup: whether it is sent again.
        mid: packet id; 0 for QoS 0.
        properties: of MQTT 5.
        n_bytes: of the payload, also where it was cut.
        is_cut: whether the payload was too large to be held.
    """

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    is_retained: bool = False
    is_dup: bool = False
    mid: int = 0
    properties: Properties = ()
    n_bytes: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPacket:
    """Any other packet that a broker sends; without a packet id that is 0.

    ``reasons`` are its reason codes, of which 0 is success.
    """

    kind: PacketKind
    mid: int = 0
    reasons: tuple[int, ...] = (0,)
    properties: Properties = ()
    is_session_present: bool = False

    @property
    def reason(self) -> int:
        """The only reason code, or the first."""
        return self.reasons[0] if self.reasons else 0


def varint(number: int) -> bytes:
    """A variable byte integer; a MalformedPacketError if four bytes do not hold it."""
    if not 0 <= number < 1 << 28:
        message = f"expected a length of 0 to {(1 << 28) - 1}, found {number}"
        raise MalformedPacketError(message)
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def packet(first: int, *parts: bytes) -> bytes:
    """A packet of its first byte and the parts of its body."""
    body = b"".join(parts)
    return bytes((first,)) + varint(len(body)) + body


def text(value: str | bytes) -> bytes:
    """A length of two bytes, and UTF-8 or bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def properties_bytes(properties: Iterable[tuple[int, Value]]) -> bytes:
    """Properties with their length before them."""
    body = b"".join(bytes((key,)) + _value(key, value) for key, value in properties)
    return varint(len(body)) + body


def _value(key: int, value: Value) -> bytes:
    if isinstance(value, tuple):
        return text(value[0]) + text(value[1])
    if not isinstance(value, int):
        return text(value)
    if key in _BYTE:
        return bytes((value,))
    if key in _TWO:
        return struct.pack("!H", value)
    return struct.pack("!I", value) if key in _FOUR else varint(value)


def publish_packet(message: Publish, *, is_five: bool) -> bytes:
    """PUBLISH."""
    first = (
        PacketKind.PUBLISH << 4
        | (8 if message.is_dup else 0)
        | message.qos << 1
        | (1 if message.is_retained else 0)
    )
    mid = struct.pack("!H", message.mid) if message.qos else b""
    more = properties_bytes(message.properties) if is_five else b""
    return packet(first, text(message.topic), mid, more, message.payload)


def reply_packet(kind: PacketKind, mid: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP of success."""
    flags = 2 if kind is PacketKind.PUBREL else 0
    return packet(kind << 4 | flags, struct.pack("!H", mid))


def subscribe_packet(
    mid: int, filters: Sequence[tuple[str, int]], *, number: int = 0, is_five: bool
) -> bytes:
    """SUBSCRIBE; a number above 0 is the subscription's identifier."""
    more = b""
    if is_five:
        more = properties_bytes([(Prop.SUBSCRIPTION_ID, number)] if number else [])
    body = b"".join(text(name) + bytes((option,)) for name, option in filters)
    return packet(PacketKind.SUBSCRIBE << 4 | 2, struct.pack("!H", mid), more, body)


def unsubscribe_packet(mid: int, filters: Iterable[str], *, is_five: bool) -> bytes:
    """UNSUBSCRIBE."""
    more = b"\0" if is_five else b""
    body = b"".join(text(name) for name in filters)
    return packet(PacketKind.UNSUBSCRIBE << 4 | 2, struct.pack("!H", mid), more, body)


class Splitter:
    """Cuts a stream of bytes into packets.

    A larger message than ``most_bytes`` is cut.
    """

    def __init__(self, most_bytes: int, *, is_five: bool) -> None:
        self._most_bytes = max(most_bytes, _HEAD_BYTES)
        self._is_five = is_five
        self._held = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> list[Publish | ReplyPacket]:
        """The packets that are complete now.

        A MalformedPacketError if they are none.
        """
        if self._skip:
            n = min(self._skip, len(data))
            self._skip -= n
            data = data[n:]
        self._held += data
        found: list[Publish | ReplyPacket] = []
        at = 0
        while (one := self._one(at)) is not None:
            part, at = one
            found.append(part)
        del self._held[:at]
        return found

    def _one(self, at: int) -> tuple[Publish | ReplyPacket, int] | None:
        held = self._held
        length, begin = 0, at + 1
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            if begin >= len(held):
                return None
            byte = held[begin]
            begin += 1
            length |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the last byte of a number
                break
        else:
            message = "a packet's length has more than four bytes"
            raise MalformedPacketError(message)
        first, end = held[at], begin + length
        if len(held) >= end:
            body = bytes(memoryview(held)[begin:end])
            return decoded(first, body, is_five=self._is_five), end
        if length > self._most_bytes and len(held) >= begin + _HEAD_BYTES:
            if first >> 4 != PacketKind.PUBLISH:
                message = f"a packet of {length} bytes is no message"
                raise MalformedPacketError(message)
            body = bytes(memoryview(held)[begin : begin + _HEAD_BYTES])
            self._skip = end - len(held)
            return _cut(first, body, length), len(held)
        return None


def decoded(first: int, body: bytes, *, is_five: bool) -> Publish | ReplyPacket:
    """A packet of its first byte and its body; a MalformedPacketError if it is none."""
    try:
        kind = PacketKind(first >> 4)
        if kind is PacketKind.PUBLISH:
            return _publish(first, body, is_five=is_five)
        return _reply(kind, body, is_five=is_five)
    except MalformedPacketError:
        raise
    except (ValueError, IndexError, struct.error) as error:
        message = f"a broken packet of {len(body)} bytes, type {first >> 4}: {error}"
        raise MalformedPacketError(message) from error


def _publish(first: int, body: bytes, *, is_five: bool) -> Publish:
    topic, qos, mid, at = _named(first, body)
    properties: Properties = ()
    if is_five:
        properties, at = _properties(body, at)
    return Publish(
        topic=topic,
        payload=body[at:],
        qos=qos,
        is_retained=bool(first & 1),
        is_dup=bool(first & 8),
        mid=mid,
        properties=properties,
        n_bytes=len(body) - at,
    )


def _named(first: int, body: bytes) -> tuple[str, int, int, int]:
    """Topic, QoS and packet id of a message, and where they end."""
    topic, at = _text(body, 0)
    qos = first >> 1 & 3
    if not qos:
        return topic, 0, 0, at
    if qos == 3:  # noqa: PLR2004 - there is none
        message = "a message has no QoS of 3"
        raise MalformedPacketError(message)
    (mid,) = struct.unpack_from("!H", body, at)
    return topic, qos, mid, at + 2


def _cut(first: int, head: bytes, length: int) -> Publish:
    """A message whose payload is not held; its properties count as payload."""
    topic, qos, mid, at = _named(first, head)
    return Publish(
        topic=topic, payload=b"", qos=qos, mid=mid, n_bytes=length - at, is_cut=True
    )


def _reply(kind: PacketKind, body: bytes, *, is_five: bool) -> ReplyPacket:
    if kind is PacketKind.CONNACK:
        properties = _properties(body, 2)[0] if is_five and len(body) > 2 else ()  # noqa: PLR2004
        return ReplyPacket(
            kind=kind,
            reasons=(body[1],),
            properties=properties,
            is_session_present=bool(body[0] & 1),
        )
    if kind is PacketKind.PINGRESP:
        return ReplyPacket(kind=kind)
    if kind is PacketKind.DISCONNECT:
        return ReplyPacket(kind=kind, reasons=(body[0],) if body else (0,))
    (mid,) = struct.unpack_from("!H", body, 0)
    at = 2
    if kind in {PacketKind.SUBACK, PacketKind.UNSUBACK}:
        if is_five:
            _, at = _properties(body, at)
        return ReplyPacket(kind=kind, mid=mid, reasons=tuple(body[at:]))
    return ReplyPacket(
        kind=kind, mid=mid, reasons=(body[at],) if len(body) > at else (0,)
    )


def _text(body: bytes, at: int) -> tuple[str, int]:
    raw, at = _binary(body, at)
    return raw.decode(), at


def _binary(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("!H", body, at)
    end = at + 2 + length
    if end > len(body):
        message = f"a field of {length} bytes ends after its packet"
        raise MalformedPacketError(message)
    return body[at + 2 : end], end


def _number(body: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        byte = body[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004 - the last byte of a number
            return number, at
    message = "a number has more than four bytes"
    raise MalformedPacketError(message)


def _properties(body: bytes, at: int) -> tuple[Properties, int]:
    length, at = _number(body, at)
    end = at + length
    if end > len(body):
        message = "properties end after their packet"
        raise MalformedPacketError(message)
    found: list[tuple[int, Value]] = []
    while at < end:
        key = body[at]
        value, at = _property(key, body, at + 1)
        found.append((key, value))
    return tuple(found), at


def _property(key: int, body: bytes, at: int) -> tuple[Value, int]:
    for keys, form in ((_BYTE, "!B"), (_TWO, "!H"), (_FOUR, "!I")):
        if key in keys:
            return struct.unpack_from(form, body, at)[0], at + struct.calcsize(form)
    if key in _TEXT:
        return _text(body, at)
    if key in _BINARY:
        return _binary(body, at)
    if key == Prop.SUBSCRIPTION_ID:
        return _number(body, at)
    if key == Prop.USER:
        name, at = _text(body, at)
        value, at = _text(body, at)
        return (name, value), at
    message = f"property {key} is not known"
    raise MalformedPacketError(message)


def first_of(properties: Properties, key: int, default: int) -> int:
    """A number among properties; the default where it is not there."""
    for name, value in properties:
        if name == key and isinstance(value, int):
            return value
    return default
