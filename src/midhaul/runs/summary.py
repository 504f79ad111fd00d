"""The table that every kind writes: its metrics, one row for each configuration."""

from __future__ import annotations

import pyarrow as pa

from midhaul.runs.tables import Column, Table

_FLOAT = pa.float64()
_STRING = pa.string()

CONFIGURATION = Column(
    "configuration", pa.int32(), "Number of the configuration, from 0."
)
"""What tells the configurations of a run apart; ``configurations`` names them."""

SUMMARY = Table(
    "summary",
    "One metric of one configuration over all blocks, with its interval.",
    (
        CONFIGURATION,
        Column("metric", _STRING, "Name of the metric, see the reference."),
        Column("value", _FLOAT, "Point estimate."),
        Column("low", _FLOAT, "Lower end of the 95 % interval; null without one."),
        Column("high", _FLOAT, "Upper end of the 95 % interval; null without one."),
        Column("n", pa.int64(), "Independent units behind it."),
        Column("unit", _STRING, "SI unit, or empty."),
        Column(
            "is_model",
            pa.bool_(),
            "True where stated coefficients make the number, not a measurement.",
        ),
        Column(
            "bound",
            _STRING,
            "Null where value is exact; >= where the true number is at least that, as "
            "it lies among requests that were not answered; <= where at most.",
            is_newer=True,
        ),
        Column(
            "remark",
            _STRING,
            "Why there is no value, or what it must be read with; null for nothing.",
            is_newer=True,
        ),
    ),
)
