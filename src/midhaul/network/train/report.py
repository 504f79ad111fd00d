"""The report of network.train: errors by transport and group, learning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.network.slowdown import WORDS
from midhaul.network.train import tables
from midhaul.network.train.metrics import METRICS
from midhaul.report import DataTable, Figure, Page, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import against, bars, lines
from midhaul.report.numbers import duration, percent
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

    from midhaul.runs.run import Run

_P99 = 0.99
_MOST_SHOWN = 100.0


def build(run: Run) -> Page:
    """The report of a training, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Training: what corrects estimates of networks"
    if tables.ERRORS.name not in view.has:
        text = "This run has judged nothing yet, so there is nothing to show."
        return page_of(run, title, nothing_yet(text))
    return page_of(run, title, _overview(view), _by(view), _learning(view))


def _overview(view: View) -> PageSection:
    wanted = (
        ("p99 off by, mean", "p99_error"),
        ("9 of 10 within", "p99_error_p90"),
        ("In the interval", "coverage"),
    )
    caption = (
        "Over scenarios that nothing has learnt from. Below each number its 95 % "
        "interval."
    )
    return PageSection(
        title="Overview",
        items=gather(
            (
                headline(view, METRICS, wanted, of="corrector"),
                _against(view),
                summary_table(view, METRICS, caption),
                _work(view),
            )
        ),
    )


def _against(view: View) -> Figure | str:
    rows = [
        {
            "truth": min(row["true_p99"], _MOST_SHOWN),
            "told": min(row["p99"], _MOST_SHOWN),
            "name": row["name"],
        }
        for row in view.rows(tables.SCENARIOS)
        if row["p99"] is not None and row["name"] in ("corrector", "fluid")
    ]
    if not rows:
        return "Scenarios: none was judged."
    return Figure(
        title="p99 of each scenario, told and true",
        chart=against(
            rows,
            Axis("truth", "true p99 slowdown", from_zero=True),
            Axis("told", "p99 slowdown that was told", from_zero=True),
            view.series,
        ),
        caption=f"One point for each scenario; what is above {_MOST_SHOWN:g} stands "
        "there.",
    )


def _work(view: View) -> DataTable:
    rows = view.rows(tables.PARTS)
    purposes = list(dict.fromkeys(row["purpose"] for row in rows))
    return DataTable(
        title="Truth",
        columns=("purpose", "scenarios", "given up", "events", "processor time"),
        rows=tuple(
            (
                purpose,
                *(
                    sum(row[column] for row in rows if row["purpose"] == purpose)
                    for column in ("n_scenarios", "n_given_up", "n_events")
                ),
                duration(sum(r["took_s"] for r in rows if r["purpose"] == purpose)),
            )
            for purpose in purposes
        ),
        is_folded=True,
    )


def _by(view: View) -> PageSection:
    rows = [row for row in view.rows(tables.ERRORS) if row["percentile"] == _P99]
    own = [row for row in rows if row["name"] == "corrector"]
    whole = [row for row in own if row["size_class"] == "all"]
    return PageSection(
        title="Errors",
        items=gather(
            (
                _bars([r for r in rows if r["size_class"] == "all"], view),
                _table(
                    "By transport",
                    [r for r in whole if r["group"] == "all"],
                    "transport",
                ),
                _table(
                    "By group that can be held out",
                    [r for r in whole if r["transport"] == "all"],
                    "group",
                ),
                _table(
                    "By size",
                    [
                        r | {"size": WORDS[r["size_class"]]}
                        for r in own
                        if r["transport"] == "all" and r["group"] == "all"
                    ],
                    "size",
                ),
            )
        ),
    )


def _bars(rows: Sequence[Mapping[str, Any]], view: View) -> Figure:
    shown = [
        {"name": row["name"], "value": 100 * row["mean"]}
        for row in rows
        if row["transport"] == "all" and row["group"] == "all"
    ]
    label = Axis("name", "", order=tuple(str(row["name"]) for row in shown))
    return Figure(
        title="p99 off by, mean",
        chart=bars(
            shown, Axis("value", "per cent", from_zero=True), label, view.series
        ),
        caption="Mean absolute error of the p99 slowdown over all scenarios.",
    )


def _table(title: str, rows: Sequence[Mapping[str, Any]], key: str) -> DataTable:
    return DataTable(
        title=title,
        columns=(key, "scenarios", "mean", "median", "p90", "worst", "bias", "covered"),
        rows=tuple(
            (
                row[key],
                row["n"],
                *(
                    percent(row[column])
                    for column in ("mean", "median", "p90", "worst", "bias", "coverage")
                ),
            )
            for row in rows
        ),
        caption="Errors of the p99 slowdown, as shares of the truth.",
    )


def _learning(view: View) -> PageSection | None:
    rows = [
        {
            "n": row["n_scenarios"],
            "error": 100 * row["mean"],
            "what": row["transport"],
            "path": row["transport"],
        }
        for row in view.rows(tables.CURVE)
    ]
    if not rows:
        return None
    names = tuple(dict.fromkeys(str(row["what"]) for row in rows))
    figure = Figure(
        title="Learning curve",
        chart=lines(
            rows,
            Axis("n", "scenarios learnt from", is_log=True),
            Axis("error", "mean error of p99 (%)", from_zero=True),
            Series("what", "transport", names),
        ),
        caption="One net each, on the same test.",
    )
    return PageSection(title="Learning", items=(figure,))
