"""Selection by score: the loss of a sample, or how sure its model is.

The seed's sample metrics. Each sample of the pool has a score; while there are too
many, one goes, drawn by the softmax of scores over a temperature. Drawing without
replacement by a softmax is the same as taking the largest of ``score / T + Gumbel
noise`` (Kool et al., "Stochastic beams and where to find them", ICML 2019, section
2.3), which is one pass. Differences from the seed:

1. Samples go one by one; the seed may average the scores of a batch and drop the batch.
2. The softmax underflows in the seed, which then drops first all that has a chance
   above 0. In logarithms nothing underflows.
3. The defaults of temperatures are the best of its own replay: 10 for loss, 0.1 for
   confidence.

The weight in training is not known: a sample competes with all that ever were in
memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import (
    check_above,
    check_predictions,
    check_state,
    choice_of,
    output_bins,
    smallest,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice

_LEAST = 1e-7
"""A probability of less counts as that, so that a loss is finite."""


def losses(samples: Samples, bins: Bins, who: str) -> Float64[np.ndarray, " n"]:
    """-log of the probability of the true bin; DataError without either."""
    check_predictions(samples, bins, who)
    output = output_bins(samples, bins, who)
    found = samples.prediction[np.arange(len(samples)), output]
    return -np.log(np.maximum(found.astype(np.float64), _LEAST))


def softmax_kept(
    score: Float64[np.ndarray, " n"],
    capacity: int,
    temperature: float,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " n"]:
    """True for what is left when samples go one by one, by the softmax of scores."""
    noise = -np.log(rng.standard_exponential(len(score)))
    return smallest(score / temperature + noise, capacity)


class ScoreSelector:
    """Samples of a high score stay: a high loss, or a model that is not sure.

    Args:
        capacity: samples at most.
        bins: of outputs and predictions.
        of: what the score is; for ``confidence`` outputs need not be known.
        temperature: of it, nats of loss or the largest probability; large ones keep at
            random.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    n_marks = 0
    weighs_training = False

    def __init__(
        self,
        *,
        capacity: int,
        bins: Bins,
        of: Literal["loss", "confidence"],
        temperature: float | None = None,
    ) -> None:
        temperature = _TEMPERATURES[of] if temperature is None else temperature
        check_above("temperature", temperature)
        self.capacity = capacity
        self.bins = bins
        self.of = of
        self.temperature = temperature

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        return self.of

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Drop by the softmax of minus the score, as the present model has it."""
        del marks
        check_predictions(new, self.bins, f"selector {self.name}")
        score = np.concatenate(
            [np.zeros(0), *(self._score(part) for part in (kept, new) if len(part))]
        )
        is_in = softmax_kept(score, self.capacity, self.temperature, rng)
        room = min(self.capacity - len(kept), len(new))
        reason = Reason.HIGH_LOSS if self.of == "loss" else Reason.UNSURE
        return choice_of(is_in, np.zeros((len(new), 0)), reason, room=room)

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: the chance is not known."""
        del kept, marks

    def state(self) -> Arrays:
        """Nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())

    def _score(self, samples: Samples) -> np.ndarray:
        if self.of == "loss":
            return -losses(samples, self.bins, f"selector {self.name}")
        return samples.prediction.max(axis=1).astype(np.float64)


_TEMPERATURES = {"loss": 10.0, "confidence": 0.1}
