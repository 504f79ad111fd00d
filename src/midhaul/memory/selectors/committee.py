"""Query by committee: samples on which several models disagree stay.

Seung, Opper and Sompolinsky, "Query by committee", COLT 1992. Disagreement is the
Jensen-Shannon divergence of what several models say: the entropy of their mean less
the mean of their entropies, as a share of the largest that it can be (McCallum and
Nigam, ICML 1998).
Differences from the seed:

1. The seed scores by the entropy of the mean alone, which is also high where all agree
   that nobody can know.
2. It keeps the best; here samples go by a softmax, and a temperature near 0 is that.
3. It adds each model that is trained to the committee. Here the members are given, so
   a sample is asked about once, when it comes: its mark is the disagreement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import check_above, check_state, choice_of
from midhaul.memory.selectors.score import softmax_kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.memory.predictors.base import Predictor
    from midhaul.memory.samples import Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice

_TWO = 2


class Committee:
    """Samples stay on which the members disagree; outputs need not be known.

    Args:
        capacity: samples at most.
        predictors: the members, two or more, of the same bins.
        temperature: of the disagreement, which is 0 to 1.

    Raises:
        ConfigError: fewer than two members, or the temperature is not above 0.
    """

    n_marks = 1
    weighs_training = False
    name = "committee"

    def __init__(
        self,
        *,
        capacity: int,
        predictors: Sequence[Predictor],
        temperature: float = 0.01,
    ) -> None:
        check_above("temperature", temperature)
        if len(predictors) < _TWO:
            message = f"a committee has two members or more, found {len(predictors)}"
            raise ConfigError(message, "one model cannot disagree")
        self.capacity = capacity
        self.predictors = tuple(predictors)
        self.temperature = temperature

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Ask all members about what is new; drop by the softmax of agreement."""
        n, m = len(kept), len(new)
        noted = np.zeros((m, 1))
        if m:
            told = np.stack([one.predict(new.x) for one in self.predictors])
            noted[:, 0] = disagreement(told.astype(np.float64))
        score = -np.concatenate([marks[:, 0], noted[:, 0]])
        is_in = softmax_kept(score, self.capacity, self.temperature, rng)
        return choice_of(is_in, noted, Reason.UNSURE, room=min(self.capacity - n, m))

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: the chance is not known."""
        del kept, marks

    def state(self) -> Arrays:
        """Nothing: what members say are marks."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())


def disagreement(told: Float64[np.ndarray, "p n k"]) -> Float64[np.ndarray, " n"]:
    """The Jensen-Shannon divergence of ``p`` predictions, as a share of the largest."""
    most = np.log(min(told.shape[0], told.shape[2]))
    found = _entropy(told.mean(axis=0)) - _entropy(told).mean(axis=0)
    return np.clip(found / most, 0.0, 1.0)


def _entropy(shares: np.ndarray) -> np.ndarray:
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    return -(shares * logs).sum(axis=-1)
