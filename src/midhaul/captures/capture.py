"""Packet captures (pcap, pcapng, gzipped): from their frames to TCP segments.

Scapy's raw reader only parts a file into frames; taking frames apart with scapy as
well is about fifty times slower than what stands here.

A frame becomes its TCP segment, or the reason why it has none.

Only headers are read, so a frame that was cut at the snapshot length serves as well.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp", ".pcap.gz", ".pcapng.gz", ".cap.gz")
_LONGEST_BYTES = 1 << 20  # of a frame; a device may be given more than 64 kB at once


class Frame(NamedTuple):
    """One captured frame.

    Attributes:
        time_ns: since 1970, UTC.
    """

    time_ns: int
    link_type: int
    data: bytes
    wire_bytes: int


class Capture:
    """A capture file whose frames are read once, in order.

    Attributes:
        damage: what was wrong with the file, once it was read; empty for nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damage = ""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, up to the end or to the first damage."""
        scapy = require("scapy.utils", "federation")
        error_type = require("scapy.error", "federation").Scapy_Exception
        warnings: list[str] = []
        with _collected(warnings), contextlib.ExitStack() as stack:
            try:
                opened = stack.enter_context(self.file.open("rb"))
                reader = scapy.RawPcapNgReader(opened)
            except (
                error_type, OSError, EOFError, struct.error, ValueError, zlib.error,
            ) as error:  # fmt: skip
                message = f"{self.file} is no packet capture: {_why(self.file, error)}"
                raise DataError(message, "expected pcap or pcapng") from error
            yield from self._frames(reader, error_type)
        if warnings and not self.damage:
            self.damage = warnings[0]

    def _frames(self, reader: object, error_type: type[Exception]) -> Iterator[Frame]:
        read = reader._read_packet  # type: ignore[attr-defined]  # noqa: SLF001 - the public one cuts frames at 64 kB
        has_header = hasattr(reader, "linktype")
        link_type = int(getattr(reader, "linktype", 0)) & 0xFFFF
        unit_ns = 1 if getattr(reader, "nano", False) else 1000
        tell = reader.f.tell  # type: ignore[attr-defined]
        while True:
            begin = tell()
            try:
                data, about = read(size=_LONGEST_BYTES)
            except EOFError as end:
                # Blocks of pcapng are multiples of 4 bytes, and not all are packets.
                rest = tell() - begin if has_header else tell() % 4
                if rest or str(end):
                    self.damage = str(end) or "ends within a packet"
                return
            except (
                error_type, struct.error, ValueError, OSError, MemoryError, zlib.error,
            ) as bad:  # fmt: skip
                self.damage = f"cannot be read on: {bad}"
                return
            if not has_header:
                if about.tshigh is None or not about.tsresol:
                    self.damage = "has packets without a time, which are left out"
                    continue
                ticks = (about.tshigh << 32) | about.tslow
                time_ns = ticks * 1_000_000_000 // int(about.tsresol)
                yield Frame(time_ns, about.linktype, data, about.wirelen)
                continue
            if len(data) < min(about.caplen, _LONGEST_BYTES):
                self.damage = "ends within a packet"
            time_ns = about.sec * 1_000_000_000 + about.usec * unit_ns
            yield Frame(time_ns, link_type, data, about.wirelen)


def _why(file: Path, error: Exception) -> str:
    if file.is_file() and not file.stat().st_size:
        return "it is empty"
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _collected(texts: list[str]) -> Generator[None]:
    """Keep what scapy warns of, instead of having it on the screen.

    Its filter drops what it said a few seconds ago, of another file perhaps.
    """
    logger = logging.getLogger("scapy.runtime")
    before = logger.handlers, logger.filters, logger.propagate
    logger.handlers, logger.filters, logger.propagate = [_Collector(texts)], [], False
    try:
        yield
    finally:
        logger.handlers, logger.filters, logger.propagate = before


class _Collector(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self._texts.append(record.getMessage())


def captures_in(folder: Path) -> list[Path]:
    """All captures below a folder, by name; a file is itself.

    DataError where there is none.
    """
    if folder.is_file():
        return [folder]
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and _is_capture(file.name)
    ]
    if not found:
        message = f"expected captures in {folder}, found none"
        raise DataError(message, f"their names end in {', '.join(SUFFIXES[:4])}")
    return found


def _is_capture(name: str) -> bool:
    """Whether a name ends as captures do, also with the number of a rotated file."""
    return name.rstrip("0123456789").endswith(SUFFIXES)


FIN, SYN, RST, PUSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_ETHERNET, _NULL, _LOOP, _SLL, _SLL2 = 1, 0, 108, 113, 276
_RAW = (12, 14, 101)
_IP4_ONLY, _IP6_ONLY = 228, 229
_IP4, _IP6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8, 0x9100)
_PPPOE = 0x8864
_PPP_IP4, _PPP_IP6 = 0x0021, 0x0057
_TCP, _UDP = 6, 17
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = (_HOP_BY_HOP, _ROUTING, _AUTHENTICATION, _DESTINATION)
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 132: "SCTP"}
_ETHERTYPES = {0x0806: "ARP", 0x88CC: "LLDP", 0x8847: "MPLS", 0x888E: "EAPOL"}
_DNS_PORT, _HTTPS_PORT = 53, 443
_PORTS = struct.Struct(">HHIIBBH")
_LENGTH_TYPE = 0x0600  # below it, the field is a length (IEEE 802.3)

SHORT = "shorter than its headers"
QUIC = "QUIC"


class Segment(NamedTuple):
    """One TCP segment.

    Attributes:
        source: address, 4 or 16 bytes.
        target: address, 4 or 16 bytes.
        seq: sequence number of its first byte.
        ack: the next byte that its sender expects.
        data: as much of its payload as was captured.
        n_bytes: payload on the wire.
    """

    source: bytes
    target: bytes
    source_port: int
    target_port: int
    seq: int
    ack: int
    flags: int
    data: bytes
    n_bytes: int


class DnsMessage(NamedTuple):
    """The payload of a UDP packet from a name server."""

    data: bytes


def decode(link_type: int, frame: bytes, wire_bytes: int) -> Segment | DnsMessage | str:
    """Read the headers of a frame: a segment, a name server's answer, or why neither.

    Link types are Ethernet (also with VLAN tags and PPPoE), Linux cooked 1 and 2, raw
    IP and BSD loopback.
    """
    try:
        begin = _network(link_type, frame)
        if isinstance(begin, str):
            return begin
        version = frame[begin] >> 4
        if version == 4:  # noqa: PLR2004 - the version of IP
            return _ip4(frame, begin, wire_bytes)
        if version == 6:  # noqa: PLR2004
            return _ip6(frame, begin, wire_bytes)
    except (IndexError, struct.error):
        return SHORT
    return "not IP"


def _network(link_type: int, frame: bytes) -> int | str:
    """Where the IP header begins."""
    if link_type == _ETHERNET:
        return _tagged(frame, 12)
    if link_type == _SLL:
        return _tagged(frame, 14)
    if link_type == _SLL2:
        kind = int.from_bytes(frame[:2], "big")
        return 20 if kind in {_IP4, _IP6} else _unknown(kind)
    if link_type in {_NULL, _LOOP}:
        return 4
    if link_type in {*_RAW, _IP4_ONLY, _IP6_ONLY}:
        return 0
    return f"link type {link_type}"


def _tagged(frame: bytes, begin: int) -> int | str:
    """Behind the EtherType at ``begin``, and behind tags before it."""
    kind = frame[begin] << 8 | frame[begin + 1]
    while kind in _VLANS:
        begin += 4
        kind = frame[begin] << 8 | frame[begin + 1]
    if kind == _PPPOE:
        begin += 8
        kind = frame[begin] << 8 | frame[begin + 1]
        kind = {_PPP_IP4: _IP4, _PPP_IP6: _IP6}.get(kind, kind)
    return begin + 2 if kind in {_IP4, _IP6} else _unknown(kind)


def _unknown(kind: int) -> str:
    if kind < _LENGTH_TYPE:
        return "IEEE 802.3"
    return _ETHERTYPES.get(kind, "not IP")


def _ip4(frame: bytes, begin: int, wire_bytes: int) -> Segment | DnsMessage | str:
    header_bytes = (frame[begin] & 0x0F) * 4
    total = frame[begin + 2] << 8 | frame[begin + 3]
    if (frame[begin + 6] & 0x3F) or frame[begin + 7]:
        return "IPv4 fragment"
    end = begin + total if total else wire_bytes  # 0: cut into packets by the device
    return _transport(
        frame,
        frame[begin + 9],
        begin + header_bytes,
        end,
        (frame[begin + 12 : begin + 16], frame[begin + 16 : begin + 20]),
    )


def _ip6(frame: bytes, begin: int, wire_bytes: int) -> Segment | DnsMessage | str:
    size = frame[begin + 4] << 8 | frame[begin + 5]
    protocol = frame[begin + 6]
    at = begin + 40
    end = at + size if size else wire_bytes
    while protocol in _EXTENSIONS:
        unit = 4 if protocol == _AUTHENTICATION else 8
        extra = 2 if protocol == _AUTHENTICATION else 1
        protocol, at = frame[at], at + (frame[at + 1] + extra) * unit
    if protocol == _FRAGMENT:
        return "IPv6 fragment"
    addresses = (frame[begin + 8 : begin + 24], frame[begin + 24 : begin + 40])
    return _transport(frame, protocol, at, end, addresses)


def _transport(
    frame: bytes, protocol: int, at: int, end: int, addresses: tuple[bytes, bytes]
) -> Segment | DnsMessage | str:
    if protocol == _UDP:
        source_port, target_port = struct.unpack_from(">HH", frame, at)
        if source_port == _DNS_PORT:
            return DnsMessage(frame[at + 8 : end])
        if target_port == _DNS_PORT:
            return "DNS question"
        return QUIC if _HTTPS_PORT in {source_port, target_port} else "UDP"
    if protocol != _TCP:
        return _PROTOCOLS.get(protocol, f"IP protocol {protocol}")
    source_port, target_port, seq, ack, offset, flags, _ = _PORTS.unpack_from(frame, at)
    data_begin = at + (offset >> 4) * 4
    n_bytes = end - data_begin
    if n_bytes < 0 or offset >> 4 < 5:  # noqa: PLR2004 - words of the least header
        return SHORT
    return Segment(
        addresses[0],
        addresses[1],
        source_port,
        target_port,
        seq,
        ack,
        flags,
        frame[data_begin:end],
        n_bytes,
    )
