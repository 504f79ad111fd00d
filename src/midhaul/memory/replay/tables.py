"""Tables of memory.replay and memory.compare."""

from __future__ import annotations

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

_SEED = Column("seed", INT, "Number of the repetition, from 0.")
_PERIOD = Column("period", INT, "Number of the period, from 0.")

CONFIGURATIONS = Table(
    "configurations",
    "One memory with one rule.",
    (
        CONFIGURATION,
        Column("name", STRING, "What it is called."),
        Column("selector", STRING, "Which samples stay."),
        Column("capacity", INT, "Samples at most; null where only bytes are limited."),
        Column("capacity_bytes", INT, "Bytes at most; null for any number."),
        Column("rule", STRING, "What decides when to retrain."),
        Column("n_samples", INT, "Samples of the stream, of all repetitions."),
        Column("n_periods", INT, "Periods of it."),
    ),
)

PERIODS = Table(
    "periods",
    "One period of one repetition: what the model did, what was decided after it.",
    (
        CONFIGURATION,
        _SEED,
        _PERIOD,
        Column("n", INT, "Samples with an output."),
        Column("n_dropped", INT, "Samples without one."),
        Column("n_remainder", INT, "Samples that a selector of batches had to drop."),
        Column("mean", FLOAT, "Mean log score; null before the first training."),
        Column("median", FLOAT, "Median of it."),
        Column("p1", FLOAT, "1st percentile of it."),
        Column("smoothed_mean", FLOAT, "Mean log score of smoothed predictions."),
        Column("smoothed_p1", FLOAT, "1st percentile of it."),
        Column("n_slow", INT, "Slow events."),
        Column(
            "slow_mean", FLOAT, "Mean log score of these; null where there is none."
        ),
        Column("retrained", BOOL, "Whether a new model was trained after it."),
        Column("way", STRING, "restore, weigh, none; present where none was taken."),
        Column("n_cells", INT, "Cells that samples in memory lie in."),
        Column("n_cells_seen", INT, "Cells that samples of the stream lay in so far."),
        Column("density", FLOAT, "Mean share of the memory in the cell of a sample."),
        Column("density_seen", FLOAT, "The same of the stream so far."),
        Column("value", FLOAT, "What the rule looked at; null for nothing."),
        Column("threshold", FLOAT, "From which on it retrains; null for none."),
        Column(
            "p_value", FLOAT, "How probable that is if nothing has changed; or null."
        ),
        Column("why", STRING, "What the rule said."),
        Column("n_groups", INT, "Groups of it that the rule compared; 0 for none."),
        Column("n_forgotten", INT, "Groups that the rule forgot, as it remembers few."),
        Column("n_kept", INT, "Samples in memory after it."),
        Column("took_s", FLOAT, "Processor time of it, training included."),
    ),
)

KEPT = Table(
    "kept",
    "What is in memory at the end of a period, by the period that it came in.",
    (
        CONFIGURATION,
        _SEED,
        _PERIOD,
        Column("came_in", INT, "The period that they came in."),
        Column("n", INT, "Samples in memory."),
    ),
)

SCORES = Table(
    "scores",
    "Log scores of what was tested, all periods of a cluster together.",
    (
        CONFIGURATION,
        _SEED,
        Column("cluster", INT, "Number of the trace or session."),
        Column("score", FLOAT, "Log score, rounded: 0.001, below -1 0.02."),
        Column("is_smoothed", BOOL, "Whether predictions were smoothed before."),
        Column("is_slow", BOOL, "Whether a slow event came."),
        Column("n", INT, "So many."),
    ),
)

SLOW = Table(
    "slow",
    "The slow event by cluster: log loss of knowing when, after recalibration.",
    (
        CONFIGURATION,
        _SEED,
        Column("cluster", INT, "Number of the trace or session."),
        Column("n", INT, "Samples."),
        Column("n_slow", INT, "Slow events."),
        Column("loss", FLOAT, "Sum of the recalibrated log losses."),
    ),
)

DIFFERENCES = Table(
    "differences",
    "A metric of a configuration minus that of the first, by the same clusters.",
    (
        CONFIGURATION,
        Column("metric", STRING, "Name of the metric, see the reference."),
        Column("difference", FLOAT, "Of slow_loss a share of the first; else minus."),
        Column("low", FLOAT, "Lower end of its 95 % interval."),
        Column("high", FLOAT, "Upper end of it."),
        Column("p_value", FLOAT, "That there is none."),
        Column(
            "result",
            STRING,
            "better, worse or equal: p values corrected for all that the run compares.",
        ),
        Column("n", INT32, "Clusters."),
    ),
)

TABLES = (CONFIGURATIONS, PERIODS, KEPT, SCORES, SLOW, DIFFERENCES, SUMMARY)
