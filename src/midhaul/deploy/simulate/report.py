"""The report of deploy.simulate: policies side by side, and one gateway over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.deploy.report import overtime, overuse
from midhaul.deploy.report.overtime import algorithm_times
from midhaul.deploy.simulate import tables
from midhaul.deploy.simulate.metrics import METRICS
from midhaul.report import Notice, Page, PageSection
from midhaul.report.view import (
    View,
    environment,
    gather,
    headline,
    metric_bars,
    subtitle,
    summary_table,
    verdict_of,
)

if TYPE_CHECKING:
    from midhaul.runs.run import Run


def build(run: Run) -> Page:
    """The report of a simulation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    chapters = (_overview(view), *_over_time(view), environment(run))
    return Page(
        title="Simulation: a gateway over time",
        subtitle=subtitle(run),
        verdict=verdict_of(run),
        notes=run.manifest.notes,
        sections=tuple(part for part in chapters if part is not None),
    )


def _overview(view: View) -> PageSection:
    if not view.names:
        text = "This run has written no policy yet, so there is nothing to show."
        return PageSection(title="Overview", items=(Notice(text=text, tone="warning"),))
    wanted = (
        ("Weighted quality", "weighted_qos"),
        ("Upload saved", "saved_bps"),
        ("Planned saving realised", "realised_bits_share"),
        ("Periods over the uplink", "overshoot_share"),
        ("Messages late", "late_share"),
    )
    caption = (
        "Means over repetitions with the same requests for every policy; below each "
        "number its 95 % interval. Quality is what the QoS curves say, and 0 for "
        "messages that waited for the uplink beyond their deadline."
    )
    items = (
        headline(view, METRICS, wanted),
        metric_bars(
            view,
            "weighted_qos",
            "Weighted quality",
            "weighted quality",
            "Mean over rate periods.",
        ),
        metric_bars(
            view,
            "realised_bits_share",
            "Planned saving that came true",
            "% of the upload that moves were to save",
            "A plan that does not know when analytics leave, or how long pulls and "
            "starts take, promises more than it keeps.",
            factor=100,
        ),
        overtime.promises(view, tables.MOVES),
        *overuse.fronts(view),
        summary_table(view, METRICS, caption),
    )
    return PageSection(title="Overview", items=gather(items))


def _over_time(view: View) -> tuple[PageSection | None, ...]:
    if "periods" not in view.has:
        return ()
    config = view.run.config_values()
    rows: list[dict[str, Any]] = view.rows(tables.PERIODS)
    steady = {row["uplink_bps"] for row in rows}
    limit = steady.pop() if len(steady) == 1 else None
    quality = (
        overtime.quality(view, tables.PERIODS),
        overtime.stacked_rates(view, tables.RATES, limit),
        overtime.uplink(view, tables.PERIODS),
    )
    where = (
        overtime.places(view, tables.RATES, float(config["rate_period_s"])),
        overtime.pulls(view, tables.PULLS),
        overtime.storage(view, tables.PERIODS),
    )
    return (
        PageSection(title="Quality and rates", items=gather(quality)),
        PageSection(title="Places, pulls and layers", items=gather(where)),
        PageSection(title="Algorithms", items=gather((algorithm_times(view),))),
    )
