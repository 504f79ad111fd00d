"""The tables of federation.latency's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.report import Cell, DataTable
from midhaul.report.numbers import duration, size_text

if TYPE_CHECKING:
    from midhaul.report.view import View

_MOST_ROWS = 500

_STATUSES = """
SELECT provider, region_pair, status, reason, count(*) AS n FROM requests
GROUP BY ALL ORDER BY provider, region_pair, n DESC
"""
_SETUP = """
SELECT provider, region_pair, tls, http, is_resumed, count(*) AS n,
median(connect_s) AS connect_s, median(tls_s) AS tls_s, median(rtt_s) AS rtt_s,
avg(n_requests) AS n_requests FROM connections WHERE status = 'ok'
GROUP BY ALL ORDER BY ALL
"""
_REQUESTS = f"""
SELECT * FROM requests ORDER BY started_s LIMIT {_MOST_ROWS}
"""  # noqa: S608 - our own number
_CONNECTIONS = f"""
SELECT * FROM connections WHERE status <> 'ok' OR missing_bytes > 0 OR early_bytes > 0
ORDER BY begins_s LIMIT {_MOST_ROWS}
"""  # noqa: S608 - our own number
_IGNORED = "SELECT what, sum(n) AS n FROM ignored GROUP BY what ORDER BY n DESC"


def status_table(view: View) -> DataTable:
    """How requests went, and why not otherwise."""
    rows = view.run.sql(_STATUSES).to_pylist()
    return DataTable(
        title="How requests went",
        columns=("provider", "regions", "status", "reason", "requests"),
        rows=tuple(
            (r["provider"], r["region_pair"], r["status"], r["reason"], _count(r["n"]))
            for r in rows
        ),
        caption="Only those that are ok are in the numbers.",
    )


def setup_table(view: View) -> DataTable | str:
    """What a connection costs before its first request."""
    rows = view.run.sql(_SETUP).to_pylist() if "connections" in view.has else []
    if not rows:
        return "Set-up times: no connection was captured as a whole."
    return DataTable(
        title="Opening a connection",
        columns=(
            "provider",
            "regions",
            "TLS",
            "HTTP",
            "resumed",
            "connections",
            "TCP, median",
            "TLS, median",
            "least round trip, median",
            "requests on each",
        ),
        rows=tuple(
            (
                r["provider"],
                r["region_pair"],
                r["tls"],
                r["http"],
                "yes" if r["is_resumed"] else "no",
                _count(r["n"]),
                duration(r["connect_s"]),
                duration(r["tls_s"]),
                duration(r["rtt_s"]),
                Cell(f"{r['n_requests']:.3g}", r["n_requests"]),
            )
            for r in rows
        ),
        caption="Paid once for each connection; not part of the times of requests.",
    )


def request_table(view: View) -> DataTable:
    """Request by request."""
    rows = view.run.sql(_REQUESTS).to_pylist()
    total = view.run.count("requests")
    more = f" The first {len(rows)} of {total}." if total > len(rows) else ""
    return DataTable(
        title="Request by request",
        columns=(
            "provider",
            "regions",
            "begins, s",
            "status",
            "sent",
            "upload",
            "round trip",
            "inference",
            "at least",
            "at most",
            "download",
        ),
        rows=tuple(_request(row, rows[0]["started_s"]) for row in rows),
        caption=f"Times since the first request.{more}",
        is_folded=True,
    )


def _request(row: dict[str, Any], begin_s: float) -> tuple[Cell | str | None, ...]:
    since = row["started_s"] - begin_s
    return (
        row["provider"],
        row["region_pair"],
        Cell(f"{since:.3f}", since),
        Cell(row["status"], tone="" if row["status"] == "ok" else "muted"),
        Cell(size_text(row["upload_bytes"]), row["upload_bytes"]),
        duration(row["upload_s"]),
        duration(row["rtt_s"]),
        duration(row["inference_s"]),
        duration(row["inference_low_s"]),
        duration(row["inference_high_s"]),
        duration(row["download_s"]),
    )


def capture_table(view: View) -> DataTable:
    """The files, and what is wrong with them."""
    rows = view.run.sql("FROM captures ORDER BY series, begins_s").to_pylist()
    return DataTable(
        title="Captures",
        columns=(
            "file",
            "regions",
            "series",
            "packets",
            "TCP",
            "cut",
            "lasts",
            "damage",
        ),
        rows=tuple(
            (
                r["file"],
                r["region_pair"],
                r["series"],
                _count(r["n_packets"]),
                _count(r["n_tcp"]),
                _count(r["n_cut"]),
                duration(r["ends_s"] - r["begins_s"]),
                r["damage"],
            )
            for r in rows
        ),
        caption="Connections go on from file to file within a series.",
        is_folded=len(rows) > 12,  # noqa: PLR2004 - what fits
    )


def connection_table(view: View) -> DataTable | str:
    """Connections that something is to be said about."""
    rows = view.run.sql(_CONNECTIONS).to_pylist() if "connections" in view.has else []
    if not rows:
        return ""
    return DataTable(
        title="Connections that could not be used as a whole",
        columns=("server", "name", "status", "reason", "packets", "not captured"),
        rows=tuple(
            (
                r["server"],
                r["server_name"],
                r["status"],
                r["reason"] or ("0-RTT" if r["early_bytes"] else ""),
                _count(r["n_packets"]),
                Cell(size_text(r["missing_bytes"]), r["missing_bytes"]),
            )
            for r in rows
        ),
        is_folded=True,
    )


def ignored_table(view: View) -> DataTable | str:
    """Packets that are not TCP."""
    rows = view.run.sql(_IGNORED).to_pylist() if "ignored" in view.has else []
    if not rows:
        return ""
    return DataTable(
        title="Packets that are not TCP",
        columns=("what", "packets"),
        rows=tuple((r["what"], _count(r["n"])) for r in rows),
        caption="QUIC hides where a request ends, so it is not split.",
        is_folded=True,
    )


def _count(n: int) -> Cell:
    return Cell(f"{n:,}", n)
