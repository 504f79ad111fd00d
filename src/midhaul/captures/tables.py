"""Tables of federation.latency, and what was split as their rows.

*Naming*: who a server is, by patterns, and where, by region pairs in paths.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from midhaul.errors import ConfigError
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from midhaul.captures.request_times import Account, Exchange
    from midhaul.captures.tracking import FileReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How requests are named.

    Attributes:
        patterns: patterns of server names and addresses, by provider, in order.
        region_pair: of all captures; empty to take it from their paths.
        region_pattern: regular expression with a group ``pair``.
    """

    patterns: Mapping[str, Sequence[str]]
    region_pair: str = ""
    region_pattern: str = ""

    def provider(self, server_name: str, address: bytes) -> tuple[str, bool]:
        """The provider of a server, and whether a pattern names it."""
        name = server_name.lower().rstrip(".")
        host = str(ipaddress.ip_address(address))
        for provider, patterns in self.patterns.items():
            if any(
                fnmatchcase(name, p.lower()) or fnmatchcase(host, p) for p in patterns
            ):
                return provider, True
        return name or host, False

    def regions(self, path: str) -> str:
        """The region pair of a capture: the last match in its path, or empty."""
        if self.region_pair or not self.region_pattern:
            return self.region_pair
        found = list(re.finditer(self.region_pattern, f"/{path}"))
        return found[-1]["pair"] if found else ""


def zone(name: str) -> tzinfo:
    """A time zone by its name; ConfigError where there is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"expected a time zone such as Asia/Singapore, found {name!r}"
        raise ConfigError(message, "see time_zone") from error


def hour_of(time_ns: int, where: tzinfo) -> int:
    """The hour of the day of a time since 1970."""
    return datetime.fromtimestamp(time_ns / 1e9, where).hour


_SERIES = Column("series", INT32, "Number of the series of captures, from 0.")
_PROVIDER = Column("provider", STRING, "Provider, or the name of its server.")
_REGIONS = Column(
    "region_pair", STRING, "Where client and server stand; empty when not known."
)
_CONNECTION = Column("connection", INT32, "Number of the connection in its series.")

CONFIGURATIONS = Table(
    "configurations",
    "A provider, asked from and at one pair of regions.",
    (
        CONFIGURATION,
        Column("name", STRING, "Provider and region pair."),
        _PROVIDER,
        _REGIONS,
    ),
)

CAPTURES = Table(
    "captures",
    "A capture file.",
    (
        _SERIES,
        Column("file", STRING, "Its path below the folder."),
        _REGIONS,
        Column("begins_s", FLOAT, "Time of its first packet, since 1970 UTC."),
        Column("ends_s", FLOAT, "Time of its last packet."),
        Column("n_packets", INT, "Packets read."),
        Column("n_tcp", INT, "Those of TCP."),
        Column("n_cut", INT, "Packets that were not captured as a whole."),
        Column("damage", STRING, "What is wrong with the file; empty for nothing."),
        Column("is_capture", BOOL, "Whether anything of it could be read."),
    ),
)

IGNORED = Table(
    "ignored",
    "Packets of a capture that are not TCP, and so are not split.",
    (
        _SERIES,
        Column("file", STRING, "Path of the capture."),
        Column("what", STRING, "What they are."),
        Column("n", INT, "How many."),
    ),
)

CONNECTIONS = Table(
    "connections",
    "A TCP connection.",
    (
        _SERIES,
        _CONNECTION,
        _PROVIDER,
        _REGIONS,
        Column("server_name", STRING, "As the client asked for it; else by DNS."),
        Column("client", STRING, "Address and port."),
        Column("server", STRING, "Address and port."),
        Column("begins_s", FLOAT, "Time of its first packet, since 1970 UTC."),
        Column("status", STRING, "ok, cut or unsupported."),
        Column("reason", STRING, "Why it is not ok; empty when it is."),
        Column("protocol", STRING, "tls, http/1.1, http/2, or empty."),
        Column("tls", STRING, "Version of TLS; empty where there is none."),
        Column("http", STRING, "Version of HTTP, inferred below TLS."),
        Column("is_resumed", BOOL, "Whether a TLS session was resumed."),
        Column("is_opened", BOOL, "Whether the key log opened its records."),
        Column("early_bytes", INT, "Application data sent in 0-RTT."),
        Column("connect_s", FLOAT, "SYN to SYN-ACK; null when not seen."),
        Column("tls_s", FLOAT, "TLS handshake; null when not seen."),
        Column("rtt_s", FLOAT, "Least round trip; null when not known."),
        Column("n_packets", INT, "Packets."),
        Column("n_requests", INT, "Requests found."),
        Column("n_repeated", INT, "Segments that brought nothing new."),
        Column("missing_bytes", INT, "Bytes acknowledged but not captured."),
    ),
)

REQUESTS = Table(
    "requests",
    "A request and its answer.",
    (
        _SERIES,
        _CONNECTION,
        Column("request", INT32, "Number of the request on its connection."),
        Column("stream", INT, "HTTP/2 stream where known; 0 else."),
        _PROVIDER,
        _REGIONS,
        Column("started_s", FLOAT, "When its first byte was sent, since 1970 UTC."),
        Column("hour", INT32, "Hour of the day, in the time zone of the config."),
        Column(
            "status",
            STRING,
            "ok, small, failed, aborted, cut, early or ambiguous; ok counts, and the "
            "others only where waited_s says how long they took at least.",
        ),
        Column("reason", STRING, "Why it is not ok; empty when it is."),
        Column("code", INT32, "HTTP status where it is in the clear; 0 else."),
        Column("upload_bytes", INT, "Bytes sent, heads and sealing included."),
        Column("answer_bytes", INT, "Bytes of the answer, likewise."),
        Column("is_first", BOOL, "Whether it is the first of its connection."),
        Column("upload_s", FLOAT, "From its first to its last byte sent."),
        Column("rtt_s", FLOAT, "Round trip of its last byte, estimated."),
        Column("inference_s", FLOAT, "From its arrival to the answer, estimated."),
        Column("inference_low_s", FLOAT, "Least inference that the packets allow."),
        Column("inference_high_s", FLOAT, "Most inference that they allow."),
        Column("download_s", FLOAT, "From the first to the last byte of the answer."),
        Column("transmission_s", FLOAT, "Upload, round trip and download."),
        Column("total_s", FLOAT, "Transmission and inference."),
        Column("n_repeated", INT, "Segments of it that were sent again."),
        Column(
            "waited_s",
            FLOAT,
            "How long an answer was waited for that did not come, from its last byte "
            "to the end of its connection or of the captures; null for all others.",
            is_newer=True,
        ),
    ),
)

HOURS = Table(
    "hours",
    "A percentile in one hour of the day.",
    (
        CONFIGURATION,
        Column("hour", INT32, "Hour of the day, 0 to 23."),
        Column("what", STRING, "inference, transmission or total."),
        Column("percentile", INT32, "50, 90, 95 or 99."),
        Column(
            "value_s", FLOAT, "The percentile; null where the requests do not carry it."
        ),
        Column("low", FLOAT, "Lower end of its 95 % interval; null without one."),
        Column("high", FLOAT, "Upper end of its 95 % interval; null without one."),
        Column("n", INT, "Requests."),
        Column(
            "is_bound",
            BOOL,
            "Whether the percentile is at least value_s, as it lies among requests "
            "without an answer.",
            is_newer=True,
        ),
    ),
)

LATENCY_TABLES = (
    CONFIGURATIONS,
    CAPTURES,
    IGNORED,
    CONNECTIONS,
    REQUESTS,
    HOURS,
    SUMMARY,
)


def capture_row(report: FileReport, shift_ns: int) -> dict[str, object]:
    """A capture; its path and its series are the caller's."""
    return {
        "begins_s": _time(report.first_ns, shift_ns) if report.first_ns else None,
        "ends_s": _time(report.last_ns, shift_ns) if report.last_ns else None,
        "n_packets": report.n_frames,
        "n_tcp": report.n_segments,
        "n_cut": report.n_cut,
        "damage": report.damage,
        "is_capture": report.is_capture,
    }


def ignored_rows(report: FileReport) -> list[dict[str, object]]:
    """What else was in a capture, the most frequent first."""
    return [{"what": what, "n": n} for what, n in report.ignored.most_common()]


def connection_row(one: Account, server_name: str, shift_ns: int) -> dict[str, object]:
    """A connection."""
    return {
        "server_name": server_name,
        "client": one.client,
        "server": one.server,
        "begins_s": _time(one.first_ns, shift_ns),
        "status": one.status,
        "reason": one.reason,
        "protocol": one.protocol,
        "tls": one.tls,
        "http": one.http,
        "is_resumed": one.is_resumed,
        "is_opened": one.is_opened,
        "early_bytes": one.n_early_bytes,
        "connect_s": _seconds(one.connect_ns),
        "tls_s": _seconds(one.tls_ns),
        "rtt_s": _seconds(one.rtt_ns or None),
        "n_packets": one.n_packets,
        "n_requests": len(one.exchanges),
        "n_repeated": one.n_repeated,
        "missing_bytes": one.n_missing_bytes,
    }


def request_row(
    one: Exchange, shift_ns: int, where: tzinfo, ends_ns: int
) -> dict[str, object]:
    """A request; ``shift_ns`` is added to times of the day."""
    waited_ns = None
    if one.asked_ns is not None:
        waited_ns = max((one.given_up_ns or ends_ns) - one.asked_ns, 0)
    parts = (one.upload_ns, one.rtt_ns, one.download_ns)
    known = [part for part in parts if part is not None]
    transmission_ns = sum(known) if len(known) == len(parts) else None
    total_ns = None
    if transmission_ns is not None and one.inference_ns is not None:
        total_ns = transmission_ns + one.inference_ns
    return {
        "request": one.number,
        "stream": one.stream,
        "started_s": _time(one.started_ns, shift_ns),
        "hour": hour_of(one.started_ns + shift_ns, where),
        "status": one.status,
        "reason": one.reason,
        "code": one.code,
        "upload_bytes": one.upload_bytes,
        "answer_bytes": one.answer_bytes,
        "is_first": one.number == 0,
        "upload_s": _seconds(one.upload_ns),
        "rtt_s": _seconds(one.rtt_ns),
        "inference_s": _seconds(one.inference_ns),
        "inference_low_s": _seconds(one.inference_low_ns),
        "inference_high_s": _seconds(one.inference_high_ns),
        "download_s": _seconds(one.download_ns),
        "transmission_s": _seconds(transmission_ns),
        "total_s": _seconds(total_ns),
        "n_repeated": one.n_repeated,
        "waited_s": _seconds(waited_ns),
    }


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e9


def _time(value_ns: int, shift_ns: int) -> float:
    return (value_ns + shift_ns) / 1e9
