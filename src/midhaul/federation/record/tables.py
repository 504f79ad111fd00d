"""The tables that federation.record writes."""

from __future__ import annotations

import pyarrow as pa

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import Column, Table

_INT = pa.int64()
_SMALL = pa.int32()
_FLOAT = pa.float64()
_STRING = pa.string()

_ITEM = Column("item", _STRING, "Id of the image.")
_PASS = Column("pass", _SMALL, "Number of the pass over the image set, from 0.")

CONFIGURATIONS = Table(
    "configurations",
    "A provider.",
    (
        CONFIGURATION,
        Column("name", _STRING, "Its name."),
        Column("spec", _STRING, "What it is."),
        Column("price_usd", _FLOAT, "List price of a call behind the free ones."),
        Column("n_calls", _INT, "Calls that the run is to make."),
        Column("forecast_usd", _FLOAT, "What they were expected to cost."),
        Column("n_free", _INT, "Those of them that were expected to be free."),
    ),
)

CALLS = Table(
    "calls",
    "A call to a provider.",
    (
        CONFIGURATION,
        _ITEM,
        _PASS,
        Column("slice", _SMALL, "Number of the slice of the image set, from 0."),
        Column("planned_s", _FLOAT, "When its slice was to begin, since 1970 UTC."),
        Column("sent_s", _FLOAT, "When it was made, since 1970 UTC."),
        Column(
            "status",
            _STRING,
            "ok, timeout, throttled, unavailable, unreachable, refused, denied, "
            "malformed; not_sent where the budget was spent, skipped where its "
            "provider could not be had, unfinished where a kill cut it off.",
        ),
        Column("message", _STRING, "What went wrong; empty for nothing."),
        Column(
            "latency_s", _FLOAT, "From the call to the decoded answer; null without."
        ),
        Column("price_usd", _FLOAT, "What was charged."),
        Column("upload_bytes", _INT, "Bytes of the image."),
        Column("n_answers", _INT, "Boxes or labels of the answer; null without."),
        Column("n_asked", _SMALL, "How often it was asked, this call included."),
        Column(
            "n_dropped",
            _INT,
            "Boxes or labels of the answer that could not be read and are not there.",
        ),
    ),
)

PREDICTIONS = Table(
    "predictions",
    "A box or a label that a provider answered, in its own words.",
    (
        CONFIGURATION,
        _ITEM,
        _PASS,
        Column("provider", _STRING, "Name of the provider."),
        Column("label", _STRING, "The label."),
        Column("score", _FLOAT, "Its score."),
        Column("x1", _FLOAT, "Left, px; null for a label without a box."),
        Column("y1", _FLOAT, "Top, px."),
        Column("x2", _FLOAT, "Right, px."),
        Column("y2", _FLOAT, "Bottom, px."),
    ),
)

RECORD_TABLES = (CONFIGURATIONS, CALLS, PREDICTIONS, SUMMARY)
