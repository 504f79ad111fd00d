"""JTT, Just Train Twice: what the first model gets wrong counts more in training.

Liu et al., "Just train twice: improving group robustness without training group
information", ICML 2021, section 4: train, then train again with the samples that the
first model misclassified counted ``upscale`` times. Differences:

1. The first model is the one whose predictions the samples have: the present one, or
   one that was trained for this and asked by ``SampleMemory.predict_again``. The paper
   trains it on the same data, for few epochs.
2. What is kept is a uniform sample of the stream. All that is special is the weight,
   which therefore does not estimate the stream: it is meant not to. A sample whose
   output is not known yet is not known to be wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.selectors.pool import check_above, check_predictions
from midhaul.memory.selectors.reservoir import Reservoir

if TYPE_CHECKING:
    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice


class JustTrainTwice:
    """A reservoir whose misclassified samples weigh more.

    Args:
        capacity: samples at most.
        bins: of outputs and predictions.
        upscale: how many times a misclassified one counts.

    Raises:
        ConfigError: the upscale is not above 0.
    """

    n_marks = 0
    weighs_training = True
    name = "jtt"

    def __init__(self, *, capacity: int, bins: Bins, upscale: float = 10.0) -> None:
        check_above("upscale", upscale)
        self.bins = bins
        self.upscale = upscale
        self._inner = Reservoir(capacity=capacity)

    @property
    def capacity(self) -> int:
        """Samples at most."""
        return self._inner.capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._inner.capacity = capacity

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """As the reservoir does."""
        return self._inner.choose(kept, marks, new, rng)

    def weights(self, kept: Samples, marks: np.ndarray) -> np.ndarray:
        """Those of the reservoir, more where the predicted mode is not the output.

        DataError if the samples lack predictions.
        """
        check_predictions(kept, self.bins, f"selector {self.name}")
        output = self.bins.of(kept.y)
        is_wrong = (output >= 0) & (kept.prediction.argmax(axis=1) != output)
        factor = np.where(is_wrong, self.upscale, 1.0)
        return self._inner.weights(kept, marks) * factor

    def state(self) -> Arrays:
        """That of the reservoir."""
        return self._inner.state()

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        self._inner.restore(state)
