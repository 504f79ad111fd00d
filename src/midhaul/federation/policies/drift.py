"""Has a provider changed? Alarms with a bounded rate of false ones, whatever the data.

Three numbers of every provider are watched on items that were chosen without looking at
them: whether it answered, the highest score of its answer, and how well the answer
agrees with the fused one. While nothing changes the items are exchangeable, so the rank
of a new number among all earlier ones (ties broken by chance) is uniform in [0, 1] and
independent of earlier ranks (Vovk, Nouretdinov and Gammerman, "Testing exchangeability
on-line", ICML 2003). A bet on the rank u that pays f(u) with mean 1 is then fair, and

    R <- (R + 1) f(u)       (Shiryaev-Roberts)

is on average no more than the number of bets: an e-detector (Shin, Ramdas and Rinaldo,
"E-detectors", 2022). By Doob's inequality P(R >= c within n bets) <= n / c. With S
numbers watched and c = S A, the chance of a false alarm of any of them within n items
is at most n / A by the union bound: no distribution, no independence of providers, and
no constant to tune.

1. Bets are f(u) = w / t for u <= t and (1 - w) / (1 - t) above, for several t and w,
   and the same for 1 - u; R is the mean of theirs, which is an e-detector again.
2. Numbers are rounded to 1/1024, so that ranks need one table of counts and memory does
   not grow. Rounding is the same for all, so exchangeability stays.
3. After an alarm everything known of that provider is forgotten, and how well everybody
   agreed, because the fused answer is another one since.
4. Chance is a hash of the item's id, so that it needs no generator and can be repeated.
5. ``onset`` is where the bet that paid most began to pay (CUSUM); it is an estimate.
6. Nothing is bet on a number that never changed so far. Whether to bet is then known
   before the number, so bets stay fair.
7. A change of one provider moves the agreement of the others a bit, so that now and
   then another one is named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.policies.drift_kernel import N_BINS, advance
from midhaul.federation.policies.first_answers import first_scores
from midhaul.federation.policies.references import as_truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.federation.problem import Answers, Recording
    from midhaul.federation.saving import State

Signal = Literal["answered", "score", "agreement"]

SIGNALS: tuple[Signal, ...] = ("answered", "score", "agreement")

_TAILS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
_POWERS = (0.7, 0.45, 0.2)
"""A bet expects a share t ** power of the ranks in a tail that t of them belong to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A provider seems to have changed.

    Attributes:
        provider: its name.
        signal: what changed first.
        direction: whether it fell or rose.
        number: items that were watched until then, from 1.
        onset: item watched, by number, from which it seems to differ.
    """

    provider: str
    signal: Signal
    direction: Literal["fell", "rose"]
    number: int
    onset: int


class DriftMonitor:
    """Watches all providers; a number of theirs that changes raises an alarm.

    Args:
        providers: names.
        n_between: A above: within n items watched, the chance of any false alarm is at
            most n / A.

    Attributes:
        n_watched: items so far, those of the baseline not counted.
        bets: tail t, share w and whether the tail is the upper one, of each bet.

    Raises:
        ValueError: A is not positive.
    """

    def __init__(self, providers: Sequence[str], n_between: float) -> None:
        if not n_between > 0:
            message = f"n_between must be positive, found {n_between}"
            raise ValueError(message)
        self.providers = tuple(providers)
        self.n_between = float(n_between)
        self.n_watched = 0
        self.bets = _bets()
        shape = len(self.providers) * len(SIGNALS), len(self.bets[0])
        self._counts = np.zeros((shape[0], N_BINS), np.int64)
        self._levels = np.zeros(shape)
        self._sums = np.ones(shape)
        self._starts = np.ones(shape, np.int64)

    @property
    def evidence(self) -> Float64[np.ndarray, "p s"]:
        """R over its alarm level, per provider and signal; an alarm is at 1."""
        means = self._levels.mean(axis=1).reshape(len(self.providers), -1)
        return means / self._threshold

    def baseline(self, recording: Recording, fused: Answers) -> None:
        """Take in items from before, about which nobody wants an alarm.

        Args:
            recording: answers to them.
            fused: the fused answers of everybody.
        """
        values = _signals(self._ordered(recording), fused)
        for row, numbers in enumerate(values):
            known = numbers[~np.isnan(numbers)]
            self._counts[row] += np.bincount(_bins(known), minlength=N_BINS)

    def watch(self, recording: Recording, fused: Answers) -> tuple[Alarm, ...]:
        """Take in items that were chosen without looking at them, one after another.

        Args:
            recording: what everybody who was asked answered; a provider that failed is
                missing like one that was not asked, so ask everybody.
            fused: the fused answers.

        Returns:
            Alarms in the order of the items; after one, that provider starts anew.

        Raises:
            DataError: a provider that is watched is absent.
        """
        if not len(recording):
            return ()
        values = _signals(self._ordered(recording), fused)
        chances = _chances(recording.items, len(values))
        bins = np.where(np.isnan(values), -1, _bins(np.nan_to_num(values)))
        alarms: list[Alarm] = []
        start = 0
        while start < len(recording):
            stopped, row = advance(
                bins[:, start:],
                chances[:, start:],
                self._counts,
                self._levels,
                self._sums,
                self._starts,
                *self.bets,
                self._threshold,
                self.n_watched,
            )
            self.n_watched += stopped
            start += stopped
            if row >= 0:
                alarms.append(self._alarm(row))
                self.forget(alarms[-1].provider)
        return tuple(alarms)

    def forget(self, provider: str) -> None:
        """Begin anew with one provider, and with everybody's agreement.

        Its answers are part of the fused ones, so the others no longer agree with these
        as they did, though they did not change.
        """
        p, width = self.providers.index(provider), len(SIGNALS)
        agreements = np.arange(SIGNALS.index("agreement"), len(self._counts), width)
        rows = np.union1d(np.arange(p * width, (p + 1) * width), agreements)
        self._counts[rows] = 0
        self._levels[rows] = 0.0
        self._sums[rows] = 1.0
        self._starts[rows] = self.n_watched + 1

    def with_providers(self, providers: Sequence[str]) -> DriftMonitor:
        """The same for other providers; what is known of those that stay is kept."""
        other = DriftMonitor(providers, self.n_between)
        other.n_watched = self.n_watched
        other._starts[:] = self.n_watched + 1
        width = len(SIGNALS)
        for new, name in enumerate(providers):
            if name not in self.providers:
                continue
            old = self.providers.index(name)
            to, source = np.arange(width) + new * width, np.arange(width) + old * width
            other._counts[to] = self._counts[source]
            other._levels[to] = self._levels[source]
            other._sums[to] = self._sums[source]
            other._starts[to] = self._starts[source]
        return other

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "providers": self.providers,
            "n_between": self.n_between,
            "n_watched": self.n_watched,
            "counts": self._counts.copy(),
            "levels": self._levels.copy(),
            "sums": self._sums.copy(),
            "starts": self._starts.copy(),
        }

    @classmethod
    def from_state(cls, state: State) -> DriftMonitor:
        """What :meth:`state` gave."""
        monitor = cls(tuple(state["providers"]), float(state["n_between"]))
        monitor.n_watched = int(state["n_watched"])
        monitor._counts[:] = state["counts"]
        monitor._levels[:] = state["levels"]
        monitor._sums[:] = state["sums"]
        monitor._starts[:] = state["starts"]
        return monitor

    @property
    def _threshold(self) -> float:
        return self.n_between * len(self.providers) * len(SIGNALS)

    def _ordered(self, recording: Recording) -> Recording:
        if recording.providers == self.providers:
            return recording
        missing = [name for name in self.providers if name not in recording.providers]
        if missing:
            message = f"{missing[0]} is watched, but not in the recording"
            raise DataError(message, "name the providers again: with_providers")
        return recording.only(self.providers)

    def _alarm(self, row: int) -> Alarm:
        bet = int(self._levels[row].argmax())
        p, signal = divmod(row, len(SIGNALS))
        return Alarm(
            provider=self.providers[p],
            signal=SIGNALS[signal],
            direction="rose" if self.bets[2][bet] else "fell",
            number=self.n_watched,
            onset=int(self._starts[row, bet]),
        )


def _bets() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tail, share expected in it, and whether it is the upper one, of each bet."""
    bets = [
        (tail, tail**power, is_high)
        for is_high in (False, True)
        for tail in _TAILS
        for power in _POWERS
    ]
    tails, wins, is_high = (np.array(column) for column in zip(*bets, strict=True))
    return tails, wins, is_high


def _bins(values: Float64[np.ndarray, "*n"]) -> Int64[np.ndarray, "*n"]:
    return np.rint(values.clip(0.0, 1.0) * (N_BINS - 1)).astype(np.int64)


def _chances(items: Sequence[str], width: int) -> Float64[np.ndarray, "w n"]:
    """Numbers in [0, 1) that look random and belong to an item's id."""
    text = b"".join(
        hashlib.shake_128(f"drift:{item}".encode()).digest(4 * width) for item in items
    )
    return np.frombuffer(text, "<u4").reshape(len(items), width).T / 2.0**32


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
