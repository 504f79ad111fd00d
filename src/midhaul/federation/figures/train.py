"""The report of federation.train: what was learned, and what it will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation import tables
from midhaul.federation.figures import chapters
from midhaul.federation.figures.curves import PER, quality_text, usd_text
from midhaul.report import DataTable, Figure, Notice, Page, Section
from midhaul.report.axes import Axis, Series
from midhaul.report.charts import lines
from midhaul.report.gathering import environment, gather, subtitle, verdict_of
from midhaul.report.numbers import duration_text
from midhaul.report.view import View, summary_table

if TYPE_CHECKING:
    from midhaul.runs.run import Run

_FORMS = (
    ("quality", "quality", quality_text),
    ("cost_usd", "price of 1,000", usd_text),
    ("n_calls", "calls", "{:.2f}".format),
    ("cost_share", "of the price of all", "{:.0%}".format),
    ("fit_s", "time to learn", duration_text),
    ("decide_s", "to decide about an item", duration_text),
    ("training_usd", "price of the calls to learn from", "{:.4g} USD".format),
)


def build(run: Run) -> Page:
    """The report of a training, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    parts = (
        _overview(view),
        chapters.calls(view),
        chapters.learning(view),
        chapters.calibration(view),
        environment(run),
    )
    return Page(
        title="Federation: a policy is learned",
        subtitle=subtitle(run),
        verdict=verdict_of(run),
        notes=run.manifest.notes,
        sections=tuple(part for part in parts if part is not None),
    )


def _overview(view: View) -> Section:
    if not view.knows("quality"):
        text = "This run has learned no policy yet, so there is nothing to show."
        return Section(title="Overview", items=(Notice(text=text, tone="warning"),))
    text = (
        "Numbers are of the calibration items, which chose the budget's exchange rate: "
        "a guide. `federation.evaluate` judges on items that nothing has seen. The "
        "policy, the fusion and the calibration are in `files/federation.npz`; "
        "`midhaul serve federation` serves them."
    )
    items = (summary_table(view, _FORMS, ""), _points(view), _bill(view))
    return Section(title="Overview", text=text, items=gather(items))


def _points(view: View) -> Figure | str:
    if tables.POINTS.name not in view.has:
        return ""
    rows = view.run.read(tables.POINTS).to_pylist()
    marks = [
        {
            "path": "saved" if row["is_chosen"] else "family",
            "which": "saved" if row["is_chosen"] else "other budgets",
            "usd": row["cost_usd"] * PER,
            "quality": row["quality"] * 100,
            "quality_low": None if row["low"] is None else row["low"] * 100,
            "quality_high": None if row["high"] is None else row["high"] * 100,
        }
        for row in rows
    ]
    chart = lines(
        marks,
        Axis("usd", "price of 1,000 items in USD"),
        Axis("quality", "quality on calibration items, in %"),
        Series("which", "budget", ("other budgets", "saved")),
    )
    caption = (
        "Each mark is one exchange rate between quality and price; what was saved may "
        "mix two of them."
    )
    return Figure(title="What other budgets would buy", chart=chart, caption=caption)


def _bill(view: View) -> DataTable | str:
    if tables.BILL.name not in view.has:
        return ""
    rows = view.run.read(tables.BILL).to_pylist()
    return DataTable(
        title="Calls that were learned from",
        columns=("provider", "calls", "price"),
        rows=tuple(
            (str(row["provider"]), f"{row['n_calls']:,}", f"{row['usd']:.4g} USD")
            for row in rows
        ),
        caption="What they would cost, were the answers not recorded already.",
    )
