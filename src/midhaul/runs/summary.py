"""Summary and report of a run, as they show themselves.

The table ``summary`` is what every kind writes: its metrics, one row for each
configuration. The report is one file, which a notebook shows in a frame.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError, suggestion
from midhaul.model import Estimate
from midhaul.model.display import MOST_ROWS, Display, Shown, counted
from midhaul.model.numbers import NumberForm, bounded, form_for
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from midhaul.runs.metric import Metric, Metrics

CONFIGURATION = Column("configuration", INT32, "Number of the configuration, from 0.")
"""What tells the configurations of a run apart; ``configurations`` names them."""

SUMMARY = Table(
    "summary",
    "One metric of one configuration over all blocks, with its interval.",
    (
        CONFIGURATION,
        Column("metric", STRING, "Name of the metric, see the reference."),
        Column("value", FLOAT, "Point estimate."),
        Column("low", FLOAT, "Lower end of the 95 % interval; null without one."),
        Column("high", FLOAT, "Upper end of the 95 % interval; null without one."),
        Column("n", INT, "Independent units behind it."),
        Column("unit", STRING, "SI unit, or empty."),
        Column(
            "is_model",
            BOOL,
            "True where stated coefficients make the number, not a measurement.",
        ),
        Column(
            "bound",
            STRING,
            "Null where value is exact; >= where the true number is at least that, as "
            "it lies among requests that were not answered; <= where at most.",
            is_newer=True,
        ),
        Column(
            "remark",
            STRING,
            "Why there is no value, or what it must be read with; null for nothing.",
            is_newer=True,
        ),
    ),
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Summary(Shown):
    """What a run found, metric by metric.

    Attributes:
        table: a row for each metric of each configuration, with the ``name`` of the
            configuration first.
        declared: what the kind says of its metrics; empty for a kind that is not known.
    """

    table: pa.Table
    declared: Metrics = field(default_factory=dict[str, "Metric"], repr=False)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as mappings by column."""
        return self.table.to_pylist()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, each once."""
        return tuple(dict.fromkeys(row["metric"] for row in self.rows))

    @property
    def configurations(self) -> tuple[str, ...]:
        """Names of the configurations, each once."""
        return tuple(dict.fromkeys(name_of(row) for row in self.rows))

    @property
    def shown_metrics(self) -> list[str]:
        """The metrics of the headline that are there, or all where none is."""
        known = self.metrics
        headline = [m.name for m in self.declared.values() if m.is_headline]
        return [name for name in headline if name in known] or list(known)

    def label(self, metric: str) -> str:
        """What a person reads for the name of a metric."""
        found = self.declared.get(metric)
        return metric if found is None else found.label

    def texts(self, row: Mapping[str, Any]) -> tuple[str, str]:
        """A row in words: the value with its unit or its bound, and its interval.

        A dash stands for no value, and nothing for no interval.
        """
        return estimate_texts(row, self.declared.get(row["metric"]))

    def estimate(self, metric: str, configuration: str = "") -> Estimate:
        """One number with its interval.

        Args:
            metric: its name.
            configuration: name of the configuration; may be left out where the run has
                only one.

        Raises:
            DataError: there is no such number, or more than one.
        """
        mine = [row for row in self.rows if row["metric"] == metric]
        if not mine:
            message = f"there is no metric {metric!r}{suggestion(metric, self.metrics)}"
            raise DataError(message, f"there are {', '.join(self.metrics) or 'none'}")
        if configuration:
            mine = [row for row in mine if name_of(row) == configuration]
        if len(mine) != 1:
            what = "no" if not mine else f"{len(mine)}"
            message = f"{metric} of {configuration or 'the run'}: {what} configurations"
            names = ", ".join(self.configurations)
            raise DataError(message, f"name one of its configurations: {names}")
        (row,) = mine
        nan = float("nan")
        return Estimate(
            value=nan if row["value"] is None else row["value"],
            low=nan if row["low"] is None else row["low"],
            high=nan if row["high"] is None else row["high"],
            n=row.get("n") or 0,
            unit=row["unit"] or "",
        )

    def remarks(self, metrics: Sequence[str] | None = None) -> tuple[str, ...]:
        """What some metrics lack, or all, once for all configurations alike."""
        said = dict.fromkeys((row["metric"], row.get("remark")) for row in self.rows)
        return tuple(
            f"{metric}: {remark}"
            for metric, remark in said
            if remark and (metrics is None or metric in metrics)
        )

    def blocks(
        self, metrics: Sequence[str] | None = None
    ) -> dict[str, list[tuple[str, str, str, str]]]:
        """Label, value, interval and name of metrics, by the configuration's name.

        They are those of the headline, unless some are named. What stated coefficients
        or a drawn example make is marked as a model.
        """
        shown = self.shown_metrics if metrics is None else metrics
        found: dict[str, dict[str, tuple[str, str, str]]] = {}
        for row in self.rows:
            metric = row["metric"]
            label = self.label(metric) + (" (model)" if row.get("is_model") else "")
            found.setdefault(name_of(row), {})[metric] = (label, *self.texts(row))
        return {
            name: [(*texts[m], m) for m in shown if m in texts]
            for name, texts in found.items()
        }

    def lines(
        self, metrics: Sequence[str] | None = None
    ) -> tuple[list[str], list[list[str]]]:
        """Headings and rows: a line per metric, or one per configuration if several.

        The metrics are those of the headline, unless some are named.
        """
        shown = self.shown_metrics if metrics is None else metrics
        blocks = self.blocks(shown)
        if len(blocks) == 1:
            (found,) = blocks.values()
            heads = ["what", "value", "95 % interval", "metric"]
            return heads, [list(line) for line in found]
        lines: list[list[str]] = []
        for name, block in blocks.items():
            cells = {metric: _in_a_cell(v, ends) for _, v, ends, metric in block}
            lines.append([name, *(cells.get(m, "-") for m in shown)])
        return ["configuration", *map(self.label, shown)], lines

    def headline_text(self, most: int = 2) -> str:
        """The first metrics in a line: of one configuration, or from least to most."""
        n = len(self.configurations)
        parts: list[str] = []
        for metric in self.shown_metrics[:most]:
            mine = [r for r in self.rows if r["metric"] == metric]
            known = [r for r in mine if r["value"] is not None]
            if not known:
                continue
            text = estimate_text(known[0], self.declared.get(metric))
            if n > 1:
                form = form_of(known[0], self.declared.get(metric))
                values = [row["value"] for row in known]
                text = form.interval(min(values), max(values))
            parts.append(f"{self.label(metric)} {text}")
        of = f"{n} configurations: " if n > 1 and parts else ""
        return of + ", ".join(parts)

    def _line(self) -> str:
        """How many metrics of how many configurations."""
        metrics = counted(len(self.metrics), "metric")
        return f"{metrics} of {counted(len(self.configurations), 'configuration')}"

    def _display(self) -> Display:
        """The headline."""
        heads, lines = self.lines()
        names = self.configurations
        return Display(
            text=names[0] if len(names) == 1 else self._line(),
            columns=tuple(heads) if lines else (),
            rows=lines[:MOST_ROWS],
            n_rows=len(lines),
            remarks=self.remarks(self.shown_metrics),
        )


def name_of(row: Mapping[str, Any]) -> str:
    """The name of a row's configuration, or its number where it has none."""
    return str(row.get("name") or row["configuration"])


def estimate_texts(
    row: Mapping[str, Any], metric: Metric | None = None
) -> tuple[str, str]:
    """A row of a summary in words: its value or bound, and its interval."""
    value, low, high = row["value"], row["low"], row["high"]
    if value is None:
        return "-", ""
    form = form_of(row, metric)
    if bound := row.get("bound"):  # runs of before have no such column
        return bounded(form.text(value), bound), ""
    if low is None or high is None:
        return form.text(value), ""
    return form.estimate(value, low, high)


def form_of(row: Mapping[str, Any], metric: Metric | None) -> NumberForm:
    """How a row's numbers are written; by its unit where nobody declares it."""
    if metric is not None:
        return metric.number_form
    return form_for(NumberForm().form, row["unit"] or "")


def estimate_text(row: Mapping[str, Any], metric: Metric | None = None) -> str:
    """A row of a summary in one text: the interval is in brackets."""
    return _in_a_cell(*estimate_texts(row, metric))


def _in_a_cell(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value


REPORT = "report/index.html"
"""Where the report of a run lies in its folder."""

_HEIGHT = "75vh"


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A report: one HTML file that needs nothing else.

    Attributes:
        path: where it lies.
    """

    path: Path

    def __fspath__(self) -> str:
        """Its path, where one is expected."""
        return str(self.path)

    def __str__(self) -> str:
        """Its path."""
        return str(self.path)

    def open(self) -> None:
        """Show it in the browser."""
        import webbrowser  # noqa: PLC0415  only for this

        webbrowser.open(self.path.resolve().as_uri())

    def _repr_html_(self) -> str:
        """The whole report in a frame, so that it stays with a notebook."""
        text = html.escape(self.path.read_text(encoding="utf-8"))
        return (
            f'<iframe srcdoc="{text}" title="Report" loading="lazy" '
            f'style="width:100%;height:{_HEIGHT};border:1px solid #d9e2ec"></iframe>'
        )
