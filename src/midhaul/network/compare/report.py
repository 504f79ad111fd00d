"""The report of network.compare: slowdowns side by side, differences, time, error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from midhaul.network import charts
from midhaul.network.compare.metrics import METRICS, reference_of
from midhaul.network.compare.tables import AGREEMENT, COMPARISONS
from midhaul.network.simulate import tables
from midhaul.network.simulate.metrics import simulated_flows
from midhaul.network.simulate.report import (
    class_table,
    ladder_table,
    links_chapter,
    timeline_chapter,
    work_table,
)
from midhaul.network.slowdown import SIZE_CLASSES, WORDS
from midhaul.report import Cell, DataTable, Figure, Page, PageSection
from midhaul.report.numbers import duration, percent
from midhaul.report.view import (
    View,
    gather,
    headline,
    metric_bars,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.runs.run import Run

_TONES = {"better": "good", "worse": "bad"}
_SHOWN = ("slowdown_p50", "slowdown_p90", "slowdown_p99", "fct_mean_s", "fct_p99_s")


def build(run: Run) -> Page:
    """The report of a comparison, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Comparison: the same flows, one way and another"
    found = simulated_flows(run)
    if not found:
        text = "This run has simulated nothing to its end yet, so there is nothing to "
        return page_of(run, title, nothing_yet(text + "show."))
    reference = reference_of(run, found)
    at = [one.name for one in found].index(reference.name)
    return page_of(
        run,
        title,
        _overview(view, found, reference),
        _differences(view, reference),
        _agreement(view, reference),
        links_chapter(view, at),
        timeline_chapter(view, at),
    )


def _overview(
    view: View, found: Sequence[SimulatedFlows], reference: SimulatedFlows
) -> PageSection:
    wanted = (
        ("Slowdown, median", "slowdown_p50"),
        ("Slowdown, p99", "slowdown_p99"),
        ("Completion time, mean", "fct_mean_s"),
        ("Completion time, p99", "fct_p99_s"),
        ("Packets dropped", "n_dropped"),
    )
    caption = (
        "Below each number its 95 % interval, over batches of flows that began one "
        "after another. Where rates differ, ideal times do, too: compare completion "
        f"times then, not slowdowns. Held against {reference.name}."
    )
    at = [one.name for one in found].index(reference.name)
    asked = view.run.sql("SELECT count(DISTINCT simulator) AS n FROM configurations")
    # Of simulators the one with the least slowdown is not the best.
    told = reference.name if asked["n"][0].as_py() > 1 else ""
    return PageSection(
        title="Overview",
        items=gather(
            (
                headline(view, METRICS, wanted, of=told),
                slowdown_by_name(view, found),
                metric_bars(
                    view,
                    "fct_p99_s",
                    "Completion time that 99 % of the flows do not exceed",
                    "seconds",
                    "The longest first.",
                ),
                summary_table(view, METRICS, caption),
                class_table(view, at),
                ladder_table(view),
                work_table(view),
            )
        ),
    )


def without_notes(page: Page, said: Sequence[str]) -> Page:
    """A page without notes that say what it shows as its finding."""
    return replace(page, notes=tuple(one for one in page.notes if one not in said))


def slowdown_by_name(view: View, found: Sequence[SimulatedFlows]) -> Figure:
    """Slowdown at each percentile, a curve for each configuration."""
    rows: list[dict[str, Any]] = [
        {**row, "name": flows.name}
        for flows in found
        for row in charts.size_curves(flows.judged, flows.size_bytes)
    ]
    sizes = list(dict.fromkeys(str(row["size"]) for row in rows))
    return Figure(
        title="Slowdown by configuration",
        chart=charts.curves_by(rows, view.series, sizes),
        caption=charts.CURVES,
    )


def _differences(view: View, reference: SimulatedFlows) -> PageSection:
    rows = [row for row in view.rows(COMPARISONS) if row["metric"] in _SHOWN]
    table = DataTable(
        title=f"Held against {reference.name}",
        columns=("configuration", "metric", "reference", "value", "ratio", "result"),
        rows=tuple(
            (
                row["name"],
                row["metric"],
                row["reference"],
                row["value"],
                _ratio(row),
                Cell(
                    row["result"],
                    tone=_TONES.get(row["result"], ""),  # pyright: ignore[reportArgumentType]
                    note=row["reason"] or "",
                ),
            )
            for row in rows
        ),
        caption="Batches of the same flows are paired; p values of a configuration are "
        "corrected together (Holm), and what does not stand is a tie.",
    )
    items = (table,) if rows else ("Differences: there is one configuration only.",)
    return PageSection(title="Differences", items=gather(items))


def _ratio(row: dict[str, Any]) -> Cell | None:
    if row["ratio"] is None:
        return None
    low, high = row["ratio_low"], row["ratio_high"]
    note = "" if low is None or high is None else f"{low:.3g} – {high:.3g}"
    return Cell(f"{row['ratio']:.3g}", row["ratio"], note=note)


def _agreement(view: View, reference: SimulatedFlows) -> PageSection:
    rows = view.rows(AGREEMENT)
    table = DataTable(
        title="Completion times, flow by flow",
        columns=(
            "configuration",
            "size",
            "flows",
            "ended in one only",
            "within 2 ns",
            "off by, p50",
            "p90",
            "p99",
            "bias",
        ),
        rows=tuple(
            (
                row["name"],
                WORDS[row["size_class"]],
                row["n"],
                row["n_one_only"],
                percent(row["n_within_2ns"] / row["n"]),
                percent(row["error_p50"]),
                percent(row["error_p90"]),
                percent(row["error_p99"]),
                percent(row["bias"]),
            )
            for row in rows
        ),
        caption=f"Relative differences to {reference.name}; the bias has a sign.",
    )
    return PageSection(
        title="Time and error",
        items=gather(
            (
                _time_against_error(view),
                _ladder(view, reference),
                table if rows else "",
            )
        ),
    )


def _ladder(view: View, reference: SimulatedFlows) -> DataTable | str:
    """Time against error, a row for each configuration."""
    took = {row["configuration"]: row for row in view.rows(tables.SIMULATIONS)}
    ratios = {
        (row["configuration"], row["metric"]): row for row in view.rows(COMPARISONS)
    }
    by_class = [
        (name, f"slowdown_{name}_p99")
        for name in SIZE_CLASSES
        if any(metric == f"slowdown_{name}_p99" for _, metric in ratios)
    ]
    shown = (("p50", "slowdown_p50"), ("p99", "slowdown_p99"))
    return DataTable(
        title="The ladder: time against error of percentiles",
        columns=(
            "configuration",
            "took",
            "times as fast",
            *(f"{heading} off by" for heading, _ in shown),
            *(f"p99 of {WORDS[name]}" for name, _ in by_class),
        ),
        rows=tuple(
            (
                name,
                duration(took[number]["took_s"]),
                view.value(number, "speedup"),
                *(
                    _off_by(ratios.get((number, metric)))
                    for _, metric in (*shown, *by_class)
                ),
            )
            for number, name in view.names.items()
            if number in took
        ),
        caption=f"Slowdowns over all flows, held against {reference.name}, with 95 % "
        "intervals over batches of flows. Drawn flows count here, and in nothing that "
        "is said flow by flow.",
    )


def _off_by(row: dict[str, Any] | None) -> Cell | str:
    if row is None or row["ratio"] is None:
        return ""
    low, high = row["ratio_low"], row["ratio_high"]
    note = "" if low is None or high is None else f"{low - 1:+.1%} – {high - 1:+.1%}"
    return Cell(f"{row['ratio'] - 1:+.1%}", row["ratio"] - 1, note=note)


def _time_against_error(view: View) -> Figure | str:
    took = {
        row["configuration"]: row["took_s"] for row in view.rows(tables.SIMULATIONS)
    }
    rows: list[dict[str, Any]] = []
    for number, name in view.names.items():
        if number not in took:
            continue
        error = view.value(number, "fct_error_p50")
        p99 = view.value(number, "fct_error_p99")
        rows.append(
            {
                "name": name,
                "took_s": max(took[number], 1e-4),
                "error": 100 * (error or 0.0),
                "error_p99": None if p99 is None else 100 * p99,
            }
        )
    if not rows:
        return "Time against error: nothing has been simulated."
    return Figure(
        title="Time against error",
        chart=charts.time_against_error(rows, view.series),
        caption="What a configuration takes on this machine, and how far the "
        "completion time of the median flow lies from that of the reference.",
    )
