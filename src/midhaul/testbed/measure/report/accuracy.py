"""Charts of accuracy, by detector, preprocessing and class, and of what it costs.

That is time, bytes, money and energy; of bytes, too, how many remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from midhaul.report import Cell, DataTable, Figure, Notice, PageSection
from midhaul.report.axes import Axis, Series, chart_of, dimmed, legend_click
from midhaul.report.charts import bars, dots, front, lines, pareto, tiles
from midhaul.report.theme import NEUTRAL, SECOND_PALETTE
from midhaul.report.view import gather
from midhaul.testbed.measure import tables
from midhaul.testbed.measure.report.view import (
    ConfigurationView,
    GridView,
    detector_axis,
    ordered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from midhaul.report import Item

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


_LEFT = Axis("left", "bytes left, % of those received", from_zero=True)
_NO_SERIES = Series("all", "", ("all",), (NEUTRAL,))


def size(view: GridView) -> PageSection | None:
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
        _bytes_by_preprocessing(view),
        _by_link(view),
    )
    return PageSection(title="Bytes", text=text, items=gather(items))


def _best_series(view: GridView) -> str:
    """The detector with the highest F1 at the reference; the first without F1."""
    rows = view.rows(view.at(view.reference), f1=("f1", 1))
    if not rows:
        return view.series.names[0]
    return str(max(rows, key=lambda row: float(row["f1"]))["series"])


def _pair(
    view: GridView, best: str, chosen: list[ConfigurationView], axis: Axis, word: str
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
    view: GridView, chosen: list[ConfigurationView], **fields: tuple[str, float]
) -> list[dict[str, Any]]:
    return [
        row | {"encoding": c.encoding, "resize": f"{c.resize * 100:.3g} %"}
        for c in chosen
        for row in view.rows([c], **fields)
    ]


def _bytes_by_preprocessing(view: GridView) -> Figure | str:
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


def _by_link(view: GridView) -> Figure | str:
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


@dataclass(frozen=True, slots=True)
class _Price:
    """Something that accuracy is paid with.

    Attributes:
        metrics: names in the summary; the first that the run has is taken.
        factor: from its unit to the one shown.
        words: its name.
        unit: the one shown.
        is_in_table: True where the table of the best weighs it too.
    """

    metrics: tuple[str, ...]
    factor: float
    words: str
    unit: str
    is_in_table: bool = True


_PRICES = (
    _Price(("latency_p50_s",), 1e3, "median latency", "ms"),
    _Price(
        ("latency_p99_s", "latency_p90_s"), 1e3, "tail latency", "ms", is_in_table=False
    ),
    _Price(
        ("backhaul_up_bytes", "prepared_bytes"), 1e-3, "bytes sent to the cloud", "kB"
    ),
    _Price(("usd_per_1000",), 1, "cost of 1000 requests", "USD"),
    _Price(("joule_per_request",), 1, "energy per request", "J", is_in_table=False),
)
_LARGE_RATIO = 8


def tradeoffs(view: GridView) -> PageSection | None:
    """Pareto fronts of F1 against each price; None where there is nothing to trade."""
    if not view.knows("f1") or len(view.configurations) == 1:
        return None
    text = (
        "Each mark is one configuration. The dashed line joins those that no other "
        "configuration beats in both directions; everything right of it and below is "
        "a worse deal. Marks whose intervals overlap may change places in another run."
    )
    first = first_front(view)
    shown = "" if isinstance(first, str) else first.title
    drawn = [_front(view, price) for price in _PRICES]
    items = [one for one in drawn if isinstance(one, str) or one.title != shown]
    return PageSection(
        title="Trade-offs", text=text, items=gather([*items, _best_table(view)])
    )


def first_front(view: GridView) -> Figure | str:
    """The trade-off that a page begins with: the first price that the run has."""
    if not view.knows("f1") or len(view.configurations) == 1:
        return ""
    drawn = (_front(view, price) for price in _PRICES)
    return next((one for one in drawn if not isinstance(one, str)), "")


def undoubted(
    rows: Sequence[Mapping[str, Any]], price: str, quality: str
) -> list[bool]:
    """Which rows no other beats, as far as that is known.

    A price that is known from below only is on no front, and beats nobody. Fields
    ``price`` should be small, ``quality`` large.
    """
    is_known = [not row.get(f"{price}_bound") for row in rows]
    known = [row for row, is_one in zip(rows, is_known, strict=True) if is_one]
    best = iter(pareto([(row[price], -row[quality]) for row in known]))
    return [is_one and next(best) for is_one in is_known]


def _metric(view: GridView, price: _Price) -> str | None:
    return next((m for m in price.metrics if view.knows("f1", m)), None)


def _front(view: GridView, price: _Price) -> Figure | str:
    metric = _metric(view, price)
    if metric is None:
        return f"F1 against {price.words}: this run has no such number."
    rows = view.rows(view.configurations, f1=("f1", 1), price=(metric, price.factor))
    if len(rows) < 2:  # noqa: PLR2004 - one mark trades nothing
        return f"F1 against {price.words}: one configuration only has such a number."
    best = undoubted(rows, "price", "f1")
    shown = [row | {"on_front": b} for row, b in zip(rows, best, strict=True)]
    prices = [float(row["price"]) for row in rows]
    is_log = min(prices) > 0 and max(prices) / min(prices) > _LARGE_RATIO
    words = _WORDS.get(metric, price.words)
    x = Axis("price", f"{words}, {price.unit}", is_log=is_log)
    found = next(m for c in view.configurations if (m := view.metric(c, metric)))
    return Figure(
        title=f"F1 against {words}",
        chart=front(
            shown,
            x,
            Axis("f1", "F1", ".3f"),
            Axis("name", "configuration", order=()),
            view.series,
        ),
        caption="Left and up is better."
        + (" Logarithmic scale." if is_log else "")
        + _absent(view, len(rows)),
        is_model=found["is_model"],
    )


def _absent(view: GridView, n_shown: int) -> str:
    n = len(view.configurations) - n_shown
    return f" {n} configurations without such a number are not shown." if n else ""


_WORDS = {
    "latency_p99_s": "99th percentile of latency",
    "latency_p90_s": "90th percentile of latency",
    "backhaul_up_bytes": "bytes per request to the cloud",
    "prepared_bytes": "bytes per image after preprocessing",
}


def _best_table(view: GridView) -> DataTable | str:
    known = [
        (p, m) for p in _PRICES if p.is_in_table and (m := _metric(view, p)) is not None
    ]
    rows: list[dict[str, Any]] = view.rows(
        view.configurations, f1=("f1", 1), **{m: (m, p.factor) for p, m in known}
    )
    rows = [r for r in rows if not any(r.get(f"{m}_bound") for _, m in known)]
    if len(rows) < 2 or len(known) < 2:  # noqa: PLR2004 - nothing to choose from
        return "The table of configurations that nothing beats: too few numbers."
    best = pareto([(-r["f1"], *(r[m] for _, m in known)) for r in rows])
    kept = [row for row, b in zip(rows, best, strict=True) if b]
    kept.sort(key=lambda row: -row["f1"])
    names = [f"{_WORDS.get(m, p.words)}, {p.unit}" for p, m in known]
    return DataTable(
        title="Configurations that nothing beats in everything",
        columns=("detector", "preprocessing", "F1", *names),
        rows=tuple(
            (
                row["series"],
                row["preprocessing"],
                Cell(f"{row['f1']:.3f}", row["f1"]),
                *(Cell(f"{row[m]:.3g}", row[m]) for _, m in known),
            )
            for row in kept
        ),
        caption=f"{len(kept)} of {len(rows)}: no other one is at least as good in "
        "every column and better in one." + _absent(view, len(rows)),
    )
