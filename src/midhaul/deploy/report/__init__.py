"""Charts that the reports of simulated and of live gateways share.

Both write the tables ``periods``, ``rates``, ``moves`` and ``pulls`` with the columns
that are read here; a real gateway has one configuration and does not number it. The
charts are over time, of how long decisions took, and of what a promise about the uplink
costs: policies by how often they send too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.uplink_control import forecast_named
from midhaul.report import Cell, DataTable, Figure, PageSection
from midhaul.report.axes import Axis, ChartChoice, Series
from midhaul.report.charts import (
    against,
    area,
    front,
    over_time,
    pareto,
    spans,
    steps_with_points,
)
from midhaul.report.numbers import duration, size_text
from midhaul.report.view import gather
from midhaul.stats import claimed_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midhaul.deploy.uplink_control import ForecastName
    from midhaul.report.axes import Chart
    from midhaul.report.view import View
    from midhaul.runs.tables import Table

__all__ = [
    "algorithm_times",
    "fronts",
    "places",
    "promises",
    "pulls",
    "quality",
    "replayed",
    "stacked_rates",
    "storage",
    "uplink",
]


def staircases(
    steps: Sequence[Mapping[str, Any]], chosen: Callable[[Mapping[str, Any]], int]
) -> Chart:
    """The useful steps of QoS curves, rows of ``curves``, ringed by who chose them."""
    rows = [
        {
            "curve": step["curve"],
            "kbps": step["rate_bps"] / 1e3,
            "quality": step["quality"],
            "chosen": chosen(step),
        }
        for step in steps
        if step["is_on_frontier"]
    ]
    x, y = Axis("kbps", "kbit/s"), Axis("quality", "quality")
    return steps_with_points(rows, x, y, "chosen")


_QUERY = """
SELECT {key}, what, count(*) AS n, median(took_s) AS p50, list(took_s) AS times,
max(took_s) AS longest, max(n) AS most FROM algorithm_times
GROUP BY ALL ORDER BY ALL
"""


def over_time_chapters(
    view: View,
    tables: tuple[Table, Table, Table],
    period_s: float,
    quality_too: Sequence[Figure | str] = (),
    where_first: Sequence[Figure | str] = (),
) -> tuple[PageSection, ...]:
    """What a gateway did over time; ``tables`` are its periods, rates and pulls."""
    periods, rates, pulled = tables
    steady = {row["uplink_bps"] for row in view.rows(periods)}
    limit = steady.pop() if len(steady) == 1 else None
    ran = (
        quality(view, periods),
        stacked_rates(view, rates, limit),
        uplink(view, periods),
        *quality_too,
    )
    where = (
        *where_first,
        places(view, rates, period_s),
        pulls(view, pulled),
        storage(view, periods),
    )
    return (
        PageSection(title="Quality and rates", items=gather(ran)),
        PageSection(title="Places, pulls and layers", items=gather(where)),
        PageSection(title="Algorithms", items=gather((algorithm_times(view),))),
    )


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


_FEWEST = 2  # one mark trades nothing

_MARGINS: tuple[tuple[str, ForecastName, float], ...] = (
    ("oracle", "oracle", 1.0),
    ("last", "last", 1.0),
    ("0.7 EWMA", "ewma", 0.7),
    ("least of five", "least", 1.0),
)
"""Forecasts that promise nothing, and the share of them that is given away."""


_ABOVE = 1 + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Front:
    """A metric, times a factor, against the share of periods over the uplink."""

    metric: str
    title: str
    axis: str
    factor: float = 100.0
    format: str = ".3~r"


_FRONTS = (
    _Front(
        metric="weighted_qos",
        title="Quality against periods over the uplink",
        axis="weighted quality, late messages as 0",
        factor=1.0,
        format=".3f",
    ),
    _Front(
        metric="uplink_sent_share",
        title="Volume against periods over the uplink",
        axis="% of what the uplink carries",
    ),
    _Front(
        metric="late_share",
        title="Messages in time against periods over the uplink",
        axis="% of messages that came in time",
    ),
)


def fronts(view: View) -> list[Figure | str]:
    """Quality, volume and late messages against the share of periods over."""
    if not any(
        (view.value(number, metric) or 0) > 0
        for number in view.names
        for metric in ("overshoot_share", "late_share")
    ):
        return ["Trade-offs with periods over the uplink: there was none."]
    return [_figure(view, one) for one in _FRONTS]


def _figure(view: View, one: _Front) -> Figure | str:
    rows: list[dict[str, Any]] = []
    for number, name in view.names.items():
        over = view.value(number, "overshoot_share")
        value = view.value(number, one.metric)
        if over is None or value is None:
            continue
        if one.metric == "late_share":
            value = 1 - value
        rows.append({"name": name, "x": over * 100, "y": value * one.factor})
    if len(rows) < _FEWEST:
        return f"{one.title}: one policy trades nothing."
    best = pareto([(row["x"], -row["y"]) for row in rows])
    rows = [
        row | {"on_front": is_best} for row, is_best in zip(rows, best, strict=True)
    ]
    chart = front(
        rows,
        Axis("x", "% of rate periods granted more than the uplink carried"),
        Axis("y", one.axis, one.format),
        Axis("name", "configuration", order=()),
        view.series,
    )
    return Figure(title=one.title, chart=chart, caption="Left and up is better.")


def replayed(view: View, periods: Table) -> Figure | str:
    """What other forecasts would have counted on, on the uplink of this run."""
    title = "What other forecasts would have counted on"
    rows = [row for row in view.rows(periods) if row["repeat"] == 0]
    rows.sort(key=lambda row: row["begins_s"])
    carried = [float(row["uplink_bps"] or 0) for row in rows]
    if len(set(carried)) < _FEWEST:
        return f"{title}: the uplink did not change."
    share = float(view.run.config_values()["planning"]["max_over_share"])
    found = {"this run": [float(row["assumed_bps"] or 0) for row in rows]}
    for shown in (share, 2 * share, 4 * share):
        if shown < 1:
            name = f"promise of {shown:.3g}"
            found[name] = _counted("conformal", 1.0, carried, shown)
    for name, forecast, given in _MARGINS:
        found[name] = _counted(forecast, given, carried, share)
    marks: list[dict[str, Any]] = [
        {
            "name": name,
            "x": 100 * sum(a > b * _ABOVE for a, b in pairs) / len(pairs),
            "y": 100 * sum(min(pair) for pair in pairs) / max(sum(carried), 1e-9),
        }
        for name, counted in found.items()
        for pairs in [list(zip(counted, carried, strict=True))]
    ]
    best = pareto([(mark["x"], -mark["y"]) for mark in marks])
    marks = [
        mark | {"on_front": is_one} for mark, is_one in zip(marks, best, strict=True)
    ]
    chart = front(
        marks,
        Axis("x", "% of rate periods that carried less than was counted on"),
        Axis("y", "% of what the uplink carries that was counted on"),
        Axis("name", "forecast", order=()),
        Series("name", "forecast", tuple(found)),
    )
    caption = (
        "Left and up is better. Computed from what the uplink carried in the first "
        "repetition, period by period; nothing but this run was run."
    )
    return Figure(title=title, chart=chart, caption=caption, is_model=True)


def _counted(
    name: ForecastName, given: float, carried: Sequence[float], share: float
) -> list[float]:
    """What a forecast counts on, period by period."""
    forecast = forecast_named(
        name,
        max_over_share=share,
        first_bps=carried[0],
        coming_bps=lambda number: carried[number],
    )
    counted: list[float] = []
    for bps in carried:
        counted.append(given * forecast.next_bps)
        forecast.observe(bps)
    return counted
