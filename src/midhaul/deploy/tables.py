"""The tables that deploy.plan and deploy.allocate write."""

from __future__ import annotations

import pyarrow as pa

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import Column, Table

_INT = pa.int64()
_FLOAT = pa.float64()
_STRING = pa.string()
_BOOL = pa.bool_()

_ANALYTIC = Column("analytic", _STRING, "Name of the analytic.")
_GATEWAY = Column("gateway", _STRING, "Name of the gateway.")

CONFIGURATIONS = Table(
    "configurations",
    "One way to decide that the run compares with the others.",
    (
        CONFIGURATION,
        Column("name", _STRING, "Its short name, unique in the run."),
        Column("planner", _STRING, "Who decides: joint, or PLACER+ALLOCATOR."),
        Column("uplink_bps", _FLOAT, "Uplink that is divided, of all gateways."),
        Column("settings", _STRING, "What else tells it from the others, as JSON."),
    ),
)

CURVES = Table(
    "curves",
    "One step of a QoS curve, as it is charged.",
    (
        Column("curve", _STRING, "Name of the curve."),
        Column("step", pa.int32(), "Number of the step, from 0, by rising rate."),
        Column("knob", _FLOAT, "Setting of the step."),
        Column("rate_bps", _FLOAT, "Upload rate, with what transports add."),
        Column("quality", _FLOAT, "Measured quality."),
        Column("is_on_frontier", _BOOL, "False where a cheaper step is as good."),
    ),
)

DECISIONS = Table(
    "decisions",
    "What one way to decide gives one analytic.",
    (
        CONFIGURATION,
        _ANALYTIC,
        Column("image", _STRING, "Its container image; null where none matters."),
        Column("place", _STRING, "cloud, or the name of its gateway."),
        Column("weight", _FLOAT, "How much it counts."),
        Column("curve", _STRING, "Curve that holds where it runs."),
        Column("knob", _FLOAT, "Setting that its rate buys; null for none."),
        Column("rate_bps", _FLOAT, "Upload rate that it is granted."),
        Column("quality", _FLOAT, "Quality of that setting; 0 for none."),
        Column("saved_bps", _FLOAT, "Upload rate that a gateway would save."),
        Column("starts_s", _FLOAT, "When it can answer from the gateway; null else."),
    ),
)

PULLS = Table(
    "pulls",
    "One pull of an image's missing layers.",
    (
        CONFIGURATION,
        _GATEWAY,
        Column("image", _STRING, "Container image that can start after it."),
        Column("n_layers", _INT, "Layers that it carries."),
        Column("compressed_bytes", _INT, "Bytes that it carries."),
        Column("begins_s", _FLOAT, "Begin, after the begin of the slot."),
        Column("ends_s", _FLOAT, "End, after the begin of the slot."),
    ),
)

LAYERS = Table(
    "layers",
    "One layer that a placement needs on a gateway.",
    (
        CONFIGURATION,
        _GATEWAY,
        Column("digest", _STRING, "The layer."),
        Column("compressed_bytes", _INT, "What a pull of it carries."),
        Column("uncompressed_bytes", _INT, "What it takes on the disk."),
        Column("is_estimated", _BOOL, "True where one of its sizes is an estimate."),
        Column("is_present", _BOOL, "True where it needs no pull."),
        Column("images", pa.list_(_STRING), "Placed container images that share it."),
    ),
)

USES = Table(
    "uses",
    "What a placement takes of one resource of one gateway.",
    (
        CONFIGURATION,
        _GATEWAY,
        Column("resource", _STRING, "disk_bytes, n_cores, memory_bytes or uplink_bps."),
        Column("used", _FLOAT, "What it takes."),
        Column("capacity", _FLOAT, "What there is; infinite without a limit."),
    ),
)

PRICES = Table(
    "prices",
    "What one more unit of a resource would bring.",
    (
        CONFIGURATION,
        Column("resource", _STRING, "GATEWAY.RESOURCE."),
        Column("step", _STRING, "The unit: 1 Mbit/s, 1 GB or 1 core."),
        Column("gain", _FLOAT, "Weighted quality that planning anew with it gains."),
        Column("dual", _FLOAT, "What the dual price promises; null when unknown."),
        Column("sentence", _STRING, "The same, in words."),
    ),
)

PLAN_TABLES = (
    CONFIGURATIONS,
    CURVES,
    DECISIONS,
    PULLS,
    LAYERS,
    USES,
    PRICES,
    SUMMARY,
)

ALLOCATE_TABLES = (CONFIGURATIONS, CURVES, DECISIONS, SUMMARY)
