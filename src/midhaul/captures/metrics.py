"""The metrics of federation.latency, batch by batch of consecutive requests.

By provider and region pair, see [packet latency](../explanation/packet-latency.md).
Requests that follow each other are not independent, so the unit of intervals is a
batch: a twentieth of the requests of a configuration, in their order. A batch is called
after the time of its first request, so that only runs of the same captures are paired.

A request without an answer took at least the time that it was waited for: it stays in
the times as that, and percentiles that lie among such requests are bounds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.captures.tables import CONFIGURATIONS, REQUESTS
from midhaul.runs.metric import declare, metric_table
from midhaul.stats import mean_statistic, ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from jaxtyping import Float64, Int64

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

N_BATCHES = 20
PERCENTILES = (50, 90, 95, 99)
TIMES = ("inference", "transmission", "total")
_PARTS = ("upload", "rtt", "download")
_KNOWN = ("upload", "rtt")
"""What is known of a request without an answer as well."""

_SPANS = {
    "inference": "from a request's arrival to the first byte of its answer",
    "transmission": "of upload, round trip and download together",
    "total": "of transmission and inference together",
    "upload": "in which a request leaves",
    "rtt": "of the round trip",
    "download": "in which an answer comes in",
}
_RANKS = {
    50: "median",
    90: "90th percentile",
    95: "95th percentile",
    99: "99th percentile",
}


_PERCENTILES = "".join(
    f'{what}_p{percentile}_s, "{what} {percentile} %": '
    f"{_RANKS[percentile]} of the time {_SPANS[what]}\n"
    for what in TIMES
    for percentile in PERCENTILES
)
_MEANS = "".join(
    f"{what}_mean_s: mean of the time {span}\n" for what, span in _SPANS.items()
)
_SHARES = """
transmission_share, lower, "share of transmission": sum of transmission over the sum of
    total
ok_share, higher, "answered well": requests that were answered well, of those that were
    tried
"""

METRICS = declare(
    *metric_table(_PERCENTILES + _MEANS, unit="s", better="lower", form="duration"),
    *metric_table(_SHARES, form="share"),
    over="batches of requests",
    headline="inference_p50_s inference_p95_s inference_p99_s transmission_p50_s "
    "transmission_share ok_share",
)
"""What captures tell, in the order of the report."""

_NO_SHARE = "nobody knows how long the requests without an answer took"


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by configuration; the units are batches of requests."""
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
    """The metrics of one configuration."""
    counted = counted_of(requests)
    tried = [row for row in requests if row["status"] in {"ok", "failed", "aborted"}]
    found: list[MetricSamples] = []
    if tried:
        index, units = _batches(tried)
        good = np.array([row["status"] == "ok" for row in tried], np.float64)
        ok = mean_statistic(good, index, len(units))
        found.append(METRICS["ok_share"].samples(configuration, units, ok))
    if counted:
        found += _of_times(counted, configuration)
    return found


def counted_of(requests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The requests that are in times: answered, or waited for."""
    return [
        row for row in requests if row["status"] == "ok" or row["waited_s"] is not None
    ]


def times_of(
    counted: Sequence[Mapping[str, Any]], what: str
) -> tuple[Float64[np.ndarray, " n"], float]:
    """A time of each request, and from where on it is only known to be longer."""
    values = [
        float(row[f"{what}_s"]) if row["waited_s"] is None else _at_least_s(row, what)
        for row in counted
    ]
    bounds = [
        value
        for row, value in zip(counted, values, strict=True)
        if row["waited_s"] is not None and what not in _KNOWN
    ]
    return np.array(values, np.float64), min(bounds, default=math.inf)


def _at_least_s(row: Mapping[str, Any], what: str) -> float:
    """What a time of a request without an answer was at least."""
    upload_s, rtt_s = float(row["upload_s"]), float(row["rtt_s"])
    return {
        "upload": upload_s,
        "rtt": rtt_s,
        "download": 0.0,
        "inference": max(0.0, row["waited_s"] - rtt_s),
        "transmission": upload_s + rtt_s,
        "total": upload_s + max(row["waited_s"], rtt_s),
    }[what]


def _of_times(
    counted: Sequence[Mapping[str, Any]], configuration: str
) -> list[MetricSamples]:
    index, units = _batches(counted)
    times = {what: times_of(counted, what) for what in (*TIMES, *_PARTS)}
    values = {what: found for what, (found, _) in times.items()}
    known_below = {what: bound for what, (_, bound) in times.items()}
    found = [
        METRICS[f"{what}_p{percentile}_s"].percentile(
            configuration,
            units,
            values[what],
            index,
            q=percentile / 100,
            known_below=known_below[what],
        )
        for what in TIMES
        for percentile in PERCENTILES
    ]
    found += [
        METRICS[f"{what}_mean_s"].samples(
            configuration,
            units,
            mean_statistic(values[what], index, len(units)),
            known_below=math.inf if math.isinf(known_below[what]) else -math.inf,
        )
        for what in (*TIMES, *_PARTS)
    ]
    is_open = not math.isinf(known_below["total"])
    sums = [
        np.bincount(index, values[what], len(units))
        for what in ("transmission", "total")
    ]
    share = METRICS["transmission_share"].samples(
        configuration,
        units,
        _unknown if is_open else ratio_statistic(sums[0], sums[1]),
        lack=_NO_SHARE if is_open else "",
    )
    return [*found, share]


def _unknown(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
    return np.full(len(weights), np.nan)


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
