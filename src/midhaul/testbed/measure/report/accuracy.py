"""Charts of accuracy, by detector and by preprocessing, and class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from midhaul.report import Figure, Notice, PageSection
from midhaul.report.axes import Axis, Series, chart_of, dimmed, legend_click
from midhaul.report.charts import bars, dots, lines, tiles
from midhaul.report.theme import SECOND_PALETTE
from midhaul.report.view import gather
from midhaul.testbed.measure import tables
from midhaul.testbed.measure.report.view import (
    ConfigurationView,
    GridView,
    detector_axis,
    ordered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from midhaul.report import Item
    from midhaul.testbed.measure.report.view import GridView

_F1 = Axis("f1", "F1", ".3f")
_SIZES = {
    "ap_small": "small boxes",
    "ap_medium": "medium boxes",
    "ap_large": "large boxes",
    "ap": "all boxes",
}


def accuracy(view: GridView) -> PageSection | None:
    """F1 and AP by detector, encoding, size and preprocessing; None without truth."""
    if not view.knows("f1"):
        return None
    items: list[Item | str] = []
    if any("random weights" in name for name in view.series.names):
        text = (
            "**Random weights.** Detectors marked so were never trained. Their speed "
            "is that of the real ones; their accuracy says nothing."
        )
        items.append(Notice(text=text, tone="warning"))
    items += [
        _by_detector(view),
        _by_box_size(view),
        _by_encoding(view),
        _by_resize(view),
        _by_both(view),
        _by_preprocessing(view),
        _thesis(view),
    ]
    text = (
        "F1 counts every detection of the data set once, at a fixed score threshold "
        "and an IoU of 0.5. Lines through the marks are 95 % bootstrap intervals over "
        f"images. Charts by detector are drawn at the preprocessing “{view.reference}” "
        "unless they say otherwise. Click a name in a legend to see it alone."
    )
    return PageSection(title="Accuracy", text=text, items=gather(items))


def _by_detector(view: GridView) -> Figure:
    rows = view.rows(view.at(view.reference), f1=("f1", 1))
    return Figure(
        title="F1 by detector",
        chart=bars(rows, _F1, detector_axis(rows, "f1"), view.series),
        caption=f"Images {_as_words(view.reference)}, all classes together.",
    )


def _by_box_size(view: GridView) -> Figure | str:
    found = [
        {**row, "size": words}
        for metric, words in _SIZES.items()
        for row in view.rows(view.at(view.reference), ap=(metric, 1))
    ]
    if not found:
        return "AP by the size of boxes: this run has no AP."
    sizes = Axis("size", "boxes", order=tuple(_SIZES.values()))
    value = Axis("ap", "AP, mean over IoU 0.50 to 0.95", ".3f", from_zero=True)
    return Figure(
        title="AP by size of the objects",
        chart=dots(found, value, sizes, view.series, step=11),
        caption="Small is below 32² px, large above 96² px, as COCO counts it.",
    )


def encoding_axis(view: GridView, title: str) -> Axis:
    """Encodings from the received one to the lowest quality."""
    mildest_first = sorted(view.configurations, key=lambda c: c.strength)
    codecs = sorted(mildest_first, key=lambda c: (c.strength[2], c.strength[3]))
    return Axis(
        "encoding", title, order=tuple(dict.fromkeys(c.encoding for c in codecs))
    )


def only(
    view: GridView, what: Callable[[ConfigurationView], object], *fixed: str
) -> list[ConfigurationView]:
    """The configurations that differ from the reference in one step alone.

    Attributes in ``fixed`` must equal those of the mildest preprocessing.
    """
    reference = view.at(view.reference)[0]
    chosen = [
        c
        for c in view.configurations
        if all(getattr(c, name) == getattr(reference, name) for name in fixed)
    ]
    return chosen if len({what(c) for c in chosen}) > 1 else []


def resize_axis(configurations: Iterable[ConfigurationView], title: str) -> Axis:
    """Sizes in percent, from the received one down."""
    sizes = sorted({c.resize for c in configurations}, reverse=True)
    return Axis("resize", title, order=tuple(f"{size * 100:.3g} %" for size in sizes))


def _by_encoding(view: GridView) -> Figure | str:
    chosen = only(view, lambda c: c.encoding, "resize", "gray")
    if not chosen:
        return "F1 against quality: the run has one encoding only."
    rows = [
        row | {"encoding": c.encoding, "path": f"{c.series} {c.codec == 'webp'}"}
        for c in chosen
        for row in view.rows([c], f1=("f1", 1))
    ]
    axis = encoding_axis(view, "encoding, best quality first")
    return Figure(
        title="F1 against quality",
        chart=lines(rows, axis, _F1, view.series),
        caption="Every image at its received size. A quality is a setting of the "
        "codec, not a share of bytes; the chapter on bytes has those.",
    )


def _by_resize(view: GridView) -> Figure | str:
    chosen = only(view, lambda c: c.resize, "codec", "quality", "gray")
    if not chosen:
        return "F1 against resize: the run has one size only."
    rows = [
        row | {"resize": f"{c.resize * 100:.3g} %", "path": c.series}
        for c in chosen
        for row in view.rows([c], f1=("f1", 1))
    ]
    axis = resize_axis(chosen, "width and height, of those received")
    return Figure(
        title="F1 against resize",
        chart=lines(rows, axis, _F1, view.series),
        caption="Resized images keep the quantisation tables of the received file, so "
        "that what is compared is the size alone.",
    )


def _by_both(view: GridView) -> Figure | str:
    reference = view.at(view.reference)[0]
    chosen = [c for c in view.configurations if c.gray == reference.gray]
    rows = [
        row | {"encoding": c.encoding, "resize": f"{c.resize * 100:.3g} %"}
        for c in chosen
        for row in view.rows([c], f1=("f1", 1))
    ]
    n_tiles = len({(row["encoding"], row["resize"]) for row in rows})
    sizes, encodings = resize_axis(chosen, "size"), encoding_axis(view, "encoding")
    if n_tiles <= max(len(sizes.order or ()), len(encodings.order or ())):
        return "F1 by quality and resize together: the run does not cross the two."
    series = Series("series", "detector", view.series.names)
    return Figure(
        title="F1 by quality and resize together",
        chart=tiles(rows, encodings, sizes, _F1, series),
        caption="One table per detector, all in the same colours.",
    )


def _by_preprocessing(view: GridView) -> Figure | str:
    rows = view.rows(view.configurations, f1=("f1", 1))
    if len(view.preprocessings) == 1:
        return "F1 by preprocessing: the run has one preprocessing only."
    label = Axis("preprocessing", "preprocessing", order=view.preprocessings)
    return Figure(
        title="F1 by preprocessing",
        chart=dots(rows, _F1, label, view.series),
        caption="Every preprocessing of the run, from none to the hardest.",
    )


def _thesis(view: GridView) -> Figure | str:
    chosen = view.at(view.reference)
    both = {"f1": "over the data set", "f1_thesis": "as the thesis averages"}
    rows = [
        {**row, "averaging": words}
        for metric, words in both.items()
        for row in view.rows(chosen, f1=(metric, 1))
    ]
    if len({row["averaging"] for row in rows}) < len(both):
        return "The thesis's averaging: this run did not compute it."
    detectors = Axis("series", "detector", order=ordered(rows, "series", "f1"))
    series = Series("averaging", "F1", tuple(both.values()), SECOND_PALETTE)
    return Figure(
        title="What averaging per image hides",
        chart=dots(rows, _F1, detectors, series, step=12),
        caption="The thesis that this testbed succeeds averaged F1 over the classes of "
        "each image, then over images, and skipped detections of classes that the "
        "image does not show. That is another number than the F1 of the data set, "
        "and it may rank detectors otherwise.",
    )


def _as_words(preprocessing: str) -> str:
    return preprocessing if preprocessing == "as received" else f"with {preprocessing}"


_ROW_PX = 15


def classes(view: GridView) -> PageSection | None:
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
    return PageSection(title="Classes", text=text, items=items)


def _chart(
    view: GridView, rows: list[dict[str, Any]], order: list[str]
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
