"""Tables of network.compare: those of network.simulate, and what differs."""

from __future__ import annotations

from midhaul.network.simulate.tables import SIMULATE_TABLES
from midhaul.runs.summary import CONFIGURATION
from midhaul.runs.tables import FLOAT, INT, STRING, Column, Table

COMPARISONS = Table(
    "comparisons",
    "One metric of one configuration held against that of the reference.",
    (
        CONFIGURATION,
        Column("metric", STRING, "Name of the metric."),
        Column("reference", FLOAT, "Its value in the reference."),
        Column("value", FLOAT, "Its value in this configuration."),
        Column("ratio", FLOAT, "The second over the first."),
        Column("ratio_low", FLOAT, "Lower end of the 95 % interval of the ratio."),
        Column("ratio_high", FLOAT, "Upper end of it."),
        Column("p_value", FLOAT, "Corrected for all comparisons of the configuration."),
        Column("n", INT, "Batches of flows that both have."),
        Column("result", STRING, "better, worse, tie, cannot tell or unknown."),
        Column("reason", STRING, "Why it cannot be told; null where it can."),
    ),
)

AGREEMENT = Table(
    "agreement",
    "How far completion times lie from those of the reference, flow by flow.",
    (
        CONFIGURATION,
        Column("size_class", STRING, "Class of size, or all."),
        Column("n", INT, "Flows that ended in both."),
        Column("n_one_only", INT, "Flows that ended in one of them only."),
        Column("n_within_2ns", INT, "Flows whose times differ by 2 ns at most."),
        Column("error_p50", FLOAT, "Median of the relative difference, without sign."),
        Column("error_p90", FLOAT, "What 90 % of these do not exceed."),
        Column("error_p99", FLOAT, "What 99 % of these do not exceed."),
        Column("bias", FLOAT, "Mean of the relative difference, with its sign."),
    ),
)

COMPARE_TABLES = (*SIMULATE_TABLES, COMPARISONS, AGREEMENT)
