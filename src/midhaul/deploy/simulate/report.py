"""The report of deploy.simulate: policies side by side, and one gateway over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.deploy.report import fronts, over_time_chapters, promises
from midhaul.deploy.simulate import tables
from midhaul.deploy.simulate.metrics import METRICS
from midhaul.report import Page, PageSection
from midhaul.report.view import (
    View,
    gather,
    headline,
    metric_bars,
    nothing_yet,
    page_of,
    summary_table,
)

if TYPE_CHECKING:
    from midhaul.runs.run import Run


def build(run: Run) -> Page:
    """The report of a simulation, whatever the run got to."""
    view = View(run, tables.CONFIGURATIONS)
    title = "Simulation: a gateway over time"
    return page_of(run, title, _overview(view), *_over_time(view))


def _overview(view: View) -> PageSection:
    if not view.names:
        text = "This run has written no policy yet, so there is nothing to show."
        return nothing_yet(text)
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
        promises(view, tables.MOVES),
        *fronts(view),
        summary_table(view, METRICS, caption),
    )
    return PageSection(title="Overview", items=gather(items))


def _over_time(view: View) -> tuple[PageSection, ...]:
    if "periods" not in view.has:
        return ()
    shown = (tables.PERIODS, tables.RATES, tables.PULLS)
    period_s = float(view.run.config_values()["rate_period_s"])
    return over_time_chapters(view, shown, period_s)
