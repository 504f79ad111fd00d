"""Tracking connections through captures: frames to requests, file after file.

Servers get their names from the answers of name servers, which pass by as well (DNS,
RFC 1035).
"""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.captures.capture import ACK, SYN, Capture, DnsMessage, Segment, decode
from midhaul.captures.connection import TcpConnection
from midhaul.captures.request_times import Account, SplitLimits, account
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from midhaul.captures.key_log import Secrets

_HEADER_BYTES = 12
_A, _AAAA = 1, 28
_ADDRESS_BYTES = {_A: 4, _AAAA: 16}
_MOST_JUMPS = 64


def read_answer(data: bytes) -> dict[bytes, str]:
    """The name that was asked for, by every address in the answer.

    The message may be cut off or damaged.
    """
    found: dict[bytes, str] = {}
    if len(data) < _HEADER_BYTES:
        return found
    _, flags, n_questions, n_answers = struct.unpack_from(">HHHH", data)
    if not flags & 0x8000 or n_questions != 1:
        return found
    try:
        asked, at = _name(data, _HEADER_BYTES)
        at += 4
        for _ in range(n_answers):
            _, at = _name(data, at)
            kind, _, _, length = struct.unpack_from(">HHIH", data, at)
            at += 10
            address = data[at : at + length]
            if _ADDRESS_BYTES.get(kind) == length == len(address):
                found[address] = asked
            at += length
    except (IndexError, struct.error):
        return found
    return found


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name, and where the data go on behind it.

    IndexError where it is cut off, or refers to itself.
    """
    labels: list[str] = []
    behind = -1
    for _ in range(_MOST_JUMPS):
        length = data[at]
        if length & 0xC0 == 0xC0:  # noqa: PLR2004 - a reference to another place
            behind = at + 2 if behind < 0 else behind
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length == 0:
            name = ".".join(labels)
            return (
                name if name.isprintable() else ""
            ), behind if behind >= 0 else at + 1
        else:
            labels.append(data[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
    raise IndexError


_SWEEP_PACKETS = 50_000
_LINGER_NS = 60_000_000_000
_IDLE_NS = 3_600_000_000_000
_OVERLAP_NS = 1_000_000_000

_Key = tuple[bytes, int, bytes, int]


@dataclass(slots=True, kw_only=True)
class FileReport:
    """What was in a capture file.

    Attributes:
        n_cut: frames of which not everything was captured.
        first_ns: time of the first frame, since 1970; 0 without any.
        ignored: frames that are not TCP, by what they are.
        damage: what was wrong with the file; empty for nothing.
        is_capture: false where nothing of it could be read.
    """

    file: Path
    n_frames: int = 0
    n_segments: int = 0
    n_cut: int = 0
    first_ns: int = 0
    last_ns: int = 0
    ignored: Counter[str] = field(default_factory=Counter[str])
    damage: str = ""
    is_capture: bool = True


class Tracker:
    """Follows all connections of captures that were taken one after another.

    Attributes:
        names: names of servers by address, as name servers gave them.
    """

    def __init__(self, limits: SplitLimits, secrets: Secrets) -> None:
        self._limits, self._secrets = limits, secrets
        self._open: dict[_Key, tuple[TcpConnection, bool]] = {}
        self._done: list[Account] = []
        self.names: dict[bytes, str] = {}

    def read_any(self, file: Path, number: int) -> FileReport:
        """As :meth:`read`; a file that is no capture is a report that says so."""
        try:
            return self.read(file, number)
        except DataError as error:
            return FileReport(file=file, damage=error.message, is_capture=False)

    def read(self, file: Path, number: int) -> FileReport:
        """Read one capture."""
        capture, report = Capture(file), FileReport(file=file)
        for time_ns, link_type, data, wire_bytes in capture:
            report.n_frames += 1
            report.first_ns = report.first_ns or time_ns
            report.last_ns = max(report.last_ns, time_ns)
            report.n_cut += len(data) < wire_bytes
            found = decode(link_type, data, wire_bytes)
            if isinstance(found, Segment):
                report.n_segments += 1
                self._follow(time_ns, found, number)
            elif isinstance(found, DnsMessage):
                answer = read_answer(found.data)
                self.names.update({a: name for a, name in answer.items() if name})
                report.ignored["DNS answer"] += 1
            else:
                report.ignored[found] += 1
            if report.n_frames % _SWEEP_PACKETS == 0:
                self._sweep(time_ns)
        report.damage = capture.damage
        return report

    def take_done(self, *, with_open: bool) -> Iterator[Account]:
        """Accounts of connections that ended, each once; of all others with them."""
        if with_open:
            for connection in {id(c): c for c, _ in self._open.values()}.values():
                self._end(connection)
        done, self._done = self._done, []
        yield from sorted(done, key=lambda one: one.first_ns)

    def _follow(self, time_ns: int, segment: Segment, number: int) -> None:
        source, target, source_port, target_port = segment[:4]
        known = self._open.get((source, source_port, target, target_port))
        if known is not None and known[0].is_reopened_by(segment):
            self._end(known[0])
            known = None
        if known is None:
            known = self._begin(segment, number)
        known[0].add(time_ns, segment, is_client=known[1])

    def _begin(self, segment: Segment, number: int) -> tuple[TcpConnection, bool]:
        source = (segment.source, segment.source_port)
        target = (segment.target, segment.target_port)
        if segment.flags & SYN:
            is_client = not segment.flags & ACK
        else:
            is_client = segment.source_port > segment.target_port
        client, server = (source, target) if is_client else (target, source)
        connection = TcpConnection(client, server, self._secrets, file=number)
        self._open[*client, *server] = (connection, True)
        self._open[*server, *client] = (connection, False)
        return connection, is_client

    def _end(self, connection: TcpConnection) -> None:
        client, server = connection.client_address, connection.server_address
        self._open.pop((*client, *server), None)
        self._open.pop((*server, *client), None)
        self._done.append(account(connection, self._limits))

    def _sweep(self, now_ns: int) -> None:
        """Let go of connections that have ended, or were not heard of for an hour."""
        found = {id(c): c for c, _ in self._open.values()}
        for connection in found.values():
            quiet_ns = now_ns - connection.last_ns
            if quiet_ns > _IDLE_NS or (connection.is_closed and quiet_ns > _LINGER_NS):
                self._end(connection)


def series(files: Iterable[Path]) -> list[list[Path]]:
    """Part captures into series that were taken one after another.

    Files of one folder that do not overlap in time are one series, so that connections
    go on from file to file. Two captures of the same time stay apart: the same packets
    may be in both. A file that is no capture has no time and comes first in its folder.
    """
    spans: list[tuple[Path, int, Path]] = []
    wrong: list[DataError] = []
    for file in files:
        try:
            first_ns = next((frame.time_ns for frame in Capture(file)), 0)
            spans.append((file.parent, first_ns, file))
        except DataError as error:
            wrong.append(error)
            spans.append((file.parent, 0, file))
    if wrong and len(wrong) == len(spans):
        raise wrong[0]
    found: list[list[Path]] = []
    ends: list[tuple[Path, int]] = []
    for folder, first_ns, file in sorted(spans, key=lambda span: (span[0], span[1])):
        place = next(
            (
                i
                for i, (other, last_ns) in enumerate(ends)
                if other == folder and first_ns >= last_ns - _OVERLAP_NS
            ),
            None,
        )
        end = (folder, max(_last_ns(file), first_ns))
        if place is None:
            found.append([file])
            ends.append(end)
        else:
            found[place].append(file)
            ends[place] = end
    return found


def _last_ns(file: Path) -> int:
    last_ns = 0
    with contextlib.suppress(DataError):
        for frame in Capture(file):
            last_ns = frame.time_ns
    return last_ns


def split(
    files: Iterable[Path],
    *,
    limits: SplitLimits | None = None,
    secrets: Secrets | None = None,
) -> list[Account]:
    """All connections of some captures with their requests, by their beginning.

    Files were taken one after another. DataError where one is missing or is no capture.
    """
    tracker = Tracker(limits or SplitLimits(), secrets or {})
    for number, file in enumerate(files):
        tracker.read(file, number)
    return list(tracker.take_done(with_open=True))
