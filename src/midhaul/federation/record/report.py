"""The report of federation.record: who answered how fast, and for how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.federation.record import tables
from midhaul.federation.record.metrics import METRICS
from midhaul.federation.record.samples import waits_of
from midhaul.report import Cell, DataTable, Figure, Notice, Page, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import CAPTION, lines, percentile_curves, points_of, stack
from midhaul.report.numbers import duration, usd_text
from midhaul.report.view import (
    View,
    gather,
    headline,
    metric_bars,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from midhaul.runs.run import Run

_MS = 1e3
_STATUSES = {
    "ok": "#009e73",
    "timeout": "#e69f00",
    "throttled": "#f0e442",
    "unavailable": "#d55e00",
    "unreachable": "#a13d00",
    "refused": "#cc79a7",
    "denied": "#882255",
    "malformed": "#8c564b",
    "not_sent": "#9aa5b1",
    "skipped": "#bcc5ce",
    "unfinished": "#52606d",
}


def build(run: Run) -> Page:
    """The report of a recording, whatever it got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Recording of live providers"
    return page_of(run, title, _overview(view), _calls(view))


def _overview(view: View) -> PageSection:
    wanted = (
        ("Fastest median", "latency_p50_s"),
        ("Most answered", "ok_share"),
        ("Cheapest call", "usd_per_call"),
    )
    items = (
        _costs(view),
        headline(view, METRICS, wanted),
        metric_bars(
            view,
            "latency_p50_s",
            "Median latency",
            "median latency, ms",
            "From the call to the decoded answer, at this machine.",
            factor=_MS,
        ),
        _distribution(view),
        summary_table(view, METRICS, "Below each number its 95 % interval."),
    )
    return PageSection(title="Overview", items=gather(items))


def _costs(view: View) -> DataTable | Notice:
    rows = view.run.read(tables.CONFIGURATIONS).to_pylist()
    if not rows:
        return Notice(text="Nobody was asked yet.", tone="warning")
    spent: dict[int, float] = {}
    for row in view.rows(tables.CALLS):
        number = row["configuration"]
        spent[number] = spent.get(number, 0.0) + row["price_usd"]
    return DataTable(
        title="Calls and money",
        columns=("provider", "what", "price of a call", "calls", "expected", "charged"),
        rows=tuple(
            (
                row["name"],
                row["spec"],
                Cell(usd_text(row["price_usd"]), row["price_usd"]),
                row["n_calls"],
                Cell(usd_text(row["forecast_usd"]), row["forecast_usd"]),
                Cell(
                    usd_text(spent.get(row["configuration"], 0.0)),
                    spent.get(row["configuration"], 0.0),
                ),
            )
            for row in rows
        ),
        caption="Prices behind free quotas; expected and charged count them.",
    )


def _distribution(view: View) -> Figure | str:
    if "calls" not in view.has:
        return "Distribution of latency: nobody was asked yet."
    rows = [
        {"name": name, **point}
        for name, (waits_s, known_below_s) in waits_of(view.run).items()
        for point in points_of(waits_s, known_below_s)
    ]
    if not rows:
        return "Distribution of latency: nobody answered."
    chart = percentile_curves(rows, Axis("ms", "latency, ms"), view.series)
    return Figure(title="Distribution of latency", chart=chart, caption=CAPTION)


def _calls(view: View) -> PageSection | None:
    if "calls" not in view.has:
        return None
    items = (_how(view), _slices(view), _failures(view))
    return PageSection(title="Calls", items=gather(items))


def _how(view: View) -> Figure | str:
    counts: dict[tuple[str, str], int] = {}
    totals: dict[str, int] = {}
    for row in view.rows(tables.CALLS):
        key = (row["name"], row["status"])
        counts[key] = counts.get(key, 0) + 1
        totals[row["name"]] = totals.get(row["name"], 0) + 1
    if not counts:
        return "How calls went: nobody was asked."
    rows: list[dict[str, Any]] = [
        {"name": name, "status": status, "n": n, "total": totals[name]}
        for (name, status), n in counts.items()
    ]
    used = tuple(s for s in _STATUSES if any(row["status"] == s for row in rows))
    chart = stack(
        rows,
        Axis("n", "calls"),
        Axis("name", "provider", order=tuple(totals)),
        Series("status", "status", used, tuple(_STATUSES[s] for s in used)),
        Axis("total", "all calls"),
    )
    return Figure(title="How calls went", chart=chart)


def _slices(view: View) -> Figure | str:
    found = view.run.sql(
        "SELECT configuration, pass, slice, count(*) AS n, median(latency_s) AS p50 "
        "FROM calls WHERE status = 'ok' GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    slices = {(row["pass"], row["slice"]) for row in found}
    if len(slices) < 2:  # noqa: PLR2004 - a curve has two points
        return ""
    order = {key: number for number, key in enumerate(sorted(slices))}
    rows: list[dict[str, Any]] = [
        {
            "name": view.names[row["configuration"]],
            "path": view.names[row["configuration"]],
            "turn": order[row["pass"], row["slice"]],
            "ms": row["p50"] * _MS,
        }
        for row in found
    ]
    chart = lines(
        rows, Axis("turn", "slice, in order"), Axis("ms", "median, ms"), view.series
    )
    return Figure(title="Median latency, slice by slice", chart=chart)


def _failures(view: View) -> DataTable | str:
    rows = [row for row in view.rows(tables.CALLS, "sent_s") if row["status"] != "ok"]
    if not rows:
        return ""
    return DataTable(
        title="Calls without an answer",
        columns=("provider", "image", "pass", "status", "after", "message"),
        rows=tuple(
            (
                row["name"],
                row["item"],
                row["pass"],
                row["status"],
                duration(row["latency_s"]),
                row["message"],
            )
            for row in rows[:500]
        ),
        is_folded=len(rows) > 20,  # noqa: PLR2004 - what fits
    )
