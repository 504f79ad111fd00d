"""The report of network.validate: can the simulator be trusted, and where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.network import charts
from midhaul.network.compare.report import without_notes
from midhaul.network.simulate import tables
from midhaul.network.simulate.report import links_chapter, work_table
from midhaul.network.slowdown import IN_WORDS, WORDS
from midhaul.network.validate.metrics import METRICS, verdict_sentence, where_checked
from midhaul.network.validate.tables import CHECKED, ERRORS, PART_ERRORS
from midhaul.report import Cell, DataTable, Figure, Notice, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.numbers import percent
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
    from midhaul.runs.run import Run


def build(run: Run) -> Page:
    """The report of a validation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Validation: a simulator against its judge"
    rows = view.rows(ERRORS)
    if not rows:
        text = "This run has held nothing against the judge yet, so there is nothing "
        return page_of(run, title, nothing_yet(text + "to show."))
    page = page_of(
        run, title, _overview(view, rows), _parts(view), links_chapter(view, 0)
    )
    return without_notes(page, _sentences(view, rows))


def _overview(view: View, rows: Sequence[dict[str, Any]]) -> PageSection:
    wanted = (
        ("p99 off by", "error_p99"),
        ("p95 off by", "error_p95"),
        ("p50 off by", "error_p50"),
        ("Bias", "bias"),
        ("Times as fast", "speedup"),
    )
    first = view.names[1]
    caption = (
        f"Held against {view.names[0]}. Errors are of slowdowns of the flows that are "
        "judged; below each its 95 % interval, over paths or batches of flows."
    )
    return PageSection(
        title="Overview",
        items=gather(
            (
                headline(view, METRICS, wanted, of=first),
                *(Notice(text=text) for text in _sentences(view, rows)),
                _chart(view, rows),
                _table(rows),
                summary_table(view, METRICS, caption),
                work_table(view),
            )
        ),
    )


def _sentences(view: View, rows: Sequence[dict[str, Any]]) -> list[str]:
    values = view.run.config_values()
    where = where_checked(str(values["check"]), len(view.rows(CHECKED)))
    return [
        verdict_sentence(
            name,
            [row for row in rows if row["configuration"] == number],
            float(values["max_error"]),
            where,
        )
        for number, name in view.names.items()
        if number
    ]


def _chart(view: View, rows: Sequence[Mapping[str, Any]]) -> Figure | str:
    found: list[dict[str, Any]] = []
    for row in rows:
        if row["error"] is None:
            continue
        point = {
            "name": row["name"],
            "size": _size(row["size_class"]),
            "percentile": row["what"],
            "value": 100 * row["error"],
        }
        if row["low"] is not None and row["high"] is not None:
            ends = {"value_low": 100 * row["low"], "value_high": 100 * row["high"]}
            point |= ends
        found.append(point)
    if not found:
        return "Errors by size: too few flows carry any."
    there = {str(point["size"]) for point in found}
    order = tuple(one for one in ("all sizes", *IN_WORDS) if one in there)
    options = tuple(dict.fromkeys(str(point["percentile"]) for point in found))
    picked = next(one for one in ("p99", "p95", "p50", "bias") if one in options)
    names = tuple(name for number, name in view.names.items() if number)
    return Figure(
        title="Error of each class of size",
        chart=charts.choice_dots(
            found,
            Series("name", "simulator", names),
            order,
            (options, picked),
            Axis("value", "error (%)"),
        ),
        caption="Of the slowdown, over the judge's; the bias is of completion times, "
        "flow by flow. With 95 % intervals; pick what is shown in the list.",
    )


def _size(name: str) -> str:
    return "all sizes" if name == "all" else WORDS[name]


def _table(rows: Sequence[Mapping[str, Any]]) -> DataTable:
    return DataTable(
        title="Errors",
        columns=("simulator", "size", "what", "flows", "judge", "simulator", "error"),
        rows=tuple(
            (
                row["name"],
                _size(row["size_class"]),
                row["what"],
                row["n"],
                row["judge"],
                row["value"],
                _off_by(row),
            )
            for row in rows
        ),
        caption="A percentile only where so many flows carry it: 11 for the median, "
        "130 for p95, 662 for p99.",
    )


def _off_by(row: Mapping[str, Any]) -> Cell | str:
    if row["error"] is None:
        return ""
    low, high = row["low"], row["high"]
    note = "" if low is None or high is None else f"{low:+.1%} – {high:+.1%}"
    return Cell(f"{row['error']:+.1%}", row["error"], note=note)


def _parts(view: View) -> PageSection:
    checked = {row["part"]: row for row in view.run.read(CHECKED).to_pylist()}
    table = DataTable(
        title="Part by part",
        columns=(
            "part",
            "simulator",
            "flows judged",
            "beside them",
            "mean slowdown, judge",
            "simulator says",
            "completion times off by",
        ),
        rows=tuple(
            (
                checked[row["part"]]["name"],
                row["name"],
                row["n"],
                checked[row["part"]]["n_beside"],
                row["judge"],
                row["value"],
                percent(row["bias"]),
            )
            for row in view.rows(PART_ERRORS, order="part, configuration")
        ),
        caption="A part is a path, or a batch of flows of the window; the last column "
        "is a mean, flow by flow, with its sign.",
    )
    return PageSection(title="Parts", items=gather((table,)))
