"""Votes on labels and tags, weighted by scores: fusion that learns nothing.

Weighted majority voting (Littlestone and Warmuth 1994) with an answer's score for its
weight. Every provider that was asked and answered has one voice, an empty answer too.

1. ``labels``: the label with the greatest sum of scores; the first in order of equals.
2. ``tags``: a tag stands when its sum of scores is at least half of what it would be if
   every voice gave it the score of that voice's strongest tag. An empty answer has thus
   no weight, and one voice alone keeps what is half as strong as its strongest.
3. The score of what is given is the mean over the voices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.fusion.base import has_answered
from midhaul.federation.recordings.problem import Answers
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.recordings.problem import Recording


@dataclass(frozen=True, slots=True)
class VoteFuser(SavedFields):
    """A vote weighted by scores."""

    name = "vote"
    tag: ClassVar[str] = "fuser"
    kind: ClassVar[str] = "vote"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the answers of the providers that were asked.

        DataError where they are boxes.
        """
        if recording.task == "boxes":
            message = "a vote fuses labels and tags, and the answers are boxes"
            raise DataError(message, "take the fuser wbf for boxes")
        voices = has_answered(recording, asked)
        if recording.task == "labels":
            for p, answers in enumerate(recording.answers):
                voices[p] &= answers.counts > 0
        n_voices = voices.sum(axis=0)
        sums, n_naming = _count(recording, voices)
        means = sums / np.maximum(n_voices, 1)[:, None]
        if recording.task == "labels":
            items = np.flatnonzero(n_voices)
            # A label that somebody names beats one that nobody does, at score 0 too.
            labels = np.where(n_naming > 0, sums, -1.0)[items].argmax(axis=1)
        else:
            weights = _strongest_sums(recording, voices)
            stands = (n_naming > 0) & (2.0 * sums >= weights[:, None])
            items, labels = np.nonzero(stands)
        return Answers.of_rows(
            items,
            len(recording),
            labels.astype(np.int32),
            means[items, labels].astype(np.float32),
            is_missing=n_voices == 0,
        )


def _count(
    recording: Recording, voices: Bool[np.ndarray, "p n"]
) -> tuple[Float64[np.ndarray, "n c"], Int64[np.ndarray, "n c"]]:
    """Sum of scores, and number of voices, for each label of each item."""
    shape = len(recording), len(recording.names)
    sums, n_naming = np.zeros(shape), np.zeros(shape, np.int64)
    for is_heard, answers in zip(voices, recording.answers, strict=True):
        items = answers.items
        entries = np.flatnonzero(is_heard[items])
        cells = items[entries] * shape[1] + answers.labels[entries]
        size = shape[0] * shape[1]
        scores = answers.scores[entries].astype(np.float64)
        sums += np.bincount(cells, scores, size).reshape(shape)
        n_naming += np.bincount(cells, minlength=size).reshape(shape)
    return sums, n_naming


def _strongest_sums(
    recording: Recording, voices: Bool[np.ndarray, "p n"]
) -> Float64[np.ndarray, " n"]:
    """Sum over the voices of their greatest score for each item."""
    total = np.zeros(len(recording))
    for is_heard, answers in zip(voices, recording.answers, strict=True):
        strongest = np.zeros(len(recording))
        np.maximum.at(strongest, answers.items, answers.scores)
        total += np.where(is_heard, strongest, 0.0)
    return total
