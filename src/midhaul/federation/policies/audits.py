"""The last audited items, with everybody's answers: what is learned anew from."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.problem import Answers, Recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.saving import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audits:
    """Items that everybody was asked about, the oldest first.

    Attributes:
        recording: their answers, and a truth where somebody told it.
        features: ``(n, d)`` of them.
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
        """The last of these and of later ones.

        Args:
            later: audits of the same providers; an item that is audited again counts
                as it was the last time.
            limit: at most so many.
        """
        again = set(later.recording.items)
        keep = [i for i, item in enumerate(self.recording.items) if item not in again]
        old = self.recording.take(np.array(keep, np.int64))
        features = np.concatenate([self.features[keep], later.features])
        numbers = np.concatenate([self.numbers[keep], later.numbers])
        whole = Audits(
            recording=_joined(old, later.recording),
            features=features,
            numbers=numbers,
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
            "answers": [_answers_state(answers) for answers in recording.answers],
            "truth": None if truth is None else _answers_state(truth),
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
    """Item by item the one or the other answer.

    Args:
        first: answers to n items.
        second: answers to the same.
        is_first: ``(n,)`` where the first counts.
    """
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


def _answers_state(answers: Answers) -> State:
    return {
        "starts": answers.starts,
        "labels": answers.labels,
        "scores": answers.scores,
        "boxes": answers.boxes,
        "is_missing": answers.is_missing,
        "is_ignored": answers.is_ignored,
    }


def _answers_of(state: State) -> Answers:
    return Answers(
        starts=np.asarray(state["starts"], np.int64),
        labels=np.asarray(state["labels"], np.int32),
        scores=np.asarray(state["scores"], np.float32),
        boxes=np.asarray(state["boxes"], np.float32),
        is_missing=np.asarray(state["is_missing"], bool),
        is_ignored=np.asarray(state["is_ignored"], bool),
    )
