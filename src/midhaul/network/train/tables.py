"""Tables of network.train: scenarios, errors by group, and the learning curve."""

from __future__ import annotations

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import FLOAT, INT, STRING, Column, Table

CONFIGURATIONS = Table(
    "configurations",
    "What tells slowdowns of paths.",
    (
        CONFIGURATION,
        Column("name", STRING, "corrector, fluid, constant, first flows or windows."),
        Column("what", STRING, "What it does, in a sentence."),
    ),
)

PARTS = Table(
    "parts",
    "One part of the truth: scenarios that were simulated packet by packet.",
    (
        Column("purpose", STRING, "train or test."),
        Column("part", INT, "Its number."),
        Column("n_scenarios", INT, "Scenarios."),
        Column("n_given_up", INT, "Those whose network collapsed, which do not count."),
        Column("n_events", INT, "What was worked through."),
        Column("took_s", FLOAT, "Processor time of the simulations."),
        Column("first_s", FLOAT, "The same of those of the first flows."),
        Column("windows_s", FLOAT, "The same of those of windows, with their fluid."),
    ),
)

SCENARIOS = Table(
    "scenarios",
    "One scenario of the test, and what one configuration told of it.",
    (
        CONFIGURATION,
        Column("scenario", INT, "Its number."),
        Column("transport", STRING, "How senders decide."),
        Column("law", STRING, "Law of its sizes."),
        Column("groups", STRING, "Groups that it belongs to, with commas between."),
        Column("n_links", INT, "Links of its path."),
        Column("slowest_bps", FLOAT, "Rate of the slowest one."),
        Column("round_trip_s", FLOAT, "Round trip without anything in the way."),
        Column("load", FLOAT, "Load of the busiest link."),
        Column("n_own", INT, "Flows of the foreground."),
        Column("true_p50", FLOAT, "Median slowdown of these, packet by packet."),
        Column("true_p95", FLOAT, "What 95 % of them do not exceed."),
        Column("true_p99", FLOAT, "What 99 % of them do not exceed."),
        Column("p50", FLOAT, "Median slowdown that was told; null for none."),
        Column("p95", FLOAT, "What 95 % do not exceed."),
        Column("p99", FLOAT, "What 99 % do not exceed."),
        Column("p99_low", FLOAT, "Least that this may be; null without intervals."),
        Column("p99_high", FLOAT, "Most that this may be."),
        Column("distance", FLOAT, "Wasserstein distance over the mean true slowdown."),
    ),
)

ERRORS = Table(
    "errors",
    "Errors of one percentile over the scenarios of a group, as shares of the truth.",
    (
        CONFIGURATION,
        Column("group", STRING, "all, none of the groups, or one of them."),
        Column("transport", STRING, "How senders decide, or all."),
        Column("size_class", STRING, "Class of size, or all."),
        Column("percentile", FLOAT, "Which: 0.99 for instance."),
        Column("n", INT, "Scenarios."),
        Column("mean", FLOAT, "Mean of the absolute error."),
        Column("median", FLOAT, "Median of it."),
        Column("p90", FLOAT, "What 90 % of them do not exceed."),
        Column("worst", FLOAT, "The largest."),
        Column("bias", FLOAT, "Mean of the error with its sign."),
        Column("coverage", FLOAT, "Share of truths within intervals; null for none."),
    ),
)

CURVE = Table(
    "learning_curve",
    "What one net says that learnt from so many scenarios.",
    (
        Column("n_scenarios", INT, "Scenarios that it learnt from."),
        Column("transport", STRING, "How senders decide, or all."),
        Column("n", INT, "Scenarios of the test."),
        Column("mean", FLOAT, "Mean absolute error of p99."),
        Column("median", FLOAT, "Median of it."),
        Column("p90", FLOAT, "What 90 % of them do not exceed."),
        Column("bias", FLOAT, "Mean of the error with its sign."),
    ),
)

TRAIN_TABLES = (CONFIGURATIONS, PARTS, SCENARIOS, ERRORS, CURVE, SUMMARY)
