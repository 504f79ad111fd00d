"""Report of federation.latency: who takes how long when, and what for; its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.captures import tables
from midhaul.captures.metrics import METRICS
from midhaul.report import Cell, DataTable, Figure, Notice, Page, PageSection
from midhaul.report.axes import Axis, ChartChoice, Series
from midhaul.report.charts import CAPTION, lines, percentile_curves, points_of, stack
from midhaul.report.numbers import duration, size_text
from midhaul.report.view import (
    View,
    gather,
    headline,
    metric_bars,
    nothing_yet,
    page_of,
    summary_table,
)
from midhaul.stats import fewest_values

if TYPE_CHECKING:
    from midhaul.runs.run import Run

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


_MS = 1e3
_PARTS = {
    "upload": ("upload", "#0072b2"),
    "rtt": ("round trip", "#7fb4dc"),
    "inference": ("inference", "#00664a"),
    "download": ("download", "#e69f00"),
}
_ESTIMATES = (
    "Inference is what is left between the arrival of the last byte of a request at "
    "the server and the first byte of the answer: the server's TLS and its queue are "
    "in it. The arrival is estimated from acknowledgements, see "
    "`docs/explanation/packet-latency.md`; the requests below have the bounds as well."
)


def build(run: Run) -> Page:
    """The report of a run, whatever it got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Transmission and inference of captured requests"
    return page_of(
        run, title, _overview(view), _day(view), _requests(view), _captures(view)
    )


def _overview(view: View) -> PageSection:
    if not view.names:
        text = "No request was found in the captures."
        return nothing_yet(text)
    wanted = (
        ("Median inference", "inference_p50_s"),
        ("95 % of inferences below", "inference_p95_s"),
        ("Median transmission", "transmission_p50_s"),
        ("Share of transmission", "transmission_share"),
    )
    items = (
        _drawn(view),
        headline(view, METRICS, wanted),
        metric_bars(
            view,
            "inference_p50_s",
            "Median inference",
            "median inference, ms",
            "Lines are 95 % intervals over batches of requests.",
            factor=_MS,
        ),
        _where_time_goes(view),
        _distribution(view, "inference"),
        _distribution(view, "total"),
        summary_table(view, METRICS, "Below each number its 95 % interval."),
    )
    return PageSection(title="Overview", text=_ESTIMATES, items=gather(items))


def _drawn(view: View) -> Notice | str:
    capture = view.run.config_values().get("capture", {})
    if capture.get("kind") == "files":
        return ""
    text = (
        "These captures were **drawn by midhaul** and measure nobody. Give the folder "
        'of your own with `capture.kind = "files"`.'
    )
    return Notice(text=text, tone="warning")


def _where_time_goes(view: View) -> Figure | str:
    rows: list[dict[str, Any]] = []
    for number, name in view.names.items():
        values = {p: view.value(number, f"{p}_mean_s") for p in _PARTS}
        if any(value is None for value in values.values()):
            continue
        total = sum(value * _MS for value in values.values() if value is not None)
        rows += [
            {"name": name, "part": _PARTS[part][0], "ms": (value or 0) * _MS}
            | {"total": total}
            for part, value in values.items()
        ]
    if not rows:
        return "Where the time goes: no request could be split."
    labels, palette = zip(*_PARTS.values(), strict=True)
    order = tuple(dict.fromkeys(row["name"] for row in rows))
    chart = stack(
        rows,
        Axis("ms", "mean time, ms"),
        Axis("name", "configuration", order=order),
        Series("part", "part", labels, palette),
        Axis("total", "all, ms"),
    )
    caption = (
        "Means. Everything but inference is transmission. Opening a connection is not "
        "in it, as connections are used again; the table of set-up times has it."
    )
    return Figure(title="Transmission and inference", chart=chart, caption=caption)


def _distribution(view: View, what: str) -> Figure | str:
    title = f"Distribution of {'the whole time' if what == 'total' else what}"
    if "requests" not in view.has:
        return f"{title}: the run has no requests yet."
    found = view.run.sql(
        f"SELECT configuration, list({what}_s) AS values "  # noqa: S608 - our own names
        "FROM requests JOIN configurations USING (provider, region_pair) "
        "WHERE status = 'ok' GROUP BY configuration ORDER BY configuration"
    ).to_pylist()
    rows = [
        {"name": view.names[one["configuration"]], **point}
        for one in found
        for point in points_of(np.array(one["values"], np.float64))
    ]
    if not rows:
        return f"{title}: no request could be split."
    chart = percentile_curves(rows, Axis("ms", f"{what}, ms"), view.series)
    caption = f"{CAPTION} {_left_out(view)}".strip()
    return Figure(title=title, chart=chart, caption=caption)


def _left_out(view: View) -> str:
    """Which requests no curve of times can hold."""
    (counts,) = view.run.sql(
        "SELECT count(*) AS n, count(*) FILTER (status <> 'ok') AS n_out FROM requests"
    ).to_pylist()
    if not counts["n_out"]:
        return ""
    return (
        f"{counts['n_out']:,} of {counts['n']:,} requests are in no curve: "
        "their time could not be told (the table of statuses says why)."
    )


def _day(view: View) -> PageSection | None:
    rows: list[dict[str, Any]] = [
        {
            "name": row["name"],
            "path": row["name"],
            "hour": row["hour"],
            "curve": f"{row['what']}, {_percentile(row['percentile'])}",
            "ms": row["value_s"] * _MS,
            "ms_low": None if row["low"] is None else row["low"] * _MS,
            "ms_high": None if row["high"] is None else row["high"] * _MS,
        }
        for row in view.rows(tables.HOURS)
        if row["value_s"] is not None and not row.get("is_bound")
    ]
    if not rows:
        if not view.rows(tables.HOURS):
            return None
        text = f"No hour of the day has the {fewest_values(0.5)} requests of a median."
        return PageSection(title="Over the day", items=(Notice(text=text),))
    curves = tuple(dict.fromkeys(row["curve"] for row in rows))
    chart = lines(rows, Axis("hour", "hour of the day"), Axis("ms", "ms"), view.series)
    shown = ChartChoice("curve", "curve", curves, curves[0]).on(chart)
    zone = view.run.config_values().get("time_zone", "UTC")
    caption = (
        f"In the time zone {zone}. Lines are 95 % intervals between order statistics, "
        "none where an hour has too few requests; a percentile that an hour's requests "
        "do not carry, or that lies among those without an answer, is missing."
    )
    figure = Figure(title="Hour by hour", chart=shown, caption=caption)
    return PageSection(title="Over the day", items=(figure,))


def _percentile(percentile: int) -> str:
    return "median" if percentile == 50 else f"{percentile} %"  # noqa: PLR2004 - the median


def _requests(view: View) -> PageSection | None:
    if "requests" not in view.has:
        return None
    items = (status_table(view), setup_table(view), request_table(view))
    return PageSection(title="Requests", items=gather(items))


def _captures(view: View) -> PageSection | None:
    if "captures" not in view.has:
        return None
    items = (capture_table(view), connection_table(view), ignored_table(view))
    return PageSection(title="Captures and connections", items=gather(items))
