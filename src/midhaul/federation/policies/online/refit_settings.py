"""What is learned anew while a policy is used, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.exchange_rate import finite_multiplier
from midhaul.federation.policies.replay import replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.base import SubsetPolicy

_SURE = 1.645
"""Standard errors of a gain that leave a chance of 5 % of its being none."""

_LIKELY = 1.0
"""The same with a chance of 16 %, where an alarm speaks against going on as before."""


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
        n_to_leave_out: audits since a change with which leaving out who changed is
            first held against going on as before.
        n_between_alarms: within n items, the chance of a false alarm is at most n over
            this number.
    """

    audit_share: float = 0.05
    boosted_share: float = 0.5
    n_fewest: int = 100
    n_enough: int = 200
    n_routine: int = 400
    window: int = 5000
    n_between_alarms: float = 10_000
    n_to_leave_out: int = 20

    def __post_init__(self) -> None:
        """Check the shares."""
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

    def improve(
        self,
        incumbent: SubsetPolicy,
        examples: Examples,
        number: int,
    ) -> SubsetPolicy | None:
        """Learn anew, if that is surely better than going on as before.

        Each half of the items judges what the other half teaches, beside the incumbent;
        only if the mean gain is above 0 at 95 % all of them are learned from. None
        where the incumbent is at least as good. The ``number`` of times it was learned
        before makes chance another one.
        """
        places = np.arange(len(examples))
        halves = places[::2], places[1::2]
        gains: list[Float64[np.ndarray, " k"]] = []
        for taught, judged in (halves, halves[::-1]):
            new = self.fit(_part_of(examples, taught), number)
            rest = _part_of(examples, judged)
            gains.append(self._worth(new, rest) - self._worth(incumbent, rest))
        is_better = _is_above_zero(np.concatenate(gains), _SURE)
        return self.fit(examples, number) if is_better else None

    def seems_better(
        self, new: SubsetPolicy, old: SubsetPolicy, examples: Examples
    ) -> bool:
        """Whether one policy gains on another, on items that taught neither.

        After an alarm the other one is doubtful already, so one standard error above
        no gain has to do, and a few items.
        """
        gain = self._worth(new, examples) - self._worth(old, examples)
        return _is_above_zero(gain, _LIKELY)

    def _worth(
        self, policy: SubsetPolicy, examples: Examples
    ) -> Float64[np.ndarray, " n"]:
        """``(n,)`` quality less multiplier times price of what a policy would do."""
        from midhaul.federation.quality import item_quality  # noqa: PLC0415

        recording = examples.recording
        rng = np.random.default_rng(self.seed)
        done = replay(policy, recording, examples.features, examples.fuser, rng)
        rate = finite_multiplier(self.multiplier, recording.prices_usd)
        return item_quality(recording, done.fused) - rate * done.cost_usd


def _part_of(examples: Examples, items: Int64[np.ndarray, " k"]) -> Examples:
    return Examples(
        recording=examples.recording.take(items),
        features=examples.features[items],
        fuser=examples.fuser,
    )


def _is_above_zero(gain: Float64[np.ndarray, " k"], n_errors: float) -> bool:
    """Whether a mean gain is above 0 by so many standard errors."""
    error = float(gain.std()) / math.sqrt(max(1, len(gain)))
    return float(gain.mean()) > n_errors * error
