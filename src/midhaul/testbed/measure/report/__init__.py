"""The testbed's report: its sections, built from the tables of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.report import Page, PageSection
from midhaul.report.page import gallery
from midhaul.report.view import environment, subtitle, verdict_of
from midhaul.testbed.measure.report.accuracy import accuracy, classes, size, tradeoffs
from midhaul.testbed.measure.report.overview import overview, validity
from midhaul.testbed.measure.report.speed import resources, speed
from midhaul.testbed.measure.report.view import GridView

if TYPE_CHECKING:
    from midhaul.runs.run import Run

__all__ = ["build"]


def _gallery(view: GridView) -> PageSection | None:
    return gallery(view.run)


_ALWAYS = (overview, validity)
_CHAPTERS = (
    overview,
    accuracy,
    tradeoffs,
    speed,
    size,
    classes,
    _gallery,
    resources,
    validity,
)


def build(run: Run) -> Page:
    """The report of a run of the testbed, whatever the run got to.

    Chapters whose tables are missing or empty are left out; a chart that lacks its
    numbers is named in a notice instead.

    Args:
        run: finished, failed, killed or still running.
    """
    view = GridView(run)
    chapters = _CHAPTERS if view.configurations else _ALWAYS
    parts = [chapter(view) for chapter in chapters]
    return Page(
        title=_title(run.manifest.kind),
        subtitle=subtitle(run),
        verdict=verdict_of(run),
        notes=run.manifest.notes,
        sections=(*(part for part in parts if part is not None), environment(run)),
    )


def _title(kind: str) -> str:
    titles = {
        "testbed.measure": "Testbed: accuracy, latency, bytes and cost",
        "testbed.accuracy": "Testbed: accuracy and bytes",
        "testbed.overhead": "Testbed: what midhaul itself costs",
    }
    return titles.get(kind, kind)
