"""The metrics of deploy.simulate, repetition by repetition: each a ratio of sums.

For each policy; intervals are over repetitions, each of which has its own arrivals, the
same for all policies. Each metric is a sum over another sum, so long and short periods
count as long as they are. Only times of algorithms are measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.deploy.simulate.tables import CONFIGURATIONS, REPEATS
from midhaul.runs.metric import Metric, declare
from midhaul.stats import ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A metric as the ratio of two columns of ``repeats``, each summed, times a factor.

    Without a column below it is over the number of repetitions.
    """

    metric: Metric
    above: str
    below: str = ""
    factor: float = 1.0


def _ratio(  # noqa: PLR0913 - the parts of a metric
    name: str,
    doc: str,
    above: str,
    below: str = "",
    *,
    unit: str = "",
    better: Literal["higher", "lower"] = "higher",
    heading: str = "",
    form: str = "{:.3g}",
    factor: float = 1.0,
    is_model: bool = True,
) -> Ratio:
    """A metric over repetitions, by default one of which more is better."""
    metric = Metric(
        name,
        doc,
        unit=unit,
        better=better,
        heading=heading,
        form=form,
        over="repetitions",
        is_model=is_model,
    )
    return Ratio(metric=metric, above=above, below=below, factor=factor)


_share = partial(_ratio, form="share")
_less_bytes = partial(_ratio, unit="B", better="lower")
_time = partial(_ratio, unit="s", better="lower", is_model=False)

RATIOS = (
    _ratio(
        "weighted_qos",
        "mean over rate periods with an analytic of the weighted quality; messages "
        "that waited beyond their deadline count as 0",
        "qos",
        "n_periods",
        heading="weighted quality",
        form="{:.3f}",
    ),
    _ratio(
        "planned_qos",
        "the same as planned, late or not",
        "planned_qos",
        "n_periods",
        heading="quality as planned",
        form="{:.3f}",
    ),
    _share(
        "bound_share",
        "that over its bound, in periods whose bound is known",
        "bounded_qos",
        "bound_qos",
        heading="share of the bound",
    ),
    _ratio("n_requests", "analytics that came", "n_requests"),
    _ratio(
        "n_analytics",
        "analytics that were there, mean over time",
        "analytic_s",
        "duration_s",
        heading="analytics",
    ),
    _ratio(
        "n_gateway",
        "those of them that ran on the gateway",
        "gateway_s",
        "duration_s",
        heading="on the gateway",
    ),
    _ratio(
        "n_planned_moves",
        "moves to the gateway that were planned and whose end is known",
        "n_planned",
        heading="moves planned",
    ),
    _ratio(
        "n_realised_moves",
        "those that happened",
        "n_realised",
        heading="moves realised",
    ),
    _ratio(
        "planned_bps",
        "upload rate that the planned moves would save together",
        "planned_bps",
        unit="bit/s",
    ),
    _ratio(
        "realised_bps", "that of the moves which happened", "realised_bps", unit="bit/s"
    ),
    _share(
        "realised_share",
        "the second over the first",
        "realised_bps",
        "planned_bps",
        heading="saved rate realised",
    ),
    _share(
        "realised_bits_share",
        "upload saved over upload promised, which also counts moves that happened late",
        "realised_saved_bits",
        "planned_saved_bits",
        heading="saved bits realised",
    ),
    _ratio(
        "saved_bps",
        "upload rate saved by the gateway, mean over time",
        "saved_bits",
        "duration_s",
        unit="bit/s",
        heading="upload saved",
        form="rate",
    ),
    _ratio(
        "saved_bytes",
        "the same in bytes, of a repetition",
        "saved_bits",
        unit="B",
        factor=1 / 8,
    ),
    _less_bytes(
        "up_bytes",
        "what crossed the uplink",
        "sent_bits",
        heading="uploaded",
        form="size",
        factor=1 / 8,
    ),
    _less_bytes(
        "down_bytes",
        "compressed bytes that were pulled",
        "pulled_bytes",
        heading="pulled",
        form="size",
    ),
    _less_bytes("wasted_bytes", "those whose pull no analytic used", "wasted_bytes"),
    _share(
        "wasted_share",
        "wasted over pulled",
        "wasted_bytes",
        "pulled_bytes",
        better="lower",
        heading="pulled in vain",
    ),
    _less_bytes(
        "deleted_bytes", "uncompressed bytes deleted to make room", "deleted_bytes"
    ),
    _less_bytes(
        "stored_bytes",
        "layers on the disk, mean over time",
        "stored_byte_s",
        "duration_s",
        heading="on the disk",
        form="size",
    ),
    _share(
        "overshoot_share",
        "rate periods in which more was granted than the uplink carried",
        "n_overshoot",
        "n_allocations",
        better="lower",
        heading="periods over the uplink",
    ),
    _share(
        "late_share",
        "messages that waited for the uplink beyond their deadline, or to the end",
        "n_late",
        "n_messages",
        better="lower",
        heading="messages late",
    ),
    _share(
        "uplink_sent_share",
        "bits that crossed the uplink over what it could have carried",
        "sent_bits",
        "carried_bits",
        heading="uplink used",
    ),
    _share(
        "max_overshoot",
        "largest excess, as a share of the uplink",
        "max_overshoot",
        better="lower",
        heading="largest excess",
    ),
    _less_bytes(
        "max_late_bytes",
        "most bytes that waited for the uplink at any time",
        "max_late_bytes",
    ),
    _time(
        "placement_s",
        "time of a placement, mean",
        "placement_s",
        "n_placements",
        heading="time to place",
        form="duration",
    ),
    _time("max_placement_s", "longest time of one", "max_placement_s"),
    _time(
        "allocation_s",
        "time of a division of the uplink, mean",
        "allocation_s",
        "n_allocations",
        heading="time to divide",
        form="duration",
    ),
    _time("max_allocation_s", "longest time of one", "max_allocation_s"),
)

METRICS = declare(
    *(ratio.metric for ratio in RATIOS),
    headline=(
        "weighted_qos",
        "n_gateway",
        "realised_bits_share",
        "saved_bps",
        "wasted_share",
        "overshoot_share",
        "late_share",
        "placement_s",
    ),
)
"""All metrics of the kind, in the order of the summary."""


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
    for one in RATIOS:
        above = np.array([row[one.above] for row in ordered], np.float64)
        below = [row[one.below] if one.below else 1.0 for row in ordered]
        statistic = ratio_statistic(above * one.factor, np.array(below, np.float64))
        found.append(one.metric.samples(configuration, units, statistic))
    return found
