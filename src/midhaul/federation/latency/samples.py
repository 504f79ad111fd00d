"""The metrics of federation.latency, batch by batch of consecutive requests.

Requests that follow each other are not independent, so the unit of intervals is a
batch: a twentieth of the requests of a configuration, in their order. A batch is called
after the time of its first request, so that only runs of the same captures are paired.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.latency.tables import CONFIGURATIONS, REQUESTS
from midhaul.model.samples import MetricSamples
from midhaul.stats import mean_statistic, percentile_samples, ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from jaxtyping import Float64, Int64

    from midhaul.runs.run import Run

N_BATCHES = 20
PERCENTILES = (50, 90, 95, 99)
TIMES = ("inference", "transmission", "total")
_PARTS = ("upload", "rtt", "download")


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by configuration; the units are batches of requests.

    Args:
        run: finished, or killed: what it has is what there is.
    """
    requests = run.read(REQUESTS).to_pylist()
    found: list[MetricSamples] = []
    for row in run.read(CONFIGURATIONS).to_pylist():
        mine = of_configuration(requests, row["provider"], row["region_pair"])
        found += metric_samples(mine, str(row["name"]))
    return [replace(metric, n_stretches=len(metric.units)) for metric in found]


def of_configuration(
    requests: Sequence[Mapping[str, Any]], provider: str, region_pair: str
) -> list[Mapping[str, Any]]:
    """The requests of one configuration, by time."""
    mine = [
        row
        for row in requests
        if row["provider"] == provider and row["region_pair"] == region_pair
    ]
    return sorted(mine, key=lambda row: row["started_s"])


def metric_samples(
    requests: Sequence[Mapping[str, Any]], configuration: str
) -> list[MetricSamples]:
    """The metrics of one configuration.

    Args:
        requests: its rows of the table ``requests``, by time.
        configuration: its name.
    """
    counted = [row for row in requests if row["status"] == "ok"]
    tried = [row for row in requests if row["status"] in {"ok", "failed", "aborted"}]
    found: list[MetricSamples] = []
    if tried:
        index, units = _batches(tried)
        good = np.array([row["status"] == "ok" for row in tried], np.float64)
        found.append(
            MetricSamples(
                metric="ok_share",
                configuration=configuration,
                units=units,
                statistic=mean_statistic(good, index, len(units)),
                better="higher",
            )
        )
    if counted:
        found += _of_times(counted, configuration)
    return found


def _of_times(
    counted: Sequence[Mapping[str, Any]], configuration: str
) -> list[MetricSamples]:
    index, units = _batches(counted)
    values = {what: _column(counted, what) for what in (*TIMES, *_PARTS)}
    statistics = {
        f"{what}_mean_s": mean_statistic(values[what], index, len(units))
        for what in (*TIMES, *_PARTS)
    }
    found = [
        percentile_samples(
            values[what],
            index,
            units,
            q=percentile / 100,
            metric=f"{what}_p{percentile}_s",
            configuration=configuration,
        )
        for what in TIMES
        for percentile in PERCENTILES
    ]
    found += [
        MetricSamples(
            metric=name,
            configuration=configuration,
            units=units,
            statistic=statistic,
            better="lower",
            unit="s",
        )
        for name, statistic in statistics.items()
    ]
    sums = [
        np.bincount(index, values[what], len(units))
        for what in ("transmission", "total")
    ]
    share = MetricSamples(
        metric="transmission_share",
        configuration=configuration,
        units=units,
        statistic=ratio_statistic(sums[0], sums[1]),
        better="lower",
    )
    return [*found, share]


def _column(rows: Sequence[Mapping[str, Any]], what: str) -> Float64[np.ndarray, " n"]:
    return np.array([row[f"{what}_s"] for row in rows], np.float64)


def _batches(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[Int64[np.ndarray, " n"], tuple[str, ...]]:
    """The batch of each request, and the names of the batches."""
    n = len(rows)
    index = np.arange(n) * min(N_BATCHES, n) // n
    first = np.searchsorted(index, np.arange(index[-1] + 1))
    names = tuple(
        f"{rows[int(i)]['started_s']:.6f} {place}" for place, i in enumerate(first)
    )
    return index, names
