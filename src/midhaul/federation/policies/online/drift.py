"""Has a provider changed? Alarms with a bounded rate of false ones, whatever the data.

Three numbers of every provider are watched on items that were chosen without looking at
them: whether it answered, the highest score of its answer, and how well the answer
agrees with the fused one. An alarm is raised by bets on their ranks
(:mod:`midhaul.federation.policies.online.e_detectors`).

1. After an alarm everything known of that provider is forgotten, and how well everybody
   agreed, because the fused answer is another one since.
2. A change of one provider moves the agreement of the others a bit, so that now and
   then another one is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.policies.ensemble_labels import as_truth
from midhaul.federation.policies.online.e_detectors import EDetectors
from midhaul.federation.recordings.problem import first_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.federation.npz_state import State
    from midhaul.federation.policies.online.e_detectors import Change
    from midhaul.federation.recordings.problem import Answers, Recording

Signal = Literal["answered", "score", "agreement", "quality"]
"""What may change; ``quality`` is as people judge answers, fused or a provider's."""

SIGNALS: tuple[Signal, ...] = ("answered", "score", "agreement")
"""What is watched of each provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something seems to have changed.

    Attributes:
        provider: whose number changed; empty for the fused answers.
        signal: what changed; ``quality`` is of the fused answers, or of the provider's
            own where one is named.
        direction: whether it fell or rose.
        number: of the item that raised the alarm.
        onset: number of the item from which it seems to differ.
    """

    provider: str
    signal: Signal
    direction: Literal["fell", "rose"]
    number: int
    onset: int

    @classmethod
    def of(cls, change: Change, provider: str, signal: Signal) -> Alarm:
        """What a change of a number means."""
        return cls(
            provider=provider,
            signal=signal,
            direction="rose" if change.is_rise else "fell",
            number=change.number,
            onset=change.onset,
        )


class DriftMonitor:
    """Watches all providers; a number of theirs that changes raises an alarm.

    Args:
        providers: names.
        n_between: within n items watched, the chance of any false alarm is at most n
            over this number.

    Attributes:
        n_watched: items so far, those of the baseline not counted.

    Raises:
        ValueError: ``n_between`` is not positive.
    """

    def __init__(self, providers: Sequence[str], n_between: float) -> None:
        self.providers = tuple(providers)
        self.n_watched = 0
        self._detectors = EDetectors(len(self.providers) * len(SIGNALS), n_between)

    @property
    def evidence(self) -> Float64[np.ndarray, "p s"]:
        """R over its alarm level, per provider and signal; an alarm is at 1."""
        return self._detectors.evidence.reshape(len(self.providers), len(SIGNALS))

    def baseline(self, recording: Recording, fused: Answers) -> None:
        """Take in items from before, about which nobody wants an alarm.

        Args:
            recording: answers to them.
            fused: the fused answers of everybody.
        """
        self._detectors.baseline(_signals(self._ordered(recording), fused))

    def watch(
        self,
        recording: Recording,
        fused: Answers,
        numbers: Int64[np.ndarray, " n"] | None = None,
    ) -> tuple[Alarm, ...]:
        """Take in items that were chosen without looking at them, one after another.

        Args:
            recording: what everybody who was asked answered; a provider that failed is
                missing like one that was not asked, so ask everybody.
            fused: the fused answers.
            numbers: ``(n,)`` by which alarms name items, rising; those watched are
                counted from 1 when absent.

        Returns:
            Alarms in the order of the items; after one, that provider starts anew.

        Raises:
            DataError: a provider that is watched is absent.
        """
        if not len(recording):
            return ()
        if numbers is None:
            numbers = self.n_watched + 1 + np.arange(len(recording))
        self.n_watched += len(recording)
        values = _signals(self._ordered(recording), fused)
        alarms: list[Alarm] = []
        start = 0
        while change := self._detectors.watch(
            values[:, start:], recording.items[start:], numbers[start:]
        ):
            p, signal = divmod(change.row, len(SIGNALS))
            alarms.append(Alarm.of(change, self.providers[p], SIGNALS[signal]))
            self.forget(self.providers[p])
            start += change.at + 1
        return tuple(alarms)

    def forget(self, provider: str) -> None:
        """Begin anew with one provider, and with everybody's agreement.

        Its answers are part of the fused ones, so the others no longer agree with these
        as they did, though they did not change.
        """
        p, width = self.providers.index(provider), len(SIGNALS)
        n_rows = width * len(self.providers)
        agreements = np.arange(SIGNALS.index("agreement"), n_rows, width)
        self._detectors.forget(np.union1d(p * width + np.arange(width), agreements))

    def with_providers(self, providers: Sequence[str]) -> DriftMonitor:
        """The same for other providers; what is known of those that stay is kept."""
        other = DriftMonitor(providers, self._detectors.n_between)
        other.n_watched = self.n_watched
        rows = np.arange(len(SIGNALS))
        for new, name in enumerate(providers):
            if name in self.providers:
                old = self.providers.index(name)
                to, source = rows + new * len(rows), rows + old * len(rows)
                other._detectors.take_over(to, self._detectors, source)
        return other

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "providers": self.providers,
            "n_watched": self.n_watched,
            "detectors": self._detectors.state(),
        }

    @classmethod
    def from_state(cls, state: State, n_between: float | None = None) -> DriftMonitor:
        """What :meth:`state` gave, with other distances of alarms from now on."""
        monitor = cls(tuple(state["providers"]), 1.0)
        monitor.n_watched = int(state["n_watched"])
        monitor._detectors = EDetectors.from_state(state["detectors"], n_between)
        return monitor

    def _ordered(self, recording: Recording) -> Recording:
        if recording.providers == self.providers:
            return recording
        missing = [name for name in self.providers if name not in recording.providers]
        if missing:
            message = f"{missing[0]} is watched, but not in the recording"
            raise DataError(message, "name the providers again: with_providers")
        return recording.only(self.providers)


def _signals(recording: Recording, fused: Answers) -> Float64[np.ndarray, "w n"]:
    """All numbers of all providers in [0, 1]; NaN where there is none.

    Whether a provider answered does not count where nobody did: the item is to blame.
    """
    from midhaul.federation.quality import item_quality  # noqa: PLC0415 - loads numba

    scores = first_scores(recording)
    reference = replace(recording, truth=as_truth(fused))
    has_answer = np.stack([~answers.is_missing for answers in recording.answers])
    n_answers = has_answer.sum(axis=0)
    rows: list[np.ndarray] = []
    for p, answers in enumerate(recording.answers):
        answered = np.where(n_answers > 0, has_answer[p].astype(np.float64), np.nan)
        score = np.where(has_answer[p], scores[p], np.nan)
        agreement = item_quality(reference, answers)
        is_judged = has_answer[p] & (n_answers > 1)
        rows += [answered, score, np.where(is_judged, agreement, np.nan)]
    return np.stack(rows)
