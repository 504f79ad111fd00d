"""A run as its charts need it, and what stands in every report.

That is names and metrics by configuration; notices, the verdict, what it ran on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.model import Verdict
from midhaul.model.estimate import SIGNS
from midhaul.report import Cell, Figure, Headline
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import bars
from midhaul.report.numbers import bounded, size_text
from midhaul.report.page import Code, DataTable, Notice, Page, PageSection
from midhaul.report.ties import best_and_ties
from midhaul.runs.summary import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midhaul.report.page import Item
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
        self._metrics = metrics_of(run)

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


def metrics_of(run: Run) -> dict[tuple[int, str], Mapping[str, Any]]:
    """The rows of the summary that have a number, by configuration and metric."""
    return {
        (int(row["configuration"]), str(row["metric"])): row
        for row in run.read(SUMMARY).to_pylist()
        if row["value"] is not None
    }


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
    view: View, metrics: Metrics, wanted: Sequence[tuple[str, str]], *, of: str = ""
) -> Headline | str:
    """The best configuration of each metric, or that one ``of`` which it is asked.

    ``wanted`` has a title and a metric each.
    """
    numbers: list[tuple[str, str, str]] = []
    for title, metric in wanted:
        declared = metrics[metric]
        found = [
            (row, name)
            for number, name in view.names.items()
            if of in ("", name)
            if (row := view.metric(number, metric)) is not None
        ]
        if found:
            tied = best_and_ties(found, declared.better)
            row, name = tied[0]
            if len(tied) > 1:
                name = f"{len(tied)} equal within intervals"
            text = bounded(declared.number_form.text(row["value"]), row["bound"])
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


def summary_cell(
    found: Mapping[str, Any] | None, metric: Metric, unit: str = ""
) -> Cell | None:
    """A row of the summary as a number, ``unit`` behind it, and its interval below."""
    if found is None:
        return None
    form, value = metric.number_form, float(found["value"])
    text, note = form.text(value), ""
    if found["low"] is not None and found["high"] is not None:
        text, note = form.estimate(value, found["low"], found["high"])
    return Cell(bounded(text + unit, found["bound"]), value, note=note)


def page_of(run: Run, title: str, *chapters: PageSection | None) -> Page:
    """The report of a run, whatever it got to: the chapters it has, and environment."""
    return Page(
        title=title,
        subtitle=subtitle(run),
        verdict=verdict_of(run),
        notes=run.manifest.notes,
        sections=(*(one for one in chapters if one is not None), environment(run)),
    )


def nothing_yet(text: str) -> PageSection:
    """The overview of a run that has nothing to show, and why."""
    return PageSection(title="Overview", items=(Notice(text=text, tone="warning"),))


def gather(items: Iterable[Item | str]) -> tuple[Item, ...]:
    """The items of a section; a text says why one was left out, for a notice."""
    shown: list[Item] = []
    missing: list[str] = []
    for item in items:
        if isinstance(item, str):
            missing += [item] if item else []
        else:
            shown.append(item)
    if missing:
        text = "**Not shown here.** " + " ".join(dict.fromkeys(missing))
        shown.append(Notice(text=text))
    return tuple(shown)


def subtitle(run: Run) -> str:
    """Names the run: when, and by which version."""
    manifest = run.manifest
    return (
        f"Run {manifest.id}, {manifest.created:%d %B %Y, %H:%M} UTC, midhaul "
        f"{manifest.versions.get('midhaul', '')}"
    )


def verdict_of(run: Run) -> Verdict | None:
    """The verdict of a run, with a reason more where it did not come to its end."""
    status = run.status
    if status == "done":
        return run.verdict
    reason = f"The run did not come to its end: it is {status}."
    if run.manifest.error:
        reason += f" {run.manifest.error}"
    advice = f"`midhaul show {run.id}` says more."
    unfinished = Verdict(reasons=(reason,), advice=(advice,))
    return unfinished + run.verdict if run.verdict else unfinished


def environment(run: Run) -> PageSection:
    """Machine, versions, config and the tables that the run left."""
    manifest = run.manifest
    about = {
        "run": manifest.id,
        "status": run.status,
        "created": f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC",
        "seed": manifest.seed,
        "code": manifest.code_version,
        "commit": manifest.commit or "",
        "config hash": manifest.config_hash,
        "group": manifest.group or "",
    }
    items: list[Item] = [
        _facts("Run", about),
        _facts("Machine", _machine(manifest.machine)),
        _facts("Versions", manifest.versions),
        _tables(run),
    ]
    file = run.dir / "config.toml"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        items.append(Code(title="Config, with all defaults", text=text))
    return PageSection(title="Environment", items=tuple(items))


def _machine(facts: Mapping[str, object]) -> dict[str, object]:
    return {
        key.removesuffix("_bytes").replace("_", " "): size_text(float(value))
        if key.endswith("_bytes") and isinstance(value, int | float)
        else value
        for key, value in facts.items()
    }


def _facts(title: str, facts: Mapping[str, object]) -> DataTable:
    return DataTable(
        title=title,
        columns=("what", "value"),
        rows=tuple((key, str(value)) for key, value in facts.items() if value != ""),
    )


def _tables(run: Run) -> DataTable:
    query = " union all ".join(
        f"select '{name}' as name, count(*) as n from {name}"  # noqa: S608 - our names
        for name in sorted(run.tables())
    )
    found = run.sql(query).to_pylist() if query else []
    return DataTable(
        title="Tables in the run's folder",
        columns=("table", "rows"),
        rows=tuple((row["name"], row["n"]) for row in found),
        caption="Parquet files below `tables/`; DuckDB, pandas and others read them.",
    )
