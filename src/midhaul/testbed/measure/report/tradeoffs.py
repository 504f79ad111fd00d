"""Charts of trade-offs: what accuracy costs in time, bytes, money and energy.

Of bytes they show how many remain, and what they cost in accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt

from midhaul.report import Cell, DataTable, Figure, PageSection
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import bars, dots, front, pareto
from midhaul.report.theme import NEUTRAL, SECOND_PALETTE
from midhaul.report.view import gather
from midhaul.testbed.measure.report.accuracy import encoding_axis, only, resize_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.testbed.measure.report.view import ConfigurationView, GridView

_LEFT = Axis("left", "bytes left, % of those received", from_zero=True)
_F1 = Axis("f1", "F1", ".3f")
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
        _by_preprocessing(view),
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


def _by_preprocessing(view: GridView) -> Figure | str:
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
    items = [_front(view, price) for price in _PRICES]
    return PageSection(
        title="Trade-offs", text=text, items=gather([*items, _best_table(view)])
    )


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
        view.configurations,
        f1=("f1", 1),
        **{m: (m, p.factor) for p, m in known},
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
