"""The same providers for every item: a single one, all, a given or the best subset.

The best fixed subset is the baseline that a policy has to beat: fusing everybody is
often worse than fusing some, and which ones is known after a look at training items.
Quality is that of the whole set (pooled AP50 for boxes), as a mean over single images
orders subsets otherwise than the average precision that is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.policies.worth import (
    best_of,
    candidate_masks,
    finite_multiplier,
)
from midhaul.federation.problem import prices_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State

_SAFE = 1e-9
"""Share of a budget by which sums of prices may seem to exceed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPolicy:
    """Asks the same providers about every item, all at once.

    Attributes:
        mask: of the providers.
        name: short name.
    """

    mask: int
    name: str = "fixed"

    kind: ClassVar[str] = "fixed"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Choose those that were not asked yet."""
        del rng
        return self.mask & ~situation.asked & situation.recording.everyone

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {"policy": self.kind, "mask": self.mask, "name": self.name}

    @classmethod
    def from_state(cls, state: State) -> FixedPolicy:
        """What :meth:`state` gave."""
        return cls(mask=int(state["mask"]), name=str(state["name"]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedFamily:
    """The best fixed subset for every exchange rate.

    Attributes:
        masks: ``(s,)`` the subsets that were weighed.
        qualities: ``(s,)`` of the training items.
        prices_usd: ``(M,)`` of a call.
    """

    masks: Int64[np.ndarray, " s"]
    qualities: Float64[np.ndarray, " s"]
    prices_usd: Float64[np.ndarray, " p"]

    @property
    def name(self) -> str:
        """Short name."""
        return "fixed"

    @property
    def costs_usd(self) -> Float64[np.ndarray, " s"]:
        """``(s,)`` price of each subset."""
        return prices_of(self.masks, self.prices_usd)

    def at(self, multiplier: float) -> FixedPolicy:
        """The subset of the highest quality less multiplier times price."""
        rate = finite_multiplier(multiplier, self.prices_usd)
        chosen = best_of(self.qualities[None, :], self.costs_usd, rate)[0]
        return FixedPolicy(mask=int(self.masks[chosen]))

    def within(self, budget_usd: float) -> FixedPolicy:
        """The best subset that costs no more than a budget.

        Raises:
            DataError: not even the cheapest provider does.
        """
        costs = self.costs_usd
        is_paid = costs <= budget_usd * (1 + _SAFE)
        if not is_paid.any():
            message = f"no provider costs {budget_usd:g} USD or less"
            hint = f"the cheapest costs {costs.min():g} USD"
            raise DataError(message, hint)
        paid = np.flatnonzero(is_paid)
        chosen = paid[best_of(self.qualities[None, paid], costs[paid], 0.0)[0]]
        return FixedPolicy(mask=int(self.masks[chosen]))

    def hull(self) -> Int64[np.ndarray, " k"]:
        """Numbers of the subsets on the upper concave envelope, by rising price.

        No mixture of other subsets is better than these at any price.
        """
        costs = self.costs_usd
        order = np.lexsort((-self.qualities, costs))
        kept: list[int] = []
        for i in order.tolist():
            if kept and self.qualities[i] <= self.qualities[kept[-1]]:
                continue
            while len(kept) > 1 and self._is_below(kept[-2], kept[-1], i):
                kept.pop()
            kept.append(i)
        return np.array(kept, np.int64)

    def _is_below(self, left: int, middle: int, right: int) -> bool:
        """Whether a subset lies on or below the line between two others."""
        costs, qualities = self.costs_usd, self.qualities
        whole = (qualities[right] - qualities[left]) * (costs[middle] - costs[left])
        part = (qualities[middle] - qualities[left]) * (costs[right] - costs[left])
        return bool(part <= whole)


def single_policies(recording: Recording) -> tuple[FixedPolicy, ...]:
    """Each provider alone."""
    return tuple(
        FixedPolicy(mask=1 << p, name=name)
        for p, name in enumerate(recording.providers)
    )


def best_single(recording: Recording, fuser: Fuser) -> int:
    """The provider that is best alone, as it is fused: its quality of the whole set."""
    from midhaul.federation.quality import set_quality  # noqa: PLC0415 - loads numba

    found = [
        set_quality(
            recording, fuser.fuse(recording, np.full(len(recording), 1 << p, np.int64))
        ).value
        for p in range(recording.n_providers)
    ]
    return int(np.argmax(found))


def ensemble_policy(recording: Recording) -> FixedPolicy:
    """Everybody: Armol's Ensemble-N."""
    return FixedPolicy(mask=recording.everyone, name="ensemble-n")


def subset_policy(recording: Recording, providers: Sequence[str]) -> FixedPolicy:
    """A given subset.

    Raises:
        DataError: there is no such provider, or none is named.
    """
    unknown = [name for name in providers if name not in recording.providers]
    if unknown or not providers:
        found = f"no provider {unknown[0]}" if unknown else "no provider is named"
        message = f"{found}; there are {', '.join(recording.providers)}"
        raise DataError(message)
    mask = sum({1 << recording.providers.index(name) for name in providers})
    return FixedPolicy(mask=mask, name="+".join(providers))


def fit_fixed(examples: Examples) -> FixedFamily:
    """Measure all subsets on training items.

    Args:
        examples: with a truth.
    """
    from midhaul.federation.quality import set_quality  # noqa: PLC0415 - loads numba

    recording = examples.recording
    masks = candidate_masks(recording.n_providers)
    qualities: list[float] = []
    for mask in masks.tolist():
        asked = np.full(len(recording), mask, np.int64)
        fused = examples.fuser.fuse(recording.shown(asked), asked)
        qualities.append(float(set_quality(recording, fused).value))
    return FixedFamily(
        masks=masks,
        qualities=np.array(qualities, np.float64),
        prices_usd=recording.prices_usd,
    )
