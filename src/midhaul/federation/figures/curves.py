"""Quality against price: the picture that a federation is judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.federation import tables
from midhaul.report import Cell, DataTable, Figure
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import lines
from midhaul.report.numbers import percent

if TYPE_CHECKING:
    from midhaul.report.view import View

PER = 1000
"""Prices are shown for so many items."""


def usd_text(usd: float) -> str:
    """A price of a thousand items."""
    return f"{usd * PER:.4g} USD"


def quality_text(value: float) -> str:
    """A quality in hundredths."""
    return f"{value * 100:.2f}"


def gain_text(value: float) -> str:
    """A difference of qualities in hundredths, with its sign."""
    return f"{value * 100:+.2f}"


def trade_off(view: View) -> Figure | str:
    """Every policy at every budget: a line per family, marks for the others."""
    rows: list[dict[str, Any]] = []
    for row in view.run.read(tables.CONFIGURATIONS).to_pylist():
        number = int(row["configuration"])
        quality = view.metric(number, "quality")
        cost = view.value(number, "cost_usd")
        if quality is None or cost is None:
            continue
        policy = str(row["policy"])
        point = {"policy": policy, "path": policy, "name": row["name"]}
        point |= {"cost": cost * PER, "quality": quality["value"] * 100}
        if quality["low"] is not None:
            point |= {"quality_low": quality["low"] * 100}
            point |= {"quality_high": quality["high"] * 100}
        rows.append(point)
    if not rows:
        return "Quality against price: nothing was judged yet."
    rows.sort(key=lambda row: row["cost"])
    names = tuple(dict.fromkeys(row["policy"] for row in rows))
    chart = lines(
        rows,
        Axis("cost", "price of 1,000 items in USD"),
        Axis("quality", "quality on unseen items, in %"),
        Series("policy", "policy", names),
    )
    caption = (
        "A line is one family of policies at rising budgets; a single mark is a policy "
        "that keeps none. Bars are 95 % intervals over items. Up and left is better."
    )
    return Figure(title="Quality against price", chart=chart, caption=caption)


def matches_table(view: View) -> DataTable | str:
    """What it costs to match something simpler."""
    rows = view.run.read(tables.MATCHES).to_pylist() if _has(view) else []
    if not rows:
        return ""
    return DataTable(
        title="What it costs to be as good",
        columns=("policy", "as good as", "quality", "its price", "price", "saved"),
        rows=tuple(
            (
                str(row["policy"]),
                str(row["target"]),
                Cell(quality_text(row["target_quality"]), row["target_quality"]),
                Cell(usd_text(row["target_cost_usd"]), row["target_cost_usd"]),
                _price(row["cost_usd"]),
                percent(row["saving"]),
            )
            for row in rows
        ),
        caption="Prices of 1,000 items, read off the lines above between two budgets; "
        "the target's quality is that on the same items.",
    )


def _has(view: View) -> bool:
    return tables.MATCHES.name in view.has


def _price(usd: float | None) -> Cell:
    return Cell("not reached", None) if usd is None else Cell(usd_text(usd), usd)
