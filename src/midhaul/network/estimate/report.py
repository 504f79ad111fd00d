"""The report of network.estimate: curves with bands, links to blame, headroom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt

from midhaul.network import charts
from midhaul.network.estimate import tables
from midhaul.network.estimate.metrics import METRICS
from midhaul.network.simulate.tables import TOPOLOGY
from midhaul.network.slowdown import WORDS
from midhaul.report import Cell, DataTable, Figure, Page, PageSection
from midhaul.report.axes import (
    Axis,
    ChartChoice,
    Series,
    chart_of,
    upwards,
)
from midhaul.report.charts import lines
from midhaul.report.numbers import between, duration, percent, rate
from midhaul.report.theme import WIDTH
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

    from midhaul.report.axes import Chart
    from midhaul.runs.run import Run

_WORDS = {**WORDS, "all": "all sizes"}


def build(run: Run) -> Page:
    """The report of an estimate, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Estimate: the tail of a network"
    if tables.ESTIMATES.name not in view.has:
        text = "This run has estimated nothing yet, so there is nothing to show."
        return page_of(run, title, nothing_yet(text))
    return page_of(run, title, _overview(view), _links(view), _trust(view))


def _overview(view: View) -> PageSection:
    wanted = (
        ("Slowdown, median", "slowdown_p50"),
        ("Slowdown, p99", "slowdown_p99"),
        ("Completion time, p99", "fct_p99_s"),
        ("Load until p99 doubles", "headroom"),
    )
    caption = (
        "Below each number its 90 % interval: what other draws of paths would give, "
        "and what the corrector may be off by; or what windows may be off by."
    )
    return PageSection(
        title="Overview",
        items=gather(
            (
                headline(view, METRICS, wanted),
                _curves(view),
                _table(view),
                summary_table(view, METRICS, caption),
            )
        ),
    )


def _curves(view: View) -> Figure:
    rows = [
        {
            "size": _WORDS[row["size_class"]],
            "nines": -math.log10(1 - row["share"]),
            "percentile": 100 * row["share"],
            "slowdown": row["slowdown"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in view.rows(tables.CURVES)
    ]
    return Figure(
        title="Slowdown by size of the flow",
        chart=_bands(rows),
        caption="What share of the flows does not exceed a slowdown; the axis runs "
        "over the nines. The band is the 90 % interval of the corrector, or of "
        "windows; what other draws of paths would give is in the table.",
    )


def _bands(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """A curve with its band, of a class of size to be picked."""
    sizes = tuple(dict.fromkeys(str(row["size"]) for row in rows))
    look = alt.Axis(
        values=[0, 0.30103, 1, 1.30103, 2, 3],
        labelExpr="round(1e6 * (1 - pow(10, -datum.value))) / 1e4 + ' %'",
    )
    x = alt.X("nines", type="quantitative", title="percentile of flows", axis=look)
    value = Axis("slowdown", "slowdown (FCT over ideal FCT)", is_log=True)
    base = chart_of(rows).encode(x=x)
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("low", type="quantitative", title=value.title, scale=value.scale),
        y2=alt.Y2("high"),
    )
    line = base.mark_line(strokeWidth=2, point=True).encode(
        y=upwards(value),
        tooltip=[
            Axis("percentile", "percentile", ".5~r").tooltip,
            value.tooltip,
            Axis("low", "at least").tooltip,
            Axis("high", "at most").tooltip,
        ],
    )
    chart = alt.layer(band, line).properties(width=WIDTH, height=320)
    return ChartChoice("size", "size", sizes, sizes[0]).on(chart)


def _table(view: View) -> DataTable:
    rows: dict[str, list[Cell | str | int | None]] = {}
    for row in view.rows(tables.ESTIMATES):
        cells = rows.setdefault(
            row["size_class"], [_WORDS[row["size_class"]], row["n"]]
        )
        note = between(f"{row['slowdown_low']:.3g}", f"{row['slowdown_high']:.3g}")
        cells.append(Cell(f"{row['slowdown']:.3g}", row["slowdown"], note=note))
        cells.append(duration(row["fct_s"]))
    heads = ("p50", "FCT", "p95", "FCT", "p99", "FCT", "p99.9", "FCT")
    return DataTable(
        title="By size",
        columns=("size", "flows", *heads),
        rows=tuple(tuple(cells) for cells in rows.values()),
        caption="Slowdowns with their 90 % intervals, and completion times.",
    )


def _links(view: View) -> PageSection:
    blamed = {row["link"]: row for row in view.rows(tables.BLAMED)}
    items: list[Figure | DataTable | str] = []
    if blamed:
        facts = [_fact(row, blamed) for row in view.rows(TOPOLOGY)]
        items.append(
            Figure(
                title="Links to blame",
                chart=charts.topology_map(
                    facts,
                    ("load", "rate", "waiting", "gain"),
                    colour_title="load",
                    width_title="share of all waiting",
                ),
                caption="Links in the colour of their load; those that were tried are "
                "as wide as what waits at them.",
            )
        )
        items.append(_blamed_table(list(blamed.values())))
    else:
        items.append("Links to blame: nothing waits anywhere, or none was asked for.")
    items.append(_headroom(view))
    return PageSection(title="Links and load", items=gather(items))


def _fact(row: dict[str, Any], blamed: dict[int, dict[str, Any]]) -> dict[str, Any]:
    one = blamed.get(row["link"])
    load = row["offered_share"] or 0.0
    return {
        **row,
        "utilisation": min(load, 1.0),
        "max_queue_bytes": one["waiting_share"] if one else 0.0,
        "load_text": percent(load).text,
        "rate_text": rate(row["rate_bps"]).text,
        "waiting_text": percent(one["waiting_share"]).text if one else "not tried",
        "gain_text": percent(one["gain"]).text if one else "not tried",
    }


def _blamed_table(blamed: Sequence[Mapping[str, Any]]) -> DataTable:
    return DataTable(
        title="What twice the rate would give",
        columns=("link", "of all waiting", "p99 then", "less by"),
        rows=tuple(
            (
                row["name"],
                percent(row["waiting_share"]),
                row["slowdown_p99"],
                percent(row["gain"]),
            )
            for row in blamed
        ),
        caption="The p99 slowdown of all flows if that link alone were twice as fast; "
        "what waits is as the fluid has it on the paths that were drawn.",
    )


def _headroom(view: View) -> Figure | str:
    rows = [
        {
            "load": row["factor"],
            "p99": row["slowdown_p99"],
            "what": "p99",
            "path": "p99",
        }
        for row in view.rows(tables.HEADROOM)
    ]
    if not rows:
        return "Headroom: it was not looked for."
    return Figure(
        title="Headroom",
        chart=lines(
            rows,
            Axis("load", "load, times what it is"),
            Axis("p99", "slowdown p99", from_zero=True),
            Series("what", "", ("p99",)),
        ),
        caption="By some of the paths, with all starts moved together; it ends where "
        "p99 has doubled.",
    )


def _trust(view: View) -> PageSection:
    rows = [row for row in view.rows(tables.WARNINGS, "share DESC") if row["what"]]
    table = DataTable(
        title="Outside of training",
        columns=("what", "share of the draws"),
        rows=tuple((row["what"], percent(row["share"])) for row in rows),
        caption="What of the paths the corrector has not seen in training: there, "
        "neither its estimates nor its intervals are known to hold.",
    )
    said = "Outside of training: every path lies within what the corrector has seen."
    return PageSection(title="Trust", items=gather((table if rows else said,)))
