"""How charts look: one palette and one set of axes for every chart of a page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import altair as alt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


LANGUAGE_VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
"""Version of Vega-Lite that the charts are written in, ``major.minor``."""

WIDTH = 720
"""Width of a chart in px, its axes not counted."""

INK = "#1f2933"
FAINT = "#52606d"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#6b4c9a",
    "#7a5230",
    "#4d4d4d",
    "#a2142f",
)
"""Colours that people with any of the usual colour blindnesses can tell apart: the
eight of Okabe and Ito without yellow and black, and four darker ones."""

SECOND_PALETTE = (
    "#332288",
    "#44aa99",
    "#aa4499",
    "#999933",
    "#6699cc",
    "#882255",
    "#117733",
    "#661100",
)
"""Colours for what is not the main subject of a page (Paul Tol's muted scheme)."""

NEUTRAL = "#829ab1"
"""Colour of bars that belong to no series."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def colour_scale(names: Sequence[str], palette: Sequence[str] = PALETTE) -> alt.Scale:
    """The scale that gives each name its colour, in this order, round and round."""
    shown = [palette[i % len(palette)] for i in range(len(names))]
    return alt.Scale(domain=list(names), range=shown)


def shape_scale(names: Sequence[str]) -> alt.Scale:
    """The scale that gives each name its mark, so that colour is never all there is."""
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    return alt.Scale(domain=list(names), range=shapes)


def specification(chart: alt.TopLevelMixin, description: str) -> dict[str, Any]:
    """A chart as Vega-Lite, with the look of the page and rounded data.

    Numbers keep five digits, which no eye can tell from all of them and which halves
    the size of a page.
    """
    spec = chart.to_dict()
    for key in ("data", "datasets"):
        if key in spec:
            spec[key] = _rounded(spec[key])
    spec["config"] = _CONFIG
    spec["description"] = description
    spec.setdefault("autosize", {"type": "pad", "contains": "padding"})
    return spec


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        items = cast("Mapping[str, object]", value).items()
        return {key: _rounded(entry) for key, entry in items}
    if isinstance(value, list):
        return [_rounded(entry) for entry in cast("Sequence[object]", value)]
    return value


_CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": "white",
    "padding": 4,
    "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": 300},
    "axis": {
        "labelColor": FAINT,
        "labelFontSize": 12,
        "labelLimit": 260,
        "titleColor": INK,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 8,
        "gridColor": "#e4e9ee",
        "domainColor": "#9aa5b1",
        "tickColor": "#9aa5b1",
        "tickSize": 4,
        "labelFlush": False,
        "labelOverlap": True,
        "labelSeparation": 4,
    },
    "axisBand": {"grid": False},
    "legend": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 320,
        "titleColor": INK,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "orient": "top",
        "columns": 5,
        "symbolSize": 90,
        "symbolStrokeWidth": 2,
    },
    "header": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelFontWeight": 600,
        "titleColor": INK,
        "titleFontSize": 12,
    },
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
    "point": {"size": 60, "filled": True},
    "line": {"strokeWidth": 2},
    "range": {"category": list(PALETTE)},
}
