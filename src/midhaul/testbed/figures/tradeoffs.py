"""What accuracy costs: time, bytes, money and energy, and what nothing beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.report import Cell, DataTable, Figure, Section
from midhaul.report.axes import Axis
from midhaul.report.charts import front, pareto
from midhaul.report.gathering import gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.testbed.figures.view import View


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


def tradeoffs(view: View) -> Section | None:
    """Pareto fronts of F1 against each price; None where there is nothing to trade."""
    if not view.knows("f1") or len(view.configurations) == 1:
        return None
    text = (
        "Each mark is one configuration. The dashed line joins those that no other "
        "configuration beats in both directions; everything right of it and below is "
        "a worse deal. Marks whose intervals overlap may change places in another run."
    )
    items = [_front(view, price) for price in _PRICES]
    return Section(
        title="Trade-offs", text=text, items=gather([*items, _best_table(view)])
    )


def undoubted(
    rows: Sequence[Mapping[str, Any]], price: str, quality: str
) -> list[bool]:
    """Which rows no other beats, as far as that is known.

    A price that is known from below only is on no front, and beats nobody.

    Args:
        rows: of a chart.
        price: field of what should be small.
        quality: field of what should be large.
    """
    is_known = [not row.get(f"{price}_bound") for row in rows]
    known = [row for row, is_one in zip(rows, is_known, strict=True) if is_one]
    best = iter(pareto([(row[price], -row[quality]) for row in known]))
    return [is_one and next(best) for is_one in is_known]


def _metric(view: View, price: _Price) -> str | None:
    return next((m for m in price.metrics if view.knows("f1", m)), None)


def _front(view: View, price: _Price) -> Figure | str:
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
        is_model=found.is_model,
    )


def _absent(view: View, n_shown: int) -> str:
    n = len(view.configurations) - n_shown
    return f" {n} configurations without such a number are not shown." if n else ""


_WORDS = {
    "latency_p99_s": "99th percentile of latency",
    "latency_p90_s": "90th percentile of latency",
    "backhaul_up_bytes": "bytes per request to the cloud",
    "prepared_bytes": "bytes per image after preprocessing",
}


def _best_table(view: View) -> DataTable | str:
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
