"""Density of samples by cells: output bin × predicted mode × how sure the model is.

A cell is where a sample lies: the bin of its output, the bin that its model held most
probable, and the entropy of that prediction in four levels. The entropy is that of
Rényi of order 2, -log of the sum of squares, which needs no logarithm of each share. A
count of each cell is a sketch of a stream: it is small, two of them add up, and the
density of a cell is its count. A sample whose output is not known stands where the
model expects it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from midhaul.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.memory.samples import Bins, Samples

N_LEVELS = 4
"""Levels of entropy, as quarters of the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of a learning problem.

    Attributes:
        bins: of the output, and of predictions.
    """

    bins: Bins

    @property
    def n(self) -> int:
        """How many there are."""
        return self.bins.n**2 * N_LEVELS

    def of(self, samples: Samples) -> Int64[np.ndarray, " n"]:
        """The cell of each sample.

        DataError if samples lack predictions over these bins.
        """
        self.check(samples)
        return cell_numbers(*self.arrays(samples))

    def check(self, samples: Samples) -> None:
        """DataError if samples lack predictions over these bins."""
        k = samples.prediction.shape[1]
        if k != self.bins.n:
            message = f"expected predictions over {self.bins.n} bins, found {k}"
            raise DataError(message, "let a model predict before samples are offered")

    def arrays(self, samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What cells are made of: outputs, edges between bins, predictions."""
        return samples.y, self.bins.edges[1:-1], samples.prediction

    @property
    def n_regions(self) -> int:
        """How many things a model may say: a mode at a level of entropy."""
        return self.bins.n * N_LEVELS

    def region(self, cells: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """What the model said in each cell."""
        return cells % self.n_regions

    def regions(
        self, prediction: Float32[np.ndarray, "n k"]
    ) -> Int64[np.ndarray, " n"]:
        """What a model said in each prediction."""
        y = np.full(len(prediction), np.nan)
        return self.region(cell_numbers(y, self.bins.edges[1:-1], prediction))


@numba.njit(cache=True, nogil=True)
def level_limits(k: int) -> Float32[np.ndarray, " 3"]:
    """Sums of squares at which levels end: k to the power of -1/4, -1/2, -3/4."""
    root = np.sqrt(np.float32(1.0) / np.float32(k))
    return np.array([np.sqrt(root), root, root * np.sqrt(root)], np.float32)


@numba.njit(cache=True, nogil=True, inline="always")
def cell_of(
    i: int,
    y: Float64[np.ndarray, " n"],
    inner: Float64[np.ndarray, " k1"],
    prediction: Float32[np.ndarray, "n k"],
    limits: Float32[np.ndarray, " 3"],
) -> int:
    """The cell of sample ``i``; its output is NaN where it is not known.

    ``inner`` are the edges between bins, ``limits`` those between levels, as sums of
    squares. Rows are not cut out, and it is put into the loops that use it, as either
    takes as long as all that is done here.
    """
    k = prediction.shape[1]
    mode, most, square = 0, np.float32(-1.0), np.float32(0.0)
    for j in range(k):
        p = prediction[i, j]
        square += p * p
        if p > most:
            mode, most = j, p
    level = 0
    for limit in limits:
        level += int(square <= limit)
    at = mode
    if not np.isnan(y[i]):
        at = 0
        while at < k - 1 and y[i] >= inner[at]:
            at += 1
    return (at * k + mode) * N_LEVELS + level


@numba.njit(cache=True, nogil=True)
def cell_numbers(
    y: Float64[np.ndarray, " n"],
    inner: Float64[np.ndarray, " k1"],
    prediction: Float32[np.ndarray, "n k"],
) -> Int64[np.ndarray, " n"]:
    """Cells of outputs and predictions, see :func:`cell_of`."""
    found = np.empty(len(y), np.int64)
    limits = level_limits(prediction.shape[1])
    for i in range(len(y)):
        found[i] = cell_of(i, y, inner, prediction, limits)
    return found
