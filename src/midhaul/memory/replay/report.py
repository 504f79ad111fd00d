"""The report of replays: which memory is best, score by period, what is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.memory.replay import tables
from midhaul.memory.replay.metrics import METRICS
from midhaul.report import Cell, DataTable, Figure, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import area, front, lines, pareto
from midhaul.report.numbers import duration
from midhaul.report.view import (
    View,
    gather,
    headline,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.report import Page
    from midhaul.report.page import Tone
    from midhaul.runs.run import Run

_WANTED = (
    ("Mean log score", "smoothed_mean"),
    ("P1 of log scores", "smoothed_p1"),
    ("Slow event", "slow_loss"),
)
_TONES: dict[str, Tone] = {"better": "good", "worse": "bad"}
_HEADINGS = {
    "smoothed_mean": "mean",
    "smoothed_median": "median",
    "smoothed_p1": "P1",
    "smoothed_p01": "P0.1",
    "slow_loss": "slow event",
}
_MOST_DRAWN = 6
"""Configurations whose memories are drawn; a page of dozens would not be read."""


def build(run: Run) -> Page:
    """The report of a replay, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Sample memories over a stream"
    if not view.knows("smoothed_mean"):
        text = "No repetition has been summed up yet, so there is nothing to show."
        return page_of(run, title, nothing_yet(text))
    return page_of(run, title, _overview(view), _periods(view), _kept(view))


def _overview(view: View) -> PageSection:
    caption = (
        "Log scores of predictions on periods that no model had seen, over all "
        "repetitions; all are smoothed alike. The slow event is judged after a "
        "recalibration across clusters: it says whether a model knows when. Below each "
        "number its 95 % interval by clusters."
    )
    return PageSection(
        title="Overview",
        items=gather(
            (
                headline(view, METRICS, _WANTED),
                _against_first(view),
                *_fronts(view),
                summary_table(view, METRICS, caption),
            )
        ),
    )


def _against_first(view: View) -> DataTable | str:
    """Each configuration against the first, and where the difference is no chance."""
    rows = view.rows(tables.DIFFERENCES)
    if not rows:
        return ""
    first = next(iter(view.names.values()))
    by = {(row["name"], row["metric"]): row for row in rows}
    names = [name for name in view.names.values() if name != first]
    return DataTable(
        title=f"Against {first}",
        columns=("memory", *_HEADINGS.values()),
        rows=tuple(
            (
                name,
                *(_difference(by.get((name, metric)), metric) for metric in _HEADINGS),
            )
            for name in names
        ),
        caption="Differences on the same clusters with 95 % intervals: log scores "
        "minus the first's (above 0 is better), and the slow event's loss as a share "
        "(below 0 is better). Coloured where it is no chance, corrected for all that "
        "are compared.",
    )


def _difference(row: Mapping[str, Any] | None, metric: str) -> Cell | str:
    if row is None or row["difference"] is None:
        return "-"
    is_loss = metric == "slow_loss"
    factor, digits, unit = (100, 1, " %") if is_loss else (1, 3, "")

    def text(value: float) -> str:
        return f"{value * factor:+.{digits}f}"

    said = f"{text(row['difference'])}{unit}"
    if row["low"] is None:
        return said
    tone = _TONES.get(row["result"], "")
    interval = f"{text(row['low'])} to {text(row['high'])}"
    return Cell(text=said, order=row["difference"], note=interval, tone=tone)


def _fronts(view: View) -> list[Figure]:
    """Mean against tail, smoothed and as predicted."""
    found: list[Figure] = []
    for prefix, what in (("smoothed_", "smoothed"), ("", "as predicted")):
        points: list[dict[str, Any]] = [
            {"name": name, "loss": -mean, "tail": tail}
            for number, name in view.names.items()
            if (mean := view.value(number, f"{prefix}mean")) is not None
            and (tail := view.value(number, f"{prefix}p1")) is not None
        ]
        best = pareto([(row["loss"], -row["tail"]) for row in points])
        rows = [
            row | {"on_front": on_front}
            for row, on_front in zip(points, best, strict=True)
        ]
        if len(rows) > 1:
            figure = Figure(
                title=f"Mean against tail, {what}",
                chart=front(
                    rows,
                    Axis("loss", "mean log loss"),
                    Axis("tail", "1st percentile of log scores"),
                    Axis("name", "memory", order=tuple(view.names.values())),
                    view.series,
                ),
                caption="To the left and up is better. Ringed: nothing is better in "
                "both. A tail can be bought by smoothing alone, so the smoothed one "
                "tells memories apart.",
            )
            found.append(figure)
    return found


_PERIOD = Axis("period", "period", is_count=True)
_PERIODS = """
    SELECT configuration, period, avg(smoothed_mean) AS mean, avg(smoothed_p1) AS p1,
    sum(retrained::INT)::BIGINT AS retrained, count(*) AS n, avg(value) AS value,
    min(p_value) AS p_value, avg(threshold) AS threshold, avg(n_kept) AS n_kept,
    avg(took_s) AS took_s, min(why) AS why, min(way) AS way,
    avg(n_cells) AS n_cells, avg(density) AS density
    FROM periods GROUP BY ALL ORDER BY configuration, period
"""


def _periods(view: View) -> PageSection:
    rows = [
        row | {"name": view.names[row["configuration"]]}
        for row in view.run.sql(_PERIODS).to_pylist()
    ]
    return PageSection(
        title="Period by period",
        items=gather(
            (
                _curve(rows, view, "mean", "Mean log score", "mean log score"),
                _curve(rows, view, "p1", "Tail of log scores", "1st percentile"),
                _trainings(rows, view),
                _coverage(rows, view),
                _density(rows, view),
                _decisions(rows),
            )
        ),
    )


def _curve(
    rows: Sequence[Mapping[str, Any]], view: View, field: str, title: str, axis: str
) -> Figure | str:
    drawn = [
        {"period": row["period"], "value": row[field], "name": row["name"]}
        | {"path": row["name"]}
        for row in rows
        if row[field] is not None
    ]
    if not drawn:
        return ""
    return Figure(
        title=title,
        chart=lines(drawn, _PERIOD, Axis("value", axis), view.series),
        caption="Smoothed predictions for a period by what was learnt before it; "
        "mean of the repetitions.",
    )


def _trainings(rows: Sequence[Mapping[str, Any]], view: View) -> Figure | str:
    """After which periods models were trained, where not after all of them."""
    if all(row["retrained"] == row["n"] for row in rows):
        return ""
    drawn = [
        {"period": row["period"], "share": 100 * row["retrained"] / row["n"]}
        | {"name": row["name"], "path": row["name"]}
        for row in rows
    ]
    return Figure(
        title="Trainings",
        chart=lines(
            drawn,
            _PERIOD,
            Axis("share", "repetitions that trained (%)", from_zero=True),
            view.series,
        ),
        caption="After the period, in how many of the repetitions a new model was "
        "trained.",
    )


def _coverage(rows: Sequence[Mapping[str, Any]], view: View) -> Figure:
    """How many cells of the sample space have a sample in memory."""
    drawn = [
        {"period": row["period"], "n": row["n_cells"], "name": row["name"]}
        | {"path": row["name"]}
        for row in rows
    ]
    return Figure(
        title="Coverage of sample space",
        chart=lines(
            drawn,
            _PERIOD,
            Axis("n", "cells with a sample", from_zero=True),
            view.series,
        ),
        caption="Cells of output, predicted mode and certainty that samples in memory "
        "lie in, as the model after each period sees them; mean of the repetitions.",
    )


def _density(rows: Sequence[Mapping[str, Any]], view: View) -> Figure:
    """How crowded the cells of samples in memory are."""
    drawn = [
        {"period": row["period"], "share": row["density"], "name": row["name"]}
        | {"path": row["name"]}
        for row in rows
        if row["density"] is not None
    ]
    return Figure(
        title="Density of memory",
        chart=lines(
            drawn,
            _PERIOD,
            Axis("share", "share in the same cell", from_zero=True),
            view.series,
        ),
        caption="Share of the memory that lies in the cell of a sample, mean over its "
        "samples: low is even. Mean of the repetitions.",
    )


def _decisions(rows: Sequence[Mapping[str, Any]]) -> DataTable:
    return DataTable(
        title="Decisions",
        columns=(
            "memory",
            "period",
            "trained",
            "model",
            "value",
            "threshold",
            "p",
            "time",
            "why",
        ),
        rows=tuple(
            (
                row["name"],
                row["period"],
                f"{row['retrained']} of {row['n']}",
                row["way"],
                *(
                    "-" if row[key] is None else f"{row[key]:.3g}"
                    for key in ("value", "threshold", "p_value")
                ),
                duration(row["took_s"]),
                row["why"],
            )
            for row in rows
        ),
        caption="Means of the repetitions; the reason is that of one of them.",
        is_folded=True,
    )


_KEPT = """
    SELECT configuration, period, came_in, avg(n) AS n FROM kept
    GROUP BY ALL ORDER BY configuration, period, came_in
"""


def _kept(view: View) -> PageSection:
    rows = view.run.sql(_KEPT).to_pylist()
    periods = sorted({row["period"] for row in rows})
    shown = list(view.names.items())[:_MOST_DRAWN]
    figures = [
        _composition([r for r in rows if r["configuration"] == number], name, periods)
        for number, name in shown
    ]
    n_more = len(view.names) - len(shown)
    more = f"{n_more} more memories are in the table kept." if n_more else ""
    return PageSection(
        title="What is in memory",
        items=gather((*figures, more)),
    )


def _composition(
    rows: Sequence[Mapping[str, Any]], name: str, periods: Sequence[int]
) -> Figure:
    kept = {(row["period"], row["came_in"]): row["n"] for row in rows}
    names = tuple(str(period) for period in periods)
    drawn = [
        {"period": period, "came_in": str(came_in)}
        | {"n": kept.get((period, came_in), 0.0)}
        for period in periods
        for came_in in periods
    ]
    return Figure(
        title=f"Memory of {name}",
        chart=area(
            drawn,
            _PERIOD,
            Axis("n", "samples", from_zero=True),
            Series("came_in", "came in period", names),
        ),
        caption="Samples in memory after each period, by the period in which they "
        "came.",
    )
