"""Summary and report of a run, as they show themselves.

The table ``summary`` is what every kind writes: its metrics, one row for each
configuration. The report is one file, which a notebook shows in a frame.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError, suggestion
from midhaul.model import Estimate
from midhaul.model.display import MOST_ROWS, Display, Shown, counted, number, with_error
from midhaul.model.estimate import SIGNS
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

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
        headline: the metrics that are shown first; all when empty.
    """

    table: pa.Table
    headline: tuple[str, ...] = ()

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
        return [name for name in self.headline if name in known] or list(known)

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

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows: a line per metric, or one per configuration if several."""
        rows, metrics = self.rows, self.shown_metrics
        units = {row["metric"]: row["unit"] for row in rows}
        cells: dict[str, dict[str, str]] = {name: {} for name in self.configurations}
        for row in rows:
            cells[name_of(row)][row["metric"]] = estimate_text(row)
        if len(cells) == 1:
            (found,) = cells.values()
            heads = ["metric", "value", "unit"]
            return heads, [[m, found.get(m, "-"), units[m]] for m in metrics]
        heads = [f"{m} [{units[m]}]" if units[m] else m for m in metrics]
        lines = [[name, *(f.get(m, "-") for m in metrics)] for name, f in cells.items()]
        return ["configuration", *heads], lines

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


def estimate_text(row: Mapping[str, Any]) -> str:
    """A row of a summary in words: the value and half its interval, or its bound."""
    value = row["value"]
    if value is None:
        return "-"
    if bound := row.get("bound"):  # runs of before have no such column
        return f"{SIGNS[bound]} {number(value)}"
    if row["low"] is None or row["high"] is None:
        return number(value)
    return with_error(value, (row["high"] - row["low"]) / 2)


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
