"""Captures that midhaul draws: conversations over TLS 1.3 whose times are known.

Every packet is where it would be seen at the client: a segment leaves at the pace of a
link, what answers it comes a round trip later. So a capture can be split, and the split
held against what was drawn, without any network. The sealed bytes are noise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.captures.capture import ACK, FIN, PUSH, SYN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MSS_BYTES = 1448
_RECORD_BYTES = 1 << 14
_SEAL_BYTES = 17
_FLIGHT_BYTES = 2800
_TICKET_BYTES = 234
_FINISHED_BYTES = 36
_MAGIC_NS = 0xA1B23C4D
_ETHERNET = 1
_MS_NS = 1_000_000
_LONGEST_BYTES = 1 << 18
_CLIENT, _SERVER = "client", "server"
_OTHER = {_CLIENT: _SERVER, _SERVER: _CLIENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCall:
    """One request of a conversation.

    Attributes:
        begins_ns: when its first byte is sent, since 1970.
        upload_bytes: its size before sealing.
        inference_ns: from its arrival to the first byte of the answer.
        answer_bytes: size of the answer before sealing.
    """

    begins_ns: int
    upload_bytes: int
    inference_ns: int
    answer_bytes: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One connection."""

    server_name: str
    server: bytes
    client_port: int
    rtt_ns: int
    rate_bps: float
    calls: tuple[DrawnCall, ...]


def write_capture(file: Path, conversations: Iterable[Conversation]) -> None:
    """Write conversations as a pcap with times in ns."""
    packets: list[tuple[int, bytes]] = []
    for conversation in conversations:
        packets += _Side(conversation).packets()
    packets.sort(key=lambda packet: packet[0])
    head = struct.pack("<IHHiIII", _MAGIC_NS, 2, 4, 0, 0, _LONGEST_BYTES, _ETHERNET)
    with file.open("wb") as out:
        out.write(head)
        for time_ns, data in packets:
            seconds, rest = divmod(time_ns, 1_000_000_000)
            size = len(data)
            out.write(struct.pack("<IIII", seconds, rest, size, size) + data)


def draw_day(
    names: Iterable[str], n_requests: int, rng: np.random.Generator, *, begins_s: int
) -> list[Conversation]:
    """A day of requests, every server asked in every hour.

    ``n_requests`` is per server and hour, ``begins_s`` midnight since 1970.
    """
    found: list[Conversation] = []
    for place, name in enumerate(names):
        rtt_ns = int((8 + 17 * place) * _MS_NS)
        for hour in range(24):
            begin_ns = (begins_s + hour * 3600 + 60 * place) * 1_000_000_000
            calls: list[DrawnCall] = []
            for _ in range(n_requests):
                busy = 1 + 0.15 * np.sin((hour - 8) / 24 * 2 * np.pi)
                inference_ns = (180 + 90 * place) * busy * rng.lognormal(0, 0.25)
                begin_ns += int(rng.uniform(1.5, 3.0) * 1e9)
                call = DrawnCall(
                    begins_ns=begin_ns,
                    upload_bytes=int(rng.lognormal(11.2, 0.4)),
                    inference_ns=int(inference_ns * _MS_NS),
                    answer_bytes=int(rng.integers(1200, 6000)),
                )
                calls.append(call)
            found.append(
                Conversation(
                    server_name=name,
                    server=bytes((198, 51, 100, 1 + place)),
                    client_port=40000 + 100 * place + hour,
                    rtt_ns=rtt_ns,
                    rate_bps=50e6,
                    calls=tuple(calls),
                )
            )
    return found


class _Side:
    """Writes the packets of one conversation as the client would see them."""

    def __init__(self, conversation: Conversation) -> None:
        self._about = conversation
        self._packets: list[tuple[int, bytes]] = []
        self._next = {_CLIENT: 1, _SERVER: 1}

    def packets(self) -> list[tuple[int, bytes]]:
        """Time in ns and bytes of each."""
        about = self._about
        first_ns = about.calls[0].begins_ns - 3 * about.rtt_ns - _MS_NS
        self._segment(first_ns, _CLIENT, SYN, b"", seq=0)
        self._segment(first_ns + about.rtt_ns, _SERVER, SYN | ACK, b"", seq=0)
        now_ns = first_ns + about.rtt_ns + 50_000
        self._segment(now_ns, _CLIENT, ACK, b"")
        hello = _record(22, _client_hello(about.server_name))
        self._segment(now_ns + 50_000, _CLIENT, ACK | PUSH, hello)
        now_ns += about.rtt_ns + _MS_NS // 2
        flight = _record(22, _server_hello()) + _record(20, b"\1")
        self._say(now_ns, _SERVER, flight + _sealed(_FLIGHT_BYTES))
        finished = _record(20, b"\1") + _sealed(_FINISHED_BYTES)
        now_ns += 300_000
        self._segment(now_ns, _CLIENT, ACK | PUSH, finished)
        tickets = _sealed(_TICKET_BYTES) + _sealed(_TICKET_BYTES)
        ticket_ns = now_ns + about.rtt_ns + 100_000
        for call in about.calls:
            asked_ns = self._say(call.begins_ns, _CLIENT, _records(call.upload_bytes))
            if tickets:
                self._segment(ticket_ns, _SERVER, ACK | PUSH, tickets)
                tickets = b""
            self._segment(asked_ns + about.rtt_ns, _SERVER, ACK, b"")
            told_ns = asked_ns + about.rtt_ns + call.inference_ns
            now_ns = self._say(told_ns, _SERVER, _records(call.answer_bytes))
            self._segment(now_ns + 20_000, _CLIENT, ACK, b"")
        self._segment(now_ns + _MS_NS, _CLIENT, ACK | FIN, b"")
        self._next[_CLIENT] += 1
        self._segment(now_ns + _MS_NS + about.rtt_ns, _SERVER, ACK | FIN, b"")
        return self._packets

    def _say(self, begin_ns: int, side: str, data: bytes) -> int:
        """Send bytes at the pace of the link; when the last segment was sent."""
        pace_ns = int(_MSS_BYTES * 8e9 / self._about.rate_bps)
        now_ns = begin_ns
        for at in range(0, len(data), _MSS_BYTES):
            part = data[at : at + _MSS_BYTES]
            now_ns = begin_ns + at // _MSS_BYTES * pace_ns
            self._segment(now_ns, side, ACK | PUSH, part)
            if side == _CLIENT and at // _MSS_BYTES % 2 and at + len(part) < len(data):
                self._segment(now_ns + self._about.rtt_ns, _SERVER, ACK, b"")
        return now_ns

    def _segment(
        self,
        time_ns: int,
        side: str,
        flags: int,
        data: bytes,
        *,
        seq: int | None = None,
    ) -> None:
        mine = self._next[side] if seq is None else seq
        other = self._next[_OTHER[side]] if flags & ACK else 0
        ports = (self._about.client_port, 443)
        client = bytes((192, 0, 2, 1))
        ends = (client, self._about.server)
        if side == _SERVER:
            ports, ends = ports[::-1], ends[::-1]
        tcp = struct.pack(">HHIIBBHHH", *ports, mine, other, 80, flags, 65535, 0, 0)
        head = struct.pack(">BBHHHBBH", 69, 0, 40 + len(data), 0, 16384, 64, 6, 0)
        ethernet = bytes(12) + b"\x08\x00"
        packet = ethernet + head + ends[0] + ends[1] + tcp + data
        self._packets.append((time_ns, packet))
        self._next[side] += len(data)


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBBH", kind, 3, 3, len(body)) + body


def _sealed(n_bytes: int) -> bytes:
    return _record(23, bytes(n_bytes + _SEAL_BYTES))


def _records(n_bytes: int) -> bytes:
    """Application data, in records as long as they may be."""
    sizes = [_RECORD_BYTES] * (n_bytes // _RECORD_BYTES)
    rest = n_bytes % _RECORD_BYTES
    return b"".join(_sealed(size) for size in [*sizes, *([rest] if rest else [])])


def _client_hello(name: str) -> bytes:
    text = name.encode("ascii")
    entry = b"\0" + struct.pack(">H", len(text)) + text
    sni = struct.pack(">H", len(entry)) + entry
    extensions = _extension(0, sni)
    extensions += _extension(16, b"\0\x09\x08http/1.1")
    extensions += _extension(43, b"\x02\x03\x04")
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    return _handshake(1, body + struct.pack(">H", len(extensions)) + extensions)


def _server_hello() -> bytes:
    extensions = _extension(43, b"\x03\x04")
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\x13\x01" + b"\0"
    return _handshake(2, body + struct.pack(">H", len(extensions)) + extensions)


def _extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def _handshake(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body
