"""What is told of a tag and an item to the model that says how likely it is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.fusion.hearing import has_answered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.problem import Recording

_LEAST = 1e-3
_LEAST_ODDS = -7.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TagAnswers:
    """What the providers said of every tag of n items; rows are items.

    Attributes:
        is_heard: ``(M, n, 1)`` true where a provider was asked and answered.
        is_named: ``(M, n, c)`` true where it was heard and named the tag.
        is_best: ``(M, n, c)`` true where none of its tags is stronger.
        odds: ``(M, n, c)`` log odds of the scores; 0 where it did not name the tag.
    """

    is_heard: Bool[np.ndarray, "p n 1"]
    is_named: Bool[np.ndarray, "p n c"]
    is_best: Bool[np.ndarray, "p n c"]
    odds: Float64[np.ndarray, "p n c"]

    @classmethod
    def of(
        cls,
        recording: Recording,
        asked: Int64[np.ndarray, " n"],
        places: list[int],
        n_places: int,
    ) -> TagAnswers:
        """Answers of the providers that were asked.

        Args:
            recording: of tags.
            asked: ``(n,)`` mask of the recording's providers.
            places: where each of them stands in the result.
            n_places: how many providers the result has.
        """
        n, c = len(recording), len(recording.names)
        is_heard = np.zeros((n_places, n, 1), bool)
        scores = np.full((n_places, n * c), -1.0)
        heard = has_answered(recording, asked)
        for place, answers, has in zip(places, recording.answers, heard, strict=True):
            is_heard[place, :, 0] = has
            entries = np.flatnonzero(np.repeat(has, answers.counts))
            cells = answers.items[entries] * c + answers.labels[entries]
            np.maximum.at(scores[place], cells, answers.scores[entries])
        scores = scores.reshape(n_places, n, c)
        is_named = scores >= 0.0
        inside = np.clip(scores, _LEAST, 1 - _LEAST)
        return cls(
            is_heard=is_heard,
            is_named=is_named,
            is_best=is_named & (scores == scores.max(axis=2, keepdims=True)),
            odds=np.where(is_named, np.log(inside) - np.log1p(-inside), 0.0),
        )

    def take(
        self,
        rows: Int64[np.ndarray, " r"],
        masks: Int64[np.ndarray, " r"] | None = None,
    ) -> TagAnswers:
        """Answers to some items, any number of times.

        Args:
            rows: ``(r,)`` numbers of the items.
            masks: ``(r,)`` whose answers to keep; all of them when absent.
        """
        kept = np.ones((len(self.is_heard), len(rows), 1), bool)
        if masks is not None:
            kept = (masks >> np.arange(len(kept))[:, None] & 1 == 1)[:, :, None]
        return TagAnswers(
            is_heard=self.is_heard[:, rows] & kept,
            is_named=self.is_named[:, rows] & kept,
            is_best=self.is_best[:, rows] & kept,
            odds=self.odds[:, rows] * kept,
        )


def terms(
    said: TagAnswers, tag_odds: Float64[np.ndarray, " c"]
) -> Iterator[np.ndarray]:
    """One term of the shared model after another, each broadcast to ``(n, c)``.

    First the tag's own log odds, and 1 - 1/k where k providers were heard; then of each
    provider whether it is silent on the tag, names no tag at all, names it, and with
    what log odds, whether it names none stronger, by how much, and what its strongest
    has where it is silent; some of these again times 1 - 1/k; then for each pair
    whether both name it, and whether neither does.
    """
    growth = 1.0 - 1.0 / np.maximum(said.is_heard.sum(axis=0), 1)
    yield tag_odds
    yield growth
    silent = said.is_heard & ~said.is_named
    for p in range(len(silent)):
        yield silent[p]
        yield growth * silent[p]
        yield said.is_heard[p] & ~said.is_named[p].any(axis=1, keepdims=True)
        yield said.is_named[p]
        yield growth * said.is_named[p]
        yield said.odds[p]
        yield growth * said.odds[p]
        yield said.is_best[p]
        strongest = np.where(said.is_named[p], said.odds[p], _LEAST_ODDS).max(
            axis=1, keepdims=True
        )
        yield np.where(said.is_named[p], said.odds[p] - strongest, 0.0)
        yield silent[p] * strongest
    for p in range(len(silent)):
        for q in range(p):
            yield said.is_named[p] & said.is_named[q]
            yield silent[p] & silent[q]


def n_terms(m: int) -> int:
    """How many terms there are for m providers."""
    return 2 + 10 * m + m * (m - 1)


def own_terms(said: TagAnswers) -> Iterator[np.ndarray]:
    """One term after another of what each tag has of its own, ``(n, c)``."""
    yield np.ones((1, 1))
    silent = said.is_heard & ~said.is_named
    for p in range(len(silent)):
        yield silent[p]
        yield said.is_named[p]
        yield said.odds[p]
