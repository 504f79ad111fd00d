"""What a promise about the uplink costs: policies by how often they send too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.uplink_control import forecast_named
from midhaul.report import Figure
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import front, pareto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.deploy.uplink_control import ForecastName
    from midhaul.report.view import View
    from midhaul.runs.tables import Table

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
    """A metric against the share of periods over the uplink.

    Attributes:
        metric: of the summary.
        title: of the chart.
        axis: title of the axis.
        factor: on the metric.
        format: of its numbers.
    """

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
