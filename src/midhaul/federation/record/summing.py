"""The tables of a recording, made from its journal, and the verdict on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.record import tables
from midhaul.federation.record.journal import NOT_MADE, SKIPPED, UNFINISHED
from midhaul.federation.record.keeping import call_row, prediction_rows
from midhaul.federation.record.samples import metric_samples
from midhaul.model import Tally, Verdict
from midhaul.runs.summary import SUMMARY
from midhaul.stats import estimate_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.federation.record.asking import Turn
    from midhaul.federation.record.config import RecordConfig
    from midhaul.federation.record.journal import Journal
    from midhaul.runs.run import Run

_FEW, _FEW_PACKETS = 0.01, 0.001
"""Share of calls, and of packets, that may be lost."""


class Recording:
    """Writes calls and predictions turn by turn, from the journal."""

    def __init__(
        self,
        config: RecordConfig,
        run: Run,
        journal: Journal,
        turns: Sequence[Turn],
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

    def write(self, turn: Turn) -> None:
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
    """Write the summary and judge the run.

    Args:
        config: of the run.
        run: with all calls.
        n_packets: that were captured meanwhile.
        n_dropped: that tcpdump has lost.
    """
    calls: list[dict[str, Any]] = run.read(tables.CALLS).to_pylist()
    for number, one in enumerate(config.providers):
        mine = [call for call in calls if call["configuration"] == number]
        rng = np.random.default_rng([config.seed, 74, number])
        rows = [
            {
                "configuration": number,
                **estimate_row(metric, rng, n_resamples=config.n_resamples),
                "is_model": False,
            }
            for metric in metric_samples(mine, one.name, one.timeout_s)
        ]
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
