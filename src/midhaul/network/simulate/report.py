"""The report of network.simulate: slowdowns, links on the topology, flows over time."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.network import charts
from midhaul.network.simulate import tables
from midhaul.network.simulate.metrics import METRICS, simulated_flows
from midhaul.network.simulators import WITH_SAMPLES, WITHOUT_TIMELINES
from midhaul.network.slowdown import WORDS
from midhaul.report import Cell, DataTable, Figure, Page, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.numbers import duration, percent, rate, size_text
from midhaul.report.view import (
    View,
    gather,
    headline,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.runs.run import Run
    from midhaul.runs.tables import Table

_MOST_ROWS = 20
_MOST_LINES = 5
_KB = Axis("kb", "kB", from_zero=True)
_MBPS = Axis("mbps", "Mbit/s", from_zero=True)


def build(run: Run) -> Page:
    """The report of a simulation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Simulation: flows through a network"
    found = simulated_flows(run)
    if not found:
        text = "This run has simulated nothing to its end yet, so there is nothing to "
        return page_of(run, title, nothing_yet(text + "show."))
    return page_of(
        run,
        title,
        _overview(view, found[0]),
        sizes_chapter(view, found[0], 0),
        links_chapter(view, 0),
        timeline_chapter(view, 0),
    )


def _overview(view: View, flows: SimulatedFlows) -> PageSection:
    wanted = (
        ("Slowdown, median", "slowdown_p50"),
        ("Slowdown, p99", "slowdown_p99"),
        ("Completion time, mean", "fct_mean_s"),
        ("Busiest link", "max_utilisation"),
        ("Packets dropped", "n_dropped"),
    )
    caption = (
        "Below each number its 95 % interval, over batches of flows that began one "
        "after another. A slowdown is the completion time of a flow over what it would "
        "take alone on its path."
    )
    return PageSection(
        title="Overview",
        items=gather(
            (
                headline(view, METRICS, wanted),
                charts.slowdown_figure(flows.judged, flows.size_bytes),
                class_table(view, 0),
                ladder_table(view),
                work_table(view),
                summary_table(view, METRICS, caption),
            )
        ),
    )


def class_table(view: View, configuration: int) -> DataTable | str:
    """Slowdowns and times by class of flows and size."""
    rows = [
        row
        for row in view.rows(tables.CLASSES)
        if row["configuration"] == configuration
    ]
    return DataTable(
        title="Flows by class and size",
        columns=(
            "class",
            "size",
            "flows",
            "not ended",
            "mean FCT",
            "FCT p50",
            "FCT p99",
            "slowdown p50",
            "p90",
            "p99",
        ),
        rows=tuple(
            (
                row["label"],
                WORDS[row["size_class"]],
                row["n"],
                row["n_unfinished"],
                duration(row["fct_mean_s"]),
                duration(row["fct_p50_s"]),
                duration(row["fct_p99_s"]),
                *(row[f"slowdown_p{q}"] for q in (50, 90, 99)),
            )
            for row in rows
        ),
        caption="Percentiles only where so many flows carry them: 11 for the median, "
        "64 for p90, 662 for p99.",
    )


def ladder_table(view: View) -> DataTable | str:
    """Which simulators were looked at, and which one was taken."""
    rows = view.rows(tables.RUNGS)
    if not rows:
        return ""
    return DataTable(
        title="The most exact simulator that fits",
        columns=("simulator", "mean error of p99", "predicted", "has", "taken"),
        rows=tuple(
            (
                row["simulator"],
                percent(row["stated_error"]),
                row["refusal"] or duration(row["predicted_s"]),
                duration(row["budget_s"]),
                "yes" if row["is_taken"] else "no",
            )
            for row in rows
        ),
        caption="The error is that of the workloads of the benchmark of the ladder; "
        "time is predicted by a probe on this machine, the most exact one first.",
    )


def work_table(view: View) -> DataTable:
    """What was predicted and what it took."""
    return DataTable(
        title="Work",
        columns=(
            "configuration",
            "flows",
            "packets × links",
            "events",
            "simulated",
            "predicted",
            "took",
            "events/s",
        ),
        rows=tuple(
            (
                row["name"],
                row["n_flows"],
                row["n_packet_hops"],
                row["n_events"],
                duration(row["end_s"]),
                duration(row["predicted_s"]),
                duration(row["took_s"]),
                float(row["n_events"]) / max(float(row["took_s"]), 1e-9),
            )
            for row in view.rows(tables.SIMULATIONS)
        ),
        is_folded=True,
    )


def sizes_chapter(view: View, flows: SimulatedFlows, configuration: int) -> PageSection:
    """Completion times against sizes."""
    which = flows.judged.flow[charts.chosen_dots(flows.judged.slowdown)]
    wanted = ", ".join(map(str, which.tolist()))
    query = f"""
        SELECT flow, label, source || ' to ' || target AS ends, size_bytes,
            fct_ns / 1e6 AS fct_ms, ideal_fct_ns / 1e6 AS ideal_ms, slowdown
        FROM flows WHERE configuration = {configuration} AND fct_ns IS NOT NULL
            AND flow IN ({wanted or -1}) ORDER BY flow
    """  # noqa: S608  our own numbers
    rows = view.run.sql(query).to_pylist()
    labels = tuple(sorted({str(row["label"]) for row in rows}))
    figure = Figure(
        title="Completion time against size",
        chart=charts.size_dots(rows, Series("label", "class", labels)),
        caption="The slowest flows, and of the others as many as the page has room "
        "for. The dash below each is its ideal completion time: nothing in its way.",
    )
    items = (figure,) if rows else ("Completion times: no flow has ended.",)
    return PageSection(title="Sizes", items=gather(items))


def links_chapter(view: View, configuration: int) -> PageSection:
    """Loads and queues on the topology, in a table, and over time."""
    links = link_facts(view, configuration)
    return PageSection(
        title="Links",
        items=gather(
            (
                Figure(
                    title="Loads and queues on the topology",
                    chart=charts.topology_map(links, _SHOWN),
                    caption="Each direction of a link has a line of its own; on the "
                    "page it tells its numbers.",
                ),
                _link_table(links),
                _queues(view, links, configuration),
            )
        ),
    )


_SHOWN = ("utilisation", "rate", "longest queue", "dropped", "marked", "paused")


def link_facts(view: View, configuration: int) -> list[dict[str, Any]]:
    """What there is to say of each link, with its numbers in words."""
    query = f"""
        SELECT t.*, l.* EXCLUDE (configuration, link) FROM topology t
        JOIN links l USING (configuration, link)
        WHERE configuration = {configuration} ORDER BY link
    """  # noqa: S608  our own numbers
    return [
        {
            **row,
            "utilisation_text": percent(row["utilisation"]).text,
            "rate_text": rate(row["rate_bps"]).text,
            "longest queue_text": _said(row["max_queue_bytes"], size_text),
            "dropped_text": _said(row["n_dropped"], "{:,}".format),
            "marked_text": _said(row["n_marked"], "{:,}".format),
            "paused_text": _said(row["paused_s"], lambda s: duration(s).text),
        }
        for row in view.run.sql(query).to_pylist()
    ]


def _said(value: float | None, form: Callable[[Any], str]) -> str:
    return "not simulated" if value is None else form(value)


def _link_table(links: Sequence[Mapping[str, Any]]) -> DataTable:
    busiest = sorted(
        links, key=lambda x: (-x["utilisation"], -(x["max_queue_bytes"] or 0))
    )
    return DataTable(
        title="Busiest links",
        columns=(
            "link",
            "rate",
            "offered",
            "sent",
            "bytes",
            "queue p50",
            "queue p99",
            "longest queue",
            "dropped",
            "marked",
            "paused",
        ),
        rows=tuple(
            (
                x["name"],
                rate(x["rate_bps"]),
                percent(x["offered_share"]),
                percent(x["utilisation"]),
                _size(x["n_bytes"]),
                _size(x["queue_p50_bytes"]),
                _size(x["queue_p99_bytes"]),
                _size(x["max_queue_bytes"]),
                x["n_dropped"],
                x["n_marked"],
                duration(x["paused_s"]),
            )
            for x in busiest[:_MOST_ROWS]
        ),
        caption="Offered is the load of the flows while they start, over the rate; "
        "sent is the share of the whole time in which the link sent.",
    )


def _rows_of(
    view: View, table: Table, configuration: int, order: str
) -> list[dict[str, Any]]:
    """The rows of one configuration, which may be many."""
    if table.name not in view.has:
        return []
    where = f"configuration = {configuration}"
    query = f"SELECT * FROM {table.name} WHERE {where} ORDER BY {order}"  # noqa: S608  our own words
    return view.run.sql(query).to_pylist()


def _size(n_bytes: float | None) -> Cell | None:
    return None if n_bytes is None else Cell(size_text(n_bytes), n_bytes)


def _queues(
    view: View, links: Sequence[Mapping[str, Any]], configuration: int
) -> Figure | str:
    names = {x["link"]: str(x["name"]) for x in links}
    rows = _rows_of(view, tables.LINK_QUEUES, configuration, "link, time_s")
    if not rows and all(x["queue_p50_bytes"] is None for x in links):
        simulator = _simulator(view, configuration)
        said = "were not looked at: sample_s says how often."
        if simulator not in WITH_SAMPLES:
            said = f"{simulator} does not look at them, packet does."
        return f"Queues over time: {said}"
    if not rows:
        return "Queues over time: nothing waited when they were looked at."
    most: dict[int, int] = {}
    for row in rows:
        most[row["link"]] = max(most.get(row["link"], 0), row["queue_bytes"])
    shown = sorted(most, key=lambda link: -most[link])[:_MOST_LINES]
    lines: list[dict[str, Any]] = []
    for link in shown:
        mine = [row for row in rows if row["link"] == link]
        for i in charts.thinned(len(mine)).tolist():
            row = mine[i]
            point = {"time_s": row["time_s"], "kb": row["queue_bytes"] / 1e3}
            lines.append({**point, "link": names[link]})
    series = Series("link", "link", tuple(names[link] for link in shown))
    return Figure(
        title="Queues over time",
        chart=charts.queue_lines(lines, series),
        caption=f"The {len(shown)} links at which most waited.",
    )


def timeline_chapter(view: View, configuration: int) -> PageSection | None:
    """How watched flows fared, or why that is not told; None where none was watched."""
    rows = _rows_of(view, tables.TIMELINE, configuration, "flow, time_s")
    simulator = _simulator(view, configuration)
    if not rows and simulator in WITHOUT_TIMELINES:
        text = f"There are none: {simulator} follows no flow over time, packet does."
        return PageSection(title="Flows over time", items=gather((text,)))
    if not rows:
        return None
    # The longest first, as there is most to see of it.
    counts = Counter(row["flow"] for row in rows)
    numbers = sorted(counts, key=lambda flow: -counts[flow])
    names = _flow_names(view, configuration, numbers)
    windows: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    for number in numbers:
        mine = [row for row in rows if row["flow"] == number]
        windows += _window_rows(mine, names[number])
        rates += _rate_rows(mine, names[number])
    shown = [names[number] for number in numbers]
    figures: list[Figure | str] = [
        Figure(
            title="A flow over time: its window",
            chart=charts.flow_timeline(windows, shown, _KB, 240),
            caption="What may be under way, and what is; pick a flow in the list.",
        )
    ]
    if rates:
        figures.append(
            Figure(
                title="A flow over time: its rate",
                chart=charts.flow_timeline(rates, shown, _MBPS, 200),
                caption="What its sender paces at, where it does, and what was "
                "acknowledged.",
            )
        )
    return PageSection(title="Flows over time", items=gather(figures))


def _simulator(view: View, configuration: int) -> str:
    """The name of what simulated a configuration."""
    rows = view.rows(tables.CONFIGURATIONS)
    return next(r["simulator"] for r in rows if r["configuration"] == configuration)


def _flow_names(
    view: View, configuration: int, numbers: Sequence[int]
) -> dict[int, str]:
    wanted = ", ".join(map(str, numbers))
    query = f"""
        SELECT flow, source, target, size_bytes, start_ns, transport FROM flows
        WHERE configuration = {configuration} AND flow IN ({wanted})
    """  # noqa: S608  our own numbers
    return {
        row["flow"]: f"{row['flow']}: {row['source']} to {row['target']}, "
        f"{size_text(row['size_bytes'])}, {row['transport']}"
        for row in view.run.sql(query).to_pylist()
    }


def _window_rows(mine: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    begin_s = mine[0]["time_s"]
    rows: list[dict[str, Any]] = []
    for i in charts.thinned(len(mine)).tolist():
        row = mine[i]
        point = {"flow": name, "time_ms": (row["time_s"] - begin_s) * 1e3}
        for what, value in (
            ("window", row["window_bytes"]),
            ("under way", row["in_flight_bytes"]),
        ):
            if value is not None and math.isfinite(value):
                rows.append({**point, "what": what, "kb": value / 1e3})
    return rows


def _rate_rows(mine: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Pacing rates, and what was acknowledged in each of a few dozen spans."""
    time_s = np.array([row["time_s"] for row in mine])
    acked = np.array([row["acked_bytes"] for row in mine], np.float64)
    begin_s = float(time_s[0])
    rows = [
        {
            "flow": name,
            "time_ms": (mine[i]["time_s"] - begin_s) * 1e3,
            "what": "paced at",
            "mbps": mine[i]["rate_bps"] / 1e6,
        }
        for i in charts.thinned(len(mine)).tolist()
        if mine[i]["rate_bps"] is not None
    ]
    ends = np.linspace(begin_s, float(time_s[-1]), 60)
    if not ends[-1] > begin_s:
        return rows
    done = acked[np.searchsorted(time_s, ends, side="right") - 1]
    spans = 8 * np.diff(done) / np.diff(ends) / 1e6
    return rows + [
        {
            "flow": name,
            "time_ms": (t - begin_s) * 1e3,
            "what": "acknowledged",
            "mbps": v,
        }
        for t, v in zip(ends[:-1].tolist(), spans.tolist(), strict=True)
    ]
