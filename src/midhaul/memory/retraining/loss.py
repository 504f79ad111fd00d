"""Loss rule: retrain when the mean loss of a period is worse than that of training.

The seed's alternative to coverage: with ``L`` for the mean of -log p of the true bin,
retrain when ``L(period) / L(training data) - 1`` is at least a share. The loss of data
that a model was trained on is smaller than that of any other, so a model that has
learnt its data by heart makes the rule fire for ever; ``is_held`` compares with the
first period after the training instead, which the model has not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.retraining.base import RetrainDecision
from midhaul.memory.retraining.schedule import FIRST
from midhaul.memory.selectors.pool import check_above, check_state
from midhaul.memory.selectors.score import losses

if TYPE_CHECKING:
    from midhaul.memory.retraining.base import Arrays, RetrainSituation
    from midhaul.memory.samples import Bins, Samples


class LossRule:
    """Retrain when the loss has grown by a share.

    Args:
        share: of the loss then.
        is_held: whether "then" is the first period after the training, and not what was
            trained on.

    Raises:
        ConfigError: the share is not above 0.
    """

    name = "loss"

    def __init__(self, *, share: float = 0.1, is_held: bool = False) -> None:
        check_above("share", share)
        self.share = share
        self.is_held = is_held
        self._then = np.nan

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Compare the period's mean loss with that then."""
        if now.trained is None:
            return FIRST
        if not len(now.new):
            return RetrainDecision(
                retrain=False, why="nothing came", threshold=self.share
            )
        loss = _mean_loss(now.new, now.bins)
        if self.is_held and np.isnan(self._then):
            self._then = loss
        then = self._then if self.is_held else _mean_loss(now.trained, now.bins)
        growth = loss / then - 1 if then > 0 else (np.inf if loss > 0 else 0.0)
        return RetrainDecision(
            retrain=growth >= self.share,
            why=f"the mean loss is {loss:.4f}, it was {then:.4f}: {growth:+.1%}",
            value=float(growth),
            threshold=self.share,
        )

    def retrained(self) -> None:
        """The next period is the first one."""
        self._then = np.nan

    def state(self) -> Arrays:
        """The loss of the first period, if there was one."""
        return {"then": np.array(self._then)}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("then",))
        self._then = float(state["then"])


def _mean_loss(samples: Samples, bins: Bins) -> float:
    """The mean by weight; DataError without a weight at all."""
    total = float(samples.weight.sum())
    if not total > 0:
        message = f"rule loss needs samples that weigh something, found {len(samples)}"
        raise DataError(message, "give what the model was trained on")
    return float(losses(samples, bins, "rule loss") @ samples.weight) / total
