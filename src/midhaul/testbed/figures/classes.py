"""Accuracy class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from midhaul.report import Figure, Section
from midhaul.report.axes import Axis, chart_of, dimmed, legend_click
from midhaul.testbed import tables

if TYPE_CHECKING:
    from midhaul.testbed.figures.view import View

_ROW_PX = 15


def classes(view: View) -> Section | None:
    """F1 and support per class, sorted by each; None where no class was judged."""
    at = {c.index: c.series for c in view.at(view.reference)}
    rows = [
        {
            "label": str(row["label"]),
            "series": at[row["configuration"]],
            "f1": row["f1"],
            "support": row["support"],
        }
        for row in view.run.read(tables.CLASSES).to_pylist()
        if row["configuration"] in at and row["support"]
    ]
    if not rows:
        return None
    means: dict[str, list[float]] = {}
    for row in rows:
        means.setdefault(str(row["label"]), []).append(float(row["f1"] or 0))
    support = {str(row["label"]): int(row["support"]) for row in rows}
    by_f1 = sorted(means, key=lambda k: (-sum(means[k]) / len(means[k]), k))
    by_support = sorted(support, key=lambda k: (-support[k], k))
    text = (
        f"Classes that the images show, at the preprocessing “{view.reference}”. "
        "Support is the number of boxes that people marked; a class with little "
        "support has an F1 that one box can move far."
    )
    items = tuple(
        Figure(
            title=f"F1 and support per class, sorted by {word}",
            chart=_chart(view, rows, order),
            caption=caption,
        )
        for word, order, caption in (
            ("F1", by_f1, "The class with the highest mean F1 over detectors first."),
            ("support", by_support, "The class with the most boxes first."),
        )
    )
    return Section(title="Classes", text=text, items=items)


def _chart(
    view: View, rows: list[dict[str, Any]], order: list[str]
) -> alt.HConcatChart:
    every = alt.Axis(labelOverlap=False)
    label = alt.Y("label", type="nominal", title=None, sort=order, axis=every)
    click = legend_click(view.series)
    tooltip = [
        alt.Tooltip("label", type="nominal", title="class"),
        view.series.tooltip,
        Axis("f1", "F1", ".3f").tooltip,
        Axis("support", "support", ",").tooltip,
    ]
    score = (
        chart_of(rows)
        .mark_point(size=44, filled=True)
        .encode(
            y=label,
            x=alt.X("f1", type="quantitative", title="F1", axis=alt.Axis(grid=True)),
            color=view.series.colour(),
            shape=view.series.shape(),
            opacity=dimmed(click),
            tooltip=tooltip,
        )
        .add_params(click)
        .properties(width=400, height=alt.Step(_ROW_PX))
    )
    first = {row["label"]: row for row in rows}
    boxes = (
        chart_of(list(first.values()))
        .mark_bar(color="#9fb3c8", height={"band": 0.7})
        .encode(
            y=alt.Y("label", type="nominal", sort=order, axis=None),
            x=alt.X(
                "support",
                type="quantitative",
                title="support, boxes (square root)",
                scale=alt.Scale(type="sqrt"),
                axis=alt.Axis(tickCount=4, format=",~r"),
            ),
            tooltip=[tooltip[0], tooltip[3]],
        )
        .properties(width=190, height=alt.Step(_ROW_PX))
    )
    return alt.hconcat(score, boxes, spacing=14)
