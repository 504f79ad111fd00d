"""The metrics of deploy.simulate, repetition by repetition: each a ratio of sums.

For each policy; intervals are over repetitions, each of which has its own arrivals, the
same for all policies. Each metric is a sum over another sum, so long and short periods
count as long as they are. Only times of algorithms are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.simulate.tables import CONFIGURATIONS, REPEATS
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run


_MODELLED = metric_table(
    """
    weighted_qos, "weighted quality" as {:.3f}: mean over rate periods with an analytic
        of the weighted quality; messages that waited beyond their deadline count as 0
    planned_qos, "quality as planned" as {:.3f}: the same as planned, late or not
    bound_share, "share of the bound" as share: that over its bound, in periods whose
        bound is known
    n_requests: analytics that came
    n_analytics, "analytics": analytics that were there, mean over time
    n_gateway, "on the gateway": those of them that ran on the gateway
    n_planned_moves, "moves planned": moves to the gateway that were planned and whose
        end is known
    n_realised_moves, "moves realised": those that happened
    planned_bps [bit/s]: upload rate that the planned moves would save together
    realised_bps [bit/s]: that of the moves which happened
    realised_share, "saved rate realised" as share: the second over the first
    realised_bits_share, "saved bits realised" as share: upload saved over upload
        promised, which also counts moves that happened late
    saved_bps [bit/s], "upload saved" as rate: upload rate saved by the gateway, mean
        over time
    saved_bytes [B]: the same in bytes, of a repetition
    up_bytes [B], lower, "uploaded" as size: what crossed the uplink
    down_bytes [B], lower, "pulled" as size: compressed bytes that were pulled
    wasted_bytes [B], lower: those whose pull no analytic used
    wasted_share, lower, "pulled in vain" as share: wasted over pulled
    deleted_bytes [B], lower: uncompressed bytes deleted to make room
    stored_bytes [B], lower, "on the disk" as size: layers on the disk, mean over time
    overshoot_share, lower, "periods over the uplink" as share: rate periods in which
        more was granted than the uplink carried
    late_share, lower, "messages late" as share: messages that waited for the uplink
        beyond their deadline, or to the end
    uplink_sent_share, "uplink used" as share: bits that crossed the uplink over what it
        could have carried
    max_overshoot, lower, "largest excess" as share: largest excess, as a share of the
        uplink
    max_late_bytes [B], lower: most bytes that waited for the uplink at any time
    """,
    better="higher",
    is_model=True,
)
_TIMES = metric_table(
    """
    placement_s, "time to place" as duration: time of a placement, mean
    max_placement_s: longest time of one
    allocation_s, "time to divide" as duration: time of a division of the uplink, mean
    max_allocation_s: longest time of one
    """,
    unit="s",
    better="lower",
)

METRICS = declare(
    *_MODELLED,
    *_TIMES,
    over="repetitions",
    headline="weighted_qos n_gateway realised_bits_share saved_bps wasted_share "
    "overshoot_share late_share placement_s",
)
"""All metrics of the kind, in the order of the summary."""

_COLUMNS = {
    "weighted_qos": ("qos", "n_periods"),
    "planned_qos": ("planned_qos", "n_periods"),
    "bound_share": ("bounded_qos", "bound_qos"),
    "n_requests": ("n_requests", ""),
    "n_analytics": ("analytic_s", "duration_s"),
    "n_gateway": ("gateway_s", "duration_s"),
    "n_planned_moves": ("n_planned", ""),
    "n_realised_moves": ("n_realised", ""),
    "planned_bps": ("planned_bps", ""),
    "realised_bps": ("realised_bps", ""),
    "realised_share": ("realised_bps", "planned_bps"),
    "realised_bits_share": ("realised_saved_bits", "planned_saved_bits"),
    "saved_bps": ("saved_bits", "duration_s"),
    "saved_bytes": ("saved_bits", ""),
    "up_bytes": ("sent_bits", ""),
    "down_bytes": ("pulled_bytes", ""),
    "wasted_bytes": ("wasted_bytes", ""),
    "wasted_share": ("wasted_bytes", "pulled_bytes"),
    "deleted_bytes": ("deleted_bytes", ""),
    "stored_bytes": ("stored_byte_s", "duration_s"),
    "overshoot_share": ("n_overshoot", "n_allocations"),
    "late_share": ("n_late", "n_messages"),
    "uplink_sent_share": ("sent_bits", "carried_bits"),
    "max_overshoot": ("max_overshoot", ""),
    "max_late_bytes": ("max_late_bytes", ""),
    "placement_s": ("placement_s", "n_placements"),
    "max_placement_s": ("max_placement_s", ""),
    "allocation_s": ("allocation_s", "n_allocations"),
    "max_allocation_s": ("max_allocation_s", ""),
}
"""Each sums a column of ``repeats``, over that of another or over their number."""

_OF_BITS = {"saved_bytes", "up_bytes"}


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by policy; the units are its repetitions."""
    rows = run.read(CONFIGURATIONS).to_pylist()
    repeats = run.read(REPEATS).to_pylist()
    found: list[MetricSamples] = []
    for row in rows:
        mine = [r for r in repeats if r["configuration"] == row["configuration"]]
        found += metric_samples(mine, str(row["name"]))
    return found


def metric_samples(
    repeats: Sequence[Mapping[str, float]], configuration: str
) -> list[MetricSamples]:
    """The metrics of a policy of this name, of its rows of the table ``repeats``."""
    if not repeats:
        return []
    ordered = sorted(repeats, key=lambda row: row["repeat"])
    units = tuple(f"repeat {row['repeat']}" for row in ordered)
    found: list[MetricSamples] = []
    for metric in METRICS.values():
        above, below = _COLUMNS[metric.name]
        factor = 1 / 8 if metric.name in _OF_BITS else 1.0
        summed = np.array([row[above] for row in ordered], np.float64)
        under = [row[below] if below else 1.0 for row in ordered]
        statistic = ratio_statistic(summed * factor, np.array(under, np.float64))
        found.append(metric.samples(configuration, units, statistic))
    return found
