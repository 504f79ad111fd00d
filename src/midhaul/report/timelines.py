"""Charts over time: stacked areas, and what was going on when."""

from __future__ import annotations

import altair as alt

from midhaul.report.axes import (
    Axis,
    Chart,
    Rows,
    Series,
    across,
    chart_of,
    dimmed,
    legend_click,
    upwards,
)
from midhaul.report.theme import FAINT, INK, WIDTH


def area(
    rows: Rows, x: Axis, y: Axis, parts: Series, *, limit: float | None = None
) -> Chart:
    """Steps stacked on each other over time, with a line at a limit.

    Every part has a row at every time, the first at the bottom; the line is dashed.
    """
    click = legend_click(parts)
    known = {} if limit is None else {"limit": limit}
    ranked = [
        {**row, **known, "rank": parts.names.index(row[parts.field])} for row in rows
    ]
    base = chart_of(ranked)
    stacked = base.mark_area(interpolate="step-after", opacity=0.85).encode(
        x=across(x),
        y=upwards(y).stack("zero"),
        color=parts.colour(),
        opacity=dimmed(click),
        order=alt.Order("rank", type="quantitative"),
        tooltip=[parts.tooltip, x.tooltip, y.tooltip],
    )
    layers: list[alt.Chart] = [stacked.add_params(click)]
    if limit is not None:
        line = base.mark_rule(strokeDash=[6, 4], color=INK, strokeWidth=1.4)
        height = alt.Y("limit", type="quantitative", aggregate="max")
        layers.append(line.encode(y=height))
    return alt.layer(*layers).properties(width=WIDTH, height=260)


def spans(
    rows: Rows, begin: Axis, end: Axis, label: Axis, series: Series, *, step: int = 16
) -> Chart:
    """What was going on from when to when: one row per label, bars by series.

    The field ``note`` is the text of a bar's tooltip. Rows stand in the order of
    ``label`` and are ``step`` px high.
    """
    click = legend_click(series)
    note = alt.Tooltip("note", type="nominal", title="")
    bar = chart_of(rows).mark_bar(height={"band": 0.7}, cornerRadius=2)
    bars = bar.encode(
        x=across(begin),
        x2=alt.X2(end.field),
        y=upwards(label),
        color=series.colour(),
        opacity=dimmed(click),
        tooltip=[label.tooltip, series.tooltip, begin.tooltip, end.tooltip, note],
    )
    return alt.layer(bars.add_params(click)).properties(
        width=WIDTH - 60, height=alt.Step(step)
    )


def steps_with_points(rows: Rows, x: Axis, y: Axis, chosen: str) -> Chart:
    """A staircase of what can be had, with rings round what was chosen.

    There is a row per step and ``curve``; ``chosen`` is the field of how many chose it.
    """
    names = tuple(dict.fromkeys(str(row["curve"]) for row in rows))
    series = Series("curve", "curve", names)
    click = legend_click(series)
    base = chart_of(rows).encode(
        x=across(x), y=upwards(y), color=series.colour(), opacity=dimmed(click)
    )
    line = base.mark_line(interpolate="step-after", strokeWidth=1.6)
    dots = base.mark_point(size=24, filled=True)
    count = alt.Tooltip(chosen, type="quantitative", title="chosen by")
    ring = base.transform_filter(f"datum[{chosen!r}] > 0").mark_point(
        filled=False, strokeWidth=2
    )
    rings = ring.encode(
        size=alt.Size(
            chosen,
            type="quantitative",
            legend=None,
            scale=alt.Scale(range=[120, 500], zero=True),
        ),
        tooltip=[series.tooltip, x.tooltip, y.tooltip, count],
    )
    layers = (line, dots.add_params(click), rings)
    return alt.layer(*layers).properties(width=WIDTH, height=300)


def against(rows: Rows, x: Axis, y: Axis, series: Series) -> Chart:
    """Points of what was promised against what came true, with the line of equality."""
    click = legend_click(series)
    top = max([float(row[x.field]) for row in rows] + [float(r[y.field]) for r in rows])
    ends = [{x.field: 0.0, y.field: 0.0}, {x.field: top, y.field: top}]
    line = chart_of(ends).mark_line(strokeDash=[5, 4], color=FAINT)
    equal = line.encode(
        x=alt.X(x.field, type="quantitative"), y=alt.Y(y.field, type="quantitative")
    )
    points = (
        chart_of(rows)
        .mark_point(size=60, filled=True)
        .encode(
            x=across(x),
            y=upwards(y),
            color=series.colour(),
            shape=series.shape(),
            opacity=dimmed(click),
            tooltip=[series.tooltip, x.tooltip, y.tooltip],
        )
    )
    return alt.layer(equal, points.add_params(click)).properties(width=420, height=320)
