"""Tables of federation.train and federation.evaluate; those of a replay under faults.

Times are virtual seconds after the begin of the replay: those of the providers, while
the federation's own work takes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation.fusion.calibration import reliability
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

if TYPE_CHECKING:
    from midhaul.federation.evaluate.split_and_fit import TestPart
    from midhaul.federation.recordings.problem import Recording

_POLICY = Column("policy", STRING, "Name of the policy.")
_PHASE = Column("phase", STRING, "Name of the phase.")
_BEGINS = Column("begins_s", FLOAT, "Begin of the phase.")
_ENDS = Column("ends_s", FLOAT, "End of the phase.")

FAULT_PHASES = Table(
    "fault_phases",
    "One phase of a replay under faults: what goes wrong for a while.",
    (
        _PHASE,
        _BEGINS,
        _ENDS,
        Column("provider", STRING, "Who is hit; empty for nobody."),
        Column("fault", STRING, "What goes wrong; empty for nothing."),
        Column("share", FLOAT, "Share of the provider's calls that are hit."),
        Column("price_usd", FLOAT, "New price of a call of the provider."),
    ),
)

FAULT_REQUESTS = Table(
    "fault_requests",
    "One request of a replay under faults.",
    (
        _POLICY,
        _PHASE,
        Column("number", INT, "Number of the request, from 0."),
        Column("item", STRING, "Id of the item."),
        Column("arrival_s", FLOAT, "When it came."),
        Column("latency_s", FLOAT, "From its arrival to its answer or refusal."),
        Column("status", STRING, "complete, partial, failed, no_budget or late."),
        Column("reason", STRING, "Why it is not complete; empty where it is."),
        Column("n_rounds", INT, "Rounds of calls."),
        Column("n_calls", INT, "Calls that were made, retries included."),
        Column("n_failed", INT, "Of these, calls without an answer."),
        Column("asked", STRING, "Names of the providers asked, with + between."),
        Column("cost_usd", FLOAT, "What the calls cost."),
        Column("quality", FLOAT, "Quality of the fused answer; null without one."),
    ),
)

FAULT_SUMMARY = Table(
    "fault_summary",
    "One policy in one phase of a replay under faults.",
    (
        _POLICY,
        _PHASE,
        _BEGINS,
        _ENDS,
        Column("n_requests", INT, "Requests that came in the phase."),
        Column("answered", FLOAT, "Share of them that were answered."),
        Column("complete", FLOAT, "Share whose answer has all that was wanted."),
        Column(
            "latency_p50_s",
            FLOAT,
            "Median latency; null where the requests are too few. One without an "
            "answer counts as at least the longest.",
        ),
        Column("latency_p95_s", FLOAT, "95th percentile, likewise."),
        Column("latency_p99_s", FLOAT, "99th percentile, likewise."),
        Column(
            "latency_known_below_s",
            FLOAT,
            "The longest latency, where requests were not answered: a percentile that "
            "is this is at least this; null where all were answered.",
            is_newer=True,
        ),
        Column("quality", FLOAT, "Mean quality; a request without answer has 0."),
        Column("quality_answered", FLOAT, "Mean quality of the answered ones."),
        Column("cost_usd", FLOAT, "Mean cost of a request."),
        Column("n_calls", FLOAT, "Mean number of calls of a request."),
        Column("failed_calls", FLOAT, "Share of the calls that failed."),
    ),
)

TABLES = (FAULT_PHASES, FAULT_REQUESTS, FAULT_SUMMARY)


_PROVIDER = Column("provider", STRING, "Name of the provider.")
_LOW = Column("low", FLOAT, "Lower end of its 95 % interval; null without one.")
_HIGH = Column("high", FLOAT, "Upper end of its 95 % interval; null without one.")

CONFIGURATIONS = Table(
    "configurations",
    "A policy at one budget.",
    (
        CONFIGURATION,
        Column("name", STRING, "Its short name, unique in the run."),
        Column("policy", STRING, "Policy, or the family it belongs to."),
        Column("budget_share", FLOAT, "Budget over the price of all; null for none."),
        Column("budget_usd", FLOAT, "Mean price of an item that it may spend."),
        Column("settings", STRING, "What else it was told, as JSON."),
    ),
)

PROVIDERS = Table(
    "providers",
    "A provider of the recording.",
    (
        _PROVIDER,
        Column("price_usd", FLOAT, "Price of a call."),
        Column("n_missing", INT, "Items that it has no answer to."),
        Column("n_empty", INT, "Items that it found nothing in."),
    ),
)

DECISIONS = Table(
    "decisions",
    "What a policy did to one item of the test part.",
    (
        CONFIGURATION,
        Column("split", INT32, "Number of the split, from 0."),
        Column("item", STRING, "Id of the item."),
        Column("asked", INT, "Providers asked, bit p for provider p."),
        Column("first", INT, "The same of the first round."),
        Column("n_rounds", INT32, "Rounds of calls, one after another."),
        Column("cost_usd", FLOAT, "Price of the calls."),
        Column("quality", FLOAT, "Quality of the fused answer to this item alone."),
    ),
)

FITS = Table(
    "fits",
    "How long a policy took to learn and to decide.",
    (
        CONFIGURATION,
        Column("split", INT32, "Number of the split, from 0."),
        Column("fit_s", FLOAT, "Learning it, its whole family included."),
        Column("decide_s", FLOAT, "Deciding about one item, many at once."),
    ),
)

CALLS = Table(
    "calls",
    "How often a policy asked a provider, over all splits.",
    (
        CONFIGURATION,
        _PROVIDER,
        Column("n_calls", INT, "Calls to it."),
        Column("n_first", INT, "Calls to it in the first round."),
        Column("share", FLOAT, "Share of the items that it was asked about."),
    ),
)

SUBSETS = Table(
    "subsets",
    "How often a policy ended with one subset of providers.",
    (
        CONFIGURATION,
        Column("subset", STRING, "Names of the providers, joined by +."),
        Column("n_asked", INT32, "How many they are."),
        Column("share", FLOAT, "Share of the items."),
        Column("quality", FLOAT, "Mean quality of these items."),
    ),
)

CLASSES = Table(
    "classes",
    "Quality of one policy for one label.",
    (
        CONFIGURATION,
        Column("label", STRING, "The label."),
        Column("support", INT, "Times that it is true, in one test part."),
        Column("quality", FLOAT, "AP50 (boxes), F1 (tags) or recall (labels)."),
    ),
)

CALIBRATION = Table(
    "calibration",
    "One bin of a provider's scores on items that they were not calibrated on.",
    (
        _PROVIDER,
        Column("is_calibrated", BOOL, "Whether scores are as the provider gave them."),
        Column("bin", INT32, "Number of the bin, from 0."),
        Column("score", FLOAT, "Mean score in the bin."),
        Column("share_right", FLOAT, "Share of the entries that are right."),
        _LOW,
        _HIGH,
        Column("n", INT, "Entries in the bin."),
        Column("error", FLOAT, "Expected calibration error of the provider."),
    ),
)

MATCHES = Table(
    "matches",
    "What a policy has to spend to be as good as something simpler.",
    (
        Column("policy", STRING, "The policy's family."),
        Column("target", STRING, "What it has to match."),
        Column("target_quality", FLOAT, "Quality of that."),
        Column("target_cost_usd", FLOAT, "Price of that for an item."),
        Column("cost_usd", FLOAT, "Price at which it is reached; null for never."),
        Column("saving", FLOAT, "Share of the target's price that is saved."),
    ),
)

LEARNING = Table(
    "learning",
    "Quality and cost of a policy while it is learned.",
    (
        CONFIGURATION,
        Column("split", INT32, "Number of the split, from 0."),
        Column("step", INT, "Steps of the environment so far."),
        Column("n_calls", INT, "Calls that these steps would have made."),
        Column("quality", FLOAT, "Quality on the calibration part."),
        Column("cost_usd", FLOAT, "Price of an item on the calibration part."),
    ),
)

REGRET = Table(
    "regret",
    "A stream of items: what was lost against the best fixed subset.",
    (
        CONFIGURATION,
        Column("item_number", INT, "Number of the item in the stream, from 1."),
        Column("regret", FLOAT, "Sum of quality less price that was lost so far."),
        Column("quality", FLOAT, "Mean quality of the last items."),
        Column("cost_usd", FLOAT, "Mean price of the last items."),
        Column("is_alarm", BOOL, "Whether a provider seemed to have changed."),
    ),
)

_STREAMED = Column("policy", STRING, "Name of the family.")
_IS_ONLINE = Column("is_online", BOOL, "Whether it is kept up to date.")

ONLINE = Table(
    "online",
    "A stream in which a provider gets worse: a policy as learned or kept up to date.",
    (
        _STREAMED,
        _IS_ONLINE,
        Column("item_number", INT, "Number of the item in the stream, from 1."),
        Column("regret", FLOAT, "Sum of quality less price that was lost so far."),
        Column("quality", FLOAT, "Mean quality of the last items."),
        Column("cost_usd", FLOAT, "Mean price of the last items, audits included."),
        Column("is_alarm", BOOL, "Whether an alarm came since the row before."),
    ),
)

ONLINE_SUMMARY = Table(
    "online_summary",
    "A policy in a stream in which a provider gets worse, and what it was worth.",
    (
        _STREAMED,
        _IS_ONLINE,
        Column("n_items", INT, "Items of the stream."),
        Column("quality", FLOAT, "Mean quality of the fused answers."),
        Column("cost_usd", FLOAT, "Mean price of an item, audits included."),
        Column("regret", FLOAT, "Worth lost against the best fixed subset of all."),
        Column("worth", FLOAT, "Mean quality less multiplier times price."),
        Column("worth_at_end", FLOAT, "The same of the last third."),
        Column("best_fixed_at_end", FLOAT, "That of the best fixed subset of it."),
        Column("n_alarms", INT, "Alarms."),
        Column("n_audits", INT, "Items that everybody was asked about to learn."),
        Column("n_refits", INT, "How often it was learned anew, taken or not."),
    ),
)

ALARMS = Table(
    "alarms",
    "A change that a policy which is kept up to date noticed in its stream.",
    (
        _STREAMED,
        Column("item_number", INT, "Items that had come until the alarm."),
        Column("provider", STRING, "Who changed; empty for the fused answers."),
        Column("signal", STRING, "answered, score, agreement or quality."),
        Column("direction", STRING, "fell or rose."),
        Column("onset", INT, "Number of the item from which it seems to differ."),
    ),
)

POINTS = Table(
    "points",
    "An exchange rate of a policy's family on the calibration part, or what was saved.",
    (
        Column(
            "multiplier",
            FLOAT,
            "Quality that one USD has to buy; null for what was saved.",
        ),
        Column("cost_usd", FLOAT, "Price of an item."),
        Column("quality", FLOAT, "Quality on the calibration part."),
        _LOW,
        _HIGH,
        Column(
            "is_chosen", BOOL, "The policy that was saved, which may mix two rates."
        ),
    ),
)

BILL = Table(
    "bill",
    "Calls that learning needs, were the answers not recorded.",
    (
        _PROVIDER,
        Column("n_calls", INT, "Calls to the provider."),
        Column("usd", FLOAT, "Their price."),
    ),
)

TRAIN_TABLES = (
    CONFIGURATIONS,
    SUMMARY,
    PROVIDERS,
    POINTS,
    LEARNING,
    CALLS,
    SUBSETS,
    CALIBRATION,
    BILL,
)

EVALUATE_TABLES = (
    CONFIGURATIONS,
    SUMMARY,
    PROVIDERS,
    DECISIONS,
    FITS,
    CALLS,
    SUBSETS,
    CLASSES,
    CALIBRATION,
    MATCHES,
    LEARNING,
    REGRET,
    ONLINE,
    ONLINE_SUMMARY,
    ALARMS,
    *TABLES,
)


def provider_rows(recording: Recording) -> list[dict[str, object]]:
    """One row for each provider."""
    rows: list[dict[str, object]] = []
    for p, provider in enumerate(recording.providers):
        answers = recording.answers[p]
        is_empty = (answers.counts == 0) & ~answers.is_missing
        rows.append(
            {
                "provider": provider,
                "price_usd": float(recording.prices_usd[p]),
                "n_missing": int(answers.is_missing.sum()),
                "n_empty": int(is_empty.sum()),
            }
        )
    return rows


def reliability_rows(part: TestPart) -> list[dict[str, object]]:
    """What every provider's scores are worth, before and after calibration."""
    rows: list[dict[str, object]] = []
    for is_calibrated, recording in ((False, part.raw), (True, part.recording)):
        for p, provider in enumerate(recording.providers):
            found = reliability(recording, recording.answers[p])
            rows.extend(
                {
                    "provider": provider,
                    "is_calibrated": is_calibrated,
                    "bin": number,
                    "score": float(found.scores[number]),
                    "share_right": float(found.shares[number]),
                    "low": float(found.low[number]),
                    "high": float(found.high[number]),
                    "n": int(found.counts[number]),
                    "error": found.error,
                }
                for number in range(len(found.counts))
            )
    return rows
