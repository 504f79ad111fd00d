"""The metrics of deploy.simulate, repetition by repetition: each a ratio of sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.deploy.simulate.tables import CONFIGURATIONS, REPEATS
from midhaul.model.samples import MetricSamples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float64

    from midhaul.model.samples import Statistic
    from midhaul.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationMetric:
    """A metric as the ratio of two columns of ``repeats``, each summed.

    Attributes:
        name: of the metric.
        over: the column above.
        under: the column below; the number of repetitions when empty.
        better: which direction is an improvement.
        unit: SI unit, or empty.
        factor: on the ratio.
        is_measured: true where a clock made the number; the rest is a model's.
    """

    name: str
    over: str
    under: str = ""
    better: Literal["higher", "lower"] = "higher"
    unit: str = ""
    factor: float = 1.0
    is_measured: bool = False


METRICS = (
    SimulationMetric(name="weighted_qos", over="qos", under="n_periods"),
    SimulationMetric(name="planned_qos", over="planned_qos", under="n_periods"),
    SimulationMetric(name="bound_share", over="bounded_qos", under="bound_qos"),
    SimulationMetric(name="n_requests", over="n_requests"),
    SimulationMetric(name="n_analytics", over="analytic_s", under="duration_s"),
    SimulationMetric(name="n_gateway", over="gateway_s", under="duration_s"),
    SimulationMetric(name="n_planned_moves", over="n_planned"),
    SimulationMetric(name="n_realised_moves", over="n_realised"),
    SimulationMetric(name="planned_bps", over="planned_bps", unit="bit/s"),
    SimulationMetric(name="realised_bps", over="realised_bps", unit="bit/s"),
    SimulationMetric(name="realised_share", over="realised_bps", under="planned_bps"),
    SimulationMetric(
        name="realised_bits_share",
        over="realised_saved_bits",
        under="planned_saved_bits",
    ),
    SimulationMetric(
        name="saved_bps", over="saved_bits", under="duration_s", unit="bit/s"
    ),
    SimulationMetric(name="saved_bytes", over="saved_bits", factor=1 / 8, unit="B"),
    SimulationMetric(
        name="up_bytes", over="sent_bits", better="lower", factor=1 / 8, unit="B"
    ),
    SimulationMetric(name="down_bytes", over="pulled_bytes", better="lower", unit="B"),
    SimulationMetric(
        name="wasted_bytes", over="wasted_bytes", better="lower", unit="B"
    ),
    SimulationMetric(
        name="wasted_share", over="wasted_bytes", under="pulled_bytes", better="lower"
    ),
    SimulationMetric(
        name="deleted_bytes", over="deleted_bytes", better="lower", unit="B"
    ),
    SimulationMetric(
        name="stored_bytes",
        over="stored_byte_s",
        under="duration_s",
        better="lower",
        unit="B",
    ),
    SimulationMetric(
        name="overshoot_share",
        over="n_overshoot",
        under="n_allocations",
        better="lower",
    ),
    SimulationMetric(
        name="late_share", over="n_late", under="n_messages", better="lower"
    ),
    SimulationMetric(name="uplink_sent_share", over="sent_bits", under="carried_bits"),
    SimulationMetric(name="max_overshoot", over="max_overshoot", better="lower"),
    SimulationMetric(
        name="max_late_bytes", over="max_late_bytes", better="lower", unit="B"
    ),
    SimulationMetric(
        name="placement_s",
        over="placement_s",
        under="n_placements",
        better="lower",
        unit="s",
        is_measured=True,
    ),
    SimulationMetric(
        name="max_placement_s",
        over="max_placement_s",
        better="lower",
        unit="s",
        is_measured=True,
    ),
    SimulationMetric(
        name="allocation_s",
        over="allocation_s",
        under="n_allocations",
        better="lower",
        unit="s",
        is_measured=True,
    ),
    SimulationMetric(
        name="max_allocation_s",
        over="max_allocation_s",
        better="lower",
        unit="s",
        is_measured=True,
    ),
)
"""All metrics of the kind, in the order of the summary."""


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by policy; the units are its repetitions.

    Args:
        run: finished, or killed: what it has is what there is.
    """
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
    """The metrics of one policy.

    Args:
        repeats: its rows of the table ``repeats``.
        configuration: its name.
    """
    if not repeats:
        return []
    ordered = sorted(repeats, key=lambda row: row["repeat"])
    units = tuple(f"repeat {row['repeat']}" for row in ordered)
    return [
        MetricSamples(
            metric=metric.name,
            configuration=configuration,
            units=units,
            statistic=_ratio(
                np.array([row[metric.over] for row in ordered], np.float64)
                * metric.factor,
                np.array(
                    [row[metric.under] if metric.under else 1.0 for row in ordered],
                    np.float64,
                ),
            ),
            better=metric.better,
            unit=metric.unit,
        )
        for metric in METRICS
    ]


def _ratio(
    over: Float64[np.ndarray, " n"], under: Float64[np.ndarray, " n"]
) -> Statistic:
    """Sum over sum, for units that count several times or never; NaN over nothing."""

    def statistic(counts: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        below = counts @ under
        return counts @ over / np.where(below > 0, below, np.nan)

    return statistic
