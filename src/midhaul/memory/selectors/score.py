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

from typing import TYPE_CHECKING

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


class LossSelector:
    """Samples with a high loss stay.

    Args:
        capacity: samples at most.
        bins: of outputs and predictions.
        temperature: in nats; large ones keep at random.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    n_marks = 0
    weighs_training = False
    name = "loss"

    def __init__(self, *, capacity: int, bins: Bins, temperature: float = 10.0) -> None:
        check_above("temperature", temperature)
        self.capacity = capacity
        self.bins = bins
        self.temperature = temperature

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Drop by the softmax of minus the loss, as the present model has it."""
        del marks
        score = np.concatenate(
            [np.zeros(0), *(self._score(part) for part in (kept, new) if len(part))]
        )
        is_in = softmax_kept(score, self.capacity, self.temperature, rng)
        room = min(self.capacity - len(kept), len(new))
        return choice_of(is_in, np.zeros((len(new), 0)), Reason.HIGH_LOSS, room=room)

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
        return -losses(samples, self.bins, f"selector {self.name}")


class ConfidenceSelector:
    """Samples of which the model is least sure stay; outputs need not be known.

    Args:
        capacity: samples at most.
        bins: of predictions.
        temperature: of the largest probability; large ones keep at random.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    n_marks = 0
    weighs_training = False
    name = "confidence"

    def __init__(self, *, capacity: int, bins: Bins, temperature: float = 0.1) -> None:
        check_above("temperature", temperature)
        self.capacity = capacity
        self.bins = bins
        self.temperature = temperature

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Drop by the softmax of the largest probability."""
        del marks
        check_predictions(new, self.bins, f"selector {self.name}")
        both = [part.prediction.max(axis=1) for part in (kept, new) if len(part)]
        score = np.concatenate([np.zeros(0), *both])
        is_in = softmax_kept(score, self.capacity, self.temperature, rng)
        room = min(self.capacity - len(kept), len(new))
        return choice_of(is_in, np.zeros((len(new), 0)), Reason.UNSURE, room=room)

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: the chance is not known."""
        del kept, marks

    def state(self) -> Arrays:
        """Nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())
