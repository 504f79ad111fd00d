"""What is learned anew while a policy is used, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.policies.catalogue import fit_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.federation.policies.base import Examples, SubsetPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineSettings:
    """How much is audited, and when it is learned anew.

    Attributes:
        audit_share: share of the items that everybody is asked about.
        boosted_share: the same after an alarm, until enough is known.
        n_fewest: audits that learning anew needs.
        n_enough: audits after a change, with which auditing more ends.
        n_routine: audits between two routine times; 0 for never.
        window: audits that are remembered.
        n_between_alarms: within n items, the chance of a false alarm is at most n over
            this number.
    """

    audit_share: float = 0.05
    boosted_share: float = 0.5
    n_fewest: int = 100
    n_enough: int = 400
    n_routine: int = 400
    window: int = 5000
    n_between_alarms: float = 10_000

    def __post_init__(self) -> None:
        """Check the shares.

        Raises:
            ValueError: a share is none, or the window is smaller than what is needed.
        """
        shares = (self.audit_share, self.boosted_share)
        if not all(0 < share <= 1 for share in shares) or self.window < self.n_fewest:
            message = f"shares {shares}, window {self.window} for {self.n_fewest}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is learned anew.

    Attributes:
        name: of a policy in the catalogue.
        told: its settings.
        multiplier: quality that one USD has to buy, for a family.
        seed: of the fits.
    """

    name: str
    told: Mapping[str, Any]
    multiplier: float
    seed: int

    def fit(self, examples: Examples, number: int) -> SubsetPolicy:
        """Learn it for the number-th time."""
        rng = np.random.default_rng([self.seed, number])
        fitted: Any = fit_policy(self.name, examples, self.told, rng)
        return fitted.at(self.multiplier) if hasattr(fitted, "at") else fitted
