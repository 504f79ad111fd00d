"""Reports of deploy.plan and deploy.allocate, and the charts of decisions.

Both show decisions: rates by analytic, steps of curves, and the table of all.

That of deploy.plan says who sits where, who gets how much, and what is scarce; that of
deploy.allocate has allocators side by side, over several uplinks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.deploy.plan import tables
from midhaul.deploy.plan.metrics import ALLOCATE_METRICS, PLAN_METRICS
from midhaul.deploy.report import staircases
from midhaul.report import Cell, Code, DataTable, Figure, Notice, Page, PageSection
from midhaul.report.axes import Axis, ChartChoice, Series
from midhaul.report.charts import bars, lines, spans, stack
from midhaul.report.numbers import rate, size_text
from midhaul.report.theme import NEUTRAL, SECOND_PALETTE
from midhaul.report.view import (
    View,
    gather,
    headline,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from midhaul.report import Item
    from midhaul.runs.run import Run

_MOST_BARS = 40


def rates_figure(view: View, rows: list[dict[str, Any]]) -> Figure | str:
    """Who is granted how much, the largest first, one configuration at a time."""
    largest = sorted(rows, key=lambda row: -float(row["rate_bps"] or 0))
    places = tuple(dict.fromkeys(str(row["place"]) for row in rows))
    names = tuple(view.names.values())
    kept: dict[str, int] = dict.fromkeys(names, 0)
    shown: list[dict[str, Any]] = []
    for row in largest:
        if kept[row["name"]] < _MOST_BARS and row["rate_bps"]:
            kept[row["name"]] += 1
            quality = f"{row['quality']:.3g}"
            label = f"{row['analytic']} (quality {quality})"
            shown.append(
                {
                    "name": row["name"],
                    "label": label,
                    "kbps": row["rate_bps"] / 1e3,
                    "place": row["place"],
                }
            )
    if not shown:
        return "Rates: nobody was granted any."
    order = tuple(dict.fromkeys(row["label"] for row in shown))
    series = Series("place", "runs", places, SECOND_PALETTE)
    first = next(name for name in names if kept[name])
    label = Axis("label", "analytic", order=order)
    chart = bars(shown, Axis("kbps", "kbit/s", ",.1f", from_zero=True), label, series)
    pick = ChartChoice(
        "name", "configuration", tuple(n for n in names if kept[n]), first
    )
    caption = f"The {_MOST_BARS} largest; those that get nothing are in the table."
    return Figure(title="Rates granted", chart=pick.on(chart), caption=caption)


def curves_figure(view: View, rows: list[dict[str, Any]]) -> Figure | str:
    """The curves as staircases, ringed where the first configuration bought a step."""
    steps = view.run.read(tables.CURVES).to_pylist()
    if not steps:
        return "Curves: the run has none."
    first = min(view.names)
    bought: dict[tuple[str, float], int] = {}
    for row in rows:
        if row["configuration"] == first and row["knob"] is not None:
            key = (str(row["curve"]), float(row["knob"]))
            bought[key] = bought.get(key, 0) + 1
    chart = staircases(steps, lambda step: bought.get((step["curve"], step["knob"]), 0))
    caption = (
        f"Steps that nobody could better for the price. Rings: how many bought a step, "
        f"by {view.names[first]}."
    )
    return Figure(title="QoS curves and what was bought", chart=chart, caption=caption)


def table_of(rows: list[dict[str, Any]], most: int = 2000) -> DataTable:
    """Every decision."""
    caption = "" if len(rows) <= most else f"The first {most:,} of {len(rows):,}."
    return DataTable(
        title="Every analytic",
        columns=(
            "configuration",
            "analytic",
            "image",
            "runs",
            "starts after",
            "weight",
            "knob",
            "rate",
            "quality",
        ),
        rows=tuple(
            (
                row["name"],
                row["analytic"],
                row["image"],
                row["place"],
                None
                if row["starts_s"] is None
                else Cell(f"{row['starts_s']:.1f} s", row["starts_s"]),
                row["weight"],
                row["knob"],
                rate(row["rate_bps"]),
                row["quality"],
            )
            for row in rows[:most]
        ),
        caption=caption,
        is_folded=True,
    )


_RESOURCES = {
    "disk_bytes": "disk",
    "n_cores": "cores",
    "memory_bytes": "memory",
    "uplink_bps": "uplink",
}
_MOST_ROWS = 60  # of a chart with a row for each thing


def build_plan(run: Run) -> Page:
    """The report of a plan, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Plan: what runs where, and who gets how much uplink"
    return page_of(
        run,
        title,
        _plan_overview(view),
        _places(view),
        _plan_rates(view),
        _pulls(view),
        _layers(view),
        _exports(run),
    )


def _plan_overview(view: View) -> PageSection:
    if not view.names:
        text = "This run has written no plan yet, so there is nothing to show."
        return nothing_yet(text)
    wanted = (
        ("Weighted quality", "weighted_qos"),
        ("Proven gap at most", "gap"),
        ("Upload saved", "saved_bps"),
        ("Analytics on gateways", "n_on_gateways"),
    )
    caption = (
        "Weighted quality is the sum of weight times quality over the sum of weights. "
        "The gap is what the plan may lack to the best one, as proven by its bound."
    )
    items = (
        headline(view, PLAN_METRICS, wanted),
        _scarce(view),
        summary_table(view, PLAN_METRICS, caption),
        _bounds(view),
    )
    return PageSection(title="Overview", items=gather(items))


def _scarce(view: View) -> Item | str:
    rows = view.rows(tables.PRICES)
    first = [row for row in rows if row["configuration"] == min(view.names)]
    if not first:
        return ""
    first.sort(key=lambda row: -row["gain"])
    lines = [f"{row['sentence'][:1].upper()}{row['sentence'][1:]}." for row in first]
    return Notice(text="\n\n".join(("**What is scarce.**", *lines)))


def _bounds(view: View) -> Figure | str:
    rows = [
        {"name": name, "kind": kind, "value": value}
        for number, name in view.names.items()
        for kind, metric in (("plan", "weighted_qos"), ("bound", "weighted_qos_bound"))
        if (value := view.value(number, metric)) is not None
    ]
    if not rows:
        return "Quality and bound: no quality was computed."
    series = Series("kind", "", ("plan", "bound"), (NEUTRAL, "#d9a441"))
    order = tuple(f"{row['name']}, {row['kind']}" for row in rows)
    label = Axis("label", "", order=order)
    shown = [
        {**row, "label": f"{row['name']}, {row['kind']}", "value": row["value"]}
        for row in rows
    ]
    chart = bars(shown, Axis("value", "weighted quality", ".4f"), label, series)
    caption = "No plan of this problem is above a bound; the rest is what may be won."
    return Figure(
        title="Quality, with its bound beside it", chart=chart, caption=caption
    )


def _places(view: View) -> PageSection | None:
    rows = view.rows(tables.DECISIONS)
    if not rows:
        return None
    uses = view.rows(tables.USES)
    limited = [row for row in uses if row["capacity"] not in {None, float("inf")}]
    items: list[Item | str] = [_use_figure(view, limited), table_of(rows)]
    text = "Where each analytic runs, and what the gateways have left."
    return PageSection(title="Who sits where", text=text, items=gather(items))


def _use_figure(view: View, rows: list[dict[str, Any]]) -> Figure | str:
    shown: list[dict[str, Any]] = [
        {
            "name": row["name"],
            "label": f"{row['gateway']}: {_RESOURCES[row['resource']]}"
            + (f" ({row['name']})" if len(view.names) > 1 else ""),
            "used": 100 * row["used"] / row["capacity"] if row["capacity"] else 0.0,
        }
        for row in rows
    ][:_MOST_ROWS]
    if not shown:
        return "Use of the gateways: none of their resources is limited."
    label = Axis("label", "", order=tuple(row["label"] for row in shown))
    axis = Axis("used", "used, %", ".1f", from_zero=True)
    chart = bars(shown, axis, label, view.series)
    return Figure(title="Use of the gateways", chart=chart, caption="Of what there is.")


def _plan_rates(view: View) -> PageSection | None:
    rows = view.rows(tables.DECISIONS)
    if not rows:
        return None
    items = (rates_figure(view, rows), curves_figure(view, rows))
    text = (
        "What each analytic is granted of its uplink, with what MQTT and TCP add, and "
        "the step of its curve that this buys."
    )
    return PageSection(title="Rates", text=text, items=gather(items))


def _pulls(view: View) -> PageSection | None:
    rows = view.rows(tables.PULLS, "configuration, gateway, begins_s")
    if not rows:
        return None
    shown = [
        {
            **row,
            "label": f"{row['gateway']}: {row['image']}",
            "note": f"{row['n_layers']} layers, {size_text(row['compressed_bytes'])}",
        }
        for row in rows
    ][:_MOST_ROWS]
    label = Axis("label", "pull", order=tuple(row["label"] for row in shown))
    begin = Axis("begins_s", "s after the begin of the slot", from_zero=True)
    end = Axis("ends_s", "end, s")
    series = Series("gateway", "gateway", tuple({row["gateway"]: 0 for row in shown}))
    chart = spans(shown, begin, end, label, series)
    names = tuple(dict.fromkeys(row["name"] for row in shown))
    pick = ChartChoice("name", "configuration", names, names[0])
    caption = "Pulls of one gateway follow each other; a layer is pulled once."
    figure = Figure(
        title="Pulls, in their order", chart=pick.on(chart), caption=caption
    )
    return PageSection(title="Pulls", items=(figure,))


def _layers(view: View) -> PageSection | None:
    rows = view.rows(tables.LAYERS)
    if not rows:
        return None
    kinds = ("present already", "shared by several images", "of one image only")
    totals: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        kind = kinds[0 if row["is_present"] else 1 if len(row["images"]) > 1 else 2]
        part = totals.setdefault((row["name"], row["gateway"]), {})
        part[kind] = part.get(kind, 0.0) + row["uncompressed_bytes"] / 1e6
    shown: list[dict[str, Any]] = [
        {
            "label": f"{gateway} ({name})",
            "kind": kind,
            "value": size,
            "total": sum(parts.values()),
        }
        for (name, gateway), parts in totals.items()
        for kind, size in parts.items()
    ]
    label = Axis("label", "", order=tuple(dict.fromkeys(r["label"] for r in shown)))
    series = Series("kind", "layers", kinds, SECOND_PALETTE)
    axis = Axis("value", "MB on the disk")
    chart = stack(shown, axis, label, series, Axis("total", "MB", ",.0f"))
    caption = "Uncompressed. What is shared would be paid twice in an additive model."
    figure = Figure(title="Layers by owner", chart=chart, caption=caption)
    return PageSection(title="Layers", items=(figure, _shared_layers(rows)))


def _shared_layers(rows: list[dict[str, Any]]) -> DataTable:
    shared = [row for row in rows if len(row["images"]) > 1]
    shared.sort(key=lambda row: -row["uncompressed_bytes"] * (len(row["images"]) - 1))
    return DataTable(
        title="Shared layers that save most",
        columns=("configuration", "gateway", "layer", "images", "size"),
        rows=tuple(
            (
                row["name"],
                row["gateway"],
                row["digest"][:24],
                ", ".join(row["images"][:6]) + (" …" if len(row["images"]) > 6 else ""),  # noqa: PLR2004 - a line
                size_text(row["uncompressed_bytes"]),
            )
            for row in shared[:20]
        ),
        is_folded=True,
    )


def _exports(run: Run) -> PageSection | None:
    folder = run.dir / "files" / "export"
    files = (
        sorted(f for f in folder.rglob("*") if f.is_file()) if folder.is_dir() else []
    )
    if not files:
        return None
    text = (
        "Files to apply the plan, in `files/export` of the run's folder; README.txt "
        "there says how."
    )
    items = tuple(
        Code(
            title=file.relative_to(folder).as_posix(),
            text=file.read_text(encoding="utf-8", errors="replace"),
        )
        for file in files
    )
    return PageSection(title="To apply it", text=text, items=items)


def build_allocate(run: Run) -> Page:
    """The report of an allocation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Rates: how an uplink is divided"
    return page_of(run, title, _allocate_overview(view), _allocate_rates(view))


def _allocate_overview(view: View) -> PageSection:
    if not view.names:
        text = "This run has divided no uplink yet, so there is nothing to show."
        return nothing_yet(text)
    wanted = (
        ("Highest weighted quality", "weighted_qos"),
        ("Closest to its bound", "bound_share"),
    )
    caption = (
        "Weighted quality is the sum of weight times quality over the sum of weights. "
        "An allocator without a guarantee of its own is held against the best bound."
    )
    items = (
        headline(view, ALLOCATE_METRICS, wanted),
        _by_uplink(view, "weighted_qos", "Quality by uplink", "weighted quality"),
        _by_uplink(view, "bound_share", "Share of the bound", "share of the bound"),
        summary_table(view, ALLOCATE_METRICS, caption),
    )
    return PageSection(title="Overview", items=gather(items))


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


def _allocate_rates(view: View) -> PageSection | None:
    rows = view.rows(tables.DECISIONS)
    if not rows:
        return None
    items = (rates_figure(view, rows), curves_figure(view, rows), table_of(rows))
    text = "Rates are with what MQTT and TCP add, unless the run was told otherwise."
    return PageSection(title="Rates", text=text, items=gather(items))
