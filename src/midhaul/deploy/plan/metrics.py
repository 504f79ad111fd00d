"""A plan's metrics analytic by analytic, so that two runs can be compared in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.plan.tables import CONFIGURATIONS, DECISIONS
from midhaul.model.samples import MetricSamples

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.model.samples import Statistic
    from midhaul.runs.run import Run


def samples(run: Run) -> list[MetricSamples]:
    """Weighted quality and granted rate of each configuration, by analytic.

    Args:
        run: of deploy.plan or deploy.allocate; what it has is what there is.
    """
    names = {
        r["configuration"]: r["name"] for r in run.read(CONFIGURATIONS).to_pylist()
    }
    decisions = run.read(DECISIONS).to_pylist()
    found: list[MetricSamples] = []
    for number, name in names.items():
        rows = [row for row in decisions if row["configuration"] == number]
        if not rows:
            continue
        units = tuple(str(row["analytic"]) for row in rows)
        weights = np.array([row["weight"] for row in rows], np.float64)
        qualities = np.array([row["quality"] for row in rows], np.float64)
        rates = np.array([row["rate_bps"] for row in rows], np.float64)
        is_saved = np.array([row["place"] != "cloud" for row in rows])
        saved = np.array([row["saved_bps"] for row in rows], np.float64) * is_saved
        found += [
            MetricSamples(
                metric="weighted_qos",
                configuration=name,
                units=units,
                statistic=_weighted_mean(weights, qualities),
                better="higher",
            ),
            MetricSamples(
                metric="mean_rate_bps",
                configuration=name,
                units=units,
                statistic=_weighted_mean(np.ones(len(rows)), rates),
                better="lower",
                unit="bit/s",
            ),
            MetricSamples(
                metric="mean_saved_bps",
                configuration=name,
                units=units,
                statistic=_weighted_mean(np.ones(len(rows)), saved),
                better="higher",
                unit="bit/s",
            ),
        ]
    return found


def _weighted_mean(
    weights: Float64[np.ndarray, " n"], values: Float64[np.ndarray, " n"]
) -> Statistic:
    """The mean of values by weights, for units that count several times or never."""

    def statistic(counts: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        total = counts @ weights
        return counts @ (weights * values) / np.where(total > 0, total, np.nan)

    return statistic
