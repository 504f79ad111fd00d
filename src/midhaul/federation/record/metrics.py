"""The metrics of federation.record, by provider.

Latencies are over all calls that were made. One without an answer took at least the
time that it was given, whatever it failed of; one that a kill cut off is not judged.
"""

from __future__ import annotations

from midhaul.runs.metric import declare, metric_table

METRICS = declare(
    *metric_table(
        """
        ok_share, higher, "answered" as share: calls that were answered, of those that
            were made
        latency_p50_s [s], lower, "latency, median" as duration: median of the latency
            of calls
        latency_p90_s [s], lower, "latency p90" as duration: 90th percentile of the same
        latency_p95_s [s], lower, "latency p95" as duration: 95th percentile of the same
        latency_p99_s [s], lower, "latency p99" as duration: 99th percentile of the same
        latency_mean_s [s], lower, as duration: mean of the same
        usd_per_call [USD], lower, "price of a call" as usd: mean price charged for a
            call
        """
    ),
    over="batches of calls",
    headline="ok_share latency_p50_s latency_p95_s latency_p99_s usd_per_call",
)
"""What a recording finds, in the order of its report."""
