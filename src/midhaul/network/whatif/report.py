"""The report of network.whatif: which choice is best, how surely, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.network import charts
from midhaul.network.compare.report import slowdown_by_name, without_notes
from midhaul.network.simulate import tables
from midhaul.network.simulate.metrics import simulated_flows
from midhaul.network.simulate.report import ladder_table, links_chapter, work_table
from midhaul.network.slowdown import IN_WORDS, SIZE_CLASSES, WORDS
from midhaul.network.whatif.metrics import verdict_sentence
from midhaul.network.whatif.tables import CHOICE_CLASSES, CHOICES
from midhaul.report import Cell, DataTable, Figure, Headline, Notice, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.numbers import bounded, percent
from midhaul.report.view import View, gather, nothing_yet, page_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.report import Page
    from midhaul.runs.run import Run

_TONES = {"best": "good", "equal": "good", "worse": "bad"}


def build(run: Run) -> Page:
    """The report of choices, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "What if: the same flows under every choice"
    rows = view.rows(CHOICES)
    if not rows:
        text = "This run has not simulated every choice yet, so there is nothing to "
        return page_of(run, title, nothing_yet(text + "show."))
    best = next(row["configuration"] for row in rows if row["result"] == "best")
    page = page_of(
        run,
        title,
        _overview(view, rows),
        _classes(view),
        links_chapter(view, best),
    )
    return without_notes(page, [_sentence(view, rows)])


def _overview(view: View, rows: Sequence[dict[str, Any]]) -> PageSection:
    values = view.run.config_values()
    what = f"p{values['percentile']}"
    if values["size_class"] != "all":
        what += f" of flows {WORDS[str(values['size_class'])]}"
    shown = view.names.keys() & {row["configuration"] for row in rows}
    found = [
        one for one in simulated_flows(view.run) if one.name in _names(view, shown)
    ]
    return PageSection(
        title="Overview",
        items=gather(
            (
                Headline(numbers=_numbers(rows)),
                Notice(text=_sentence(view, rows)),
                _table(rows, what, str(values.get("present") or view.names[0])),
                _chart(view, rows),
                slowdown_by_name(view, found),
                ladder_table(view),
                work_table(view),
            )
        ),
    )


def _sentence(view: View, rows: Sequence[dict[str, Any]]) -> str:
    values = view.run.config_values()
    percentile, name = int(values["percentile"]), str(values["size_class"])
    return verdict_sentence(percentile, name, rows)


def _names(view: View, shown: set[int]) -> set[str]:
    return {view.names[number] for number in shown}


def _numbers(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str, str], ...]:
    best = next(row for row in rows if row["result"] == "best")
    advised = next(row for row in rows if row["is_advised"])
    n_equal = sum(row["result"] == "equal" for row in rows)
    share = best["best_share"]
    numbers = [
        ("Best", _value(best), best["name"]),
        ("Best in resamples", "-" if share is None else f"{share:.0%}", best["name"]),
        ("Equal to it", str(n_equal), "choices"),
        ("Take", _value(advised), advised["name"]),
    ]
    return tuple(numbers)


def _value(row: Mapping[str, Any]) -> str:
    return "-" if row["value"] is None else f"{row['value']:.3g}"


def _table(rows: Sequence[Mapping[str, Any]], what: str, present: str) -> DataTable:
    has_costs = any(row["cost_usd"] is not None for row in rows)
    return DataTable(
        title="Choices",
        columns=(
            "choice",
            what,
            "best in",
            "over the best",
            "result",
            *(("costs",) if has_costs else ()),
            "",
        ),
        rows=tuple(
            (
                row["name"],
                _interval(row, "value", "low", "high"),
                percent(row["best_share"]),
                _interval(row, "ratio", "ratio_low", "ratio_high"),
                Cell(
                    row["result"],
                    tone=_TONES.get(row["result"], ""),  # pyright: ignore[reportArgumentType]
                    note=row["reason"] or "",
                ),
                *((f"{row['cost_usd']:,.2f} $",) if has_costs else ()),
                "take it" if row["is_advised"] else "",
            )
            for row in rows
        ),
        caption="Slowdown is completion time over what a flow would take alone under "
        f"{present}, the same for all choices. Batches of the same flows are paired; p "
        "values are corrected together (Holm). Of equal choices the cheapest is "
        "advised, then the present one.",
    )


def _interval(row: Mapping[str, Any], value: str, low: str, high: str) -> Cell | str:
    if row[value] is None:
        return ""
    ends = row[low], row[high]
    note = "" if None in ends else f"{ends[0]:.3g} – {ends[1]:.3g}"
    return Cell(f"{row[value]:.3g}", row[value], note=note)


def _chart(view: View, rows: Sequence[Mapping[str, Any]]) -> Figure | str:
    names = tuple(str(row["name"]) for row in rows)
    found: list[dict[str, Any]] = []
    for row in view.rows(CHOICE_CLASSES):
        if row["value"] is None:
            continue
        point = {
            "name": row["name"],
            "size": _size(row["size_class"]),
            "percentile": f"p{row['percentile']:g}",
            "value": row["value"],
        }
        if row["low"] is not None and row["high"] is not None:
            point |= {"value_low": row["low"], "value_high": row["high"]}
        found.append(point)
    if not found:
        return "Percentiles by size: too few flows carry any."
    order = tuple(
        one for one in ("all sizes", *IN_WORDS) if any(x["size"] == one for x in found)
    )
    options = tuple(dict.fromkeys(str(one["percentile"]) for one in found))
    picked = "p99" if "p99" in options else options[-1]
    return Figure(
        title="Slowdown of each class of size",
        chart=charts.choice_dots(
            found,
            Series("name", "choice", names),
            order,
            (options, picked),
            Axis("value", "slowdown (over the ideal FCT at present)", is_log=True),
        ),
        caption="With its 95 % interval; only where so many flows carry it. Pick the "
        "percentile in the list.",
    )


def _size(name: str) -> str:
    return "all sizes" if name == "all" else WORDS[name]


def _classes(view: View) -> PageSection:
    rows = view.rows(CHOICE_CLASSES)
    by_key = {(row["name"], row["percentile"], row["size_class"]): row for row in rows}
    classes = [
        name
        for name in ("all", *SIZE_CLASSES)
        if any(row["size_class"] == name for row in rows)
    ]
    keys = dict.fromkeys(
        (row["name"], row["percentile"]) for row in rows if row["value"] is not None
    )
    table = DataTable(
        title="Percentiles by class of size",
        columns=("choice", "percentile", *(_size(name) for name in classes)),
        rows=tuple(
            (
                name,
                f"p{percentile:g}",
                *(_cell(by_key.get((name, percentile, one))) for one in classes),
            )
            for name, percentile in keys
        ),
        caption="Below each number its 95 % interval over batches of flows; empty "
        "where too few flows carry it.",
    )
    return PageSection(title="Classes of size", items=gather((table,)))


def _cell(row: Mapping[str, Any] | None) -> Cell | str:
    if row is None or row["value"] is None:
        return ""
    ends = row["low"], row["high"]
    note = "" if None in ends else f"{ends[0]:.3g} – {ends[1]:.3g}"
    return Cell(bounded(f"{row['value']:.3g}", row["bound"]), row["value"], note=note)
