"""Predictors: any model that can be asked and trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from midhaul.memory.samples import Samples


Correction = Literal["restore", "weigh", "none"]
"""What is done about a memory whose chances are known: undo the shift of its prior
after training, weigh samples in training, or nothing."""


class Predictor(Protocol):
    """A model of outputs in ``k`` bins."""

    def predict(self, x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
        """Its distribution over bins for each input."""
        ...

    def trained(self, samples: Samples, rng: np.random.Generator) -> Predictor:
        """A new model of the same kind, trained on samples with their weights.

        DataError if there are none, or some lack their output.
        """
        ...
