"""The metrics of network.estimate: percentiles, what they may be off by, and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.slowdown import IN_WORDS, SIZE_CLASSES
from midhaul.runs.metric import Metric, declare, metric_table

if TYPE_CHECKING:
    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

_OVER = "paths or windows, and scenarios of training"

METRICS = declare(
    *metric_table(
        """
        slowdown_p50, lower, "slowdown p50" as {:.3g}: median of FCT over ideal FCT
        slowdown_p95, lower, "p95" as {:.3g}: what 95 % of these do not exceed
        slowdown_p99, lower, "p99" as {:.3g}: what 99 % of these do not exceed
        slowdown_p99_9, lower, "p99.9" as {:.3g}: what 99.9 % of these do not exceed
        fct_p50_s [s], lower, "FCT p50" as duration: median completion time
        fct_p99_s [s], lower, "FCT p99" as duration: what 99 % of the completion times
            do not exceed
        """,
        over=_OVER,
        is_model=True,
    ),
    *(
        Metric(
            name=f"slowdown_{name}_p99",
            doc=f"what 99 % of the flows of {words} do not exceed",
            better="lower",
            over=_OVER,
            is_model=True,
        )
        for name, words in zip(SIZE_CLASSES, IN_WORDS, strict=True)
    ),
    *metric_table(
        """
        sampling_error, lower, "by sampling" as share: half of the 90 % interval of the
            p99 for the paths, or the windows, that were drawn
        model_error, lower, "by the corrector" as share: the same for the corrector
        outside_share, lower, "outside of training" as share: draws of paths that lie
            outside of what the corrector has seen
        headroom, higher, "load until p99 doubles" as {:.3g}: factor of the load at
            which the p99 slowdown has doubled
        n_flows, as {:,.0f}: flows
        n_paths, as {:,.0f}: different paths that were looked at
        """,
        is_model=True,
    ),
    *metric_table(
        """
        took_s [s], lower, "took" as duration: time of the estimate on this machine
        """,
    ),
    headline="slowdown_p50 slowdown_p99 fct_p99_s sampling_error model_error "
    "outside_share took_s",
)
"""All metrics of the kind, in the order of the summary."""

NAMES = {0.5: "p50", 0.95: "p95", 0.99: "p99", 0.999: "p99_9"}
"""Percentiles in the names of metrics."""


def samples(run: Run) -> list[MetricSamples]:
    """None: paths are no units by which two estimates could be paired."""
    del run
    return []
