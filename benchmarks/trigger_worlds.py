"""Streams of viewing sessions with and without changes; for ``memory_trigger.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.samples import Bins, Samples, concatenate
from midhaul.memory.sources.streams import cellular_stream, puffer_stream

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 200
"""Samples of a session that are used: Puffer's longest have 25,000."""


class Softmax:
    """Multinomial logistic regression on inputs and their squares: quick to train."""

    def __init__(self, n_bins: int, weights: tuple[np.ndarray, ...] = ()) -> None:
        self.n_bins = n_bins
        self._weights = weights

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Its distribution for each input."""
        mean, scale, matrix = self._weights
        return _shares(_features(x, mean, scale) @ matrix)

    def trained(self, samples: Samples, rng: np.random.Generator) -> Softmax:
        """300 steps of Adam on 512 samples each, drawn by weight."""
        mean, scale = samples.x.mean(axis=0), samples.x.std(axis=0) + 1e-6
        features = _features(samples.x, mean, scale)
        output = BINS.of(samples.y)[:, None] == np.arange(self.n_bins)
        chance = np.cumsum(samples.weight) / samples.weight.sum()
        matrix = np.zeros((features.shape[1], self.n_bins), np.float32)
        first, second = np.zeros_like(matrix), np.zeros_like(matrix)
        for step in range(1, 301):
            rows = np.searchsorted(chance, rng.random(512)).clip(0, len(samples) - 1)
            x = features[rows]
            slope = x.T @ (_shares(x @ matrix) - output[rows]) / 512 + 1e-4 * matrix
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            change = first / (1 - 0.9**step)
            change /= np.sqrt(second / (1 - 0.999**step)) + 1e-8
            matrix = (matrix - 0.02 * change).astype(np.float32)
        return Softmax(self.n_bins, (mean, scale, matrix))


def _features(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    z = np.clip((x - mean) / scale, -5, 5)
    return np.column_stack([z, z**2 - 1, np.ones(len(z))]).astype(np.float32)


def _shares(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Sessions of one kind, as a model sees them that was trained on others of it.

    Attributes:
        name: what the table calls it.
        samples: session by session.
        offsets: where each session begins, and the end.
    """

    name: str
    samples: Samples
    offsets: np.ndarray

    @property
    def n(self) -> int:
        """How many sessions there are."""
        return len(self.offsets) - 1

    def take(self, sessions: np.ndarray) -> Samples:
        """Some of them, each a group of its own even if it is taken twice."""
        rows = [np.arange(*self.offsets[i : i + 2].tolist()) for i in sessions]
        found = self.samples.take(np.concatenate(rows))
        group = np.repeat(np.arange(len(sessions)), [len(one) for one in rows])
        return Samples(
            x=found.x,
            y=found.y,
            prediction=found.prediction,
            weight=found.weight,
            time_s=np.arange(len(found), dtype=np.float64),
            group=group,
            cluster=found.cluster,
            model_version=found.model_version,
        )

    def stream(
        self, n_periods: int, rng: np.random.Generator, n_sessions: int = 0
    ) -> list[Samples]:
        """Whole sessions by lot: all of them once, or so many of each period anew."""
        if n_sessions:
            drawn = rng.integers(0, self.n, (n_periods, n_sessions))
            return [self.take(one) for one in drawn]
        parts = np.array_split(rng.permutation(self.n), n_periods)
        return [self.take(one) for one in parts]


def pool(name: str, samples: Samples, n_bins: int, rng: np.random.Generator) -> Pool:
    """Sessions cut to :data:`LONGEST`; a third of them trains the model and is gone."""
    names, first, number = np.unique(
        samples.group, return_index=True, return_inverse=True
    )
    place = np.arange(len(samples)) - first[number]
    samples = samples.take(place < LONGEST)
    learnt = rng.permutation(names)[: len(names) // 3]
    is_learnt = np.isin(samples.group, learnt)
    model = Softmax(n_bins).trained(samples.take(is_learnt), rng)
    rest = samples.take(~is_learnt)
    rest = rest.predicted(model.predict(rest.x), 0)
    begins = np.flatnonzero(np.diff(rest.group, prepend=-1))
    return Pool(name=name, samples=rest, offsets=np.append(begins, len(rest)))


def real_pools(folder: Path, rng: np.random.Generator) -> list[Pool]:
    """Sessions over 4G on foot, those of all kinds, and Puffer's."""
    periodic = cellular_stream(folder / "cellular_abr.parquet", shift="periodic")
    usual = [one for i, one in enumerate(periodic.periods, 1) if i % 5]
    every = cellular_stream(folder / "cellular_abr.parquet", shift="incremental")
    puffer = puffer_stream(folder)
    return [
        pool("4G walking", concatenate(usual), BINS.n, rng),
        pool("all of S", concatenate(every.periods), BINS.n, rng),
        pool("P", concatenate(puffer.periods), BINS.n, rng),
    ]


def synthetic_sessions(
    n: int, rng: np.random.Generator, *, shift: float = 0.0, first: int = 0
) -> Samples:
    """Times of sessions on links of their own: slower by ``e^shift`` after a change."""
    lengths = rng.integers(40, 200, n)
    group = np.repeat(np.arange(first, first + n), lengths)
    level = rng.normal(-0.7 + shift, 0.6, n)[group - first]
    noise = rng.normal(0, 0.5, len(group))
    size = rng.normal(0, 0.3, len(group))
    x = np.column_stack([level + rng.normal(0, 0.3, len(group)), size])
    return Samples.of(x, np.exp(level + size + noise), group=group)


BINS = Bins(edges=np.array([0.0, *(0.25 + 0.5 * np.arange(20)), np.inf]))
"""Those of all the streams: Fugu's."""
