"""What was split, as rows of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation.latency.naming import hour_of

if TYPE_CHECKING:
    from datetime import tzinfo

    from midhaul.federation.latency.exchanges import Account, Exchange
    from midhaul.federation.latency.tracking import FileReport


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
    """A request.

    Args:
        one: the request.
        shift_ns: added to times of the day.
        where: time zone of the hour.
        ends_ns: when the last packet of the captures was seen.
    """
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
