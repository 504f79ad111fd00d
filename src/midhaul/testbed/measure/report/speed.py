"""How long answers take, where the time goes, and what the nodes used for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from midhaul.report import Figure, PageSection
from midhaul.report.axes import Axis, ChartChoice, Series
from midhaul.report.charts import (
    CAPTION,
    bars,
    dots,
    over_time,
    percentile_curves,
    points_of,
    stack,
)
from midhaul.report.theme import SECOND_PALETTE
from midhaul.report.view import gather
from midhaul.testbed.measure.report.view import detector_axis, ordered
from midhaul.testbed.measure.request_metrics import stages_of
from midhaul.testbed.measure.samples import judged_requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.testbed.measure.report.view import GridView
    from midhaul.testbed.measure.request_metrics import Requests

_MS = 1e3
_LATENCIES = {
    "latency_p50_s": "median",
    "latency_mean_s": "mean",
    "latency_p90_s": "90 %",
    "latency_p99_s": "99 %",
    "latency_p999_s": "99.9 %",
}

_PARTS = {
    "late": ("sent late", "#9aa5b1"),
    "network": ("network, workload to edge", "#e69f00"),
    "queue": ("queue, edge", "#d3ebe1"),
    "decode": ("decode, edge", "#9dd6bf"),
    "preprocess": ("preprocess", "#62bd99"),
    "encode": ("encode", "#1f9a70"),
    "inference": ("inference, edge", "#00664a"),
    "rest": ("rest, edge", "#b7c4bd"),
    "backhaul": ("network, edge to cloud", "#d55e00"),
    "cloud_queue": ("queue, cloud", "#cfe3f2"),
    "cloud_decode": ("decode, cloud", "#7fb4dc"),
    "cloud_inference": ("inference, cloud", "#0072b2"),
    "cloud_rest": ("rest, cloud", "#56708a"),
    "unanswered": ("not answered", "#1f2933"),
}
"""Words and colour of each stage, from left to right."""


def speed(view: GridView) -> PageSection | None:
    """Latency, its distribution and its parts; None where nothing was answered."""
    judged = judged_requests(view.run) if "requests" in view.has else {}
    is_answered = any(requests.is_ok.any() for requests in judged.values())
    if not view.knows("latency_mean_s") and not is_answered:
        return None
    text = (
        "Latency is what a user waits: from the moment a request was **planned** to "
        "the decoded answer, so that a stalled server cannot hide its queue. Warm-up "
        "is left out. A request that was not answered took at least the time it was "
        "given, whatever it failed of; a number that lies among such requests is a "
        "bound and has the sign ≥. Lines through the marks are 95 % intervals over "
        "batches."
    )
    items = (
        _mean(view),
        _percentiles(view),
        _f1_per_second(view),
        _curves(view, judged),
        *_stages(view, judged),
    )
    return PageSection(title="Latency", text=text, items=gather(items))


def _mean(view: GridView) -> Figure | str:
    rows = view.rows(view.at(view.reference), ms=("latency_mean_s", _MS))
    if not rows:
        return "Mean latency: it was not computed yet."
    value = Axis("ms", "mean latency, ms")
    slowest_last = Axis("series", "detector", order=ordered(rows, "series", "ms")[::-1])
    return Figure(
        title="Mean latency by detector",
        chart=bars(rows, value, slowest_last, view.series),
        caption=f"At the preprocessing “{view.reference}”.",
    )


def _percentiles(view: GridView) -> Figure | str:
    rows = [
        {**row, "statistic": words}
        for metric, words in _LATENCIES.items()
        for row in view.rows(view.configurations, ms=(metric, _MS))
    ]
    if not rows:
        return "Percentiles of latency: they were not computed yet."
    label = Axis("statistic", "statistic", order=tuple(_LATENCIES.values()))
    value = Axis("ms", "latency, ms", is_log=True)
    chart = dots(rows, value, label, view.series, step=11)
    return Figure(
        title="Latency from the median to the tail",
        chart=preprocessing_choice(view).on(chart),
        caption="A percentile beyond the median is the value that so many requests "
        "carry a claim about, as MLPerf's load generator states it, and is missing "
        "where they are too few; ≥ where it lies among requests without an answer.",
    )


def preprocessing_choice(view: GridView) -> ChartChoice:
    """A list of all preprocessings, the mildest one picked."""
    return ChartChoice(
        "preprocessing", "Preprocessing", view.preprocessings, view.reference
    )


def _f1_per_second(view: GridView) -> Figure | str:
    rows = view.rows(view.at(view.reference), rate=("f1_per_s", 1))
    if not rows:
        return "F1 per second: it needs ground truth and latencies."
    return Figure(
        title="F1 per second",
        chart=bars(
            rows,
            Axis("rate", "F1 over mean latency, 1/s"),
            detector_axis(rows, "rate"),
            view.series,
        ),
        caption="The thesis's figure of merit. It favours fast detectors without "
        "bound: one that is half as good and a third as slow wins.",
    )


def _curves(view: GridView, judged: Mapping[int, Requests]) -> Figure | str:
    if "requests" not in view.has:
        return "The distribution of latencies: the run kept no requests."
    rows: list[dict[str, Any]] = []
    for c in view.configurations:
        requests = judged.get(c.index)
        if requests is None:
            continue
        latency_s = requests.latency_ns / 1e9
        unknown = latency_s[~requests.is_ok]
        known_below_s = float(unknown.min()) if len(unknown) else math.inf
        points = points_of(latency_s, known_below_s, n_nines=4)
        label = {"series": c.series, "preprocessing": c.preprocessing}
        rows.extend(label | point for point in points)
    if not rows:
        return "The distribution of latencies: no request was answered."
    value = Axis("ms", "latency, ms", is_log=True)
    chart = percentile_curves(rows, value, view.series)
    return Figure(
        title="Distribution of latency",
        chart=preprocessing_choice(view).on(chart),
        caption="Read upwards from 99 %: one request in a hundred takes longer than "
        f"this. Over all judged requests. {CAPTION}",
    )


def _stages(view: GridView, judged: Mapping[int, Requests]) -> tuple[Figure | str, ...]:
    if "requests" not in view.has:
        return ("Where the time goes: the run kept no requests.",)
    rows = _stage_rows(view, judged)
    if not rows:
        return ("Where the time goes: no request was judged.",)
    used = {row["part"] for row in rows}
    shown = [part for part in _PARTS.values() if part[0] in used]
    names, palette = zip(*shown, strict=True)
    parts = Series("part", "stage", names, palette)
    value = Axis("ms", "mean time, ms")
    total = Axis("total", "latency, ms")
    here = [row for row in rows if row["preprocessing"] == view.reference]
    detectors = Axis("series", "detector", order=ordered(here, "series", "total")[::-1])
    by_detector = Figure(
        title="Where the time goes, by detector",
        chart=preprocessing_choice(view).on(
            stack(rows, value, detectors, parts, total)
        ),
        caption="Means over all judged requests, which sum up to the mean latency: "
        "green at the edge, blue in the cloud, orange between them. What no node "
        "claims is the network's and HTTP's: service minus the edge's own time, and "
        "forwarding minus the cloud's. A request that was not answered is one part, at "
        "least as long as it was given.",
    )
    if len(view.preprocessings) == 1:
        return (by_detector,)
    label = Axis("preprocessing", "preprocessing", order=view.preprocessings)
    slowest = max(here, key=lambda row: row["total"])["series"] if here else ""
    pick = ChartChoice("series", "Detector", view.series.names, slowest)
    by_preprocessing = Figure(
        title="Where the time goes, by preprocessing",
        chart=pick.on(stack(rows, value, label, parts, total)),
        caption="The same times for one detector.",
    )
    return (by_detector, by_preprocessing)


def _stage_rows(view: GridView, judged: Mapping[int, Requests]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for c in view.configurations:
        requests = judged.get(c.index)
        if requests is None:
            continue
        latency_ns = requests.latency_ns
        stages = stages_of(requests.table, latency_ns, requests.is_ok)
        means = {name: float(values.mean()) for name, values in stages.items()}
        rows += [
            {
                "series": c.series,
                "preprocessing": c.preprocessing,
                "part": words,
                "ms": means[name] / 1e6,
                "total": float(latency_ns.mean()) / 1e6,
            }
            for name, (words, _) in _PARTS.items()
            if means[name] > 0
        ]
    return rows


_N_BINS = 240
_MINUTE_S = 60
_LONG_S = 300

_LAID_OUT = """
with lengths as (
    select block, configuration, max(begin_ns + period_ns) / 1e9 as length_s,
    from usage group by all
), places as (
    select *, {rank} as rank from lengths {join}
), starts as (
    select block, configuration,
        sum(length_s) over (order by block, rank, configuration) - length_s as start_s,
        sum(length_s) over () / {bins} as bin_s,
    from places
)
select node, floor((start_s + begin_ns / 1e9) / bin_s) * any_value(bin_s) as begin_s,
    sum(cpu_s) * 1e9 / sum(period_ns) as cores, max(rss_bytes) / 1e6 as megabytes,
    avg(steal) * 100 as steal, avg(cpu_pressure) * 100 as pressure,
    any_value(bin_s) * {bins} as end_s,
from usage join starts using (block, configuration)
group by node, floor((start_s + begin_ns / 1e9) / bin_s) order by 1, 2
"""
_JOIN = """
left join (select block, configuration, position from cells)
using (block, configuration)
"""


def resources(view: GridView) -> PageSection | None:
    """CPU and memory of every node; None where nobody watched."""
    if "usage" not in view.has:
        return None
    has_cells = "cells" in view.has
    query = _LAID_OUT.format(
        bins=_N_BINS,
        rank="coalesce(position, 1000000)" if has_cells else "configuration",
        join=_JOIN if has_cells else "",
    )
    rows = _with_ends(view.run.sql(query).to_pylist())
    if not rows:
        return None
    names = tuple(dict.fromkeys(str(row["node"]) for row in rows))
    nodes = Series("node", "node", names, SECOND_PALETTE)
    items = (
        _over_time(rows, nodes, "cores", "CPU, cores busy", "CPU over time"),
        _over_time(rows, nodes, "megabytes", "resident memory, MB", "Memory over time"),
        _by_detector(view, nodes),
        _disturbance(rows),
    )
    text = (
        "Each node is a tree of processes; the workload that sends and judges is one "
        "more. Cells, one configuration in one block each, are laid end to end in the "
        "order in which they ran."
    )
    return PageSection(title="Usage", text=text, items=gather(items))


def _with_ends(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each node's last one again where time ends."""
    last = {row["node"]: row | {"begin_s": row["end_s"]} for row in rows}
    return [*rows, *last.values()]


def _time(rows: list[dict[str, Any]]) -> tuple[Axis, float]:
    """The axis of time, and seconds per unit."""
    is_long = rows[0]["end_s"] > _LONG_S
    unit = "minutes" if is_long else "seconds"
    axis = Axis("elapsed", f"{unit} of measuring, cells end to end", ",.4~r")
    return axis, _MINUTE_S if is_long else 1


def _over_time(
    rows: list[dict[str, Any]], nodes: Series, field: str, axis: str, title: str
) -> Figure:
    value = Axis(field, axis, from_zero=True)
    time, scale = _time(rows)
    shown = [
        {"node": r["node"], "elapsed": r["begin_s"] / scale, field: r[field]}
        for r in rows
    ]
    return Figure(
        title=title,
        chart=over_time(shown, time, value, nodes),
        caption=f"At most {_N_BINS} steps; a step of memory shows its highest value."
        if field == "megabytes"
        else f"At most {_N_BINS} steps, each the mean over its time.",
    )


def _by_detector(view: GridView, nodes: Series) -> Figure | str:
    query = (
        "select configuration, node, sum(cpu_s) as cpu_s, "
        "sum(period_ns) / 1e9 as seconds from usage group by configuration, node"
    )
    of = {c.index: c.series for c in view.configurations}
    sums: dict[tuple[str, str], list[float]] = {}
    for row in view.run.sql(query).to_pylist():
        if row["configuration"] in of and row["seconds"]:
            both = sums.setdefault((of[row["configuration"]], row["node"]), [0.0, 0.0])
            both[0] += row["cpu_s"] or 0.0
            both[1] += row["seconds"]
    rows = [
        {"series": series, "node": node, "cores": cpu_s / seconds}
        for (series, node), (cpu_s, seconds) in sums.items()
    ]
    if not rows:
        return "CPU by detector: the usage belongs to no configuration."
    value = Axis("cores", "CPU, mean cores busy", from_zero=True)
    label = Axis("series", "detector", order=view.series.names)
    return Figure(
        title="CPU by detector and node",
        chart=dots(rows, value, label, nodes, step=9),
        caption="Mean over all cells of the detector.",
    )


def _disturbance(rows: list[dict[str, Any]]) -> Figure | str:
    words = {
        "pressure": "waiting for a CPU (PSI)",
        "steal": "taken by the host (steal)",
    }
    per_bin: dict[tuple[float, str], float] = {}
    for row in rows:
        for key, name in words.items():
            if row[key] is not None:
                place = (row["begin_s"], name)
                per_bin[place] = max(per_bin.get(place, 0.0), row[key])
    if not per_bin:
        return "Disturbance by others: this machine tells neither pressure nor steal."
    time, scale = _time(rows)
    shown = [
        {"elapsed": begin_s / scale, "kind": name, "share": share}
        for (begin_s, name), share in sorted(per_bin.items())
    ]
    value = Axis("share", "share of time, %", from_zero=True)
    series = Series(
        "kind", "the machine's CPU time", tuple(words.values()), SECOND_PALETTE
    )
    return Figure(
        title="Who disturbed the measurement",
        chart=over_time(shown, time, value, series, height=140),
        caption="Of the whole machine. Where these are high, latencies say more about "
        "the neighbours than about the testbed.",
    )
