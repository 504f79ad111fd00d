"""The report of deploy.live: what came true, message by message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.live import tables
from midhaul.deploy.live.metrics import METRICS
from midhaul.deploy.report import over_time_chapters, promises, replayed, staircases
from midhaul.report import Cell, DataTable, Figure, Page, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import CAPTION, bars, percentile_curves, points_of
from midhaul.report.numbers import duration_text, size_text
from midhaul.report.view import (
    View,
    gather,
    headline,
    nothing_yet,
    page_of,
    summary_cell,
)
from midhaul.stats import claimed_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float64

    from midhaul.runs.run import Run


def build(run: Run) -> Page:
    """The report of a live run, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Live: a gateway and its cloud, measured"
    return page_of(run, title, _overview(view), _messages(view), *_over_time(view))


def _overview(view: View) -> PageSection:
    if not view.names:
        text = "This run has not begun to measure, so there is nothing to show."
        return nothing_yet(text)
    wanted = (
        ("Weighted quality", "weighted_qos"),
        ("Planned saving realised", "realised_saving"),
        ("Periods over the uplink", "overshoot_share"),
        ("Messages late", "late_share"),
        ("Messages missing", "missing_share"),
        ("Latency, 95 %", "latency_p95_s"),
    )
    items = (headline(view, METRICS, wanted), _numbers(view), _promised(view))
    text = (
        "Every byte was real: images pulled from a registry over a shaped link, "
        "messages sent through brokers and scored by the analytics that ran. What is "
        "missing is counted, never filled in."
    )
    return PageSection(title="Overview", text=text, items=gather(items))


def _numbers(view: View) -> DataTable | str:
    rows = [
        (metric.heading, summary_cell(found, metric), f"{found['n']:,.4g}")
        for metric in METRICS.values()
        if metric.heading and (found := view.metric(0, metric.name)) is not None
    ]
    if not rows:
        return "The table of numbers: nothing was computed yet."
    return DataTable(
        title="All numbers",
        columns=("what", "value", "n"),
        rows=tuple(rows),
        caption="Below a number its 95 % interval over slots.",
    )


def _promised(view: View) -> Figure | str:
    words = {
        "planned_qos": "promised by the curves",
        "weighted_qos_in_time": "measured, of what came in time",
        "weighted_qos": "measured, late and missing as 0",
    }
    rows: list[dict[str, Any]] = []
    for metric, name in words.items():
        found = view.metric(0, metric)
        if found is not None:
            row = {"label": name, "name": name, "value": found["value"]}
            if found["low"] is not None:
                row |= {"value_low": found["low"], "value_high": found["high"]}
            rows.append(row)
    if not rows:
        return "Quality, promised and measured: no message was scored."
    label = Axis("label", "", order=tuple(words.values()))
    series = Series("name", "", tuple(words.values()))
    chart = bars(rows, Axis("value", "weighted quality", ".3f"), label, series)
    caption = "A message counts by the weight of its analytic and the time it covers."
    return Figure(title="Quality, promised and measured", chart=chart, caption=caption)


def _messages(view: View) -> PageSection | None:
    if "messages" not in view.has:
        return None
    items = (_latency(view), _curves(view), _missing(view))
    text = (
        "Latency runs from the planned send to the score, on the machine's one "
        "monotonic clock, which all namespaces share."
    )
    return PageSection(title="Messages", text=text, items=gather(items))


def _latency(view: View) -> Figure | str:
    deadline_s = float(view.run.config_values()["deadline_s"])
    query = (
        "SELECT workload || ', ' || place AS series, "
        "list(CASE status WHEN 'scored' THEN latency_s ELSE NULL END) AS waits "
        "FROM messages WHERE status != 'not granted' GROUP BY ALL ORDER BY ALL"
    )
    found = view.run.sql(query).to_pylist()
    rows = [
        {"series": line["series"], **point}
        for line in found
        for point in points_of(_waits_s(line["waits"], deadline_s), deadline_s)
    ]
    if not rows:
        return "Latency of messages: none was scored."
    series = Series("series", "", tuple(line["series"] for line in found))
    value = Axis("ms", "latency, ms", is_log=True)
    chart = percentile_curves(rows, value, series)
    return Figure(title="Latency of messages", chart=chart, caption=CAPTION)


def _curves(view: View) -> Figure | str:
    steps = view.run.read(tables.CURVES).to_pylist()
    if not steps:
        return "QoS curves: they were not measured yet."
    query = (
        "SELECT workload, place, knob, count(*) AS n FROM messages "
        "WHERE knob IS NOT NULL GROUP BY ALL"
    )
    sent = {
        (f"{row['workload']} {row['place']}", round(row["knob"], 6)): row["n"]
        for row in view.run.sql(query).to_pylist()
    }
    chart = staircases(
        steps, lambda step: sent.get((step["curve"], round(step["knob"], 6)), 0)
    )
    caption = (
        "Measured before the first repetition, on scenes and sounds held out. Rings: "
        "messages that were sent at a step."
    )
    return Figure(title="QoS curves, as measured here", chart=chart, caption=caption)


def _missing(view: View) -> DataTable:
    query = (
        "SELECT workload, place, status, count(*) AS n, median(latency_s) AS p50, "
        "list(latency_s) AS latencies, avg(quality) AS quality, "
        "avg(planned_quality) AS planned, avg(sent_bytes) AS size FROM messages "
        "GROUP BY ALL ORDER BY ALL"
    )
    return DataTable(
        title="Messages by what became of them",
        columns=(
            "workload",
            "analytic runs",
            "status",
            "messages",
            "latency, median",
            "95 %",
            "quality",
            "promised",
            "mean size",
        ),
        rows=tuple(
            (
                row["workload"],
                row["place"],
                row["status"],
                Cell(f"{row['n']:,}", row["n"]),
                _maybe(row["p50"], duration_text),
                _p95(row["latencies"]),
                _maybe(row["quality"], "{:.3f}".format),
                _maybe(row["planned"], "{:.3f}".format),
                _maybe(row["size"], size_text),
            )
            for row in view.run.sql(query).to_pylist()
        ),
    )


def _waits_s(
    latencies: Sequence[float | None], deadline_s: float
) -> Float64[np.ndarray, " n"]:
    """Latencies, of missing messages the deadline, which they exceed."""
    return np.array([deadline_s if x is None else x for x in latencies], np.float64)


def _p95(latencies: Sequence[float | None] | None) -> Cell | None:
    known = np.array([x for x in latencies or () if x is not None], np.float64)
    value = claimed_quantile(known, 0.95)
    return None if math.isnan(value) else Cell(duration_text(value), value)


def _maybe(value: float | None, form: Callable[[float], str]) -> Cell | None:
    return None if value is None else Cell(form(value), value)


def _over_time(view: View) -> tuple[PageSection, ...]:
    if "periods" not in view.has:
        return ()
    config = view.run.config_values()
    return over_time_chapters(
        view,
        (tables.PERIODS, tables.RATES, tables.LIVE_PULLS),
        float(config["rate_period_s"]) / float(config["time_scale"]),
        quality_too=(replayed(view, tables.PERIODS),),
        where_first=(promises(view, tables.MOVES),),
    )
