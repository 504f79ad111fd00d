"""Audits: the last items with everybody's answers, from which is learned anew.

The *reference* says whose answers are trusted, and what an audited item is judged by.

A provider loses its part in references when an alarm says that its agreement with the
others fell, or its quality where people say what is right; or when people say that on
some audits after a change, and it is right less often there than it was before
(one-sided, 99 %). It has its part again when an alarm says that either rose.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.ensemble_labels import SCORE_OF_BOXES, as_truth
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.npz_state import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Situation
    from midhaul.federation.policies.online.drift import Alarm
    from midhaul.npz_state import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audits:
    """Items that everybody was asked about, the oldest first.

    Attributes:
        recording: their answers, and a truth where somebody told it.
        numbers: ``(n,)`` of the items in the order in which they came, from 1; 0 for
            items from before.
    """

    recording: Recording
    features: Float32[np.ndarray, "n d"]
    numbers: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.numbers)

    def and_then(self, later: Audits, limit: int) -> Audits:
        """The last of these and of later ones, each item as it was audited last."""
        again = set(later.recording.items)
        keep = [i for i, item in enumerate(self.recording.items) if item not in again]
        old = self.recording.take(np.array(keep, np.int64))
        features = np.concatenate([self.features[keep], later.features])
        numbers = np.concatenate([self.numbers[keep], later.numbers])
        whole = Audits(
            recording=_joined(old, later.recording), features=features, numbers=numbers
        )
        return whole.last(limit)

    def last(self, limit: int) -> Audits:
        """The last so many."""
        return self.take(np.arange(max(0, len(self) - limit), len(self)))

    def priced(self, prices_usd: Float64[np.ndarray, " p"]) -> Audits:
        """The same at other prices of a call."""
        return replace(self, recording=replace(self.recording, prices_usd=prices_usd))

    @classmethod
    def of(cls, examples: Examples) -> Audits:
        """Items from before, with their truth."""
        return cls(
            recording=replace(examples.recording, latencies_s=None),
            features=examples.features,
            numbers=np.zeros(len(examples), np.int64),
        )

    @classmethod
    def seen(cls, situation: Situation, numbers: Int64[np.ndarray, " n"]) -> Audits:
        """Items that everybody was just asked about."""
        recording = situation.recording
        truth = recording.truth
        if truth is None:
            truth = Answers.none(len(recording))
        return cls(
            recording=replace(recording, truth=truth, latencies_s=None),
            features=situation.features,
            numbers=numbers,
        )

    def take(self, items: Int64[np.ndarray, " k"]) -> Audits:
        """Some of them, in that order."""
        return Audits(
            recording=self.recording.take(items),
            features=self.features[items],
            numbers=self.numbers[items],
        )

    def since(self, number: int) -> Audits:
        """The audits from an item on."""
        return self.take(np.flatnonzero(self.numbers >= number))

    def until(self, number: int) -> Audits:
        """The audits before an item."""
        return self.take(np.flatnonzero(self.numbers < number))

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        recording = self.recording
        truth = recording.truth
        return {
            "task": recording.task,
            "items": recording.items,
            "names": recording.names,
            "providers": recording.providers,
            "prices_usd": recording.prices_usd,
            "answers": [state_of(answers) for answers in recording.answers],
            "truth": None if truth is None else state_of(truth),
            "sizes_px": recording.sizes_px,
            "features": self.features,
            "numbers": self.numbers,
        }

    @classmethod
    def from_state(cls, state: State) -> Audits:
        """What :meth:`state` gave."""
        truth, sizes = state["truth"], state["sizes_px"]
        return cls(
            recording=Recording(
                task=state["task"],
                items=tuple(state["items"]),
                names=tuple(state["names"]),
                providers=tuple(state["providers"]),
                prices_usd=np.asarray(state["prices_usd"], np.float64),
                answers=tuple(_answers_of(one) for one in state["answers"]),
                truth=None if truth is None else _answers_of(truth),
                sizes_px=None if sizes is None else np.asarray(sizes, np.float32),
            ),
            features=np.asarray(state["features"], np.float32),
            numbers=np.asarray(state["numbers"], np.int64),
        )


def merged(
    first: Answers, second: Answers, is_first: Bool[np.ndarray, " n"]
) -> Answers:
    """Item by item the one or the other answer."""
    both = _concatenated([first, second])
    n = len(first)
    return both.take(np.where(is_first, np.arange(n), n + np.arange(n)))


def audit_places(items: Sequence[str]) -> Float64[np.ndarray, " n"]:
    """Where items stand in [0, 1), by the hash of their ids."""
    digests = [hashlib.blake2b(f"audit:{i}".encode(), digest_size=8) for i in items]
    numbers = [int.from_bytes(digest.digest(), "big") for digest in digests]
    return np.array(numbers, np.float64) / math.ldexp(1.0, 64)


def _joined(first: Recording, second: Recording) -> Recording:
    pairs = zip(first.answers, second.answers, strict=True)
    truths = [part.truth for part in (first, second) if part.truth is not None]
    sizes = [part.sizes_px for part in (first, second) if part.sizes_px is not None]
    is_both = len(truths) == len((first, second))
    return replace(
        second,
        items=first.items + second.items,
        answers=tuple(_concatenated(pair) for pair in pairs),
        truth=_concatenated(truths) if is_both else None,
        sizes_px=np.concatenate(sizes) if len(sizes) == len((first, second)) else None,
        latencies_s=None,
    )


def _concatenated(parts: Sequence[Answers]) -> Answers:
    counts = np.concatenate([part.counts for part in parts])
    return Answers(
        starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        labels=np.concatenate([part.labels for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        is_missing=np.concatenate([part.is_missing for part in parts]),
        is_ignored=np.concatenate([part.is_ignored for part in parts]),
    )


def _answers_of(state: State) -> Answers:
    return Answers(
        starts=np.asarray(state["starts"], np.int64),
        labels=np.asarray(state["labels"], np.int32),
        scores=np.asarray(state["scores"], np.float32),
        boxes=np.asarray(state["boxes"], np.float32),
        is_missing=np.asarray(state["is_missing"], bool),
        is_ignored=np.asarray(state["is_ignored"], bool),
    )


_FEWEST = 10
"""Items that people judged, on which a provider can be blamed."""

_SURE = 2.326
"""Standard errors of a difference that leave a chance of 1 %."""


class Trust:
    """Remembers who is a suspect.

    Attributes:
        suspects: names of providers that have no part in references.
    """

    def __init__(self) -> None:
        self.suspects: frozenset[str] = frozenset()
        self._before: dict[str, tuple[float, float]] = {}

    def after(self, alarms: Iterable[Alarm]) -> None:
        """Trust or no longer trust providers whose agreement or quality changed."""
        found = set(self.suspects)
        for alarm in alarms:
            if alarm.provider and alarm.signal in ("agreement", "quality"):
                change = found.add if alarm.direction == "fell" else found.discard
                change(alarm.provider)
        self.suspects = frozenset(found)

    def remember(self, before: Audits) -> None:
        """Take in how good providers were until a change, where people said it."""
        standing = _standing(before)
        if standing:
            self._before = standing

    def look(self, since: Audits) -> None:
        """Blame those who are worse since a change."""
        for name, (mean, error) in _standing(since).items():
            if name in self._before:
                was, was_error = self._before[name]
                if was - mean > _SURE * math.hypot(error, was_error):
                    self.suspects |= {name}

    def judged(self, audits: Audits, fuser: Fuser) -> Examples:
        """Audits with what they are judged by, to learn from.

        What people said where they did; elsewhere what trusted providers say together,
        or all of them where only one would be left.
        """
        recording = audits.recording
        names = recording.providers
        trusted = sum(1 << p for p, n in enumerate(names) if n not in self.suspects)
        if trusted.bit_count() <= 1:
            trusted = recording.everyone
        asked = np.full(len(recording), trusted, np.int64)
        fused = fuser.fuse(recording.shown(asked), asked)
        min_score = SCORE_OF_BOXES if recording.task == "boxes" else 0.0
        truth = as_truth(fused, min_score)
        if recording.truth is not None:
            truth = merged(recording.truth, truth, ~recording.truth.is_missing)
        return Examples(
            recording=replace(recording, truth=truth),
            features=audits.features,
            fuser=fuser,
        )

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {
            "suspects": sorted(self.suspects),
            "before": {name: list(pair) for name, pair in self._before.items()},
        }

    @classmethod
    def from_state(cls, state: State) -> Trust:
        """What :meth:`state` gave."""
        trust = cls()
        trust.suspects = frozenset(state["suspects"])
        trust._before = {
            str(name): (float(mean), float(error))
            for name, (mean, error) in state["before"].items()
        }
        return trust


def _standing(audits: Audits) -> dict[str, tuple[float, float]]:
    """Mean quality of each provider's own answers and its error, as people judge."""
    from midhaul.federation.quality import item_quality  # noqa: PLC0415 - loads numba

    truth = audits.recording.truth
    if truth is None:
        return {}
    told = np.flatnonzero(~truth.is_missing)
    if len(told) < _FEWEST:
        return {}
    part = audits.recording.take(told)
    found: dict[str, tuple[float, float]] = {}
    for name, answers in zip(part.providers, part.answers, strict=True):
        known: Float64[np.ndarray, " k"] = item_quality(part, answers)
        # Half an item right and half a one wrong: nobody is judged without an error.
        error = math.sqrt(float(known.var()) / len(known) + 0.25 / len(known) ** 2)
        found[name] = float(known.mean()), error
    return found
