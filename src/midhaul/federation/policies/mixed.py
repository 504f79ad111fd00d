"""Mixed policies and the chord: shares of the items, to meet a mean price exactly.

The *chord* is fixed subsets mixed by chance, so that a mean price is met exactly.

Between two points of a plane of price and quality lies every mixture of them: an item
is left to the one or the other by chance. Whoever looks at items has to be above the
upper concave envelope of all fixed subsets, or looking was in vain.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from midhaul.errors import ConfigError
from midhaul.federation.npz_state import SavedFields, from_state
from midhaul.federation.policies.base import SubsetPolicy
from midhaul.federation.policies.baselines import FixedPolicy, fit_fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int64

    from midhaul.federation.npz_state import State
    from midhaul.federation.policies.base import Examples, Situation
    from midhaul.federation.policies.baselines import FixedFamily

_SALT = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NobodyPolicy(SavedFields):
    """Asks nobody: what is left when the money buys not even the cheapest call."""

    tag: ClassVar[str] = "policy"
    kind: ClassVar[str] = "nobody"

    @property
    def name(self) -> str:
        """Short name."""
        return self.kind

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Choose nobody for every item."""
        del rng
        return np.zeros(len(situation), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedPolicy(SavedFields):
    """Leaves an item to one of two policies, by the hash of its id.

    A mixture of two points of a cost-quality curve lies on the line between them. The
    hash, and not the chance of a round, decides, so that an item stays with its policy
    from the first round to the last, and a second request about it is decided alike.

    Attributes:
        first: who gets ``share`` of the items.
        second: who gets the others.
        share: in [0, 1].
    """

    first: SubsetPolicy
    second: SubsetPolicy
    share: float

    tag: ClassVar[str] = "policy"
    kind: ClassVar[str] = "mixed"

    @property
    def name(self) -> str:
        """Name of the policies that are mixed."""
        return self.second.name

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Let each item's own policy decide."""
        is_first = is_below(situation.recording.items, self.share)
        new = np.zeros(len(situation), np.int64)
        for policy, where in ((self.first, is_first), (self.second, ~is_first)):
            items = np.flatnonzero(where)
            if len(items):
                new[items] = policy.decide(_part_of(situation, items), rng)
        return new

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What :meth:`state` gave."""
        from midhaul.federation.policies.saved import policy_from_state  # noqa: PLC0415

        both = {name: policy_from_state(state[name]) for name in ("first", "second")}
        return from_state(cls, state, given=both)


def is_below(items: Sequence[str], share: float) -> Bool[np.ndarray, " n"]:
    """Which items belong to a share of all, by the hash of their ids."""
    places = [
        int.from_bytes(
            hashlib.blake2b(f"{_SALT}:{item}".encode(), digest_size=8).digest(), "big"
        )
        for item in items
    ]
    return np.array(places, np.uint64).astype(np.float64) < share * 2.0**64


def _part_of(situation: Situation, items: Int64[np.ndarray, " k"]) -> Situation:
    if len(items) == len(situation):
        return situation
    return replace(
        situation,
        recording=situation.recording.take(items),
        features=situation.features[items],
        asked=situation.asked[items],
    )


def chord(family: FixedFamily, budget_usd: float) -> SubsetPolicy:
    """The best mixture of fixed subsets at a mean price of an item.

    It is of two neighbours on the envelope, or one subset; what nobody can use is left.
    Below the price of the cheapest subset a share of the items is asked about with
    nobody.
    """
    hull = family.hull()
    costs = family.costs_usd[hull]
    policies = [FixedPolicy(mask=int(family.masks[i]), name="chord") for i in hull]
    if budget_usd >= costs[-1]:
        return policies[-1]
    if budget_usd < costs[0]:
        return MixedPolicy(
            first=NobodyPolicy(),
            second=policies[0],
            share=1.0 - max(0.0, budget_usd) / float(costs[0]),
        )
    high = int((costs > budget_usd).argmax())
    below, above = float(costs[high - 1]), float(costs[high])
    return MixedPolicy(
        first=policies[high],
        second=policies[high - 1],
        share=(budget_usd - below) / (above - below),
    )


def fit_chord(examples: Examples, *, budget_usd: float | None = None) -> SubsetPolicy:
    """The chord of the examples' fixed subsets at a mean price of an item.

    ConfigError where no price is given.
    """
    if budget_usd is None:
        message = "the chord needs the setting budget_usd, a mean price of an item"
        raise ConfigError(message)
    return chord(fit_fixed(examples), float(budget_usd))
