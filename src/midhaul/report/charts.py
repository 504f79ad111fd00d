"""The charts of a report, each from plain rows (see :mod:`midhaul.report.axes`).

Every chart with series dims the others when a name in its legend is clicked. Over time
there are stacked areas, and what was going on when.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from midhaul.report.axes import (
    TICKS,
    Axis,
    Chart,
    Rows,
    Series,
    across,
    bounds,
    chart_of,
    dimmed,
    interval,
    legend_click,
    number_tooltips,
    upwards,
)
from midhaul.report.theme import FAINT, INK, WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float64


def bars(rows: Rows, value: Axis, label: Axis, series: Series) -> Chart:
    """Horizontal bars from zero, each with its interval and its number.

    Bars stand in the order of ``label``; there is no legend, as they are labelled.
    """
    end = f"{value.field}_end"
    farthest = f"max(datum[{value.field!r}], datum['{value.field}_high'] || 0)"
    base = chart_of(rows).transform_calculate(**{end: farthest})
    base = base.encode(y=upwards(label))
    length = across(value)
    if not any(row[value.field] > 0 for row in rows):
        length = length.scale(domain=[0, 1])
    bar = base.mark_bar(opacity=0.8, height={"band": 0.68}).encode(
        x=length,
        color=series.colour(legend=False),
        tooltip=[label.tooltip, *number_tooltips(rows, value)],
    )
    number = base.mark_text(align="left", dx=7, color=INK, fontSize=12).encode(
        x=alt.X(end, type="quantitative"),
        text=alt.Text(value.field, type="quantitative", format=value.format),
    )
    dark = base.encode(color=alt.value(INK))
    signs = bounds(rows, dark.encode(x=alt.X(end, type="quantitative")), value)
    layers = (bar, *interval(rows, dark, "x", value), number, *signs)
    return alt.layer(*layers).properties(width=WIDTH - 160, height=alt.Step(30))


def lines(rows: Rows, x: Axis, y: Axis, series: Series) -> Chart:
    """One line per series over an axis, each point with its interval.

    The field ``path`` parts a series into several lines.
    """
    click = legend_click(series)
    base = chart_of(rows).encode(x=across(x), color=series.colour())
    base = base.encode(opacity=dimmed(click))
    line = base.mark_line(strokeWidth=2).encode(
        y=upwards(y), detail=alt.Detail("path", type="nominal")
    )
    points = base.mark_point(size=70, filled=True).encode(
        y=upwards(y),
        shape=series.shape(),
        tooltip=[series.tooltip, x.tooltip, *number_tooltips(rows, y)],
    )
    signs = bounds(rows, base.encode(y=upwards(y)), y)
    layers = (*interval(rows, base, "y", y), line, *signs, points.add_params(click))
    return alt.layer(*layers).properties(width=WIDTH, height=320)


def dots(
    rows: Rows, value: Axis, label: Axis, series: Series, *, step: int = 8
) -> Chart:
    """One row per category with one mark per series, each with its interval.

    Each mark takes ``step`` px of height.
    """
    click = legend_click(series)
    offset = alt.YOffset(series.field, type="nominal", sort=list(series.names))
    stripes = alt.Axis(grid=True, tickBand="extent", labelOverlap=False)
    order = list(label.order or ())
    rank = alt.Y(label.field, type="nominal", title=None, sort=order, axis=stripes)
    base = chart_of(rows).encode(y=rank, yOffset=offset, color=series.colour())
    base = base.encode(opacity=dimmed(click))
    marks = base.mark_point(size=46, filled=True).encode(
        x=across(value),
        shape=series.shape(),
        tooltip=[label.tooltip, series.tooltip, *number_tooltips(rows, value)],
    )
    height = alt.Step(step * max(2, len(series.names)) + 4, **{"for": "position"})
    signs = bounds(rows, base.encode(x=across(value)), value)
    layers = (*interval(rows, base, "x", value), *signs, marks.add_params(click))
    return alt.layer(*layers).properties(width=WIDTH - 120, height=height)


def tiles(rows: Rows, x: Axis, y: Axis, value: Axis, facet: Series) -> Chart:
    """A small coloured table per series: what two settings do together."""
    values = [float(row[value.field]) for row in rows]
    middle = min(values) + 0.6 * (max(values) - min(values))
    light = alt.when(f"datum[{value.field!r}] > {middle}").then(alt.value("white"))
    colour = alt.Color(
        value.field,
        type="quantitative",
        title=value.title,
        scale=alt.Scale(scheme="blues", zero=False),
    )
    base = chart_of(rows).encode(x=across(x), y=upwards(y))
    tile = base.mark_rect(stroke="white").encode(
        color=colour,
        tooltip=[facet.tooltip, x.tooltip, y.tooltip, *number_tooltips(rows, value)],
    )
    number = base.mark_text(fontSize=11).encode(
        text=alt.Text(value.field, type="quantitative", format=value.format),
        color=light.otherwise(alt.value(INK)),
    )
    header = alt.Facet(facet.field, type="nominal", title=None, sort=list(facet.names))
    table = alt.layer(tile, number).properties(width=alt.Step(66), height=alt.Step(30))
    return table.facet(facet=header, columns=2, spacing=28)


def stack(rows: Rows, value: Axis, label: Axis, parts: Series, total: Axis) -> Chart:
    """Horizontal bars made of parts.

    There is a row per part of a bar, with the length of the whole bar, which is written
    behind it, in ``total``.
    """
    ruler = alt.Axis(format=TICKS, tickCount=8)
    rank = f"indexof({list(parts.names)!r}, datum[{parts.field!r}])"
    base = chart_of(rows).encode(y=upwards(label))
    bar = base.mark_bar(height={"band": 0.74}, stroke="white", strokeWidth=0.6)
    bar = bar.transform_calculate(rank=rank).encode(
        x=alt.X(
            value.field,
            type="quantitative",
            title=value.title,
            stack="zero",
            axis=ruler,
        ),
        color=parts.colour(),
        order=alt.Order("rank", type="quantitative"),
        tooltip=[label.tooltip, parts.tooltip, value.tooltip, total.tooltip],
    )
    number = base.mark_text(align="left", dx=6, color=INK).encode(
        x=alt.X(total.field, type="quantitative", aggregate="max"),
        text=alt.Text(
            total.field, type="quantitative", aggregate="max", format=total.format
        ),
    )
    return alt.layer(bar, number).properties(width=WIDTH - 120, height=alt.Step(27))


def pareto(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Which points no other beats, where every number should be small.

    A point is beaten by one that is nowhere worse and somewhere better.
    """
    return [
        not any(
            all(o <= p for o, p in zip(other, point, strict=True)) and other != point
            for other in points
        )
        for point in points
    ]


_IS_BEST = "datum.on_front"
_HEIGHT = 340
_FEW_MARKS = 8
"""So many marks all have their names; of more, those that no other beats."""
_LETTER_PX, _LINE_PX = 6.2, 13
"""Room that a name takes beside its mark."""


def _named(rows: Rows, x: Axis, y: Axis, name: Axis) -> list[Mapping[str, Any]]:
    """The rows whose names have room beside their marks, the highest first."""
    every = len(rows) <= _FEW_MARKS
    places = _scaled([float(row[x.field]) for row in rows], x, WIDTH)
    heights = _scaled([float(row[y.field]) for row in rows], y, _HEIGHT)
    ranked = sorted(zip(rows, places, heights, strict=True), key=lambda one: -one[2])
    taken: list[tuple[float, float, float]] = []
    kept: list[Mapping[str, Any]] = []
    for row, left, height in ranked:
        if not (every or row["on_front"]):
            continue
        right = left + _LETTER_PX * len(str(row[name.field]))
        if all(
            right < other[0] or other[1] < left or abs(height - other[2]) > _LINE_PX
            for other in taken
        ):
            taken.append((left, right, height))
            kept.append({field: row[field] for field in (x.field, y.field, name.field)})
    return kept


def _scaled(values: list[float], axis: Axis, length: int) -> list[float]:
    """Numbers as places along an axis of some px."""
    if axis.is_log:
        values = [math.log(value) for value in values]
    low, high = min(values), max(values)
    return [(value - low) / ((high - low) or 1.0) * length for value in values]


def front(rows: Rows, x: Axis, y: Axis, name: Axis, series: Series) -> Chart:
    """Marks of a trade-off, with a line through those that no other mark beats.

    ``x`` should be small, ``y`` large; ``on_front`` is true where nothing is better in
    both. A mark is called ``name``, beside it and in its tooltip.
    """
    click = legend_click(series)
    best = chart_of([row for row in rows if row["on_front"]])
    line = best.mark_line(
        interpolate="step-after", color="#7b8794", strokeDash=[5, 3]
    ).encode(x=across(x), y=upwards(y), order=alt.Order(x.field, type="quantitative"))
    base = chart_of(rows).encode(x=across(x), y=upwards(y))
    ring = base.transform_filter(_IS_BEST).mark_point(
        size=170, filled=False, color=INK, strokeWidth=1.2
    )
    coloured = base.encode(color=series.colour(), opacity=dimmed(click))
    marks = coloured.mark_point(size=55, filled=True).encode(
        shape=series.shape(),
        tooltip=[name.tooltip, *number_tooltips(rows, x), *number_tooltips(rows, y)],
    )
    wide = interval(rows, coloured, "x", x, width=1)
    high = interval(rows, coloured, "y", y, width=1)
    signs = (*bounds(rows, coloured, x), *bounds(rows, coloured, y))
    named = chart_of(_named(rows, x, y, name)).encode(x=across(x), y=upwards(y))
    names = named.mark_text(align="left", dx=9, dy=-8, fontSize=11, color=INK)
    names = names.encode(text=alt.Text(name.field, type="nominal"))
    layers = (line, *wide, *high, ring, *signs, names, marks.add_params(click))
    return alt.layer(*layers).properties(width=WIDTH, height=_HEIGHT)


def over_time(
    rows: Rows, x: Axis, y: Axis, series: Series, *, height: int = 180
) -> Chart:
    """Steps over time, one line per series."""
    click = legend_click(series)
    line = chart_of(rows).mark_line(strokeWidth=1.6, interpolate="step-after")
    line = line.encode(
        x=across(x),
        y=upwards(y),
        color=series.colour(),
        opacity=dimmed(click),
        tooltip=[series.tooltip, x.tooltip, y.tooltip],
    )
    return alt.layer(line.add_params(click)).properties(width=WIDTH, height=height)


def percentile_curves(
    rows: Rows, value: Axis, series: Series, *, of: str = "requests"
) -> Chart:
    """How large a value is at each percentile, with the tail stretched.

    The axis runs over the nines: 90 %, 99 % and 99.9 % are equally far apart. There is
    a row per point of a curve, with ``nines`` (minus the decimal logarithm of the share
    above), ``percentile`` (0 to 100) and ``is_thin`` (true where few values lie beyond,
    drawn dotted).
    """
    click = legend_click(series)
    places = (0, 0.30103, 1, 1.30103, 2, 3, 4)
    label = "round(1e6 * (1 - pow(10, -datum.value))) / 1e4 + ' %'"
    look = alt.Axis(
        values=list(places), labelExpr=label, gridDash=[1, 4], gridColor=FAINT
    )
    title = f"percentile of {of}"
    x = alt.X("nines", type="quantitative", title=title, axis=look)
    base = chart_of(rows).encode(
        x=x, y=upwards(value), color=series.colour(), opacity=dimmed(click)
    )
    percentile = Axis("percentile", "percentile", ".5~r")
    solid = base.transform_filter("!datum.is_thin").mark_line(strokeWidth=2)
    thin = base.transform_filter("datum.is_thin || datum.is_seam").mark_line(
        strokeWidth=1.6, strokeDash=[2, 3]
    )
    touch = base.mark_point(size=50, filled=True, opacity=0).encode(
        opacity=alt.value(0),
        tooltip=[series.tooltip, percentile.tooltip, value.tooltip],
    )
    layers = (thin, solid.add_params(click), touch)
    return alt.layer(*layers).properties(width=WIDTH, height=340)


_MS = 1e3
_PER_DECADE, _FEW = 16, 10

CAPTION = (
    "Dotted where fewer than ten values lie beyond, too few for a claim. A curve ends "
    "where the first wait without an answer would stand."
)


def points_of(
    values_s: Float64[np.ndarray, " n"],
    known_below_s: float = math.inf,
    *,
    n_nines: int = 3,
) -> list[dict[str, Any]]:
    """The points of one curve of ``charts.percentile_curves``, in ms.

    There is at least one value; those that are only known to be larger stand as what
    they exceed, ``known_below_s`` is the least of these, and the curve ends before it.
    It goes out to ``n_nines``: 3 is 99.9 %.
    """
    n = len(values_s)
    ordered = np.sort(values_s)
    points: list[dict[str, Any]] = []
    for k in range(n_nines * _PER_DECADE + 1):
        beyond = n * 10 ** (-k / _PER_DECADE)
        if beyond < 1 - 1e-9:
            break
        share = 1 - beyond / n
        value_s = float(ordered[max(math.ceil(share * n - 1e-9), 1) - 1])
        if value_s >= known_below_s:
            break
        is_thin = beyond < _FEW - 1e-6
        if is_thin and points and not points[-1]["is_thin"]:
            points[-1]["is_seam"] = True
        points.append(
            {
                "nines": k / _PER_DECADE,
                "percentile": share * 100,
                "ms": value_s * _MS,
                "is_thin": is_thin,
            }
        )
    return points


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
