"""The testbed's report: its sections, built from the tables of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.model import Verdict
from midhaul.report import Page
from midhaul.testbed.figures.accuracy import accuracy
from midhaul.testbed.figures.classes import classes
from midhaul.testbed.figures.environment import environment
from midhaul.testbed.figures.gallery import gallery
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

_ALWAYS = (overview, validity, environment)
_CHAPTERS = (
    overview,
    accuracy,
    tradeoffs,
    speed,
    size,
    classes,
    gallery,
    resources,
    validity,
    environment,
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
    manifest = run.manifest
    subtitle = (
        f"Run {manifest.id}, {manifest.created:%d %B %Y, %H:%M} UTC, midhaul "
        f"{manifest.versions.get('midhaul', '')}"
    )
    return Page(
        title=_title(manifest.kind),
        subtitle=subtitle,
        verdict=_verdict(run),
        sections=tuple(part for part in parts if part is not None),
    )


def _title(kind: str) -> str:
    titles = {
        "testbed.measure": "Testbed: accuracy, latency, bytes and cost",
        "testbed.accuracy": "Testbed: accuracy and bytes",
        "testbed.overhead": "Testbed: what midhaul itself costs",
    }
    return titles.get(kind, kind)


def _verdict(run: Run) -> Verdict | None:

    status = run.status
    if status == "done":
        return run.verdict
    reason = f"The run did not come to its end: it is {status}."
    if run.manifest.error:
        reason += f" {run.manifest.error}"
    advice = f"`midhaul show {run.id}` says more."
    unfinished = Verdict(reasons=(reason,), advice=(advice,))
    return unfinished + run.verdict if run.verdict else unfinished
