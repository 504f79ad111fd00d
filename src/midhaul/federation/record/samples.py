"""The tables of a recording, made from its journal, and the verdict on it.

The metrics of a provider are functions of batches of its consecutive calls.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.record import tables
from midhaul.federation.record.caller import NOT_MADE, SKIPPED, UNFINISHED
from midhaul.federation.record.metrics import METRICS
from midhaul.federation.record.tables import (
    CALLS,
    CONFIGURATIONS,
    call_row,
    prediction_rows,
)
from midhaul.model import Tally, Verdict
from midhaul.runs.metric import summary_rows
from midhaul.runs.summary import SUMMARY
from midhaul.stats import mean_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float64

    from midhaul.federation.record.caller import Journal, RecordTurn
    from midhaul.federation.record.config import RecordConfig
    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

N_BATCHES = 20
PERCENTILES = (50, 90, 95, 99)


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a run, by provider; the units are batches of calls."""
    return [
        replace(metric, n_stretches=len(metric.units))
        for name, (calls, timeout_s) in _by_provider(run).items()
        for metric in metric_samples(calls, name, timeout_s)
    ]


def waits_of(run: Run) -> dict[str, tuple[Float64[np.ndarray, " n"], float]]:
    """Latencies of the calls that ended, by provider, and from where on bounds."""
    found: dict[str, tuple[Float64[np.ndarray, " n"], float]] = {}
    for name, (calls, timeout_s) in _by_provider(run).items():
        ended = [c for c in calls if c["status"] not in {*NOT_MADE, UNFINISHED}]
        if ended:
            waits_s = _waits_s(ended, timeout_s)
            good = np.array([call["status"] == "ok" for call in ended])
            found[name] = (waits_s, _known_below_s(waits_s, good))
    return found


def _by_provider(run: Run) -> dict[str, tuple[list[dict[str, Any]], float]]:
    """Calls of each provider, and the time that each of them was given."""
    calls: list[dict[str, Any]] = run.read(CALLS).to_pylist()
    timeouts = {
        str(one["name"]): float(one["timeout_s"])
        for one in run.config_values()["providers"]
    }
    return {
        str(row["name"]): (
            [c for c in calls if c["configuration"] == row["configuration"]],
            timeouts[str(row["name"])],
        )
        for row in run.read(CONFIGURATIONS).to_pylist()
    }


def _known_below_s(
    waits_s: Float64[np.ndarray, " n"], good: Bool[np.ndarray, " n"]
) -> float:
    """The shortest wait that had no answer; infinite where all had one."""
    return math.inf if good.all() else float(waits_s[~good].min())


def metric_samples(
    calls: Sequence[Mapping[str, Any]], configuration: str, timeout_s: float
) -> list[MetricSamples]:
    """The metrics of one provider."""
    made = [call for call in calls if call["status"] not in NOT_MADE]
    made.sort(key=lambda call: call["sent_s"])
    if not made:
        return []
    n = len(made)
    index = np.arange(n) * min(N_BATCHES, n) // n
    first = np.searchsorted(index, np.arange(index[-1] + 1))
    units = tuple(
        f"{made[int(i)]['sent_s']:.6f} {batch}" for batch, i in enumerate(first)
    )
    good = np.array([call["status"] == "ok" for call in made])
    price_usd = np.array([call["price_usd"] for call in made], np.float64)

    size = len(units)
    ok = mean_statistic(good.astype(np.float64), index, size)
    usd = mean_statistic(price_usd, index, size)
    found = [
        METRICS["ok_share"].samples(configuration, units, ok),
        METRICS["usd_per_call"].samples(configuration, units, usd),
    ]
    ended = np.array([call["status"] != UNFINISHED for call in made])
    if ended.any():
        waits_s = _waits_s(made, timeout_s)[ended]
        known_below_s = _known_below_s(waits_s, good[ended])
        found += [
            METRICS[f"latency_p{percentile}_s"].percentile(
                configuration,
                units,
                waits_s,
                index[ended],
                q=percentile / 100,
                known_below=known_below_s,
            )
            for percentile in PERCENTILES
        ]
        mean = mean_statistic(waits_s, index[ended], size)
        bound = -math.inf if math.isfinite(known_below_s) else math.inf
        latency = METRICS["latency_mean_s"]
        found.append(latency.samples(configuration, units, mean, known_below=bound))
    return found


def _waits_s(
    calls: Sequence[Mapping[str, Any]], timeout_s: float
) -> Float64[np.ndarray, " n"]:
    """Latency of each call; at least the time it was given where it has no answer."""
    return np.array(
        [
            call["latency_s"]
            if call["status"] == "ok"
            else max(call["latency_s"] or 0.0, timeout_s)
            for call in calls
        ],
        np.float64,
    )


_FEW, _FEW_PACKETS = 0.01, 0.001
"""Share of calls, and of packets, that may be lost."""


class RecordTables:
    """Writes calls and predictions turn by turn, from the journal."""

    def __init__(
        self,
        config: RecordConfig,
        run: Run,
        journal: Journal,
        turns: Sequence[RecordTurn],
    ) -> None:
        self._run, self._journal, self._turns = run, journal, turns
        self._numbers = {one.name: i for i, one in enumerate(config.providers)}
        self._of = {
            (item, turn.pass_number): turn.number
            for turn in turns
            for item in turn.items
        }

    def write_all(self) -> None:
        """Write the parts of all turns that something is known of."""
        known = {self._of[key.item, key.number] for key in self._journal.calls}
        for turn in self._turns:
            if turn.number in known:
                self.write(turn)

    def write(self, turn: RecordTurn) -> None:
        """Write the parts of one turn."""
        items = set(turn.items)
        calls = [
            call
            for key, call in self._journal.calls.items()
            if key.number == turn.pass_number and key.item in items
        ]
        number = turn.number
        rows = [call_row(call, self._numbers[call.key.provider]) for call in calls]
        self._run.write(tables.CALLS, rows, part=number)
        found = [
            row
            for call in calls
            for row in prediction_rows(call, self._numbers[call.key.provider])
        ]
        self._run.write(tables.PREDICTIONS, found, part=number)


def sum_up(
    config: RecordConfig, run: Run, *, n_packets: int = 0, n_dropped: int = 0
) -> None:
    """Write the summary and judge the run."""
    calls: list[dict[str, Any]] = run.read(tables.CALLS).to_pylist()
    for number, one in enumerate(config.providers):
        mine = [call for call in calls if call["configuration"] == number]
        rng = np.random.default_rng([config.seed, 74, number])
        found = metric_samples(mine, one.name, one.timeout_s)
        rows = summary_rows(found, number, rng, config.n_resamples)
        run.write(SUMMARY, rows, part=number)
    run.verdict = _judge(calls, n_packets, n_dropped)


def _judge(
    calls: Sequence[Mapping[str, Any]], n_packets: int, n_dropped: int
) -> Verdict:
    states = [call["status"] for call in calls]
    n_failed = sum(state not in {"ok", UNFINISHED, *NOT_MADE} for state in states)
    n_dropped_entries = sum(call["n_dropped"] or 0 for call in calls)
    n_entries = sum(call["n_answers"] or 0 for call in calls) + n_dropped_entries
    return Verdict.of(
        Tally(
            what="calls were not made, as the budget was spent before all was asked",
            n=states.count("not_sent"),
            of=len(states),
            max_share=0.0,
            advice="Raise budget_usd and resume.",
        ),
        Tally(
            what="calls were not made, as their provider could not be had",
            n=states.count(SKIPPED),
            of=len(states),
            max_share=_FEW,
            advice="The table of calls says why; resume the run once it can.",
        ),
        Tally(
            what="boxes and labels of answers could not be read and were left out",
            n=n_dropped_entries,
            of=n_entries,
            max_share=_FEW,
            advice="The table of calls says which and why.",
        ),
        Tally(
            what="calls were cut off, and nobody knows their answers",
            n=states.count(UNFINISHED),
            of=len(states),
            max_share=_FEW,
            advice='ask_again = "unfinished" asks them again, and pays again.',
        ),
        Tally(
            what="calls failed",
            n=n_failed,
            of=len(states),
            max_share=_FEW,
            advice='The table of calls says why; ask_again = "failed" asks them again.',
        ),
        Tally(
            what="packets were lost by tcpdump",
            n=n_dropped,
            of=n_packets + n_dropped,
            max_share=_FEW_PACKETS,
            advice="Capture less, or on another disk.",
        ),
    )
