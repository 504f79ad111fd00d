"""The coverage memory by its formulas: SciPy's distances, matrices, one loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import jensenshannon

from midhaul.memory.samples import Bins, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

BINS = Bins(edges=np.array([-np.inf, 0.25, 0.75, 1.25, 1.75, np.inf]))


def made_samples(n: int, rng: np.random.Generator, *, levels: int = 0) -> Samples:
    """Samples that a model half understands; of few different values if told so."""
    y = rng.gamma(1.0, 0.8, n)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    logits = rng.normal(size=(n, BINS.n))
    logits[np.arange(n), BINS.of(y)] += 2 * (x[:, 0] > 0)
    if levels:
        y = np.round(y * levels) / levels
        x = np.round(x)
        logits = np.round(logits)
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    return Samples.of(x, y, prediction=shares)


def sorted_rows(samples: Samples, sort: str) -> np.ndarray:
    """The lexicographic order: output or bin, prediction, input."""
    columns: list[np.ndarray] = []
    for rows in (samples.x, samples.prediction):
        at = np.abs(rows).argmax(axis=1)
        columns += [-rows[np.arange(len(rows)), at], at]
    first = samples.y if sort == "value" else BINS.of(samples.y)
    return np.lexsort([*columns, first])


def batches_of(samples: Samples, batch_size: int, sort: str) -> list[np.ndarray]:
    """Rows of each whole batch."""
    order = sorted_rows(samples, sort)
    n = len(order) // batch_size
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(n)]


def kernel_matrices(
    parts: Sequence[tuple[Samples, list[np.ndarray]]], bandwidth: float
) -> list[np.ndarray]:
    """The kernel of distances between all batches of one part and of the other."""
    spaces: list[list[np.ndarray]] = []
    for samples, cut in parts:
        counts = [np.bincount(BINS.of(samples.y[b]), minlength=BINS.n) for b in cut]
        outputs = np.array(counts) / len(cut[0])
        told = [samples.prediction[b].astype(np.float64).mean(axis=0) for b in cut]
        spaces.append([outputs, np.array(told)])
    found: list[np.ndarray] = []
    for p, q in zip(spaces[0], spaces[-1], strict=True):
        far = np.array([[jensenshannon(a, b, base=2) for b in q] for a in p])
        far = np.nan_to_num(far)  # the root of a zero that came out below it
        found.append(np.exp(-0.5 * (far / bandwidth) ** 2) / np.sqrt(2 * np.pi))
    return found


def increase(
    memory: Samples,
    trained: Samples,
    *,
    batch_size: int,
    bandwidth: float,
    sort: str = "value",
) -> float:
    """The share of coverage that training did not have."""
    ours = memory, batches_of(memory, batch_size, sort)
    theirs = trained, batches_of(trained, batch_size, sort)
    now = np.min([m.mean(axis=1) for m in kernel_matrices([ours], bandwidth)], axis=0)
    before = np.min(
        [m.mean(axis=1) for m in kernel_matrices([ours, theirs], bandwidth)], axis=0
    )
    change = now - before
    return float(change[change > 0].sum() / now.sum())


def selected(
    samples: Samples,
    capacity: int,
    rng: np.random.Generator,
    *,
    batch_size: int,
    bandwidth: float = 0.1,
    temperature: float = 0.01,
    sort: str = "value",
) -> np.ndarray:
    """Rows that stay when batches are removed one by one down to a capacity."""
    cut = batches_of(samples, batch_size, sort)
    matrices = kernel_matrices([(samples, cut)], bandwidth)
    alive = list(range(len(cut)))
    while len(alive) * batch_size > capacity:
        density = np.min(
            [m[np.ix_(alive, alive)].mean(axis=1) for m in matrices], axis=0
        )
        if temperature:
            odds = np.exp((density - density.max()) / temperature)
            at = int(rng.choice(len(alive), p=odds / odds.sum()))
        else:
            at = len(alive) - 1 - int(density[::-1].argmax())
        del alive[at]
    return np.sort(np.concatenate([cut[i] for i in alive]))
