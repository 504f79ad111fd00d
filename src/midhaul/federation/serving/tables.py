"""The tables of a replay under faults.

Times are virtual seconds after the begin of the replay: those of the providers, while
the federation's own work takes none.
"""

from __future__ import annotations

import pyarrow as pa

from midhaul.runs.tables import Column, Table

_INT = pa.int64()
_FLOAT = pa.float64()
_STRING = pa.string()
_BOOL = pa.bool_()

_POLICY = Column("policy", _STRING, "Name of the policy.")
_PHASE = Column("phase", _STRING, "Name of the phase.")
_BEGINS = Column("begins_s", _FLOAT, "Begin of the phase.")
_ENDS = Column("ends_s", _FLOAT, "End of the phase.")

FAULT_PHASES = Table(
    "fault_phases",
    "One phase of a replay under faults: what goes wrong for a while.",
    (
        _PHASE,
        _BEGINS,
        _ENDS,
        Column("provider", _STRING, "Who is hit; empty for nobody."),
        Column("fault", _STRING, "What goes wrong; empty for nothing."),
        Column("share", _FLOAT, "Share of the provider's calls that are hit."),
        Column("price_usd", _FLOAT, "New price of a call of the provider."),
    ),
)

FAULT_REQUESTS = Table(
    "fault_requests",
    "One request of a replay under faults.",
    (
        _POLICY,
        _PHASE,
        Column("number", _INT, "Number of the request, from 0."),
        Column("item", _STRING, "Id of the item."),
        Column("arrival_s", _FLOAT, "When it came."),
        Column("latency_s", _FLOAT, "From its arrival to its answer or refusal."),
        Column("status", _STRING, "complete, partial, failed, no_budget or late."),
        Column("reason", _STRING, "Why it is not complete; empty where it is."),
        Column("n_rounds", _INT, "Rounds of calls."),
        Column("n_calls", _INT, "Calls that were made, retries included."),
        Column("n_failed", _INT, "Of these, calls without an answer."),
        Column("asked", _STRING, "Names of the providers asked, with + between."),
        Column("cost_usd", _FLOAT, "What the calls cost."),
        Column("quality", _FLOAT, "Quality of the fused answer; null without one."),
    ),
)

FAULT_SUMMARY = Table(
    "fault_summary",
    "One policy in one phase of a replay under faults.",
    (
        _POLICY,
        _PHASE,
        _BEGINS,
        _ENDS,
        Column("n_requests", _INT, "Requests that came in the phase."),
        Column("answered", _FLOAT, "Share of them that were answered."),
        Column("complete", _FLOAT, "Share whose answer has all that was wanted."),
        Column(
            "latency_p50_s",
            _FLOAT,
            "Median latency; null where the requests are too few. One without an "
            "answer counts as at least the longest.",
        ),
        Column("latency_p95_s", _FLOAT, "95th percentile, likewise."),
        Column("latency_p99_s", _FLOAT, "99th percentile, likewise."),
        Column(
            "latency_known_below_s",
            _FLOAT,
            "The longest latency, where requests were not answered: a percentile that "
            "is this is at least this; null where all were answered.",
            is_newer=True,
        ),
        Column("quality", _FLOAT, "Mean quality; a request without answer has 0."),
        Column("quality_answered", _FLOAT, "Mean quality of the answered ones."),
        Column("cost_usd", _FLOAT, "Mean cost of a request."),
        Column("n_calls", _FLOAT, "Mean number of calls of a request."),
        Column("failed_calls", _FLOAT, "Share of the calls that failed."),
    ),
)

TABLES = (FAULT_PHASES, FAULT_REQUESTS, FAULT_SUMMARY)
