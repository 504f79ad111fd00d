"""Distances between batches of samples: Jensen-Shannon, Minkowski, Wasserstein.

Jensen-Shannon distance is the root of the divergence with logarithms of base 2, from 0
to 1 (Endres and Schindelin, "A new metric for probability distributions", IEEE Trans.
Inf. Theory 49, 2003). A batch of categories is their shares; of distributions, their
mean; of numbers, a Gaussian kernel density with Silverman's bandwidth (*Density
Estimation for Statistics and Data Analysis*, 1986, eq. 3.28) on points that all batches
share, compared by Simpson's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numba import njit

from midhaul.errors import ConfigError, DataError
from midhaul.memory.coverage.overlap import TINY, base_two_logarithms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float32, Float64

    from midhaul.memory.samples import Bins, Samples

    Matrix = Float64[np.ndarray, "n m"]
    Rows = Float64[np.ndarray, "n k"]

Part = Literal["x", "y", "prediction"]
"""What of a sample is compared."""


class BatchDistance(Protocol):
    """How far batches are from each other."""

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches (rows) to others (columns), or to each other.

        DataError if there is no batch, one is empty, or it lacks what is compared.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JensenShannonOfOutputs:
    """Of outputs as categories: those of a batch are counted bin by bin.

    Attributes:
        bins: how outputs are discretised.
    """

    bins: Bins

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches to others, or to each other."""
        return _matrix(self._shares, jensen_shannon, batches, others)

    def _shares(self, batches: Sequence[Samples]) -> Rows:
        n = self.bins.n
        outputs = [_column(batch, "y") for batch in batches]
        return np.array(
            [np.bincount(self.bins.of(y), minlength=n) / len(y) for y in outputs]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JensenShannonOfPredictions:
    """Of predictions as distributions over bins: those of a batch are averaged."""

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches to others, or to each other."""
        return _matrix(_mean_predictions, jensen_shannon, batches, others)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JensenShannonOfCurves:
    """Of predictions as densities, each given on the same points; they are averaged.

    Attributes:
        support: ``(k,)`` the points, rising.

    Raises:
        ConfigError: fewer than two points, or they do not rise.
    """

    support: Float64[np.ndarray, " k"]

    def __post_init__(self) -> None:
        """Check that points rise."""
        _check_support(self.support)

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches to others, or to each other."""
        weights = simpson_weights(self.support)

        def distance(p: Rows, q: Rows) -> Matrix:
            return jensen_shannon(p, q, weights)

        return _matrix(_mean_predictions, distance, batches, others)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JensenShannonOfNumbers:
    """Of outputs as numbers: those of a batch are smoothed to a density.

    Attributes:
        support: ``(k,)`` the points that densities are compared on, rising; without it
            ``n_points`` from the least to the largest of all outputs.
        n_points: how many there are without ``support``.

    Raises:
        ConfigError: fewer than two points, or they do not rise.
    """

    support: Float64[np.ndarray, " k"] | None = None
    n_points: int = 128

    def __post_init__(self) -> None:
        """Check that points rise."""
        _check_support(
            np.arange(self.n_points) if self.support is None else self.support
        )

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches to others, or to each other."""
        support = self.support
        if support is None:
            everything = [*_some(batches), *(others or ())]
            least = min(float(_column(b, "y").min()) for b in everything)
            most = max(float(_column(b, "y").max()) for b in everything)
            most = most if most > least else least + 1.0
            support = np.linspace(least, most, self.n_points)
        points, weights = support, simpson_weights(support)

        def densities(some: Sequence[Samples]) -> Rows:
            return np.array(
                [kernel_density(_column(batch, "y"), points) for batch in some]
            )

        def distance(p: Rows, q: Rows) -> Matrix:
            return jensen_shannon(p, q, weights)

        return _matrix(densities, distance, batches, others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Minkowski:
    """Of the means of batches, of some order; 2 is the Euclidean distance.

    Attributes:
        of: what is averaged.
        order: at least 1.

    Raises:
        ConfigError: the order is below 1.
    """

    of: Part = "prediction"
    order: float = 2.0

    def __post_init__(self) -> None:
        """Check the order, below which it is no distance."""
        if not self.order >= 1:
            message = f"order: expected 1 or more, found {self.order}"
            raise ConfigError(
                message, "2 is the Euclidean distance, 1 sums differences"
            )

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches to others, or to each other."""

        def means(some: Sequence[Samples]) -> Rows:
            rows = [_column(batch, self.of).astype(np.float64) for batch in some]
            return np.array([np.atleast_1d(own.mean(axis=0)) for own in rows])

        def distance(p: Rows, q: Rows) -> Matrix:
            found = [np.linalg.norm(q - own, ord=self.order, axis=1) for own in p]
            return np.array(found)

        return _matrix(means, distance, batches, others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasserstein:
    """Of outputs as numbers: how far, in the mean, those of a batch have to move."""

    def matrix(
        self, batches: Sequence[Samples], others: Sequence[Samples] | None = None
    ) -> Matrix:
        """Distances of batches to others, or to each other."""
        ours = [np.sort(_column(batch, "y")) for batch in _some(batches)]
        if others is None:
            found = np.zeros((len(ours), len(ours)))
            for i, one in enumerate(ours):
                for j in range(i):
                    found[i, j] = found[j, i] = transport(one, ours[j])
            return found
        theirs = [np.sort(_column(batch, "y")) for batch in _some(others)]
        return np.array([[transport(one, other) for other in theirs] for one in ours])


def jensen_shannon(
    p: Rows, q: Rows, weights: Float64[np.ndarray, " k"] | None = None
) -> Matrix:
    """Distances of rows of shares, or of densities that ``weights`` integrate.

    The loop is of single precision, one logarithm for each pair and bin; sums of it
    miss the divergence by less than 1e-6.
    """
    weighed = np.ones(p.shape[1]) if weights is None else weights
    masses = [rows / (rows @ weighed)[:, None] for rows in (p, q)]
    negative = [(rows * np.log2(np.maximum(rows, TINY))) @ weighed for rows in masses]
    columns = np.ascontiguousarray(masses[1].T.astype(np.float32))
    found = np.empty((len(p), len(q)), np.float32)
    _cross_entropies(
        masses[0].astype(np.float32), columns, weighed.astype(np.float32), found
    )
    both = negative[0][:, None] + negative[1][None, :]
    return np.sqrt(np.clip(1 + (both - found) / 2, 0, 1))


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "nnan"})
def _cross_entropies(
    p: Float32[np.ndarray, "n k"],
    columns: Float32[np.ndarray, "k m"],
    weights: Float32[np.ndarray, " k"],
    out: Float32[np.ndarray, "n m"],
) -> None:
    """Write the integral of ``s log2 s`` of each pair, with ``s = p + q``."""
    s = np.empty(out.shape[1], np.float32)
    logs = np.empty(out.shape[1], np.float32)
    for i in range(len(p)):
        row = out[i]
        row[:] = np.float32(0)
        for b in range(len(weights)):
            column = columns[b]
            for j in range(len(s)):
                s[j] = p[i, b] + column[j]
            base_two_logarithms(s, logs)
            for j in range(len(s)):
                row[j] += weights[b] * s[j] * logs[j]


def kernel_density(
    values: Float64[np.ndarray, " n"], support: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """The Gaussian kernel density of values at points, scaled to integrate to 1 there.

    The bandwidth is Silverman's, ``s (4 / (3 n)) ** (1 / 5)``; a tenth of the support
    where all values are the same. Values beyond the support count at its ends.
    """
    inside = np.clip(values, support[0], support[-1])
    spread = float(inside.std(ddof=1)) if len(inside) > 1 else 0.0
    width = spread * (4 / (3 * len(inside))) ** 0.2
    if not width > 0:
        width = float(support[-1] - support[0]) / 10
    far = (support[:, None] - inside[None, :]) / width
    density = np.exp(-0.5 * far**2).sum(axis=1)
    density = np.maximum(density, TINY)
    return density / (density @ simpson_weights(support))


def simpson_weights(support: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """What each point counts in an integral by Simpson's rule."""
    from scipy.integrate import simpson  # noqa: PLC0415  slow to import

    return np.asarray(simpson(np.eye(len(support)), x=support, axis=1))


def transport(
    one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " m"]
) -> float:
    """The 1-Wasserstein distance of two sorted sets of numbers.

    It is the area between their distributions; of equally many, their mean difference.
    """
    if len(one) == len(other):
        return float(np.abs(one - other).mean())
    every = np.sort(np.concatenate([one, other]))
    gaps = np.diff(every)
    below = [
        np.searchsorted(s, every[:-1], side="right") / len(s) for s in (one, other)
    ]
    return float(np.abs(below[0] - below[1]) @ gaps)


def _matrix(
    summaries: Callable[[Sequence[Samples]], Rows],
    distance: Callable[[Rows, Rows], Matrix],
    batches: Sequence[Samples],
    others: Sequence[Samples] | None,
) -> Matrix:
    ours = summaries(_some(batches))
    if others is not None:
        return distance(ours, summaries(_some(others)))
    found = distance(ours, ours)
    np.fill_diagonal(found, 0)
    return found


def _some(batches: Sequence[Samples]) -> Sequence[Samples]:
    if not batches:
        message = "distances: expected a batch or more, found none"
        raise DataError(message, "there are fewer samples than one batch has")
    return batches


def _mean_predictions(batches: Sequence[Samples]) -> Rows:
    return np.array(
        [
            _column(batch, "prediction").mean(axis=0, dtype=np.float64)
            for batch in batches
        ]
    )


def _column(batch: Samples, of: Part) -> np.ndarray:
    """What is compared, of a batch that has it."""
    found = getattr(batch, of)
    if not found.size or np.isnan(found).any():
        message = f"a batch of {len(batch):,} samples lacks what is compared, its {of}"
        raise DataError(message, "outputs must be known, and a model have been asked")
    return found


def _check_support(support: np.ndarray) -> None:
    if len(support) < 2 or not (np.diff(support) > 0).all():  # noqa: PLR2004
        message = f"support: expected two rising points or more, found {len(support)}"
        raise ConfigError(message, "np.linspace(least, most, 128) is one")
