"""Tables of network.validate: those of network.simulate, and errors on the parts.

Configuration 0 is the judge, the others are the simulators that are held against it.
"""

from __future__ import annotations

from midhaul.network.simulate.tables import (
    CONFIGURATIONS,
    FLOWS,
    LINK_QUEUES,
    LINKS,
    SIMULATIONS,
    TIMELINE,
    TOPOLOGY,
)
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import FLOAT, INT, INT32, STRING, Column, Table

PART = Column("part", INT32, "Number of the path, or of the batch of the window.")

CHECKED = Table(
    "checked",
    "A part that was checked: a path, or a batch of the flows of the window.",
    (
        PART,
        Column("name", STRING, "What it is: its ends, or its batch."),
        Column("n_judged", INT, "Flows that take the whole path, or start within it."),
        Column("n_beside", INT, "Flows that were simulated with them."),
    ),
)

ERRORS = Table(
    "errors",
    "How far a simulator lies from the judge in one class of size.",
    (
        CONFIGURATION,
        Column("size_class", STRING, "Class of size, or all."),
        Column(
            "what",
            STRING,
            "p50, p95 or p99 of the slowdown; bias: mean relative difference of "
            "completion times, flow by flow.",
        ),
        Column("n", INT, "Flows behind it."),
        Column("judge", FLOAT, "The judge's value; null for the bias."),
        Column("value", FLOAT, "The simulator's value; null for the bias."),
        Column("error", FLOAT, "The second over the first, less 1; or the bias."),
        Column("low", FLOAT, "Lower end of its 95 % interval."),
        Column("high", FLOAT, "Upper end of it."),
    ),
)

PART_ERRORS = Table(
    "part_errors",
    "How far a simulator lies from the judge on one part.",
    (
        CONFIGURATION,
        PART,
        Column("n", INT, "Judged flows that ended in both and were simulated."),
        Column("judge", FLOAT, "Their mean slowdown by the judge."),
        Column("value", FLOAT, "Their mean slowdown by the simulator."),
        Column("bias", FLOAT, "Mean relative difference of their completion times."),
    ),
)

VALIDATE_TABLES = (
    CONFIGURATIONS,
    TOPOLOGY,
    FLOWS,
    LINKS,
    LINK_QUEUES,
    TIMELINE,
    SIMULATIONS,
    CHECKED,
    ERRORS,
    PART_ERRORS,
    SUMMARY,
)
