"""A run as its charts need it: names, and metrics by configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.model.estimate import SIGNS
from midhaul.report import Cell, DataTable, Figure, Headline
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import bars
from midhaul.report.numbers import between, bounded, text_of
from midhaul.runs.summary import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.runs.metric import Metric, Metrics
    from midhaul.runs.run import Run
    from midhaul.runs.tables import Table


class View:
    """What all chapters read: the configurations and the summary of a run.

    Attributes:
        run: where everything comes from.
        names: of the configurations by number, in order.
        has: names of the tables with rows.
    """

    def __init__(self, run: Run, configurations: Table) -> None:
        """Read the names and the summary."""
        self.run = run
        self.has = frozenset(run.tables())
        rows = run.read(configurations).to_pylist()
        self.names = {int(row["configuration"]): str(row["name"]) for row in rows}
        self._metrics: dict[tuple[int, str], Mapping[str, Any]] = {
            (int(row["configuration"]), str(row["metric"])): row
            for row in run.read(SUMMARY).to_pylist()
            if row["value"] is not None
        }

    @property
    def series(self) -> Series:
        """The configurations, in the order that fixes their colours."""
        return Series("name", "configuration", tuple(self.names.values()))

    def rows(self, table: Table, order: str = "") -> list[dict[str, Any]]:
        """The rows of a table, each with number and name of its configuration.

        All rows of a table without the column ``configuration`` are of the first one.
        ``order`` is columns to sort by, as in SQL; as written by default.
        """
        if table.name not in self.has:
            return []
        by = f" ORDER BY {order}" if order else ""
        found = self.run.sql(f"SELECT * FROM {table.name}{by}").to_pylist()  # noqa: S608 - our own names
        first = min(self.names, default=0)
        numbered = [{"configuration": first, **row} for row in found]
        return [{**row, "name": self.names[row["configuration"]]} for row in numbered]

    def metric(self, configuration: int, name: str) -> Mapping[str, Any] | None:
        """A row of the summary; None where there is none."""
        return self._metrics.get((configuration, name))

    def value(self, configuration: int, name: str) -> float | None:
        """A number of the summary; None where there is none."""
        found = self.metric(configuration, name)
        return None if found is None else float(found["value"])

    def knows(self, name: str) -> bool:
        """Whether some configuration has this metric."""
        return any(metric == name for _, metric in self._metrics)


def summary_table(view: View, metrics: Metrics, caption: str) -> DataTable | str:
    """All configurations with the metrics of a kind that the run has."""
    known = [m for m in metrics.values() if m.heading and view.knows(m.name)]
    if not known:
        return "The table of configurations: no number was computed yet."
    return DataTable(
        title="All configurations",
        columns=("configuration", *(metric.heading for metric in known)),
        rows=tuple(
            (name, *(summary_cell(view.metric(number, m.name), m) for m in known))
            for number, name in view.names.items()
        ),
        caption=caption,
    )


def headline(
    view: View, metrics: Metrics, wanted: Sequence[tuple[str, str]]
) -> Headline | str:
    """The best configuration of each metric.

    ``wanted`` has a title and a metric each.
    """
    numbers: list[tuple[str, str, str]] = []
    for title, metric in wanted:
        declared = metrics[metric]
        found = [
            (row, name)
            for number, name in view.names.items()
            if (row := view.metric(number, metric)) is not None
        ]
        # A bound is not the best while there is a number that is known.
        found = [pair for pair in found if not pair[0]["bound"]] or found
        if found:
            best = max if declared.better == "higher" else min
            row, name = best(found, key=lambda pair: pair[0]["value"])
            text = bounded(text_of(declared.form)(row["value"]), row["bound"])
            numbers.append((title, text, name if len(view.names) > 1 else ""))
    return Headline(numbers=tuple(numbers)) if numbers else ""


def metric_bars(
    view: View, metric: str, title: str, axis: str, caption: str, factor: float = 1.0
) -> Figure | str:
    """One bar for each configuration, the longest first."""
    rows: list[dict[str, Any]] = []
    for number, name in view.names.items():
        found = view.metric(number, metric)
        if found is None:
            continue
        row = {"name": name, "value": float(found["value"]) * factor}
        if found["low"] is not None and found["high"] is not None:
            row |= {"value_low": found["low"] * factor}
            row |= {"value_high": found["high"] * factor}
        if found["bound"]:
            row |= {"value_bound": SIGNS[found["bound"]]}
        rows.append(row)
    if not rows:
        return f"{title}: the run has no {metric}."
    rows.sort(key=lambda row: -row["value"])
    label = Axis("name", "configuration", order=tuple(row["name"] for row in rows))
    chart = bars(rows, Axis("value", axis, from_zero=True), label, view.series)
    return Figure(title=title, chart=chart, caption=caption)


def summary_cell(found: Mapping[str, Any] | None, metric: Metric) -> Cell | None:
    """A row of the summary as a number with its interval below."""
    if found is None:
        return None
    form = text_of(metric.form)
    note = ""
    if found["low"] is not None and found["high"] is not None:
        note = between(form(found["low"]), form(found["high"]))
    text = bounded(form(found["value"]), found["bound"])
    return Cell(text, float(found["value"]), note=note)
