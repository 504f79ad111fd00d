"""Subset policies: what decides which providers to ask, one round after another.

A policy may look at a part of what is known: some of the items, or some of the
providers. Its *exchange rate* holds quality against price, for the subsets it weighs.

*Replay*: a policy over recorded answers, where every call it makes is charged. *Saved
policies*: from the state that one gave of itself to the policy again.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.problem import all_masks
from midhaul.model.display import Shown
from midhaul.npz_state import SavedFields
from midhaul.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.npz_state import State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Situation(Shown):
    """What a policy knows about n items between two rounds.

    Attributes:
        recording: the items and the answers so far (``Recording.shown``): whoever was
            not asked is missing, and so is whoever failed. There is no truth.
        features: ``(n, d)`` what is known of an item before anybody is asked; d may
            be 0.
        asked: ``(n,)`` mask of the providers asked so far, failed ones included.
    """

    recording: Recording
    features: Float32[np.ndarray, "n d"]
    asked: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.asked)


class SubsetPolicy(Protocol):
    """Decides whom to ask next; the conformance suite is ``policies.checks``."""

    @property
    def name(self) -> str:
        """Short name, as tables show it."""
        ...

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Choose the providers to ask next about each item.

        The providers of one round are asked at the same time. Items are independent:
        a decision depends on that item's answers, features and chance alone.

        Args:
            situation: what is known; the policy may be asked at any of them, also
                after failures.
            rng: the only source of chance.

        Returns:
            ``(n,)`` masks of providers that were not asked yet; 0 where the answers
            are enough.
        """
        ...


class SavedPolicy(SubsetPolicy, Protocol):
    """A policy that can be written down."""

    def state(self) -> State:
        """Everything that it needs to be made again."""
        ...


class OnlinePolicy(SubsetPolicy, Protocol):
    """A policy that goes on learning while it is used."""

    def learn(
        self, situation: Situation, fused: Answers, quality: Float64[np.ndarray, " n"]
    ) -> None:
        """Take in how some items ended.

        Args:
            situation: at the end, when nobody else was asked. Where somebody said what
                is right, its recording has a truth, which is missing for other items.
            fused: the fused answers that were given.
            quality: ``(n,)`` of the fused answers, NaN where nobody can tell.
        """
        ...


class PolicyFamily(Protocol):
    """Policies that differ in how much quality they give up for a dollar."""

    @property
    def name(self) -> str:
        """Short name of the family."""
        ...

    def at(self, multiplier: float) -> SubsetPolicy:
        """The policy for one exchange rate.

        Args:
            multiplier: Lagrange multiplier of the budget: quality that one USD has to
                buy. 0 asks whoever helps, infinity asks the fewest dollars.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Examples(Shown):
    """Items that a policy is learned or calibrated on.

    Attributes:
        recording: with all answers and a truth.
        features: ``(n, d)`` of each item, before anybody is asked.
        fuser: what will fuse the answers; already fitted, on other or the same items.
    """

    recording: Recording
    features: Float32[np.ndarray, "n d"]
    fuser: Fuser

    def __len__(self) -> int:
        """Number of items."""
        return len(self.recording)


def part_of(situation: Situation, items: Int64[np.ndarray, " k"]) -> Situation:
    """Some items of a situation, in that order."""
    n = len(situation)
    if len(items) == n and np.array_equal(items, np.arange(n)):
        return situation
    return replace(
        situation,
        recording=situation.recording.take(items),
        features=situation.features[items],
        asked=situation.asked[items],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """A policy, asked about more providers than it knows, or in another order.

    Attributes:
        policy: who decides.
        known: names of its providers, in the order of its bits.
    """

    policy: SubsetPolicy
    known: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.policy.name

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Let it decide about the providers that it knows.

        DataError where one of them is gone.
        """
        providers = situation.recording.providers
        if providers == self.known:
            return self.policy.decide(situation, rng)
        gone = [name for name in self.known if name not in providers]
        if gone:
            message = f"{gone[0]} is asked by the policy, but no longer there"
            raise DataError(message, "learn the policy anew without it")
        theirs = [providers.index(name) for name in self.known]
        own = list(range(len(self.known)))
        narrow = replace(
            situation,
            recording=situation.recording.only(self.known),
            asked=_moved(situation.asked, theirs, own),
        )
        return _moved(self.policy.decide(narrow, rng), own, theirs)


def _moved(
    masks: Int64[np.ndarray, " n"], sources: Sequence[int], targets: Sequence[int]
) -> Int64[np.ndarray, " n"]:
    """Masks with their bits in other places."""
    found = np.zeros_like(masks)
    for source, target in zip(sources, targets, strict=True):
        found |= (masks >> source & 1) << target
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Replay(Shown):
    """What a policy did to n items.

    Attributes:
        asked: ``(n,)`` mask of all providers asked.
        rounds: ``(r, n)`` mask asked in each round; 0 where an item was done.
        cost_usd: ``(n,)`` price of the calls.
        fused: the answers given.
        situation: what was known at the end.
    """

    asked: Int64[np.ndarray, " n"]
    rounds: Int64[np.ndarray, "r n"]
    cost_usd: Float64[np.ndarray, " n"]
    fused: Answers
    situation: Situation


def replay(
    policy: SubsetPolicy,
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fuser: Fuser,
    rng: np.random.Generator,
) -> Replay:
    """Let a policy decide about every item of a recording until it asks nobody.

    The policy sees only answers that it paid for, and never the truth.

    Args:
        policy: who decides.
        recording: what would be answered.
        features: ``(n, d)`` of the items.
        fuser: what fuses the answers in the end.
        rng: the policy's chance.
    """
    n = len(recording)
    asked = np.zeros(n, np.int64)
    rounds: list[Int64[np.ndarray, " n"]] = []
    going = np.arange(n)
    while len(going):
        part = recording if len(going) == n else recording.take(going)
        situation = Situation(
            recording=part.shown(asked[going]),
            features=features[going],
            asked=asked[going],
        )
        new = policy.decide(situation, rng) & ~asked[going] & recording.everyone
        going, new = going[new != 0], new[new != 0]
        if len(going):
            asked[going] |= new
            rounds.append(np.zeros(n, np.int64))
            rounds[-1][going] = new
    shown = recording.shown(asked)
    return Replay(
        asked=asked,
        rounds=np.array(rounds, np.int64).reshape(len(rounds), n),
        cost_usd=recording.prices_of(asked),
        fused=fuser.fuse(shown, asked),
        situation=Situation(
            recording=replace(shown, truth=None), features=features, asked=asked
        ),
    )


class SavedByKind(SavedFields):
    """A saved policy that is called as its kind; a base class."""

    __slots__ = ()

    tag: ClassVar[str] = "policy"

    @property
    def name(self) -> str:
        """Short name."""
        return self.kind


_HERE = "midhaul.federation.policies"

SAVED_POLICIES: Registry[Any] = Registry(
    "kind of saved policy",
    {
        "nobody": f"{_HERE}.budgets:NobodyPolicy",
        "mixed": f"{_HERE}.budgets:MixedPolicy",
        "random-1": f"{_HERE}.baselines:RandomOne",
        "random-n": f"{_HERE}.baselines:RandomSubset",
        "fixed": f"{_HERE}.baselines:FixedPolicy",
        "table": f"{_HERE}.baselines:TablePolicy",
        "confidence": f"{_HERE}.confidence:ConfidenceCascade",
        "frugal": f"{_HERE}.frugal:FrugalPolicy",
        "frugal-mct": f"{_HERE}.frugal_mct:FrugalMctPolicy",
        "linucb": f"{_HERE}.linucb:LinUcb",
        "cascade": f"{_HERE}.cascade.policy:CascadePolicy",
        "actor": f"{_HERE}.armol.actor_policy:ActorPolicy",
        "after-first": f"{_HERE}.answer_features:AfterFirstPolicy",
        "online": f"{_HERE}.online.online:OnlineRefit",
    },
    error=DataError,
)
"""Class of each kind of state."""


def policy_from_state(state: State) -> SavedPolicy:
    """What a policy's ``state()`` gave; DataError where no policy is known that did."""
    return SAVED_POLICIES.named(state.get("policy")).from_state(state)


MAX_SUBSETS = 1024
"""Subsets that are weighed one by one; of more providers only the smallest ones."""

_TIE = 1e-12

_ENDLESS = 1e4
"""Quality that the cheapest call has to buy at an infinite multiplier."""


def finite_multiplier(
    multiplier: float, prices_usd: Float64[np.ndarray, " p"]
) -> float:
    """A multiplier that can be multiplied with a price of 0, and decides the same.

    It is quality that one USD has to buy; ValueError where it is negative or NaN.
    """
    if math.isnan(multiplier) or multiplier < 0:
        message = f"a multiplier is at least 0, found {multiplier}"
        raise ValueError(message)
    priced = prices_usd[prices_usd > 0]
    if not len(priced):
        return 0.0
    return min(multiplier, _ENDLESS / float(priced.min()))


def candidate_masks(
    n_providers: int, limit: int = MAX_SUBSETS
) -> Int64[np.ndarray, " s"]:
    """The subsets worth weighing, by rising mask, the empty one excluded.

    All where they are few; otherwise those up to the largest size that fits the limit,
    and everybody, though at least the singles.
    """
    if (1 << n_providers) - 1 <= limit:
        return all_masks(n_providers)
    found = [1 << p for p in range(n_providers)]
    for size in range(2, n_providers):
        if len(found) + math.comb(n_providers, size) >= limit:
            break
        chosen = itertools.combinations(range(n_providers), size)
        found.extend(sum(1 << p for p in subset) for subset in chosen)
    found.append((1 << n_providers) - 1)
    return np.array(sorted(found), np.int64)


def best_of(
    qualities: Float64[np.ndarray, "n s"],
    prices_usd: Float64[np.ndarray, " s"],
    multiplier: float,
) -> Int64[np.ndarray, " n"]:
    """Which of s choices has the highest quality less price, for each row.

    Of equally good ones the cheapest is taken, of equally cheap ones the first.
    """
    order = np.argsort(prices_usd, kind="stable")
    worth = qualities[:, order] - multiplier * prices_usd[order]
    # Rounding must not make a dearer choice look better than an equal one.
    scale = 1.0 + multiplier * float(prices_usd.max(initial=0.0))
    best = worth.max(axis=1, keepdims=True)
    return order[(worth >= best - _TIE * scale).argmax(axis=1)]
