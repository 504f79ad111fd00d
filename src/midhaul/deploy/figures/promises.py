"""What a promise about the uplink costs: policies by how often they send too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.report import Figure
from midhaul.report.axes import Axis
from midhaul.report.charts import front, pareto

if TYPE_CHECKING:
    from midhaul.report.view import View

_FEWEST = 2  # one mark trades nothing


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
        title="Late messages against periods over the uplink",
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
