"""The metrics of federation.record, by provider.

Latencies are over all calls that were made. One without an answer took at least the
time that it was given, whatever it failed of; one that a kill cut off is not judged.
"""

from __future__ import annotations

from midhaul.runs.metric import Metric, declare


def _time(name: str, doc: str, heading: str = "") -> Metric:
    return Metric(name, doc, unit="s", better="lower", heading=heading, form="duration")


METRICS = declare(
    Metric(
        "ok_share",
        "calls that were answered, of those that were made",
        better="higher",
        heading="answered",
        form="share",
    ),
    _time("latency_p50_s", "median of the latency of calls", "latency, median"),
    _time("latency_p90_s", "90th percentile of the same", "90 %"),
    _time("latency_p95_s", "95th percentile of the same", "95 %"),
    _time("latency_p99_s", "99th percentile of the same", "99 %"),
    _time("latency_mean_s", "mean of the same"),
    Metric(
        "usd_per_call",
        "mean price charged for a call",
        unit="USD",
        better="lower",
        heading="price of a call",
        form="usd",
    ),
    over="batches of calls",
    headline=(
        "ok_share",
        "latency_p50_s",
        "latency_p95_s",
        "latency_p99_s",
        "usd_per_call",
    ),
)
"""What a recording finds, in the order of its report."""
