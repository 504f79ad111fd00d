"""Tables of memory.analyse."""

from __future__ import annotations

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import FLOAT, INT, STRING, Column, Table

DAY = Column("day", STRING, "Name of the day.")

CONFIGURATIONS = Table(
    "configurations",
    "An ABR scheme.",
    (
        CONFIGURATION,
        Column("name", STRING, "Name of the scheme."),
    ),
)

VIEWINGS = Table(
    "viewings",
    "A stream that was watched.",
    (
        CONFIGURATION,
        DAY,
        Column("viewer", STRING, "Who watched; the unit of intervals."),
        Column("ssim_db", FLOAT, "Mean SSIM of its chunks; null where none has one."),
        Column("variation_db", FLOAT, "Mean change of SSIM from chunk to chunk."),
        Column("stall_s", FLOAT, "Time without a picture, start-up left out."),
        Column("play_s", FLOAT, "Time with one."),
    ),
)

DAYS = Table(
    "days",
    "One metric of a scheme on one day, with its interval by viewer.",
    (
        CONFIGURATION,
        DAY,
        Column("metric", STRING, "As in the summary."),
        Column("value", FLOAT, "Point estimate."),
        Column("low", FLOAT, "Lower end of its 95 % interval."),
        Column("high", FLOAT, "Upper end of it."),
        Column("n", INT, "Viewers behind it."),
    ),
)

DIFFERENCES = Table(
    "differences",
    "How far a scheme lies from the baseline in one metric, over all days.",
    (
        CONFIGURATION,
        Column("baseline", STRING, "Name of the baseline."),
        Column("metric", STRING, "As in the summary."),
        Column("difference", FLOAT, "The scheme's value less the baseline's."),
        Column("low", FLOAT, "Lower end of its 95 % interval."),
        Column("high", FLOAT, "Upper end of it."),
        Column("p_value", FLOAT, "Two-sided; null without one."),
    ),
)

SHIFTS = Table(
    "shifts",
    "How far the samples of a day lie from those of the first one.",
    (
        DAY,
        Column("what", STRING, "trans_time_s, size_packets or delivery_rate."),
        Column("n", INT, "Samples of the day."),
        Column("mean", FLOAT, "Their mean."),
        Column("median", FLOAT, "Their median."),
        Column("p99", FLOAT, "What 99 % of them do not exceed."),
        Column(
            "jsd",
            FLOAT,
            "Jensen-Shannon distance, 0 to 1, over Fugu's bins of time, or over "
            "twenty bins that are equally full on the first day.",
        ),
        Column("wasserstein", FLOAT, "1-Wasserstein distance, in the unit of it."),
    ),
)

ANALYSE_TABLES = (CONFIGURATIONS, VIEWINGS, DAYS, DIFFERENCES, SHIFTS, SUMMARY)
