"""The report of deploy.allocate: allocators side by side, over several uplinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.deploy import tables
from midhaul.deploy.figures.decisions import curves_figure, rates_figure, table_of
from midhaul.report import Figure, Notice, Page, Section
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import lines
from midhaul.report.gathering import environment, gather, subtitle, verdict_of
from midhaul.report.numbers import duration_text, rate
from midhaul.report.view import View, headline, summary_table

if TYPE_CHECKING:
    from midhaul.runs.run import Run


def _quality(value: float) -> str:
    return f"{value:.4f}"


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


_FORMS = (
    ("weighted_qos", "weighted quality", _quality),
    ("weighted_qos_bound", "no allocation can exceed", _quality),
    ("bound_share", "share of the bound", _share),
    ("uplink_used", "uplink granted", _share),
    ("n_served", "analytics served", "{:.0f}".format),
    ("qos_per_mbps", "quality of one more Mbit/s", "{:+.4f}".format),
    ("jain_index", "fairness (Jain)", _quality),
    ("solve_s", "time", duration_text),
)


def build(run: Run) -> Page:
    """The report of an allocation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    chapters = (_overview(view), _rates(view), environment(run))
    return Page(
        title="Rates: how an uplink is divided",
        subtitle=subtitle(run),
        verdict=verdict_of(run),
        notes=run.manifest.notes,
        sections=tuple(part for part in chapters if part is not None),
    )


def _overview(view: View) -> Section:
    if not view.names:
        text = "This run has divided no uplink yet, so there is nothing to show."
        return Section(title="Overview", items=(Notice(text=text, tone="warning"),))
    wanted = (
        ("Highest weighted quality", "weighted_qos", True, _quality),
        ("Closest to its bound", "bound_share", True, _share),
    )
    caption = (
        "Weighted quality is the sum of weight times quality over the sum of weights. "
        "An allocator without a guarantee of its own is held against the best bound."
    )
    items = (
        headline(view, wanted),
        _by_uplink(view, "weighted_qos", "Quality by uplink", "weighted quality"),
        _by_uplink(view, "bound_share", "Share of the bound", "share of the bound"),
        summary_table(view, _FORMS, caption),
    )
    return Section(title="Overview", items=gather(items))


def _by_uplink(view: View, metric: str, title: str, axis: str) -> Figure | str:
    rows: list[dict[str, Any]] = []
    for row in view.run.read(tables.CONFIGURATIONS).to_pylist():
        value = view.value(row["configuration"], metric)
        if value is not None:
            uplink = rate(row["uplink_bps"]).text
            planner = str(row["planner"])
            at = {"planner": planner, "path": planner, "uplink": uplink}
            rows.append({**at, "value": value})
    if not rows:
        return f"{title}: the run has no {metric}."
    names = tuple(dict.fromkeys(row["planner"] for row in rows))
    uplinks = tuple(dict.fromkeys(row["uplink"] for row in rows))
    series = Series("planner", "allocator", names)
    x = Axis("uplink", "uplink", order=uplinks)
    chart = lines(rows, x, Axis("value", axis, ".3f"), series)
    return Figure(title=title, chart=chart, caption="The same analytics throughout.")


def _rates(view: View) -> Section | None:
    rows = view.rows(tables.DECISIONS)
    if not rows:
        return None
    items = (rates_figure(view, rows), curves_figure(view, rows), table_of(rows))
    text = "Rates are with what MQTT and TCP add, unless the run was told otherwise."
    return Section(title="Rates", text=text, items=gather(items))
