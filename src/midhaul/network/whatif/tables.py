"""Tables of network.whatif: those of network.simulate, and what was found of choices.

A choice is the configuration of its first workload; those of further ones stand behind
all choices.
"""

from __future__ import annotations

from midhaul.network.simulate.tables import SIMULATE_TABLES
from midhaul.runs.summary import CONFIGURATION
from midhaul.runs.tables import BOOL, FLOAT, INT, STRING, Column, Table

CHOICES = Table(
    "choices",
    "One choice, and how it stands to the best one.",
    (
        CONFIGURATION,
        Column("value", FLOAT, "The percentile by which choices are judged."),
        Column("low", FLOAT, "Lower end of its 95 % interval."),
        Column("high", FLOAT, "Upper end of it."),
        Column("best_share", FLOAT, "Share of resamples in which it is the best."),
        Column("ratio", FLOAT, "Its value over that of the best; null for the best."),
        Column("ratio_low", FLOAT, "Lower end of the 95 % interval of the ratio."),
        Column("ratio_high", FLOAT, "Upper end of it."),
        Column("p_value", FLOAT, "That they are equal, corrected for all choices."),
        Column("result", STRING, "best, equal, worse, cannot tell or unknown."),
        Column("reason", STRING, "Why it cannot be told; null where it can."),
        Column("cost_usd", FLOAT, "What it costs; null where nothing is said."),
        Column("is_advised", BOOL, "True of the one to take."),
    ),
)

CHOICE_CLASSES = Table(
    "choice_classes",
    "A percentile of slowdown of one class of size under one choice, over what flows "
    "would take alone in the network as it is.",
    (
        CONFIGURATION,
        Column("size_class", STRING, "Class of size, or all."),
        Column("percentile", FLOAT, "50, 95, 99 or 99.9."),
        Column("n", INT, "Flows of all workloads that were simulated themselves."),
        Column("value", FLOAT, "The slowdown that so many do not exceed."),
        Column("low", FLOAT, "Lower end of its 95 % interval."),
        Column("high", FLOAT, "Upper end of it."),
        Column("bound", STRING, ">= where the true one is at least that; else null."),
    ),
)

WHATIF_TABLES = (*SIMULATE_TABLES, CHOICES, CHOICE_CLASSES)
