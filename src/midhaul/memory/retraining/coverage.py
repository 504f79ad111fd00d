"""Coverage rule: retrain when the memory covers more than the training data did.

The seed's rule: retrain when the coverage increase
(:mod:`midhaul.memory.coverage.increase`) is 0.1 or more. It says nothing of false
alarms: which increase chance alone brings depends on the number of batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from midhaul.memory.retraining.base import RetrainDecision
from midhaul.memory.retraining.schedule import FIRST
from midhaul.memory.selectors.pool import check_above, check_state

if TYPE_CHECKING:
    from midhaul.memory.retraining.base import Arrays, RetrainSituation


class CoverageRule:
    """Retrain when the coverage has increased by a threshold.

    Args:
        threshold: the increase from which to retrain.
        batch_size: samples of a batch, the grain of densities.
        bandwidth: of the kernel of distances.
        sort: whether batches follow outputs or their bins.

    Raises:
        ConfigError: the threshold is not above 0.
    """

    name = "coverage"

    def __init__(
        self,
        *,
        threshold: float = 0.1,
        batch_size: int = 256,
        bandwidth: float = 0.1,
        sort: Literal["value", "bin"] = "value",
    ) -> None:
        check_above("threshold", threshold)
        self.threshold = threshold
        self.batch_size = batch_size
        self.bandwidth = bandwidth
        self.sort: Literal["value", "bin"] = sort

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Compare the memory with what was trained on, both as the model sees them."""
        if now.trained is None:
            return FIRST
        # Its kernels are compiled, which a rule that does not use them need not load.
        from midhaul.memory.coverage.increase import (  # noqa: PLC0415
            coverage_increase,
        )

        increase = coverage_increase(
            now.memory,
            now.trained,
            now.bins,
            batch_size=self.batch_size,
            bandwidth=self.bandwidth,
            sort=self.sort,
        )
        return RetrainDecision(
            retrain=increase >= self.threshold,
            why=f"the coverage has increased by {increase:.1%}",
            value=increase,
            threshold=self.threshold,
        )

    def retrained(self) -> None:
        """Nothing changes: what was trained on is given."""

    def state(self) -> Arrays:
        """Nothing."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ())
