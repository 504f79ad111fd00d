"""Tables of network.estimate: percentiles, curves, links to blame, headroom."""

from __future__ import annotations

from midhaul.network.simulate.tables import TOPOLOGY
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import FLOAT, INT, INT32, STRING, Column, Table

CONFIGURATIONS = Table(
    "configurations",
    "What was estimated.",
    (
        CONFIGURATION,
        Column("name", STRING, "estimate."),
        Column("corrector", STRING, "Its file, or shipped."),
        Column("transports", STRING, "How senders decide, with commas between."),
        Column("n_paths", INT, "Different paths that were looked at."),
        Column("n_draws", INT, "How often paths were drawn."),
        Column("n_in_windows", INT, "Flows that windows simulated packet by packet."),
    ),
)

ESTIMATES = Table(
    "estimates",
    "One percentile of the flows of a class of size, with its interval.",
    (
        Column("size_class", STRING, "Class of size, or all."),
        Column("n", INT, "Flows of the network that are of it."),
        Column("percentile", FLOAT, "Which: 0.99 for instance."),
        Column("slowdown", FLOAT, "Completion time over the ideal one."),
        Column("slowdown_low", FLOAT, "Least that this may be."),
        Column("slowdown_high", FLOAT, "Most that this may be."),
        Column("fct_s", FLOAT, "Completion time."),
        Column("fct_low_s", FLOAT, "Least that this may be."),
        Column("fct_high_s", FLOAT, "Most that this may be."),
    ),
)

CURVES = Table(
    "curves",
    "One point of the distribution of slowdowns of a class of size.",
    (
        Column("size_class", STRING, "Class of size, or all."),
        Column("share", FLOAT, "Share of the flows that do not exceed it."),
        Column("slowdown", FLOAT, "Completion time over the ideal one."),
        Column("low", FLOAT, "Least that it may be, by the corrector or by windows."),
        Column("high", FLOAT, "Most that it may be."),
    ),
)

BLAMED = Table(
    "blamed_links",
    "One link to blame; those that would give most first.",
    (
        Column("link", INT32, "Number of the link, of the table topology."),
        Column("name", STRING, "Its ends: SOURCE->TARGET."),
        Column("waiting_share", FLOAT, "Share of all that waits on the drawn paths."),
        Column("slowdown_p99", FLOAT, "p99 of all flows if it were twice as fast."),
        Column("gain", FLOAT, "Share by which that is below what it is now."),
    ),
)

HEADROOM = Table(
    "headroom",
    "The p99 slowdown at one factor of the load.",
    (
        Column("factor", FLOAT, "Of the load that the network has."),
        Column("slowdown_p99", FLOAT, "What 99 % of the flows do not exceed."),
    ),
)

WARNINGS = Table(
    "warnings",
    "What of the paths lies outside of what the corrector has seen in training.",
    (
        Column("what", STRING, "In words; empty: any of it."),
        Column("share", FLOAT, "Share of the draws that it holds of."),
    ),
)

ESTIMATE_TABLES = (
    CONFIGURATIONS,
    TOPOLOGY,
    ESTIMATES,
    CURVES,
    BLAMED,
    HEADROOM,
    WARNINGS,
    SUMMARY,
)
