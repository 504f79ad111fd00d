"""Schedule of retraining: never, after every period, or after every few of them.

Rules that look at nothing. Beside them a rule that looks has to show what it is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.retraining.base import RetrainDecision
from midhaul.memory.selectors.pool import check_state

if TYPE_CHECKING:
    from midhaul.memory.retraining.base import Arrays, RetrainSituation

FIRST = RetrainDecision(retrain=True, why="nothing has been trained yet")
"""What every rule says before the first training."""


class NeverAgain:
    """Train once, then never again."""

    name = "never"

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Yes before the first training only."""
        if now.trained is None:
            return FIRST
        return RetrainDecision(retrain=False, why="the rule is never to retrain")

    def retrained(self) -> None:
        """Nothing changes."""

    def state(self) -> Arrays:
        """Nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())


class EveryPeriods:
    """Train again when ``every`` periods have passed since the last training.

    Args:
        every: 1 to retrain always.

    Raises:
        ConfigError: not a period or more.
    """

    def __init__(self, *, every: int = 1) -> None:
        if every < 1:
            message = f"every: expected 1 period or more, found {every}"
            raise ConfigError(message)
        self.every = every
        self._n_since = 0

    @property
    def name(self) -> str:
        """It is called after what it does."""
        return "always" if self.every == 1 else f"every-{self.every}"

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Count the periods."""
        self._n_since += 1
        if now.trained is None:
            return FIRST
        why = f"period {self._n_since} since the last training, of {self.every}"
        return RetrainDecision(
            retrain=self._n_since >= self.every,
            why=why,
            value=float(self._n_since),
            threshold=float(self.every),
        )

    def retrained(self) -> None:
        """Count anew."""
        self._n_since = 0

    def state(self) -> Arrays:
        """How many periods have passed."""
        return {"n_since": np.array(self._n_since)}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("n_since",))
        self._n_since = int(state["n_since"])
