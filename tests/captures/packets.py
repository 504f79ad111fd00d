"""Captures for tests: packets by hand, and conversations that midhaul draws."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from midhaul.captures.drawn_captures import (
    Conversation,
    DrawnCall,
    draw_day,
    write_capture,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scapy.packet import Packet

MS = 1_000_000
BEGIN_NS = 1_617_926_400_000_000_000
NAME = "rekognition.us-east-2.amazonaws.com"
ETHERNET, RAW_IP = 1, 101


def conversation(
    n: int = 3, *, port: int = 40_000, begin_ns: int = BEGIN_NS, name: str = NAME
) -> Conversation:
    """A connection with n requests, whose inference takes 200, 210, 220 … ms."""
    calls = [
        DrawnCall(
            begins_ns=begin_ns + i * 1_000_000_000,
            upload_bytes=60_000 + 1000 * i,
            inference_ns=(200 + 10 * i) * MS,
        )
        for i in range(n)
    ]
    return Conversation(
        server_name=name,
        server=bytes((198, 51, 100, 7)),
        client_port=port,
        rtt_ns=20 * MS,
        rate_bps=50e6,
        calls=tuple(calls),
    )


def drawn(file: Path, *conversations: Conversation) -> Path:
    """A capture of conversations."""
    write_capture(file, conversations or (conversation(),))
    return file


def day(file: Path, n_requests: int = 1) -> Path:
    """A capture of a day with three servers."""
    names = (NAME, "x.cognitiveservices.azure.com", "vision.googleapis.com")
    rng = np.random.default_rng(0)
    write_capture(file, draw_day(names, n_requests, rng, begins_s=BEGIN_NS // 10**9))
    return file


def frames(file: Path) -> list[tuple[int, bytes]]:
    """Time in ns and bytes of all frames of a pcap with times in ns."""
    raw = file.read_bytes()
    at, found = 24, []
    while at < len(raw):
        seconds, rest, size, _ = struct.unpack_from("<IIII", raw, at)
        found.append((seconds * 10**9 + rest, raw[at + 16 : at + 16 + size]))
        at += 16 + size
    return found


def write_pcap(
    file: Path,
    packets: Sequence[tuple[int, bytes | Packet]],
    *,
    link_type: int = ETHERNET,
    snaplen: int = 1 << 18,
) -> Path:
    """A pcap with times in ns; longer packets are cut."""
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, link_type)
    parts = [head]
    for time_ns, packet in packets:
        data = bytes(packet)
        seconds, rest = divmod(time_ns, 10**9)
        kept = data[:snaplen]
        parts.append(struct.pack("<IIII", seconds, rest, len(kept), len(data)) + kept)
    file.write_bytes(b"".join(parts))
    return file
