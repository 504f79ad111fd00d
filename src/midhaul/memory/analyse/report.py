"""The report of memory.analyse: who stalls less, day by day, and what shifts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.memory.analyse import tables
from midhaul.memory.analyse.metrics import METRICS
from midhaul.report import Cell, DataTable, Figure, Notice, Page, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import lines
from midhaul.report.numbers import text_of
from midhaul.report.view import (
    View,
    gather,
    headline,
    metric_bars,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from midhaul.runs.run import Run

_PERCENT = 100.0
_SHOWN = {
    "stalled_share": ("Stalled, day by day", "stalled, %", _PERCENT),
    "ssim_db": ("SSIM, day by day", "SSIM, dB", 1.0),
}
_WORDS = {
    "trans_time_s": "transmission time, s",
    "size_packets": "size, packets",
    "delivery_rate": "delivery rate, packets/s",
}


def build(run: Run) -> Page:
    """The report of a run, whatever it got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "ABR schemes over days, and how their samples shift"
    if not view.names:
        return page_of(run, title, nothing_yet("No stream was read yet."))
    return page_of(run, title, _overview(view), _by_day(view), _shifts(view))


def _overview(view: View) -> PageSection:
    wanted = (("Least stalled", "stalled_share"), ("Best SSIM", "ssim_db"))
    items = (
        _drawn(view),
        headline(view, METRICS, wanted),
        metric_bars(
            view,
            "stalled_share",
            "Stalled",
            "time without a picture, % of the time watched",
            "Lines are 95 % intervals by viewer. Start-up is no stall.",
            factor=_PERCENT,
        ),
        summary_table(view, METRICS, "Below each number its 95 % interval by viewer."),
        _differences(view),
    )
    return PageSection(title="Overview", items=gather(items))


def _drawn(view: View) -> Notice | str:
    if view.run.config_values().get("viewing", {}).get("kind") != "builtin":
        return ""
    text = (
        "These days were **drawn by midhaul** and measure nobody. Give the folder of "
        'yours with `viewing.kind = "puffer"`.'
    )
    return Notice(text=text, tone="warning")


def _differences(view: View) -> DataTable | str:
    rows = view.rows(tables.DIFFERENCES)
    if not rows:
        return "Differences: there is one scheme only."
    return DataTable(
        title=f"Against {rows[0]['baseline']}",
        columns=("scheme", "metric", "difference", "from", "to", "p"),
        rows=tuple(
            (
                row["name"],
                METRICS[row["metric"]].heading,
                *(_number(row[key], row["metric"]) for key in _ENDS),
                _plain(row["p_value"]),
            )
            for row in rows
        ),
        caption="The scheme's value less the baseline's, with its 95 % interval. p is "
        "of each by itself, without a correction for how many there are.",
    )


_ENDS = ("difference", "low", "high")


def _number(value: float | None, metric: str) -> Cell | None:
    if value is None:
        return None
    is_share = METRICS[metric].form == "share"
    text = f"{value * _PERCENT:+.3f} %" if is_share else f"{value:+.3f}"
    return Cell(text, value)


def _plain(value: float | None) -> Cell | None:
    return None if value is None else Cell(text_of("{:.3g}")(value), value)


def _by_day(view: View) -> PageSection | None:
    found = view.rows(tables.DAYS)
    if len({row["day"] for row in found}) < 2:  # noqa: PLR2004  a line has two ends
        return None
    days = sorted({str(row["day"]) for row in found})
    figures: list[Figure | str] = []
    for metric, (title, axis, factor) in _SHOWN.items():
        rows: list[dict[str, Any]] = [
            {
                "name": row["name"],
                "path": row["name"],
                "number": days.index(row["day"]) + 1,
                "day": row["day"],
                "value": row["value"] * factor,
                "value_low": None if row["low"] is None else row["low"] * factor,
                "value_high": None if row["high"] is None else row["high"] * factor,
            }
            for row in found
            if row["metric"] == metric and row["value"] is not None
        ]
        if not rows:
            figures.append(f"{title}: nothing is known of it.")
            continue
        chart = lines(rows, _DAY, Axis("value", axis), view.series)
        caption = "Lines are 95 % intervals by viewer; each day has viewers of its own."
        figures.append(Figure(title=title, chart=chart, caption=caption))
    return PageSection(title="Day by day", items=gather(figures))


def _shifts(view: View) -> PageSection | None:
    found = view.rows(tables.SHIFTS)
    if not found:
        return None
    days = list(dict.fromkeys(str(row["day"]) for row in found))
    rows: list[dict[str, Any]] = [
        {
            "what": _WORDS[row["what"]],
            "path": row["what"],
            "number": days.index(row["day"]) + 1,
            "jsd": row["jsd"],
        }
        for row in found
    ]
    series = Series("what", "of", tuple(_WORDS.values()))
    chart = lines(rows, _DAY, Axis("jsd", "Jensen-Shannon distance"), series)
    caption = "From the first day: 0 is the same distribution, 1 has nothing in common."
    table = DataTable(
        title="Samples by day",
        columns=("day", "of", "samples", "mean", "median", "99 %", "JSD", "moved by"),
        rows=tuple(
            (
                row["day"].partition("T")[0],
                _WORDS[row["what"]],
                Cell(f"{row['n']:,}", row["n"]),
                *(_plain(row[key]) for key in _COLUMNS),
            )
            for row in found
        ),
        caption="Moved by: the 1-Wasserstein distance to the first day, in the unit "
        "of what it is of.",
    )
    figure = Figure(title="How far samples shift", chart=chart, caption=caption)
    return PageSection(title="Shift of samples", items=(figure, table))


_COLUMNS = ("mean", "median", "p99", "jsd", "wasserstein")
_DAY = Axis("number", "day", is_count=True)
