"""The tables that deploy.live writes.

Times are seconds after the begin of a repetition, on the machine's one monotonic clock,
which all namespaces share.
"""

from __future__ import annotations

import pyarrow as pa

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import Column, Table

_INT = pa.int64()
_FLOAT = pa.float64()
_STRING = pa.string()
_BOOL = pa.bool_()

_REPEAT = Column("repeat", pa.int32(), "Number of the repetition, from 0.")
_ANALYTIC = Column("analytic", _STRING, "Name of the analytic.")
_IMAGE = Column("image", _STRING, "Name of the container image.")
_PERIOD = Column("begins_s", _FLOAT, "Begin of the rate period.")

CONFIGURATIONS = Table(
    "configurations",
    "The way to decide that was run.",
    (
        CONFIGURATION,
        Column("name", _STRING, "PLACER+ALLOCATOR+EVICTION."),
        Column("settings", _STRING, "Its other settings, as JSON."),
    ),
)

CURVES = Table(
    "curves",
    "One step of a QoS curve that was measured before the first repetition.",
    (
        Column("curve", _STRING, "images or sounds, and cloud or gateway."),
        Column("knob", _FLOAT, "Share of the area, or of the sampling rate."),
        Column("message_bytes", _FLOAT, "90th percentile of its payloads."),
        Column("rate_bps", _FLOAT, "Upload rate, with what MQTT, TCP and IP add."),
        Column("quality", _FLOAT, "Mean quality over messages held out."),
        Column("n", _INT, "Messages behind the quality."),
        Column("is_on_frontier", _BOOL, "False where a cheaper step is as good."),
    ),
)

MESSAGES = Table(
    "messages",
    "One message that was planned.",
    (
        _REPEAT,
        _ANALYTIC,
        Column("workload", _STRING, "images or sounds."),
        Column("number", _INT, "Its number among those of the analytic, from 0."),
        Column("place", _STRING, "cloud or gateway: where the analytic ran."),
        Column("weight", _FLOAT, "How much the analytic counts."),
        Column("knob", _FLOAT, "Its setting; null where no rate was granted."),
        Column("sent_bytes", _INT, "Payload that was published; null where none was."),
        Column("uplink_bytes", _INT, "Payload that crossed the uplink, if it arrived."),
        Column("planned_s", _FLOAT, "Planned send."),
        Column("sent_s", _FLOAT, "Actual send; null where there was none."),
        Column("received_s", _FLOAT, "When the cloud had it, or its result."),
        Column("scored_s", _FLOAT, "When it was scored; null where it never was."),
        Column("latency_s", _FLOAT, "Planned send until scored."),
        Column("planned_quality", _FLOAT, "What the QoS curve says of its knob."),
        Column("quality", _FLOAT, "Measured quality; null where late or missing."),
        Column(
            "status",
            _STRING,
            "scored, late (after its deadline), missing (never), or not granted (no "
            "rate for it).",
        ),
    ),
)

PERIODS = Table(
    "periods",
    "One rate period.",
    (
        _REPEAT,
        _PERIOD,
        Column("lasts_s", _FLOAT, "How long it was, by the clock."),
        Column("late_s", _FLOAT, "By how much it began late."),
        Column("n_cloud", _INT, "Analytics in the cloud."),
        Column("n_moving", _INT, "Those of them whose image is being pulled."),
        Column("n_gateway", _INT, "Analytics on the gateway."),
        Column("uplink_bps", _FLOAT, "What the uplink carried, mean of the period."),
        Column("assumed_bps", _FLOAT, "What was forecast that it carries."),
        Column("reserved_bps", _FLOAT, "Kept free for acknowledgements of pulls."),
        Column("allocated_bps", _FLOAT, "Sum of the rates granted."),
        Column("sent_bps", _FLOAT, "Measured at the device: gateway to cloud."),
        Column("received_bps", _FLOAT, "Measured at the device: cloud to gateway."),
        Column("n_dropped", _INT, "Packets dropped before the uplink."),
        Column("n_steps_down", _INT, "How often knobs went down, as messages waited."),
        Column(
            "is_overshoot",
            _BOOL,
            "Allocated and reserved above it, or sent, beyond a burst and 1 %.",
        ),
        Column("stored_bytes", _INT, "Layers on the disk, uncompressed."),
        Column("planned_qos", _FLOAT, "Weighted mean quality that was planned."),
        Column("saved_bps", _FLOAT, "Upload rate that analytics on the gateway save."),
    ),
)

RATES = Table(
    "rates",
    "What one analytic was granted in one rate period.",
    (
        _REPEAT,
        _PERIOD,
        _ANALYTIC,
        Column("workload", _STRING, "images or sounds."),
        Column("place", _STRING, "cloud or gateway."),
        Column("rate_bps", _FLOAT, "Upload rate granted."),
        Column("knob", _FLOAT, "Setting it buys; null for none."),
        Column("quality", _FLOAT, "Quality that the curve says; 0 for none."),
    ),
)

LIVE_PULLS = Table(
    "pulls",
    "One pull of an image's missing layers.",
    (
        _REPEAT,
        _IMAGE,
        Column("slot_s", _FLOAT, "Begin of the slot that planned it."),
        Column("planned_begins_s", _FLOAT, "Begin as planned."),
        Column("planned_ends_s", _FLOAT, "End as planned, unpacked and started."),
        Column("planned_bytes", _INT, "Compressed bytes as planned."),
        Column("begins_s", _FLOAT, "Real begin; null where nobody wanted it by then."),
        Column("ends_s", _FLOAT, "Real end, unpacked; null where it did not end."),
        Column("pulled_bytes", _INT, "Bytes that came over the link."),
        Column("resumed_bytes", _INT, "Bytes that an unfinished pull had left."),
        Column("n_retries", _INT, "Attempts after the first, over all layers."),
        Column("is_wasted", _BOOL, "True where no analytic could use it."),
        Column("error", _STRING, "What failed; empty where nothing did."),
    ),
)

MOVES = Table(
    "moves",
    "One analytic that a placement moves to the gateway.",
    (
        _REPEAT,
        _ANALYTIC,
        _IMAGE,
        Column("slot_s", _FLOAT, "Begin of the slot that planned it."),
        Column("planned_starts_s", _FLOAT, "When it was to start on the gateway."),
        Column("starts_s", _FLOAT, "When it did; null where it never did."),
        Column("leaves_s", _FLOAT, "When it leaves, or the repetition ends."),
        Column("saved_bps", _FLOAT, "Upload rate that it saves on the gateway."),
        Column("planned_saved_bits", _FLOAT, "Saved from planned start to its leave."),
        Column("saved_bits", _FLOAT, "Saved from real start to its leave."),
        Column("is_realised", _BOOL, "Whether it moved."),
    ),
)

EVICTIONS = Table(
    "evictions",
    "One layer that was deleted to make room.",
    (
        _REPEAT,
        Column("at_s", _FLOAT, "When."),
        Column("digest", _STRING, "The layer."),
        Column("uncompressed_bytes", _INT, "What became free."),
    ),
)

DECISIONS = Table(
    "algorithm_times",
    "One decision and how long it took.",
    (
        _REPEAT,
        Column("at_s", _FLOAT, "When it was taken."),
        Column("what", _STRING, "placement, eviction or rates."),
        Column("took_s", _FLOAT, "Time it took."),
        Column("n", _INT, "Analytics that it was about."),
        Column("value", _FLOAT, "Value of the decision; null for evictions."),
        Column("bound", _FLOAT, "No decision has a higher value; null when unknown."),
    ),
)

REPEATS = Table(
    "repeats",
    "One repetition that came to its end, and under what conditions.",
    (
        _REPEAT,
        Column("duration_s", _FLOAT, "How long analytics came and sent."),
        Column("pull_bps", _FLOAT, "Rate of pulls, measured before the begin."),
        Column("pull_fixed_s", _FLOAT, "Time of a pull beside its bytes, measured."),
        Column("ack_share", _FLOAT, "Uplink bytes per downlink byte of a pull."),
        Column("late_p99_s", _FLOAT, "99th percentile of actual minus planned send."),
        Column("busy", _FLOAT, "Share of the machine's CPU time in use."),
        Column("n_restarts", _INT, "Faults that were made on purpose."),
    ),
)

LIVE_TABLES = (
    CONFIGURATIONS,
    CURVES,
    MESSAGES,
    PERIODS,
    RATES,
    LIVE_PULLS,
    MOVES,
    EVICTIONS,
    DECISIONS,
    REPEATS,
    SUMMARY,
)
