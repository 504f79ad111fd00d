"""The first chapter: what to take away, and every configuration in one table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.report import Cell, DataTable, Headline, Notice, PageSection
from midhaul.report.common_chapters import gather
from midhaul.report.numbers import between, bounded, duration_text, size_text
from midhaul.testbed.measure import tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.report import Item
    from midhaul.testbed.measure.report.view import (
        ConfigurationView,
        GridView,
        ReportMetric,
    )


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"


def _plain(value: float) -> str:
    return f"{value:.3g}"


_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("ap", "AP", _ratio),
    ("ap50", "AP50", _ratio),
    ("f1", "F1", _ratio),
    ("f1_calibrated", "F1, own threshold", _ratio),
    ("prepared_bytes", "bytes per image", size_text),
    ("size_left", "size left", _percent),
    ("latency_p50_s", "median latency", duration_text),
    ("latency_p90_s", "90 %", duration_text),
    ("latency_p99_s", "99 %", duration_text),
    ("throughput_hz", "answers per s", _plain),
    ("f1_per_s", "F1 per s", _plain),
    ("error_rate", "failed", _percent),
    ("usd_per_1000", "USD per 1000", _plain),
    ("joule_per_request", "J per request", _plain),
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
        ("Highest F1", "f1", max, _ratio),
        ("Lowest median latency", "latency_p50_s", min, duration_text),
        ("Highest F1 per second", "f1_per_s", max, _plain),
        ("Fewest bytes per image", "prepared_bytes", min, size_text),
        ("Lowest cost of 1000 requests", "usd_per_1000", min, "{:.3g} USD".format),
        ("Lowest energy per request", "joule_per_request", min, "{:.3g} J".format),
    )
    numbers: list[tuple[str, str, str]] = []
    for title, metric, pick, form in wanted:
        found = [
            (m, c)
            for c in view.configurations
            if (m := view.metric(c, metric)) is not None
        ]
        # A bound is not the best while there is a number that is known.
        found = [pair for pair in found if not pair[0].bound] or found
        if found:
            m, c = pick(found, key=lambda pair: pair[0].estimate.value)
            kind = " (model)" if m.is_model else ""
            remark = "; ".join(filter(None, (_interval(m, form), c.name)))
            text = bounded(form(m.estimate.value), m.bound)
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


def _interval(metric: ReportMetric, form: Callable[[float], str]) -> str:
    low, high = metric.estimate.low, metric.estimate.high
    if math.isnan(low) or math.isnan(high):
        return ""
    return between(form(low), form(high))


def _table(view: GridView) -> DataTable | str:
    known = [column for column in _COLUMNS if view.knows(column[0])]
    if not known:
        return "The table of configurations: no number was computed yet."
    return DataTable(
        title="All configurations",
        columns=(
            "detector",
            "preprocessing",
            *(words + _model(view, metric) for metric, words, _ in known),
        ),
        rows=tuple(
            (
                c.series,
                c.preprocessing,
                *(_cell(view, c, metric, form) for metric, _, form in known),
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


def _cell(
    view: GridView, c: ConfigurationView, metric: str, form: Callable[[float], str]
) -> Cell | None:
    found = view.metric(c, metric)
    if found is None:
        return None
    value = found.estimate.value
    text = bounded(form(value), found.bound)
    return Cell(text, value, note=_interval(found, form))
