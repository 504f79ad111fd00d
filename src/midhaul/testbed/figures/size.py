"""How many bytes remain, and what they cost in accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from midhaul.report import Figure, Section
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import bars, dots
from midhaul.report.gathering import gather
from midhaul.report.theme import NEUTRAL, SECOND_PALETTE
from midhaul.testbed.figures.accuracy import encoding_axis, only, resize_axis

if TYPE_CHECKING:
    from midhaul.testbed.figures.view import Configuration, View

_LEFT = Axis("left", "bytes left, % of those received", from_zero=True)
_F1 = Axis("f1", "F1", ".3f")
_NO_SERIES = Series("all", "", ("all",), (NEUTRAL,))


def size(view: View) -> Section | None:
    """Bytes against quality, resize and link; None where no bytes were counted."""
    if not view.knows("size_left"):
        return None
    best = _best_series(view)
    text = (
        "Bytes of the image file before and after preprocessing, mean over images. The "
        "baseline is the file **as it was received**, never a re-encoded one."
    )
    quality = only(view, lambda c: c.encoding, "resize", "gray")
    resize = only(view, lambda c: c.resize, "codec", "quality", "gray")
    encodings = encoding_axis(view, "encoding")
    sizes = resize_axis(view.configurations, "width and height")
    items = (
        _pair(view, best, quality, encodings, "quality"),
        _pair(view, best, resize, sizes, "resize"),
        _by_preprocessing(view),
        _by_link(view),
    )
    return Section(title="Bytes", text=text, items=gather(items))


def _best_series(view: View) -> str:
    """The detector with the highest F1 at the reference; the first without F1."""
    rows = view.rows(view.at(view.reference), f1=("f1", 1))
    if not rows:
        return view.series.names[0]
    return str(max(rows, key=lambda row: float(row["f1"]))["series"])


def _pair(
    view: View, best: str, chosen: list[Configuration], axis: Axis, word: str
) -> Figure | str:
    mine = [c for c in chosen if c.series == best]
    if not mine:
        return f"Size left against {word}: the run does not vary {word} alone."
    left = _labelled(view, mine, left=("size_left", 100))
    title = f"Size left against {word}"
    left = [row | {"all": "all"} for row in left]
    charts: list[Any] = [bars(left, _LEFT, axis, _NO_SERIES)]
    caption = "Bytes left do not depend on the detector."
    if f1 := _labelled(view, mine, f1=("f1", 1)):
        charts.append(bars(f1, _F1, axis, view.series))
        title += ", with the F1 of the best detector"
        caption += f" F1 is that of {best}, the best one at “{view.reference}”."
    wide = [chart.properties(width=290) for chart in charts]
    both = alt.hconcat(*wide, spacing=44).resolve_scale(color="independent")
    return Figure(title=title, chart=both, caption=caption)


def _labelled(
    view: View, chosen: list[Configuration], **fields: tuple[str, float]
) -> list[dict[str, Any]]:
    return [
        row | {"encoding": c.encoding, "resize": f"{c.resize * 100:.3g} %"}
        for c in chosen
        for row in view.rows([c], **fields)
    ]


def _by_preprocessing(view: View) -> Figure | str:
    rows = view.rows(view.configurations, bytes=("prepared_bytes", 1e-3))
    first = {row["preprocessing"]: row for row in reversed(rows)}
    if len(first) < 2:  # noqa: PLR2004 - one bar compares nothing
        return "Bytes by preprocessing: there is nothing to compare."
    kilobytes = Axis("bytes", "kB per image after preprocessing")
    label = Axis("preprocessing", "preprocessing", order=view.preprocessings)
    shown = [row | {"all": "all"} for row in first.values()]
    return Figure(
        title="Bytes per image by preprocessing",
        chart=bars(shown, kilobytes, label, _NO_SERIES),
        caption="Mean over the images of the run; 1 kB is 1000 bytes.",
    )


def _by_link(view: View) -> Figure | str:
    links = {
        "access_up_bytes": "workload to edge",
        "backhaul_up_bytes": "edge to cloud",
    }
    rows = [
        {**row, "link": words}
        for metric, words in links.items()
        for row in view.rows(
            [c for c in view.configurations if c.series == view.series.names[0]],
            bytes=(metric, 1e-3),
        )
    ]
    if not rows:
        return "Bytes by link: no request was sent in this run."
    kilobytes = Axis("bytes", "kB per request", from_zero=True)
    label = Axis("preprocessing", "preprocessing", order=view.preprocessings)
    series = Series("link", "link", tuple(links.values()), SECOND_PALETTE)
    return Figure(
        title="Bytes per request on each link",
        chart=dots(rows, kilobytes, label, series, step=9),
        caption=f"With the detector {view.series.names[0]}; an edge saves only what it "
        "does not forward.",
    )
