"""Every chart is valid Vega-Lite and draws what it is given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import vl_convert

from midhaul.report import charts
from midhaul.report.axes import Axis, Chart, ChartChoice, Series
from midhaul.report.theme import LANGUAGE_VERSION, specification

if TYPE_CHECKING:
    from collections.abc import Callable

VALUE = Axis("v", "value, ms")
OTHER = Axis("w", "other")
LABEL = Axis("label", "label", order=("x", "y", "z"))
SERIES = Series("series", "series", ("one", "two"))

ROWS: list[dict[str, Any]] = [
    {
        "series": series,
        "path": series,
        "label": label,
        "name": f"{series} {label}",
        "v": 10.0 * i + j + 1,
        "v_low": 10.0 * i + j + 0.5,
        "v_high": 10.0 * i + j + 2,
        "w": 30.0 - i,
        "total": 33.0,
        "on_front": i == 0,
        "nines": float(i),
        "percentile": 100 * (1 - 10.0**-i),
        "is_thin": i == 2,
        "curve": series,
        "note": label,
        "chosen": i,
    }
    for i, label in enumerate(LABEL.order or ())
    for j, series in enumerate(SERIES.names)
]

CHARTS: dict[str, Callable[[list[dict[str, Any]]], Chart]] = {
    "bars": lambda rows: charts.bars(rows[::2], VALUE, LABEL, SERIES),
    "lines": lambda rows: charts.lines(rows, LABEL, VALUE, SERIES),
    "dots": lambda rows: charts.dots(rows, VALUE, LABEL, SERIES),
    "tiles": lambda rows: charts.tiles(rows, LABEL, LABEL, VALUE, SERIES),
    "stack": lambda rows: charts.stack(
        rows, VALUE, LABEL, SERIES, Axis("total", "total")
    ),
    "front": lambda rows: charts.front(
        rows, VALUE, OTHER, Axis("name", "name", order=()), SERIES
    ),
    "over_time": lambda rows: charts.over_time(rows, VALUE, OTHER, SERIES),
    "percentile_curves": lambda rows: charts.percentile_curves(rows, VALUE, SERIES),
    "area": lambda rows: charts.area(
        rows, Axis("nines", "time"), VALUE, SERIES, limit=30.0
    ),
    "spans": lambda rows: charts.spans(
        rows, VALUE, Axis("total", "end"), LABEL, SERIES
    ),
    "steps_with_points": lambda rows: charts.steps_with_points(
        rows, VALUE, OTHER, "chosen"
    ),
    "against": lambda rows: charts.against(rows, VALUE, OTHER, SERIES),
}


def svg(chart: Chart) -> str:
    """The chart, drawn."""
    spec = specification(chart, "t")
    return vl_convert.vegalite_to_svg(spec, vl_version=LANGUAGE_VERSION)


@pytest.mark.parametrize("name", CHARTS)
def test_charts_draw_marks(name: str) -> None:
    """Each chart has at least one mark per row or series, with a shape."""
    drawn = svg(CHARTS[name](ROWS))
    marks = re.findall(r'<path [^>]*role="graphics-symbol"[^>]* d="(M[^"]+)"', drawn)
    assert len(set(marks)) >= 2


@pytest.mark.parametrize("name", CHARTS)
def test_charts_stand_missing_intervals(name: str) -> None:
    """Without ends of intervals the same charts are drawn, without lines for them."""
    bare = [
        {k: v for k, v in row.items() if k not in {"v_low", "v_high"}} for row in ROWS
    ]
    chart = CHARTS[name](bare)
    assert "v_low" not in str(chart.to_dict())
    assert svg(chart)


def test_intervals_are_drawn_where_they_are() -> None:
    """One line per number with an interval."""
    some = [row if i else row | {"v_low": None} for i, row in enumerate(ROWS)]
    drawn = svg(charts.lines(some, LABEL, VALUE, SERIES))
    assert drawn.count('aria-roledescription="rule mark"') == len(ROWS) - 1


def test_choice_shows_one_option() -> None:
    """A chart with a list shows the rows of the option that is picked at first."""
    pick = ChartChoice("label", "Label", ("x", "y", "z"), "y")
    drawn = svg(pick.on(charts.dots(ROWS, VALUE, LABEL, SERIES)))
    shown = re.findall(r'label: (\w)[^"]*" role="graphics-symbol"[^>]*"point"', drawn)
    assert shown == ["y", "y"]


def test_colours_follow_the_names() -> None:
    """A series has the same colour in a chart where the others have no data."""
    both = svg(charts.over_time(ROWS, VALUE, OTHER, SERIES))
    second = [row for row in ROWS if row["series"] == "two"]
    alone = svg(charts.over_time(second, VALUE, OTHER, SERIES))
    line = re.compile(r'series: two"[^>]*"line mark"[^>]* stroke="(#\w+)"')
    assert line.findall(both) == line.findall(alone) != []


def test_whole_numbers_have_no_ticks_between_them() -> None:
    """Three days are 1, 2 and 3, and none is day 1.5."""
    rows = [row | {"day": row["chosen"] + 1} for row in ROWS]
    rows = [row | dict.fromkeys(("v", "v_low", "v_high"), 9.0) for row in rows]
    ticks = {}
    for is_count in (True, False):
        day = Axis("day", "day", is_count=is_count)
        said = svg(charts.lines(rows, day, VALUE, SERIES))
        ticks[is_count] = set(re.findall(r">([123](?:\.\d+)?)<", said))
    assert ticks[True] == {"1", "2", "3"}
    assert ticks[False] > ticks[True]
