"""Reservoir sampling with forgetting: by a share at each offer, or with a half-life.

Two ways to let what is old go. The first is that of the original coverage memory's
authors: it forgets when samples are offered,
so it forgets faster when offers are smaller. The second forgets by the clock: weighted
sampling without replacement by keys E / w (Efraimidis and Spirakis, "Weighted random
sampling with a reservoir", IPL 97, 2006) with weights ``w = 2^(t / half-life)``, whose
ratios do not change while time goes on, so that old keys remain good. Given the
smallest key tau that was not kept, a sample is in memory with the chance
``1 - exp(-w tau)`` (Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC
2007, rank conditioning).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import (
    check_above,
    check_state,
    choice_of,
    smallest,
)

if TYPE_CHECKING:
    from midhaul.memory.samples import Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice


class ForgettingReservoir:
    """The smallest of permanent random keys; a share of the memory goes at each offer.

    No more go than come, so the memory does not shrink.

    Args:
        capacity: samples at most.
        forget: share of the memory that goes before each offer, 0 to 1.

    Raises:
        ConfigError: the share is no share.
    """

    n_marks = 1
    weighs_training = False
    name = "reservoir-forgetting"

    def __init__(self, *, capacity: int, forget: float = 0.1) -> None:
        if not 0 <= forget <= 1:
            message = f"forget: expected a share from 0 to 1, found {forget}"
            raise ConfigError(message)
        self.capacity = capacity
        self.forget = forget

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Forget some at random, then keep the smallest keys of the pool."""
        n, m = len(kept), len(new)
        drawn = rng.random((m, 1))
        keys = np.concatenate([marks[:, 0], drawn[:, 0]])
        n_forgotten = min(round(n * self.forget), m)
        keys[rng.choice(n, n_forgotten, replace=False)] = np.inf
        is_in = smallest(keys, self.capacity) & np.isfinite(keys)
        return choice_of(is_in, drawn, Reason.DRAWN, room=min(self.capacity - n, m))

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: what was forgotten is not accounted for."""
        del kept, marks

    def state(self) -> Arrays:
        """Nothing: keys are marks."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())


class HalfLifeReservoir:
    """A sample in which the chance to be there halves with each half-life of age.

    The mark of a sample is the logarithm of its key.

    Args:
        capacity: samples at most.
        half_life_s: in the time of the samples.

    Raises:
        ConfigError: the half-life is not above 0.
    """

    n_marks = 1
    weighs_training = False
    name = "reservoir-half-life"

    def __init__(self, *, capacity: int, half_life_s: float) -> None:
        check_above("half_life_s", half_life_s)
        self.capacity = capacity
        self.half_life_s = half_life_s
        self._log_tau = np.inf

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """The smallest keys stay, whatever the order in which samples come."""
        n, m = len(kept), len(new)
        drawn = np.log(rng.standard_exponential(m)) - self._log_weight(new)
        keys = np.concatenate([marks[:, 0], drawn])
        is_in = smallest(keys, self.capacity)
        self._log_tau = min(self._log_tau, float(keys[~is_in].min(initial=np.inf)))
        return choice_of(
            is_in, drawn[:, None], Reason.DRAWN, room=min(self.capacity - n, m)
        )

    def weights(self, kept: Samples, marks: np.ndarray) -> np.ndarray:
        """The inverse of the chance that each had."""
        del marks
        exponent = np.minimum(self._log_tau + self._log_weight(kept), _HUGE)
        return -1 / np.expm1(-np.exp(exponent))

    def state(self) -> Arrays:
        """The smallest key that was not kept."""
        return {"log_tau": np.array(self._log_tau)}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("log_tau",))
        self._log_tau = float(state["log_tau"])

    def _log_weight(self, samples: Samples) -> np.ndarray:
        return np.log(2) * samples.time_s / self.half_life_s


_HUGE = 50.0
"""Beyond it a chance is 1 to the last bit."""
