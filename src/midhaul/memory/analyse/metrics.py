"""The metrics of memory.analyse: scheme by scheme, by viewer.

Streams of a viewer share a path, so viewers are the units of intervals. SSIM counts by
time played.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.analyse.tables import CONFIGURATIONS, VIEWINGS
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

_YEAR_S = 365.25 * 86_400

METRICS = declare(
    *metric_table(
        """
        stalled_share, lower, "stalled" as share: time without a picture over the time
            watched, start-up left out
        ssim_db [dB], higher, "SSIM, dB": mean SSIM of streams, by the time they played
        variation_db [dB], lower, "variation, dB": mean change of SSIM from chunk to
            chunk, by the time they played
        """,
        over="viewers",
    ),
    *metric_table(
        """
        stream_years, "stream-years" as {:.3g}: time played, in years
        n_streams, "streams" as {:,.0f}: streams that played long enough
        """
    ),
    headline="stalled_share ssim_db",
)
"""What days of viewing tell of each scheme, in the order of the report."""

_COMPARED = ("stalled_share", "ssim_db", "variation_db")


def samples(run: Run) -> list[MetricSamples]:
    """All metrics with a direction of a run, by scheme; the units are viewers."""
    rows = run.read(VIEWINGS).to_pylist()
    return [
        one
        for scheme in run.read(CONFIGURATIONS).to_pylist()
        for one in metric_samples(
            [r for r in rows if r["configuration"] == scheme["configuration"]],
            str(scheme["name"]),
        )
    ]


def metric_samples(rows: Sequence[Mapping[str, Any]], name: str) -> list[MetricSamples]:
    """The metrics of a scheme out of its rows of the table ``viewings``."""
    if not rows:
        return []
    units, owner = np.unique([str(r["viewer"]) for r in rows], return_inverse=True)
    n = len(units)
    play_s = np.array([r["play_s"] for r in rows], np.float64)
    stall_s = np.array([r["stall_s"] for r in rows], np.float64)
    stalls = np.bincount(owner, stall_s, n)
    watched = stalls + np.bincount(owner, play_s, n)
    viewers = tuple(str(unit) for unit in units)
    found = [
        METRICS["stalled_share"].samples(
            name, viewers, ratio_statistic(stalls, watched)
        )
    ]
    for metric in _COMPARED[1:]:
        values = np.array([_or_nan(r[metric]) for r in rows])
        is_known = np.isfinite(values)
        weights = np.bincount(owner[is_known], play_s[is_known], n)
        sums = np.bincount(owner[is_known], (values * play_s)[is_known], n)
        statistic = ratio_statistic(sums, weights)
        lack = "" if is_known.any() else "no chunk has an SSIM"
        found.append(METRICS[metric].samples(name, viewers, statistic, lack=lack))
    return found


def amounts(
    rows: Sequence[Mapping[str, Any]], configuration: int
) -> list[dict[str, object]]:
    """Rows of the summary of how much was watched."""
    years = sum(float(r["play_s"]) for r in rows) / _YEAR_S
    return [
        METRICS["stream_years"].row(configuration, years, len(rows)),
        METRICS["n_streams"].row(configuration, len(rows), len(rows)),
    ]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
