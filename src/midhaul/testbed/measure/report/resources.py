"""What the nodes used, over the run and by detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.report import Figure, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import dots, over_time
from midhaul.report.common_chapters import gather
from midhaul.report.theme import SECOND_PALETTE

if TYPE_CHECKING:
    from midhaul.testbed.measure.report.view import GridView

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
