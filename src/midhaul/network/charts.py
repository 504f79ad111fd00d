"""Charts of the area: slowdowns, sizes, loads on the topology, windows over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from midhaul.network.drawing import positions
from midhaul.network.slowdown import WORDS, JudgedFlows, size_masks
from midhaul.report.axes import (
    Axis,
    Chart,
    ChartChoice,
    Rows,
    Series,
    across,
    chart_of,
    dimmed,
    legend_click,
    upwards,
)
from midhaul.report.charts import dots, over_time, percentile_curves, points_of
from midhaul.report.page import Figure
from midhaul.report.theme import FAINT, INK, WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

_MOST_DOTS = 1500
_FEW_NAMES = 60
_FEW_HOSTS = 20
_OFFSET = 0.004
_N_POINTS = 400

CURVES = (
    "The axis runs over the nines. Dotted where fewer than ten flows lie beyond, too "
    "few for a claim; a curve ends where the first flow would stand that had not ended."
)


def slowdown_figure(judged: JudgedFlows, size_bytes: Int64[np.ndarray, " n"]) -> Figure:
    """Slowdown at each percentile, a curve for each class of size; sizes of all."""
    rows = size_curves(judged, size_bytes)
    names = tuple(dict.fromkeys(str(row["size"]) for row in rows))
    value = Axis("slowdown", "slowdown (FCT over ideal FCT)", is_log=True)
    chart = percentile_curves(rows, value, Series("size", "size", names), of="flows")
    return Figure(title="Slowdown by size of the flow", chart=chart, caption=CURVES)


def size_curves(
    judged: JudgedFlows, size_bytes: Int64[np.ndarray, " n"]
) -> list[dict[str, Any]]:
    """The points of a curve for all flows and of one for each class of size."""
    words = {**WORDS, "all": "all sizes"}
    return [
        {**row, "slowdown": row.pop("ms") / 1e3, "size": words[name]}
        for name, mask in size_masks(size_bytes[judged.flow]).items()
        if mask.any()
        for row in points_of(judged.slowdown[mask], judged.known_below(mask))
    ]


def curves_by(rows: Rows, series: Series, sizes: Sequence[str]) -> Chart:
    """Slowdown at each percentile, a curve for each name, of a size to be picked."""
    value = Axis("slowdown", "slowdown (FCT over ideal FCT)", is_log=True)
    chart = percentile_curves(rows, value, series, of="flows")
    return ChartChoice("size", "size", tuple(sizes), sizes[0]).on(chart)


def choice_dots(
    rows: Rows,
    series: Series,
    sizes: Sequence[str],
    percentiles: tuple[Sequence[str], str],
    value: Axis,
) -> Chart:
    """What is said by class of size, a mark for each name, of a percentile.

    ``percentiles`` are those that can be picked, and the one that is.
    """
    options, picked = percentiles
    chart = dots(rows, value, Axis("size", "size", order=tuple(sizes)), series)
    return ChartChoice("percentile", "percentile", tuple(options), picked).on(chart)


def size_dots(rows: Rows, series: Series) -> Chart:
    """Completion time against size, with the ideal one as a small dash below each."""
    size = Axis("size_bytes", "size of the flow (bytes)", ",.3~s", is_log=True)
    time = Axis("fct_ms", "completion time (ms)", is_log=True)
    ideal = Axis("ideal_ms", "ideal (ms)", is_log=True)
    click = legend_click(series)
    base = chart_of(rows).encode(x=_decades(size, "x"), opacity=dimmed(click))
    dashes = base.mark_tick(thickness=1, color=FAINT, orient="horizontal", size=5)
    dots = base.mark_point(size=22, filled=True).encode(
        y=_decades(time, "y"),
        color=series.colour(),
        shape=series.shape(),
        tooltip=[
            alt.Tooltip("flow", type="quantitative", title="flow"),
            series.tooltip,
            alt.Tooltip("ends", type="nominal", title="from, to"),
            size.tooltip,
            time.tooltip,
            ideal.tooltip,
            Axis("slowdown", "slowdown").tooltip,
        ],
    )
    layers = (dashes.encode(y=_decades(ideal, "y", time.title)), dots)
    return alt.layer(*layers).add_params(click).properties(width=WIDTH, height=340)


def _decades(axis: Axis, channel: str, title: str = "") -> Any:
    look = alt.Axis(format="~s" if "bytes" in axis.field else ",~r", tickCount=6)
    make = alt.X if channel == "x" else alt.Y
    return make(
        axis.field,
        type="quantitative",
        title=title or axis.title,
        scale=axis.scale,
        axis=look,
    )


def chosen_dots(
    slowdown: Float64[np.ndarray, " n"], most: int = _MOST_DOTS
) -> Int64[np.ndarray, " k"]:
    """Which flows are drawn of many: the slowest tenth of them, the rest evenly."""
    n = len(slowdown)
    if n <= most:
        return np.arange(n)
    slowest = np.argsort(-slowdown, kind="stable")[: most // 10]
    evenly = np.linspace(0, n - 1, most - len(slowest)).astype(np.int64)
    return np.union1d(slowest, evenly)


def topology_map(
    links: Sequence[dict[str, Any]],
    values: Sequence[str],
    *,
    colour_title: str = "link busy",
    width_title: str = "longest queue (bytes)",
) -> Chart:
    """The topology with its links in the colour of what they did.

    A row of a link has ``name``, ``source``, ``target``, ``source_is_host``,
    ``target_is_host`` and the fields that ``values`` names, ``utilisation`` first.
    """
    names = list(dict.fromkeys(x[k] for x in links for k in ("source", "target")))
    index = {name: i for i, name in enumerate(names)}
    hosts = {x[k] for x in links for k in ("source", "target") if x[f"{k}_is_host"]}
    ends = [(index[x["source"]], index[x["target"]]) for x in links]
    pairs = sorted({(min(pair), max(pair)) for pair in ends})
    at = positions(len(names), pairs, [index[h] for h in names if h in hosts])
    # More nodes than the page has room for stand without a name.
    named = {name for name in names if name not in hosts}
    named = named if len(named) <= _FEW_NAMES else set[Any]()
    named |= hosts if len(hosts) <= _FEW_HOSTS else set[Any]()
    rows = [_segment(x, at, index, values) for x in links]
    place: dict[str, Any] = {"axis": None, "scale": alt.Scale(domain=[-0.03, 1.03])}
    base = chart_of(rows).encode(
        x=alt.X("x", type="quantitative", **place),
        y=alt.Y("y", type="quantitative", **place),
        x2=alt.X2("x2"),
        y2=alt.Y2("y2"),
    )
    colour = alt.Color(
        "utilisation",
        type="quantitative",
        title=colour_title,
        scale=alt.Scale(scheme="yelloworangered", domain=[0, 1]),
        legend=alt.Legend(format=".0%", gradientLength=180),
    )
    width = alt.StrokeWidth(
        "queue",
        type="quantitative",
        title=width_title,
        scale=alt.Scale(range=[1.2, 7]),
        legend=alt.Legend(format="~s", symbolType="stroke"),
    )
    drawn = base.mark_rule(strokeCap="round").encode(
        color=colour,
        strokeWidth=width,
        tooltip=[
            alt.Tooltip("name", type="nominal", title="link"),
            *(alt.Tooltip(f"{v}_text", type="nominal", title=v) for v in values),
        ],
    )
    layers = [drawn, *_nodes(names, at, hosts, named)]
    height = 420 if len(names) > 12 else 300  # noqa: PLR2004  few need less room
    return alt.layer(*layers).properties(width=WIDTH, height=height)


def _segment(
    link: dict[str, Any],
    at: Float64[np.ndarray, "n 2"],
    index: dict[str, int],
    values: Sequence[str],
) -> dict[str, Any]:
    """A link as a line beside that of the other direction."""
    a, b = at[index[link["source"]]], at[index[link["target"]]]
    along = b - a
    length = float(np.hypot(*along)) or 1.0
    aside = _OFFSET * np.array([-along[1], along[0]]) / length
    one, other = a + aside, b + aside
    return {
        "name": link["name"],
        "x": float(one[0]),
        "y": float(one[1]),
        "x2": float(other[0]),
        "y2": float(other[1]),
        "utilisation": link["utilisation"],
        "queue": link["max_queue_bytes"],
        **{f"{value}_text": link[f"{value}_text"] for value in values},
    }


def _nodes(
    names: Sequence[str],
    at: Float64[np.ndarray, "n 2"],
    hosts: set[Any],
    named: set[Any],
) -> list[alt.Chart]:
    rows = [
        {
            "node": name,
            "x": float(at[i, 0]),
            "y": float(at[i, 1]),
            "what": "host" if name in hosts else "switch",
            "said": name if name in named else "",
        }
        for i, name in enumerate(names)
    ]
    base = chart_of(rows).encode(
        x=alt.X("x", type="quantitative", axis=None),
        y=alt.Y("y", type="quantitative", axis=None),
    )
    size = 70 if len(names) <= 2 * _FEW_NAMES else 16
    marks = base.mark_point(filled=True, size=size, color=INK, opacity=1).encode(
        shape=alt.Shape(
            "what",
            type="nominal",
            title=None,
            scale=alt.Scale(domain=["host", "switch"], range=["circle", "square"]),
        ),
        tooltip=[
            alt.Tooltip("node", type="nominal", title="node"),
            alt.Tooltip("what", type="nominal", title=""),
        ],
    )
    words = base.mark_text(dy=-10, fontSize=10, color=INK).encode(
        text=alt.Text("said", type="nominal")
    )
    return [marks, words]


def queue_lines(rows: Rows, series: Series) -> Chart:
    """What waited for links over time."""
    time = Axis("time_s", "time (s)")
    return over_time(rows, time, Axis("kb", "waiting (kB)", from_zero=True), series)


def flow_timeline(rows: Rows, flows: Sequence[str], value: Axis, height: int) -> Chart:
    """What is said of a flow over time, of one that is picked."""
    names = tuple(dict.fromkeys(str(row["what"]) for row in rows))
    time = Axis("time_ms", "time since its start (ms)")
    chart = over_time(rows, time, value, Series("what", "", names), height=height)
    return ChartChoice("flow", "flow", tuple(flows), flows[0]).on(chart)


def thinned(n: int, most: int = _N_POINTS) -> Int64[np.ndarray, " k"]:
    """Which of many points of a line are drawn: evenly, the first and the last too."""
    if n <= most:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, most).astype(np.int64))


def time_against_error(rows: Rows, series: Series) -> Chart:
    """What a configuration takes against how far it lies from the reference."""
    click = legend_click(series)
    time = Axis("took_s", "time it took (s)", is_log=True)
    error = Axis("error", "median difference of completion times (%)", from_zero=True)
    base = chart_of(rows).encode(
        x=across(time),
        y=upwards(error),
        color=series.colour(),
        opacity=dimmed(click),
    )
    marks = base.mark_point(size=110, filled=True).encode(
        shape=series.shape(),
        tooltip=[
            series.tooltip,
            time.tooltip,
            error.tooltip,
            Axis("error_p99", "99 % of the flows are off by at most (%)").tooltip,
        ],
    )
    return alt.layer(marks.add_params(click)).properties(width=WIDTH, height=300)
