"""What fuses the answers of a subset of providers into one.

What they hear of each provider about each item are arrays with a place for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.recordings.problem import Answers, Recording


class Fuser(Protocol):
    """Makes one answer of several; the conformance suite is ``fusion.checks``."""

    @property
    def name(self) -> str:
        """Short name, as tables show it."""
        ...

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the answers of the providers that were asked.

        Args:
            recording: items and answers; missing answers count as not given. Its truth
                is never looked at.
            asked: ``(n,)`` mask of the providers to fuse for each item.

        Returns:
            One answer to each item; missing where nobody answered, one label per
            answered item where the task is ``labels``. The answer to an item depends
            on that item alone.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """One label and score of each provider for each item.

    Attributes:
        labels: ``(M, n)``; anything where nothing was heard.
        scores: ``(M, n)``; 0 where nothing was heard.
        is_heard: ``(M, n)`` true where the provider was asked and answered.
    """

    labels: Int64[np.ndarray, "p n"]
    scores: Float64[np.ndarray, "p n"]
    is_heard: Bool[np.ndarray, "p n"]


def has_answered(
    recording: Recording, asked: Int64[np.ndarray, " n"]
) -> Bool[np.ndarray, "p n"]:
    """``(M, n)`` true where the provider was asked and answered, be it with nothing."""
    found = np.empty((recording.n_providers, len(asked)), bool)
    for p, answers in enumerate(recording.answers):
        found[p] = ((asked >> p) & 1 == 1) & ~answers.is_missing
    return found


def hear(recording: Recording, asked: Int64[np.ndarray, " n"]) -> Heard:
    """The strongest label of every provider that was asked."""
    is_heard = has_answered(recording, asked)
    labels = np.zeros(is_heard.shape, np.int64)
    scores = np.zeros(is_heard.shape)
    for p, answers in enumerate(recording.answers):
        is_heard[p] &= answers.counts > 0
        where = np.flatnonzero(is_heard[p])
        entries = _strongest(answers)[where]
        labels[p, where] = answers.labels[entries]
        scores[p, where] = answers.scores[entries]
    return Heard(labels=labels, scores=scores, is_heard=is_heard)


def places_of(
    recording: Recording, providers: tuple[str, ...], names: tuple[str, ...]
) -> list[int]:
    """Where each provider of a recording stands among those that were fitted to.

    DataError where a provider or the label set is unknown.
    """
    if recording.names != names:
        message = "the recording has other labels than the fuser was fitted to"
        raise DataError(message, "fit it to data of the same layout")
    unknown = [name for name in recording.providers if name not in providers]
    if unknown:
        message = f"the fuser was not fitted to provider {unknown[0]}"
        raise DataError(message, f"it knows {', '.join(providers)}")
    return [providers.index(name) for name in recording.providers]


def draw_rows(
    known: Int64[np.ndarray, " n"],
    n_providers: int,
    n_draws: int,
    n_most: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"]]:
    """Items to learn from, several times, with subsets: everybody, and others.

    Each has ``n_draws`` of them, or all where there are no more; beyond ``n_most`` rows
    some are left out by chance. Returns numbers of items and masks.
    """
    n_subsets = (1 << n_providers) - 1
    n_draws = min(n_draws, n_subsets)
    rows = np.concatenate([rng.permutation(known) for _ in range(n_draws)])
    if n_draws == n_subsets:
        masks = np.repeat(np.arange(n_subsets, 0, -1, dtype=np.int64), len(known))
    else:
        masks = draw_masks(len(rows), n_providers, rng)
        masks[: len(known)] = n_subsets
    n_kept = max(n_most, 1)
    if len(rows) <= n_kept:
        return rows, masks
    kept = np.sort(rng.permutation(len(rows))[:n_kept])
    return rows[kept], masks[kept]


def draw_masks(
    n: int, n_providers: int, rng: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    """``(n,)`` subsets to learn from: all sizes alike likely, then all of that size."""
    sizes = rng.integers(1, n_providers + 1, n)
    ranks = rng.random((n, n_providers)).argsort(axis=1).argsort(axis=1)
    is_in = ranks < sizes[:, None]
    return (is_in * (1 << np.arange(n_providers, dtype=np.int64))).sum(axis=1)


def _strongest(answers: Answers) -> Int64[np.ndarray, " n"]:
    """The first entry of each item with its greatest score."""
    if len(answers.labels) == 0 or answers.counts.max() <= 1:
        return answers.starts[:-1]
    order = np.lexsort((-answers.scores, answers.items))
    return order[np.minimum(answers.starts[:-1], len(order) - 1)]
