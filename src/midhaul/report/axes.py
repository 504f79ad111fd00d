"""What the axes, colours and lists of a chart mean, and how Vega-Lite is told.

A row is a mapping from field to value. A number that has an interval brings its ends
in the fields ``<field>_low`` and ``<field>_high``; without them nothing is drawn. A
number that is only known to be at least (or at most) that brings the sign for it in
``<field>_bound``, which is drawn beside its mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from midhaul.report.theme import PALETTE, colour_scale, shape_scale

DIGITS = ",.3~r"
"""Number format: three significant digits, thousands parted, no exponent."""

TICKS = ",~r"
"""Number format of axes: as many digits as its steps need, no exponent."""

_LETTERS = 110  # that fit side by side below a chart
Rows = Sequence[Mapping[str, Any]]
Chart = alt.LayerChart | alt.FacetChart


@dataclass(frozen=True, slots=True)
class Axis:
    """A field and how it is shown.

    Attributes:
        field: key in the rows.
        title: with its unit.
        format: d3 number format.
        order: the categories in order; None for a number.
        is_log: True for a logarithmic scale.
        from_zero: True where the scale must begin at zero.
        is_count: True where nothing lies between whole numbers, so that no tick does.
    """

    field: str
    title: str
    format: str = DIGITS
    order: tuple[str, ...] | None = None
    is_log: bool = False
    from_zero: bool = False
    is_count: bool = False

    @property
    def scale(self) -> alt.Scale:
        """The scale of a number."""
        if self.is_log:
            return alt.Scale(type="log", nice=False, padding=12)
        return alt.Scale(zero=self.from_zero, nice=True)

    @property
    def tooltip(self) -> alt.Tooltip:
        """The field as a line of the tooltip."""
        if self.order is not None:
            return alt.Tooltip(self.field, type="nominal", title=self.title)
        return alt.Tooltip(
            self.field, type="quantitative", title=self.title, format=self.format
        )


@dataclass(frozen=True, slots=True)
class Series:
    """The field that tells lines, bars or marks apart by colour.

    Attributes:
        field: key in the rows.
        title: heading of the legend.
        names: all names, in the order that fixes their colours on the whole page.
        palette: their colours; reused when there are more names.
    """

    field: str
    title: str
    names: tuple[str, ...]
    palette: tuple[str, ...] = PALETTE

    def colour(self, *, legend: bool = True) -> alt.Color:
        """The encoding, with a legend only where it tells something."""
        shown = alt.Legend() if legend and len(self.names) > 1 else None
        scale = colour_scale(self.names, self.palette)
        return alt.Color(
            self.field, type="nominal", title=self.title, scale=scale, legend=shown
        )

    def shape(self) -> alt.Shape:
        """The same as marks."""
        shown = alt.Legend() if len(self.names) > 1 else None
        return alt.Shape(
            self.field,
            type="nominal",
            title=self.title,
            scale=shape_scale(self.names),
            legend=shown,
        )

    @property
    def tooltip(self) -> alt.Tooltip:
        """The name as a line of the tooltip."""
        return alt.Tooltip(self.field, type="nominal", title=self.title)


@dataclass(frozen=True, slots=True)
class ChartChoice:
    """A list from which the reader picks what a chart shows.

    Attributes:
        field: key in the rows.
        title: in front of the list.
        options: what can be picked.
        value: what is picked when the page opens, and in print.
    """

    field: str
    title: str
    options: tuple[str, ...]
    value: str

    def on(self, chart: Chart) -> Chart:
        """The chart with the list, showing only rows that fit; not for one option."""
        if len(self.options) == 1:
            return chart
        name = f"pick_{self.field}"
        bind = alt.binding_select(options=list(self.options), name=f"{self.title} ")
        pick = alt.param(name=name, value=self.value, bind=bind)
        return chart.add_params(pick).transform_filter(
            f"datum[{self.field!r}] === {name}"
        )


def chart_of(rows: Rows) -> alt.Chart:
    """A chart without marks over rows that travel inside it."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def legend_click(series: Series) -> alt.Parameter:
    """The names that the reader clicked in the legend; all of them at first."""
    return alt.selection_point(fields=[series.field], bind="legend")


def dimmed(click: alt.Parameter) -> Any:
    """The opacity that shows only what was clicked."""
    return alt.when(click).then(alt.value(1)).otherwise(alt.value(0.1))


def across(axis: Axis) -> alt.X:
    """The axis from left to right."""
    if axis.order is not None:
        order = list(axis.order)
        is_long = max(map(len, (*order, ""))) * len(order) > _LETTERS
        angle = -35 if is_long else 0
        look = alt.Axis(labelAngle=angle, labelOverlap=False)
        return alt.X(
            axis.field, type="nominal", title=axis.title, sort=order, axis=look
        )
    ticks = alt.ExprRef(expr=_WHOLE) if axis.is_count else alt.Undefined
    look = alt.Axis(format=TICKS, tickCount=8, values=ticks)
    return alt.X(
        axis.field, type="quantitative", title=axis.title, scale=axis.scale, axis=look
    )


_FIRST, _LAST = "domain('x')[0]", "domain('x')[1]"
_WHOLE = (
    f"sequence(ceil({_FIRST}), {_LAST} + 1e-9, max(1, ceil(({_LAST} - {_FIRST}) / 10)))"
)


def upwards(axis: Axis) -> alt.Y:
    """The axis from bottom to top, or the rows from top to bottom."""
    if axis.order is not None:
        order = list(axis.order)
        look = alt.Axis(labelOverlap=False)
        return alt.Y(axis.field, type="nominal", title=None, sort=order, axis=look)
    look = alt.Axis(format=TICKS)
    return alt.Y(
        axis.field, type="quantitative", title=axis.title, scale=axis.scale, axis=look
    )


def interval(
    rows: Rows,
    base: alt.Chart,
    channel: Literal["x", "y"],
    axis: Axis,
    *,
    width: float = 1.6,
) -> list[alt.Chart]:
    """A thin line from the lower to the upper end of each number's interval.

    Without any interval there is no layer. The chart has the encodings that the line
    shares with the mark; the width is in px.
    """
    if not _has_interval(rows, axis):
        return []
    low, high = f"{axis.field}_low", f"{axis.field}_high"
    known = f"isValid(datum[{low!r}]) && isValid(datum[{high!r}])"
    rule = base.transform_filter(known).mark_rule(strokeWidth=width)
    if channel == "x":
        start = alt.X(low, type="quantitative", title=axis.title, scale=axis.scale)
        return [rule.encode(x=start, x2=alt.X2(high))]
    start = alt.Y(low, type="quantitative", title=axis.title, scale=axis.scale)
    return [rule.encode(y=start, y2=alt.Y2(high))]


def bounds(rows: Rows, base: alt.Chart, axis: Axis) -> list[alt.Chart]:
    """The sign beside each mark whose number is a bound.

    Without any bound there is no layer. The chart has the encodings that place the
    mark.
    """
    field = f"{axis.field}_bound"
    if not any(row.get(field) for row in rows):
        return []
    marked = base.transform_filter(f"isValid(datum[{field!r}])")
    sign = marked.mark_text(dx=-10, fontSize=13, fontWeight="bold")
    return [sign.encode(text=alt.Text(field, type="nominal"))]


def number_tooltips(rows: Rows, axis: Axis) -> list[alt.Tooltip]:
    """A number and, where the rows have one, its interval, as lines of the tooltip."""
    own = [axis.tooltip]
    field = f"{axis.field}_bound"
    if any(row.get(field) for row in rows):
        title = f"{axis.title}: a bound where a sign stands"
        own.append(alt.Tooltip(field, type="nominal", title=title))
    if not _has_interval(rows, axis):
        return own
    ends = [
        alt.Tooltip(
            f"{axis.field}_{end}",
            type="quantitative",
            title=f"95 % interval, {word} end",
            format=axis.format,
        )
        for end, word in (("low", "lower"), ("high", "upper"))
    ]
    return [*own, *ends]


def _has_interval(rows: Rows, axis: Axis) -> bool:
    return any(row.get(f"{axis.field}_low") is not None for row in rows)
