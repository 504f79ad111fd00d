"""Charts over time of a gateway, simulated or real, and how long decisions took.

Both write the tables ``periods``, ``rates``, ``moves`` and ``pulls`` with the columns
that are read here; a real gateway has one configuration and does not number it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.report import Cell, DataTable, Figure
from midhaul.report.axes import Axis, ChartChoice, Series
from midhaul.report.charts import against, area, over_time, spans
from midhaul.report.numbers import duration, size_text
from midhaul.stats import claimed_quantile

if TYPE_CHECKING:
    from midhaul.report.view import View
    from midhaul.runs.tables import Table

_QUERY = """
SELECT {key}, what, count(*) AS n, median(took_s) AS p50, list(took_s) AS times,
max(took_s) AS longest, max(n) AS most FROM algorithm_times
GROUP BY ALL ORDER BY ALL
"""


def algorithm_times(view: View) -> DataTable | str:
    """Median, 95th percentile and longest time of each sort of decision."""
    if "algorithm_times" not in view.has:
        return "Times of algorithms: nothing was decided yet."
    columns = view.run.sql("FROM algorithm_times LIMIT 0").column_names
    key = "configuration" if "configuration" in columns else "0 AS configuration"
    rows = view.run.sql(_QUERY.format(key=key)).to_pylist()
    return DataTable(
        title="Times of algorithms",
        columns=(
            "configuration",
            "decision",
            "how often",
            "median",
            "95 %",
            "longest",
            "most analytics",
        ),
        rows=tuple(
            (
                view.names[row["configuration"]],
                row["what"],
                Cell(f"{row['n']:,}", row["n"]),
                duration(row["p50"]),
                duration(claimed_quantile(np.array(row["times"], np.float64), 0.95)),
                duration(row["longest"]),
                row["most"],
            )
            for row in rows
        ),
        caption="Measured; everything else on this page may be simulated. 95 % is "
        "given where there are enough for it.",
    )


_TIME = Axis("minutes", "minutes since the begin", from_zero=True)
_MOST_ROWS = 60
_MOST_PARTS = 9
_OTHERS = "others"


def first_repeat(view: View, table: Table) -> list[dict[str, Any]]:
    """The rows of the first repetition, with their time in minutes."""
    rows = view.rows(table)
    return [row for row in rows if row["repeat"] == 0]


def quality(view: View, periods: Table) -> Figure | str:
    """Weighted quality in each rate period, with its bound where one is known."""
    rows: list[dict[str, Any]] = []
    has_bound = False
    for row in first_repeat(view, periods):
        at = {"minutes": row["begins_s"] / 60}
        if row["planned_qos"] is not None:
            rows.append({**at, "series": row["name"], "qos": row["planned_qos"]})
        if row.get("bound_qos") is not None and row["configuration"] == 0:
            has_bound = True
            rows.append({**at, "series": "bound", "qos": row["bound_qos"]})
    if not rows:
        return "Quality over time: there was no analytic."
    names = (*view.names.values(), *(("bound",) if has_bound else ()))
    series = Series("series", "", names)
    chart = over_time(rows, _TIME, Axis("qos", "weighted quality", ".3f"), series)
    caption = "First repetition; by the QoS curves, of the analytics that were there."
    if has_bound:
        caption += (
            f" No allocation is above the bound, which is that of {view.names[0]}: "
            "where others run elsewhere, theirs differs."
        )
    return Figure(title="Quality over time", chart=chart, caption=caption)


def uplink(view: View, periods: Table) -> Figure | str:
    """What was granted and what was sent, under what the uplink carries."""
    rows: list[dict[str, Any]] = []
    for row in first_repeat(view, periods):
        for kind, column in (
            ("carried at most", "uplink_bps"),
            ("granted", "allocated_bps"),
            ("sent", "sent_bps"),
        ):
            if row[column] is not None:
                at = {"minutes": row["begins_s"] / 60, "name": row["name"]}
                rows.append({**at, "kind": kind, "mbps": row[column] / 1e6})
    if not rows:
        return "The uplink over time: no rate period has ended."
    series = Series("kind", "", ("carried at most", "granted", "sent"))
    y = Axis("mbps", "Mbit/s", from_zero=True)
    chart = _pick(view).on(over_time(rows, _TIME, y, series))
    caption = "First repetition, mean of each rate period."
    return Figure(title="The uplink over time", chart=chart, caption=caption)


def stacked_rates(view: View, rates: Table, limit_bps: float | None) -> Figure | str:
    """Rates by container image, stacked; all but the largest together."""
    found = first_repeat(view, rates)
    if not found:
        return "Rates over time: nobody was granted any."
    totals: dict[str, float] = {}
    for row in found:
        group = _group(row["analytic"])
        totals[group] = totals.get(group, 0.0) + row["rate_bps"]
    largest = sorted(totals, key=lambda group: -totals[group])[:_MOST_PARTS]
    parts = (*largest, *((_OTHERS,) if len(totals) > _MOST_PARTS else ()))
    times = sorted({row["begins_s"] for row in found})
    names = tuple(view.names.values())
    sums = {(name, t, part): 0.0 for name in names for t in times for part in parts}
    for row in found:
        group = _group(row["analytic"])
        part = group if group in largest else _OTHERS
        sums[row["name"], row["begins_s"], part] += row["rate_bps"] / 1e6
    rows = [
        {"name": name, "minutes": t / 60, "part": part, "mbps": value}
        for (name, t, part), value in sums.items()
    ]
    y = Axis("mbps", "Mbit/s granted", from_zero=True)
    limit = None if limit_bps is None else limit_bps / 1e6
    chart = area(rows, _TIME, y, Series("part", "image", parts), limit=limit)
    caption = "First repetition. The dashed line is the uplink."
    return Figure(
        title="Rates over time, by container image",
        chart=_pick(view).on(chart),
        caption=caption if limit is not None else "First repetition.",
    )


def places(view: View, rates: Table, period_s: float) -> Figure | str:
    """Where each analytic ran when: the cloud, or the gateway."""
    stays: dict[tuple[str, str], list[dict[str, Any]]] = {}
    period = period_s / 60
    for row in sorted(first_repeat(view, rates), key=lambda row: row["begins_s"]):
        begin = row["begins_s"] / 60
        mine = stays.setdefault((row["name"], row["analytic"]), [])
        is_longer = mine and mine[-1]["place"] == row["place"]
        if is_longer and abs(mine[-1]["end"] - begin) < period / 2:
            mine[-1]["end"] = begin + period
            continue
        at = {"minutes": begin, "end": begin + period, "place": row["place"]}
        note = f"quality {row['quality']:.2f} at first"
        who = {"name": row["name"], "label": row["analytic"], "note": note}
        mine.append({**at, **who})
    rows = [row for mine in stays.values() for row in mine]
    if not rows:
        return "Who sat where: nobody ran."
    labels = tuple(dict.fromkeys(row["label"] for row in rows))[:_MOST_ROWS]
    kept = set(labels)
    series = Series("place", "runs", ("cloud", "gateway"))
    chart = spans(
        [row for row in rows if row["label"] in kept],
        _TIME,
        Axis("end", "until, minutes"),
        Axis("label", "analytic", order=labels),
        series,
        step=12,
    )
    caption = "First repetition, as of each rate period."
    if len(labels) == _MOST_ROWS:
        caption += f" The first {_MOST_ROWS} analytics."
    return Figure(title="Who sat where", chart=_pick(view).on(chart), caption=caption)


def promises(view: View, moves: Table) -> Figure | str:
    """Each move: what it was to save, and what it saved."""
    rows = [
        {
            "name": row["name"],
            "planned": row["planned_saved_bits"] / 8e6,
            "real": row["saved_bits"] / 8e6,
        }
        for row in view.rows(moves)
        if row["planned_saved_bits"] is not None and row["saved_bits"] is not None
    ]
    if not rows:
        return "Planned against realised: nothing was moved."
    x, y = Axis("planned", "planned to save, MB"), Axis("real", "saved, MB")
    caption = (
        "One mark for each move, all repetitions. On the line a promise came true; "
        "below it, the pull ended late, or never while the analytic was there."
    )
    chart = against(rows, x, y, view.series)
    return Figure(title="Planned against realised saving", chart=chart, caption=caption)


def pulls(view: View, table: Table) -> Figure | str:
    """Pulls of the first repetition, as planned and as they went."""
    rows: list[dict[str, Any]] = []
    for row in first_repeat(view, table):
        label = f"{row['image']}, {row['slot_s'] / 60:.3g} min"
        for kind, begin, end in (
            ("planned", row["planned_begins_s"], row["planned_ends_s"]),
            ("real", row["begins_s"], row["ends_s"]),
        ):
            if begin is not None and end is not None and end > begin:
                note = size_text(row["pulled_bytes"] or 0)
                kind_of = (
                    "real, wasted" if kind == "real" and row["is_wasted"] else kind
                )
                at = {"minutes": begin / 60, "end": end / 60, "note": note}
                rows.append(
                    {
                        **at,
                        "name": row["name"],
                        "label": f"{label}: {kind}",
                        "kind": kind_of,
                    }
                )
    if not rows:
        return "Pulls: there was none."
    labels = tuple(dict.fromkeys(row["label"] for row in rows))[: 2 * _MOST_ROWS]
    kept = set(labels)
    series = Series("kind", "", ("planned", "real", "real, wasted"))
    chart = spans(
        [row for row in rows if row["label"] in kept],
        _TIME,
        Axis("end", "until, minutes"),
        Axis("label", "pull", order=labels),
        series,
        step=12,
    )
    caption = (
        "First repetition. Each pull with the slot that planned it; images whose "
        "layers were there already are left out."
    )
    return Figure(
        title="Pulls, planned and real", chart=_pick(view).on(chart), caption=caption
    )


def storage(view: View, periods: Table) -> Figure | str:
    """Bytes of layers on the gateway's disk."""
    rows = [
        {
            "minutes": row["begins_s"] / 60,
            "name": row["name"],
            "gb": row["stored_bytes"] / 1e9,
        }
        for row in first_repeat(view, periods)
        if row["stored_bytes"] is not None
    ]
    if not rows:
        return "Storage: no rate period has ended."
    y = Axis("gb", "GB of layers", from_zero=True)
    chart = over_time(rows, _TIME, y, view.series)
    return Figure(title="Layers on the disk", chart=chart, caption="First repetition.")


def _pick(view: View) -> ChartChoice:
    names = tuple(view.names.values())
    return ChartChoice("name", "configuration", names, names[0])


def _group(analytic: str) -> str:
    """The container image that an analytic is named after."""
    return analytic.rpartition(".")[0] or analytic
