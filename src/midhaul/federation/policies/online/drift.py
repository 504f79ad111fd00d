"""Has a provider changed? Alarms with a bounded rate of false ones, whatever the data.

Three numbers of every provider are watched on items that were chosen without looking at
them: whether it answered, the highest score of its answer, and how well the answer
agrees with the fused one. An alarm is raised by bets on their ranks
(*e-detectors*, below).

1. After an alarm everything known of that provider is forgotten, and how well everybody
   agreed, because the fused answer is another one since.
2. A change of one provider moves the agreement of the others a bit, so that now and
   then another one is named.

*E-detectors* bet on ranks, with a bounded rate of false alarms. While nothing changes,
numbers are exchangeable, so the rank of a new one among all earlier ones (ties broken
by chance) is uniform in [0, 1] and independent of earlier ranks (Vovk, Nouretdinov and
Gammerman, "Testing exchangeability on-line", ICML 2003). A bet on the rank u that pays
f(u) with mean 1 is then fair, and

    R <- (R + 1) f(u)       (Shiryaev-Roberts)

is on average no more than the number of bets: an e-detector (Shin, Ramdas and Rinaldo,
"E-detectors", 2022). By Doob's inequality P(R >= c within n bets) <= n / c. With S
numbers watched and c = S A, the chance of a false alarm of any of them within n items
is at most n / A by the union bound: no distribution, no independence of the numbers,
and no constant to tune.

1. Bets are f(u) = w / t for u <= t and (1 - w) / (1 - t) above, for several t and w,
   and the same for 1 - u; R is the mean of theirs, which is an e-detector again.
2. Numbers are rounded to 1/1024, so that ranks need one table of counts and memory does
   not grow. Rounding is the same for all, so exchangeability stays.
3. Chance is a hash of the item's id, so that it needs no generator and can be repeated.
4. Where a change began is where the bet that paid most began to pay (CUSUM): an
   estimate.
5. Nothing is bet on a number that never changed so far. Whether to bet is then known
   before the number, so bets stay fair.

The inner loop has ranks, bets, and when one has paid too well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numba import njit

from midhaul.errors import DataError
from midhaul.federation.policies.ensemble_labels import as_truth
from midhaul.federation.recordings.problem import first_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.npz_state import State

N_BINS = 1025
"""Values that a rounded number can have."""


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def advance(  # noqa: C901, PLR0913, PLR0917 - a kernel is one loop on flat arrays
    bins: Int64[np.ndarray, "w n"],
    chances: Float64[np.ndarray, "w n"],
    numbers: Int64[np.ndarray, " n"],
    counts: Int64[np.ndarray, "w b"],
    levels: Float64[np.ndarray, "w k"],
    sums: Float64[np.ndarray, "w k"],
    starts: Int64[np.ndarray, "w k"],
    tails: Float64[np.ndarray, " k"],
    wins: Float64[np.ndarray, " k"],
    is_high: Bool[np.ndarray, " k"],
    threshold: float,
) -> tuple[int, int]:
    """Bet on item after item until a mean of R reaches the threshold.

    There is no bet while all earlier numbers of a signal are the same: ranks are then
    nothing but chance. Whether to bet is known before the number, so bets stay fair.

    Args:
        bins: ``(w, n)`` rounded number of each signal and item; -1 for none.
        chances: ``(w, n)`` in [0, 1), to break ties by.
        numbers: ``(n,)`` of the items.
        counts: ``(w, b)`` earlier numbers of each signal; new ones are added.
        levels: ``(w, k)`` R of each signal and bet; goes on in place.
        sums: ``(w, k)`` product of the payments since the start; goes on in place.
        starts: ``(w, k)`` item from which that product counts; goes on in place.
        tails: ``(k,)`` t of each bet.
        wins: ``(k,)`` w of each bet.
        is_high: ``(k,)`` whether it bets on high ranks.
        threshold: mean of R that is an alarm.

    Returns:
        Items that were taken in, and the signal of the alarm; -1 for none.
    """
    n_signals, n_items = bins.shape
    n_bets = len(tails)
    for i in range(n_items):
        alarm = -1
        highest = threshold
        for s in range(n_signals):
            number = bins[s, i]
            if number < 0:
                continue
            below = 0
            for b in range(number):
                below += counts[s, b]
            total, largest = 0, 0
            for b in range(counts.shape[1]):
                total += counts[s, b]
                largest = max(largest, counts[s, b])
            equal = counts[s, number] + 1
            rank = (below + chances[s, i] * equal) / (total + 1)
            counts[s, number] += 1
            if largest == total:
                continue
            mean = 0.0
            for k in range(n_bets):
                u = 1.0 - rank if is_high[k] else rank
                pay = wins[k] / tails[k]
                if u > tails[k]:
                    pay = (1.0 - wins[k]) / (1.0 - tails[k])
                levels[s, k] = (levels[s, k] + 1.0) * pay
                if sums[s, k] <= 1.0:
                    sums[s, k] = 1.0
                    starts[s, k] = numbers[i]
                sums[s, k] *= pay
                mean += levels[s, k]
            mean /= n_bets
            if mean >= highest:
                highest = mean
                alarm = s
        if alarm >= 0:
            return i + 1, alarm
    return n_items, -1


_TAILS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
_POWERS = (0.7, 0.45, 0.2)
"""A bet expects a share t ** power of the ranks in a tail that t of them belong to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A number seems to have changed.

    Attributes:
        row: which one.
        is_rise: whether it rose; it fell otherwise.
        at: place of the item, among those that were taken in together.
        number: of the item.
        onset: number of the item from which it seems to differ.
    """

    row: int
    is_rise: bool
    at: int
    number: int
    onset: int


class EDetectors:
    """Watches S numbers in [0, 1]; A, ``n_between``, bounds the false alarms.

    Attributes:
        bets: tail t, share w and whether the tail is the upper one, of each bet.
    """

    def __init__(self, n_rows: int, n_between: float) -> None:
        if not n_between > 0:
            message = f"n_between must be positive, found {n_between}"
            raise ValueError(message)
        self.n_between = float(n_between)
        self.bets = _bets()
        shape = n_rows, len(self.bets[0])
        self._counts = np.zeros((n_rows, N_BINS), np.int64)
        self._levels = np.zeros(shape)
        self._sums = np.ones(shape)
        self._starts = np.ones(shape, np.int64)

    @property
    def evidence(self) -> Float64[np.ndarray, " s"]:
        """R over its alarm level of each number; an alarm is at 1."""
        return self._levels.mean(axis=1) / self._threshold

    def baseline(self, values: Float64[np.ndarray, "s n"]) -> None:
        """Take in numbers from before, without alarms; NaN is none."""
        for row, numbers in enumerate(values):
            known = numbers[~np.isnan(numbers)]
            self._counts[row] += np.bincount(_bins(known), minlength=N_BINS)

    def watch(
        self,
        values: Float64[np.ndarray, "s n"],
        items: Sequence[str],
        numbers: Int64[np.ndarray, " n"],
    ) -> Change | None:
        """Take in items until something seems to have changed: that, or None.

        Values are NaN where there is none, numbers of items rising; later ones are not
        taken in.
        """
        if not len(items):
            return None
        stopped, row = advance(
            np.where(np.isnan(values), -1, _bins(np.nan_to_num(values))),
            _chances(items, len(values)),
            numbers,
            self._counts,
            self._levels,
            self._sums,
            self._starts,
            *self.bets,
            self._threshold,
        )
        if row < 0:
            return None
        bet = int(self._levels[row].argmax())
        return Change(
            row=row,
            is_rise=bool(self.bets[2][bet]),
            at=stopped - 1,
            number=int(numbers[stopped - 1]),
            onset=int(self._starts[row, bet]),
        )

    def forget(self, rows: Int64[np.ndarray, " k"]) -> None:
        """Begin anew with some numbers."""
        self._counts[rows] = 0
        self._levels[rows] = 0.0
        self._sums[rows] = 1.0

    def take_over(
        self,
        rows: Int64[np.ndarray, " k"],
        other: EDetectors,
        theirs: Int64[np.ndarray, " k"],
    ) -> None:
        """Go on with what another has of some numbers."""
        self._counts[rows] = other._counts[theirs]
        self._levels[rows] = other._levels[theirs]
        self._sums[rows] = other._sums[theirs]
        self._starts[rows] = other._starts[theirs]

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "n_between": self.n_between,
            "counts": self._counts.copy(),
            "levels": self._levels.copy(),
            "sums": self._sums.copy(),
            "starts": self._starts.copy(),
        }

    @classmethod
    def from_state(cls, state: State, n_between: float | None = None) -> EDetectors:
        """What :meth:`state` gave, with another threshold from now on."""
        distance = float(state["n_between"]) if n_between is None else n_between
        detectors = cls(len(state["counts"]), distance)
        detectors._counts[:] = state["counts"]
        detectors._levels[:] = state["levels"]
        detectors._sums[:] = state["sums"]
        detectors._starts[:] = state["starts"]
        return detectors

    @property
    def _threshold(self) -> float:
        return self.n_between * len(self._counts)


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
