"""Prior shift undone: a model that learnt from a biased memory, as of the stream.

A memory that keeps rare outputs more often teaches a model that they are common.
Where the chance of each sample to be kept is known, that is undone exactly by Bayes'
rule (Elkan 2001, theorem 2; Saerens, Latinne and Decaestecker 2002, equation 2): of the
samples that the model looks at alike, ``p(bin) ∝ p_memory(bin) · f(bin)`` with f the
sum of the weights of that bin over the number of its samples.

1. What a model looks at alike are predictions of the same mode and level of entropy
   (:mod:`midhaul.memory.cells`); the papers have one factor for all inputs.
2. Where few samples of a bin are kept, its factor is drawn towards that of the whole
   bin, as if ``n_prior`` samples said so.

Weights in training would have the same aim, but a few samples of large weight make a
net worse than a uniform memory does; the net itself learns from what was kept as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from midhaul.memory.cells import Cells
    from midhaul.memory.predictors.base import Predictor
    from midhaul.memory.samples import Samples

N_PRIOR = 20.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestoredPredictor:
    """A model, and by how much each bin must be corrected.

    Attributes:
        inner: the model as it was trained.
        cells: what predictions are alike.
        factor: ``(r, k)`` of each region and bin.
    """

    inner: Predictor
    cells: Cells
    factor: Float64[np.ndarray, "r k"]

    def predict(self, x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """The model's distributions, corrected."""
        told = self.inner.predict(x)
        found = told * self.factor[self.cells.regions(told)].astype(np.float32)
        return found / found.sum(axis=1, keepdims=True)

    def trained(self, samples: Samples, rng: np.random.Generator) -> Predictor:
        """A new model, which needs a correction of its own."""
        return self.inner.trained(samples, rng)


def restored(
    inner: Predictor,
    cells: Cells,
    kept: Samples,
    weight: Float64[np.ndarray, " n"],
    *,
    n_prior: float = N_PRIOR,
) -> RestoredPredictor:
    """A model that was trained on samples, corrected to the stream that they are of.

    ``weight`` is how many samples of the stream each one stands for.
    """
    told = inner.predict(kept.x)
    k = cells.bins.n
    bin_of = cells.bins.of(kept.y)
    weight = weight / weight.mean()
    of_bin, n_bin = np.bincount(bin_of, weight, k), np.bincount(bin_of, minlength=k)
    whole = (of_bin + 1.0) / (n_bin + 1.0)
    at = cells.regions(told) * k + bin_of
    n_cells = cells.n_regions * k
    of_cell = np.bincount(at, weight, n_cells).reshape(-1, k)
    n_cell = np.bincount(at, minlength=n_cells).reshape(-1, k)
    factor = (of_cell + n_prior * whole) / (n_cell + n_prior)
    return RestoredPredictor(inner=inner, cells=cells, factor=factor)
