"""Charts of decisions: rates by analytic, steps of curves, and the table of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.deploy import tables
from midhaul.report import Cell, DataTable, Figure
from midhaul.report.axes import Axis, Choice, Series
from midhaul.report.charts import bars
from midhaul.report.numbers import rate
from midhaul.report.theme import SECOND_PALETTE
from midhaul.report.timelines import steps_with_points

if TYPE_CHECKING:
    from midhaul.report.view import View

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
    pick = Choice("name", "configuration", tuple(n for n in names if kept[n]), first)
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
    shown = [
        {
            "curve": step["curve"],
            "kbps": step["rate_bps"] / 1e3,
            "quality": step["quality"],
            "chosen": bought.get((step["curve"], step["knob"]), 0),
        }
        for step in steps
        if step["is_on_frontier"]
    ]
    chart = steps_with_points(
        shown, Axis("kbps", "kbit/s"), Axis("quality", "quality"), "chosen"
    )
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
