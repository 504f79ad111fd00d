"""Chapters that reports of federation.train and federation.evaluate share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.federation import tables
from midhaul.federation.figures.curves import PER, quality_text
from midhaul.federation.serving.tables import FAULT_PHASES, FAULT_SUMMARY
from midhaul.model.estimate import AT_LEAST, SIGNS
from midhaul.report import Cell, DataTable, Figure, Section
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import dots, lines, over_time, stack
from midhaul.report.gathering import gather
from midhaul.report.numbers import percent
from midhaul.report.timelines import against

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.report.view import View

_MOST_LABELS = 20
_MOST_SUBSETS = 8


def calls(view: View) -> Section | None:
    """Who is asked how often, and with whom."""
    rows = [row for row in view.rows(tables.CALLS) if row["share"] > 0]
    if not rows:
        return None
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["name"]] = totals.get(row["name"], 0.0) + row["share"]
    marks = [{**row, "total": totals[row["name"]]} for row in rows]
    providers = tuple(dict.fromkeys(row["provider"] for row in view.rows(tables.CALLS)))
    chart = stack(
        marks,
        Axis("share", "calls for one item", ".2f"),
        Axis(
            "name", "policy", order=tuple(n for n in view.names.values() if n in totals)
        ),
        Series("provider", "provider", providers),
        Axis("total", "calls", ".2f"),
    )
    figure = Figure(
        title="Who is asked",
        chart=chart,
        caption="Mean number of calls for an item, by provider.",
    )
    return Section(title="Calls", items=gather((figure, _subsets(view))))


def _subsets(view: View) -> DataTable | str:
    rows = view.rows(tables.SUBSETS)
    shown: list[tuple[Any, ...]] = []
    seen: dict[str, int] = {}
    for row in rows:
        seen[row["name"]] = seen.get(row["name"], 0) + 1
        if seen[row["name"]] <= _MOST_SUBSETS:
            quality = Cell(quality_text(row["quality"]), row["quality"])
            shown.append((row["name"], row["subset"], percent(row["share"]), quality))
    if not shown:
        return ""
    return DataTable(
        title="Subsets that were asked most",
        columns=("policy", "subset", "of the items", "quality of these items"),
        rows=tuple(shown),
        caption="Quality of each item alone: items that need more calls are harder.",
    )


def classes(view: View, best: str, base: str) -> Section | None:
    """Quality by label, of one policy and of what it is held against.

    Args:
        view: the run.
        best: name of the configuration to show.
        base: name of the one beside it.
    """
    rows = [r for r in view.rows(tables.CLASSES) if r["name"] in (best, base)]
    rows = [row for row in rows if row["quality"] is not None]
    values = {(row["name"], row["label"]): row["quality"] for row in rows}
    support = {row["label"]: row["support"] for row in rows}
    both = [x for x in support if (best, x) in values and (base, x) in values]
    common = sorted(both, key=lambda label: -support[label])[:_MOST_LABELS]
    if not common:
        return None
    common.sort(key=lambda label: values[base, label] - values[best, label])
    marks = [
        {"label": label, "name": name, "quality": values[name, label] * 100}
        for label in common
        for name in (best, base)
    ]
    chart = dots(
        marks,
        Axis("quality", "quality in %"),
        Axis("label", "label", order=tuple(common)),
        Series("name", "policy", (best, base)),
    )
    figure = Figure(
        title="Gain by label",
        chart=chart,
        caption="AP50 for boxes, F1 for tags, recall for labels, on the test items of "
        f"the first split; at most {_MOST_LABELS} labels, the most frequent ones, the "
        "largest gain first.",
    )
    return Section(title="Labels", items=(figure,))


def calibration(view: View) -> Section | None:
    """Reliability diagrams: what a score of a provider is worth."""
    if tables.CALIBRATION.name not in view.has:
        return None
    rows = view.run.read(tables.CALIBRATION).to_pylist()
    figures: list[Figure] = []
    for is_calibrated in (False, True):
        marks = [
            {**row, "score": row["score"], "right": row["share_right"]}
            for row in rows
            if row["is_calibrated"] == is_calibrated and row["n"] > 0
        ]
        if not marks:
            continue
        providers = tuple(dict.fromkeys(row["provider"] for row in rows))
        chart = against(
            marks,
            Axis("score", "mean score"),
            Axis("right", "share that is right"),
            Series("provider", "provider", providers),
        )
        errors = {row["provider"]: row["error"] for row in marks}
        text = ", ".join(f"{name} {error * 100:.1f}" for name, error in errors.items())
        title = "Scores after calibration" if is_calibrated else "Scores as answered"
        caption = f"Expected calibration error in points: {text}."
        figures.append(Figure(title=title, chart=chart, caption=caption))
    if not figures:
        return None
    text = (
        "A score is honest where the share that is right equals it: on the dashed "
        "line. The items are none that calibration was fitted on."
    )
    return Section(title="Calibration of scores", text=text, items=tuple(figures))


def learning(view: View) -> Section | None:
    """Quality and price while a learner is trained."""
    rows = view.rows(tables.LEARNING)
    if not rows:
        return None
    marks = [
        {
            **row,
            "path": f"{row['name']} {row['split']}",
            "percent": row["quality"] * 100,
            "usd": row["cost_usd"] * PER,
        }
        for row in rows
    ]
    names = tuple(dict.fromkeys(row["name"] for row in marks))
    x = Axis("step", "steps")
    series = Series("name", "policy", names)
    figures = tuple(
        Figure(
            title=f"{title} while learning",
            chart=lines(marks, x, Axis(field, axis), series),
            caption="On calibration items; a line for each split.",
        )
        for title, field, axis in (
            ("Quality", "percent", "quality in %"),
            ("Price", "usd", "price of 1,000 items in USD"),
        )
    )
    return Section(title="Learning", items=figures)


def regret(view: View) -> Section | None:
    """What a stream of items costs against the best fixed subset."""
    rows = view.rows(tables.REGRET, "configuration, item_number")
    if not rows:
        return None
    names = tuple(dict.fromkeys(row["name"] for row in rows))
    series = Series("name", "policy", names)
    x = Axis("item_number", "items seen")
    charts = (
        (
            "Regret over time",
            Axis("regret", "regret in quality"),
            "Against the best fixed subset for the same exchange of quality and price; "
            "falling is better than it. Audits are charged.",
        ),
        (
            "Quality over time",
            Axis("quality", "quality of the last items"),
            "Mean quality of single items, the latest ones.",
        ),
    )
    figures = tuple(
        Figure(
            title=title,
            chart=over_time(rows, x, y, series),
            caption=caption,
        )
        for title, y, caption in charts
    )
    return Section(title="Over time", items=figures)


def faults(view: View) -> Section | None:
    """How latency, quality and price stand a bad day of the best provider."""
    if FAULT_SUMMARY.name not in view.has:
        return None
    rows = view.run.read(FAULT_SUMMARY).to_pylist()
    marks = [
        {
            **row,
            **_bound(row),
            "percent": row["quality"] * 100,
            "usd": row["cost_usd"] * PER,
        }
        for row in rows
    ]
    phases = tuple(dict.fromkeys(row["phase"] for row in rows))
    names = tuple(dict.fromkeys(row["policy"] for row in rows))
    series = Series("policy", "policy", names)
    label = Axis("phase", "phase", order=phases)
    charts = (
        ("Latency under faults", "latency_p95_s", "95th percentile in s"),
        ("Quality under faults", "percent", "mean quality of items in %"),
        ("Price under faults", "usd", "price of 1,000 requests in USD"),
    )
    hit = [
        str(row["provider"])
        for row in view.run.read(FAULT_PHASES).to_pylist()
        if row["provider"]
    ]
    text = (
        f"Requests come as they like while {hit[0] if hit else 'a provider'} fails in "
        "one way after another. Retries, breakers and failover are those of the "
        "service; time is virtual, and latencies of calls are drawn where the "
        "recording has none. A request without an answer has quality 0."
    )
    items = gather(
        Figure(
            title=title,
            chart=dots(shown, Axis(field, axis, from_zero=True), label, series),
            caption="By phase, on test items of the first split.",
        )
        if (shown := [mark for mark in marks if mark[field] is not None])
        else f"{title}: no phase has the requests that a percentile needs; raise "
        "`faults.phase_s` or `faults.rate_hz`."
        for title, field, axis in charts
    )
    return Section(title="A bad day", text=text, items=items)


def _bound(row: Mapping[str, Any]) -> dict[str, str]:
    """The sign of a percentile that lies among requests without an answer."""
    p95, known_below = row["latency_p95_s"], row["latency_known_below_s"]
    if p95 is None or known_below is None or p95 < known_below:
        return {}
    return {"latency_p95_s_bound": SIGNS[AT_LEAST]}
