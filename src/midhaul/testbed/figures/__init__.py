"""The testbed's report: its sections, built from the tables of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.report import Page, Section
from midhaul.report.gallery import gallery
from midhaul.report.gathering import environment, subtitle, verdict_of
from midhaul.testbed.figures.accuracy import accuracy
from midhaul.testbed.figures.classes import classes
from midhaul.testbed.figures.overview import overview
from midhaul.testbed.figures.resources import resources
from midhaul.testbed.figures.size import size
from midhaul.testbed.figures.speed import speed
from midhaul.testbed.figures.tradeoffs import tradeoffs
from midhaul.testbed.figures.validity import validity
from midhaul.testbed.figures.view import View

if TYPE_CHECKING:
    from midhaul.runs.run import Run

__all__ = ["build"]


def _gallery(view: View) -> Section | None:
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
    view = View(run)
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
