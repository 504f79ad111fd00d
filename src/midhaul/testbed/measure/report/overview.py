"""The first chapter: what to take away, and every configuration in one table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.report import Cell, DataTable, Headline, Notice, PageSection
from midhaul.report.common_chapters import gather
from midhaul.report.numbers import between, bounded, duration_text, text_of
from midhaul.testbed.measure import tables
from midhaul.testbed.measure.metrics import METRICS

if TYPE_CHECKING:
    from midhaul.report import Item
    from midhaul.runs.metric import Metric
    from midhaul.testbed.measure.report.view import (
        GridView,
        ReportMetric,
    )


def overview(view: GridView) -> PageSection:
    """The best of each kind and the table of all configurations."""
    items: list[Item | str] = []
    if not view.configurations:
        text = "This run has written no configuration yet, so there is nothing to show."
        return PageSection(title="Overview", items=(Notice(text=text, tone="warning"),))
    if numbers := _numbers(view):
        items.append(Headline(numbers=tuple(numbers)))
    items.append(_table(view))
    return PageSection(title="Overview", items=gather(items))


def _numbers(view: GridView) -> list[tuple[str, str, str]]:
    wanted = (
        ("Highest F1", "f1", ""),
        ("Lowest median latency", "latency_p50_s", ""),
        ("Highest F1 per second", "f1_per_s", ""),
        ("Fewest bytes per image", "prepared_bytes", ""),
        ("Lowest cost of 1000 requests", "usd_per_1000", " USD"),
        ("Lowest energy per request", "joule_per_request", " J"),
    )
    numbers: list[tuple[str, str, str]] = []
    for title, name, unit in wanted:
        metric = METRICS[name]
        found = [(m, c) for c in view.configurations if (m := view.metric(c, name))]
        # A bound is not the best while there is a number that is known.
        found = [pair for pair in found if not pair[0].bound] or found
        if found:
            pick = max if metric.better == "higher" else min
            m, c = pick(found, key=lambda pair: pair[0].estimate.value)
            kind = " (model)" if m.is_model else ""
            remark = "; ".join(filter(None, (_interval(m, metric, unit), c.name)))
            text = bounded(_text(m.estimate.value, metric, unit), m.bound)
            numbers.append((title + kind, text, remark))
    return numbers + _counts(view)


def _counts(view: GridView) -> list[tuple[str, str, str]]:
    n = len(view.configurations)
    cells = view.run.read(tables.CELLS).to_pylist()
    if not cells:
        return [("Configurations", str(n), "")]
    n_valid = sum(bool(cell["is_valid"]) for cell in cells)
    n_requests = sum(cell["n_requests"] or 0 for cell in cells)
    n_errors = sum(cell["n_errors"] or 0 for cell in cells)
    measured_s = sum(cell["duration_s"] or 0.0 for cell in cells)
    n_blocks = len({cell["block"] for cell in cells})
    load = f"{n_errors:,} failed; {duration_text(measured_s)} of load"
    grid = f"{_counted(n, 'configuration')}, {_counted(n_blocks, 'block')}"
    return [
        ("Requests judged", f"{n_requests:,}", load),
        ("Cells valid", f"{n_valid} of {len(cells)}", grid),
    ]


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _text(value: float, metric: Metric, unit: str = "") -> str:
    return text_of(metric.form)(value) + unit


def _interval(found: ReportMetric, metric: Metric, unit: str = "") -> str:
    low, high = found.estimate.low, found.estimate.high
    if math.isnan(low) or math.isnan(high):
        return ""
    return between(_text(low, metric, unit), _text(high, metric, unit))


def _table(view: GridView) -> DataTable | str:
    known = [m for m in METRICS.values() if m.heading and view.knows(m.name)]
    if not known:
        return "The table of configurations: no number was computed yet."
    return DataTable(
        title="All configurations",
        columns=(
            "detector",
            "preprocessing",
            *(m.heading + _model(view, m.name) for m in known),
        ),
        rows=tuple(
            (
                c.series,
                c.preprocessing,
                *(_cell(view.metric(c, m.name), m) for m in known),
            )
            for c in view.configurations
        ),
        caption="Below each number its 95 % interval. Every mean is over all judged "
        "requests; ≥ stands where the number lies among requests that were not "
        "answered, which took at least the time they were given. Click a heading to "
        "sort.",
    )


def _model(view: GridView, metric: str) -> str:
    found = (view.metric(c, metric) for c in view.configurations)
    return " (model)" if any(m and m.is_model for m in found) else ""


def _cell(found: ReportMetric | None, metric: Metric) -> Cell | None:
    if found is None:
        return None
    value = found.estimate.value
    text = bounded(_text(value, metric), found.bound)
    return Cell(text, value, note=_interval(found, metric))
