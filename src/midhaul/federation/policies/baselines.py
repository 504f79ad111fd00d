"""Baseline policies: single, fixed, ensemble, random, first success, and the oracle.

*Oracle*, Armol's "Upper Bound" (Xie et al., INFOCOM 2022): per image the highest
reward, which is the quality of the fused answer to that image less a price. It knows
the truth of the items that it decides about, so it is no policy that anybody can run:
its decisions are read from a table by item id, made beforehand from all answers.

1. Their price is a number of calls times 0.1; here it is USD times the multiplier.
2. Of equally good subsets the cheapest is taken; they take the first listed.
3. The mean over items is bounded, not the pooled average precision, which other
   choices may raise further.

*Fixed*: the same providers for every item, a single one, all, a given or the best
subset.

The best fixed subset is the baseline that a policy has to beat: fusing everybody is
often worse than fusing some, and which ones is known after a look at training items.
Quality is that of the whole set (pooled AP50 for boxes), as a mean over single images
orders subsets otherwise than the average precision that is reported.

*Untrained*: everybody, one alone, or one after another.

*Random*: chance decides, as Random-1 and Random-N in Armol's table. Xie et al., "Cost
Effective MLaaS Federation", INFOCOM 2022, ask one provider drawn
uniformly, or a subset drawn uniformly from all but the empty one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from jaxtyping import Int64

from midhaul.errors import DataError
from midhaul.federation.policies.base import (
    SavedByKind,
    best_of,
    candidate_masks,
    finite_multiplier,
)
from midhaul.federation.recordings.problem import prices_of
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import Examples, Situation, SubsetPolicy
    from midhaul.federation.recordings.problem import Recording

_SAFE = 1e-9
"""Share of a budget by which sums of prices may seem to exceed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPolicy(SavedFields):
    """Asks the same providers about every item, all at once."""

    mask: int
    name: str = "fixed"

    tag: ClassVar[str] = "policy"
    kind: ClassVar[str] = "fixed"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Choose those that were not asked yet."""
        del rng
        return self.mask & ~situation.asked & situation.recording.everyone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedFamily:
    """The best fixed subset for every exchange rate.

    Attributes:
        qualities: ``(s,)`` of the training items.
    """

    masks: Int64[np.ndarray, " s"]
    qualities: Float64[np.ndarray, " s"]
    prices_usd: Float64[np.ndarray, " p"]
    name: str = "fixed"

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
        """The best subset within a budget.

        DataError where not even the cheapest provider is.
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
    """A given subset; DataError where there is no such provider, or none is named."""
    unknown = [name for name in providers if name not in recording.providers]
    if unknown or not providers:
        found = f"no provider {unknown[0]}" if unknown else "no provider is named"
        message = f"{found}; there are {', '.join(recording.providers)}"
        raise DataError(message)
    mask = sum({1 << recording.providers.index(name) for name in providers})
    return FixedPolicy(mask=mask, name="+".join(providers))


def fit_fixed(examples: Examples) -> FixedFamily:
    """Measure all subsets on training items."""
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


def fit_single(examples: Examples, *, provider: str | int = "") -> FixedPolicy:
    """One provider, by name or number (else DataError); by default the best."""
    recording = examples.recording
    if provider == "":
        provider = best_single(recording, examples.fuser)
    if isinstance(provider, int):
        if not 0 <= provider < recording.n_providers:
            message = f"no provider {provider}; there are {recording.n_providers}"
            raise DataError(message)
        provider = recording.providers[provider]
    recording.only([provider])
    return single_policies(recording)[recording.providers.index(provider)]


def fit_subset(examples: Examples, *, providers: Sequence[str] = ()) -> FixedPolicy:
    """A given subset; DataError where there is no such provider, or none is named."""
    return subset_policy(examples.recording, tuple(providers))


def fit_ensemble(examples: Examples) -> FixedPolicy:
    """Everybody."""
    return ensemble_policy(examples.recording)


def fit_random_one(examples: Examples) -> RandomOne:
    """One provider by chance; nothing is learned."""
    del examples
    return RandomOne()


def fit_random_subset(examples: Examples) -> RandomSubset:
    """A subset by chance; nothing is learned."""
    del examples
    return RandomSubset()


PolicyName = Literal["all", "cheapest-first", "single"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheapestFirst:
    """Asks one provider after another, by price, until one answers."""

    name: str = "cheapest-first"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """The cheapest that was not asked, where nobody has answered."""
        del rng
        recording = situation.recording
        chosen = np.zeros(len(situation), np.int64)
        is_missing = np.array([answers.is_missing for answers in recording.answers])
        going = is_missing.all(axis=0)
        for p in np.argsort(recording.prices_usd, kind="stable").tolist():
            is_next = going & (chosen == 0) & (situation.asked >> p & 1 == 0)
            chosen[is_next] = 1 << p
        return chosen


def policy_named(name: PolicyName, n_providers: int) -> SubsetPolicy:
    """The policy ``all``, ``cheapest-first``, or ``single`` for the first one."""
    if name == "cheapest-first":
        return CheapestFirst()
    mask = 1 if name == "single" else (1 << n_providers) - 1
    return FixedPolicy(mask=mask, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOne(SavedByKind):
    """Asks one provider, each with the same chance."""

    kind: ClassVar[str] = "random-1"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Draw where nobody was asked yet."""
        drawn = rng.integers(0, situation.recording.n_providers, len(situation))
        return np.where(situation.asked == 0, np.int64(1) << drawn, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSubset(SavedByKind):
    """Asks a subset, each but the empty one with the same chance."""

    kind: ClassVar[str] = "random-n"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Draw where nobody was asked yet."""
        everyone = situation.recording.everyone
        drawn = rng.integers(1, everyone, len(situation), endpoint=True)
        return np.where(situation.asked == 0, drawn, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TablePolicy(SavedFields):
    """Asks what a table says about each item, all at once.

    Attributes:
        otherwise: mask for an item that is not in the table.
    """

    items: tuple[str, ...]
    masks: Int64[np.ndarray, " n"]
    otherwise: int = 0
    name: str = "table"
    _places: dict[str, int] = field(init=False, repr=False)

    tag: ClassVar[str] = "policy"
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        """Remember where each item stands."""
        places = dict(zip(self.items, self.masks.tolist(), strict=True))
        object.__setattr__(self, "_places", places)

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Look every item up."""
        del rng
        masks = [
            self._places.get(item, self.otherwise) for item in situation.recording.items
        ]
        chosen = np.array(masks, np.int64) & situation.recording.everyone
        return chosen & ~situation.asked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OracleFamily:
    """What the truth says is best, for every exchange rate.

    Attributes:
        qualities: ``(n, s)`` of the fused answer of each subset to each item.
    """

    items: tuple[str, ...]
    masks: Int64[np.ndarray, " s"]
    qualities: Float64[np.ndarray, "n s"]
    prices_usd: Float64[np.ndarray, " p"]
    name: str = "oracle"

    def at(self, multiplier: float) -> TablePolicy:
        """Per item, the subset of the highest quality less multiplier times price."""
        rate = finite_multiplier(multiplier, self.prices_usd)
        costs = prices_of(self.masks, self.prices_usd)
        chosen = best_of(self.qualities, costs, rate)
        return TablePolicy(items=self.items, masks=self.masks[chosen], name=self.name)


def fit_oracle(examples: Examples) -> OracleFamily:
    """Fuse every subset's answers to every item, and hold them against the truth.

    The examples are the very items that are to be bounded.
    """
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    masks = candidate_masks(examples.recording.n_providers)
    return OracleFamily(
        items=examples.recording.items,
        masks=masks,
        qualities=subset_qualities(examples.recording, examples.fuser, masks),
        prices_usd=examples.recording.prices_usd,
    )
