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
    from jaxtyping import Float32, Int64

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
        k = samples.prediction.shape[1]
        if k != self.bins.n:
            message = f"expected predictions over {self.bins.n} bins, found {k}"
            raise DataError(message, "let a model predict before samples are offered")
        return cell_numbers(self.bins.of(samples.y), samples.prediction)

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
        return self.region(cell_numbers(np.full(len(prediction), -1), prediction))


@numba.njit(cache=True, nogil=True)
def cell_numbers(
    output: Int64[np.ndarray, " n"], prediction: Float32[np.ndarray, "n k"]
) -> Int64[np.ndarray, " n"]:
    """Cells of outputs in bins, -1 where not known, and predictions."""
    n, k = prediction.shape
    found = np.empty(n, np.int64)
    limits = np.float32(k) ** (-np.arange(1, N_LEVELS) / N_LEVELS)
    for i in range(n):
        mode, most = 0, np.float32(-1.0)
        square = np.float32(0.0)
        for j in range(k):
            p = prediction[i, j]
            square += p * p
            if p > most:
                mode, most = j, p
        level = 0
        for limit in limits:
            level += square <= limit
        at = output[i] if output[i] >= 0 else mode
        found[i] = (at * k + mode) * N_LEVELS + level
    return found
