"""The report of federation.evaluate: who answers best for how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation import tables
from midhaul.federation.figures import chapters
from midhaul.federation.figures.curves import (
    gain_text,
    matches_table,
    quality_text,
    trade_off,
    usd_text,
)
from midhaul.report import DataTable, Notice, Page, Section
from midhaul.report.gallery import gallery
from midhaul.report.gathering import environment, gather, subtitle, verdict_of
from midhaul.report.numbers import duration_text
from midhaul.report.view import View, headline, summary_table

if TYPE_CHECKING:
    from midhaul.runs.run import Run

_FORMS = (
    ("quality", "quality", quality_text),
    ("cost_usd", "price of 1,000", usd_text),
    ("n_calls", "calls", "{:.2f}".format),
    ("n_rounds", "rounds", "{:.2f}".format),
    ("gain_on_best_single", "over best single", gain_text),
    ("gain_on_all", "over all", gain_text),
    ("gap_recovered", "of the gap to the oracle", "{:.0%}".format),
    ("ap", "AP", quality_text),
)
_HINDSIGHT = ("oracle",)


def build(run: Run) -> Page:
    """The report of an evaluation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    best, base = _pair(view)
    parts = (
        _overview(view),
        chapters.calls(view),
        chapters.classes(view, best, base) if best else None,
        chapters.regret(view),
        chapters.faults(view),
        chapters.learning(view),
        chapters.calibration(view),
        gallery(run),
        _times(view),
        environment(run),
    )
    return Page(
        title="Federation: quality against price",
        subtitle=subtitle(run),
        verdict=verdict_of(run),
        notes=run.manifest.notes,
        sections=tuple(part for part in parts if part is not None),
    )


def _overview(view: View) -> Section:
    if not view.knows("quality"):
        text = "This run has judged no policy to its end, so there is nothing to show."
        return Section(title="Overview", items=(Notice(text=text, tone="warning"),))
    wanted = (
        ("Cheapest at its quality", "cost_usd", False, usd_text),
        ("Most over the best single provider", "gain_on_best_single", True, gain_text),
        ("Most over asking everybody", "gain_on_all", True, gain_text),
    )
    text = (
        "Every policy was learned on one part of the items, its budget calibrated on a "
        "second, and judged on a third that nothing had seen. Every call is charged. "
        "`oracle` knows the truth and takes the cheapest best subset of each item: it "
        "bounds the mean quality of single items, not the pooled AP50 of boxes. The "
        "best single provider is the one that is best on the test items, which favours "
        "it."
    )
    caption = (
        "Quality is pooled AP50 (boxes), the Jaccard index (tags) or accuracy "
        "(labels), in %; differences are paired over items, in points."
    )
    deployable = _without(view, _HINDSIGHT)
    items = (
        headline(deployable, wanted[1:]),
        trade_off(view),
        matches_table(view),
        summary_table(view, _FORMS, caption),
    )
    return Section(title="Overview", text=text, items=gather(items))


def _without(view: View, policies: tuple[str, ...]) -> View:
    """The same run without policies that nobody could use."""
    kept = View(view.run, tables.CONFIGURATIONS)
    kept.names = {n: name for n, name in view.names.items() if name not in policies}
    return kept


def _pair(view: View) -> tuple[str, str]:
    """The cascade at its dearest budget and the best single provider, by name."""
    rows = view.run.read(tables.CONFIGURATIONS).to_pylist()
    known = [r for r in rows if view.value(int(r["configuration"]), "quality")]
    singles = [r for r in known if "provider" in r["settings"]]
    others = [r for r in known if r not in singles and r["policy"] not in _HINDSIGHT]
    if not singles or not others:
        return "", ""

    def quality(row: dict[str, object]) -> float:
        return view.value(int(str(row["configuration"])), "quality") or 0.0

    best, base = max(others, key=quality), max(singles, key=quality)
    return str(best["name"]), str(base["name"])


def _times(view: View) -> Section | None:
    """How long learning and deciding took."""
    if tables.FITS.name not in view.has:
        return None
    query = (
        "SELECT policy, avg(fit_s) AS fit_s, avg(decide_s) AS decide_s FROM fits "
        "JOIN configurations USING (configuration) GROUP BY policy ORDER BY fit_s DESC"
    )
    rows = view.run.sql(query).to_pylist()
    table = DataTable(
        title="Time to learn and to decide",
        columns=("policy", "to learn", "to decide about an item"),
        rows=tuple(
            (
                str(row["policy"]),
                duration_text(row["fit_s"]),
                duration_text(row["decide_s"]),
            )
            for row in rows
        ),
        caption="Learning is of the whole family, on one split. Deciding is over all "
        "rounds, many items at once.",
    )
    return Section(title="Times", items=(table,))
