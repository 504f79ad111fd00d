"""From a mean price per item to the policy that keeps it: calibrating any family.

Maximising quality under a mean price is relaxed by a Lagrange multiplier (Everett 1963,
Generalized Lagrange multiplier method): a policy at multiplier ``m`` maximises quality
minus ``m`` times price, and whatever it reaches no policy of its family reaches for
less. Which multiplier a budget needs is read off items that nothing was learned on;
budgets between two multipliers are met by a mixture of both.

1. Everett's multipliers are exact for a known objective. Here a family maximises what
   it predicts, so both price and quality of a multiplier are measured, with intervals.
2. A budget picks its multiplier by price alone. Picking the points of highest measured
   quality (the concave hull) would favour those that were lucky on few items.

*Mixed policies* are shares of the items, to meet a mean price exactly; the *chord* is
fixed subsets mixed by chance. Between two points of a plane of price and quality lies
every mixture of them: an item is left to the one or the other by chance. Whoever looks
at items has to be above the upper concave envelope of all fixed subsets, or looking was
in vain.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.federation.policies.base import SavedByKind, SubsetPolicy, replay
from midhaul.federation.policies.baselines import FixedPolicy, fit_fixed
from midhaul.federation.quality import set_quality
from midhaul.npz_state import SavedFields, from_state
from midhaul.stats import bootstrap, mean_statistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.federation.policies.base import Examples, PolicyFamily, Situation
    from midhaul.federation.policies.baselines import FixedFamily
    from midhaul.model import Estimate
    from midhaul.npz_state import State

_SALT = "mixed"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NobodyPolicy(SavedByKind):
    """Asks nobody: what is left when the money buys not even the cheapest call."""

    kind: ClassVar[str] = "nobody"

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
        from midhaul.federation.policies.base import policy_from_state  # noqa: PLC0415

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


_N_RESAMPLES = 200
_N_POINTS = 24
"""Multipliers tried when none are given."""

_COARSE = 2.0 ** np.arange(-8, 9, 2)
"""First multipliers, in units of one quality for the price of asking everybody."""

_FINE = 5e-4
"""Neighbours are near enough when what is between them, in shares of the range of
prices times shares of that of quality, is less."""

_NARROW = 1.02
"""Neighbouring multipliers within this ratio are near enough: the rest is a step."""

_FARTHEST = 2.0**14
"""Multipliers this many times over or under one quality for everybody's price are as
good as infinity and 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPoint:
    """What a family does at one multiplier, on the calibration items.

    Attributes:
        multiplier: quality that one USD has to buy.
        cost_usd: mean price of an item.
        cost_error_usd: standard error of that mean.
        quality: headline quality of all items (pooled AP50 for boxes).
    """

    multiplier: float
    cost_usd: Estimate
    cost_error_usd: float
    quality: Estimate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BudgetCurve:
    """A family with what its multipliers cost and reach.

    Attributes:
        points: by rising price.
    """

    family: PolicyFamily
    points: tuple[BudgetPoint, ...]

    def for_budget(
        self, usd_per_item: float, *, confidence: float = 0.5
    ) -> SubsetPolicy:
        """The policy that spends a mean price, or less where more would not help.

        It may be a mixture of two, and leaves items unanswered where the budget does
        not even buy the cheapest point. ``confidence`` is one-sided, that the price of
        other items from the same source stays below the budget; 0.5 is the price
        measured, without a margin. ValueError for a negative budget, or a confidence
        outside of [0.5, 1).
        """
        if not 0.5 <= confidence < 1 or not usd_per_item >= 0:  # noqa: PLR2004
            message = f"budget {usd_per_item} USD at confidence {confidence}"
            raise ValueError(message)
        z = NormalDist().inv_cdf(confidence)
        costs = [p.cost_usd.value + z * p.cost_error_usd for p in self.points]
        affordable = [i for i, cost in enumerate(costs) if cost <= usd_per_item]
        if not affordable:
            share = usd_per_item / costs[0]
            return MixedPolicy(
                first=self._policy(0), second=NobodyPolicy(), share=share
            )
        low = affordable[-1]
        if low + 1 == len(costs):
            return self._policy(low)
        share = (usd_per_item - costs[low]) / (costs[low + 1] - costs[low])
        return self._between(low, share)

    def _policy(self, number: int) -> SubsetPolicy:
        return self.family.at(self.points[number].multiplier)

    def _between(self, low: int, share: float) -> SubsetPolicy:
        """A mixture of a point and the next dearer one, which gets ``share``."""
        if share <= 0:
            return self._policy(low)
        if share >= 1:
            return self._policy(low + 1)
        return MixedPolicy(
            first=self._policy(low + 1), second=self._policy(low), share=share
        )


def calibrate(
    family: PolicyFamily,
    examples: Examples,
    rng: np.random.Generator,
    multipliers: Sequence[float] | None = None,
) -> BudgetCurve:
    """Measure what a family costs and reaches, on items that it was not learned on.

    Args:
        family: policies by multiplier.
        examples: calibration items, with a truth.
        rng: chance of the policies (the same for every multiplier) and the intervals.
        multipliers: which to measure; when absent, from 0 to infinity, closer where the
            price changes.

    Raises:
        DataError: there are no items, or no truth.
    """
    if not len(examples) or examples.recording.truth is None:
        message = f"calibration needs items with a truth, found {len(examples)} items"
        raise DataError(message, "give federation.train a part of the items for it")
    seed = int(rng.integers(2**63))
    intervals = np.random.default_rng(int(rng.integers(2**63)))

    def measure(multiplier: float) -> BudgetPoint:
        return _measure(family.at(multiplier), multiplier, examples, seed, intervals)

    if multipliers is None:
        total_usd = float(examples.recording.prices_usd.sum())
        points = _refine(measure, 1 / total_usd if total_usd > 0 else 1.0)
    else:
        points = [measure(multiplier) for multiplier in multipliers]
    points.sort(key=lambda point: (point.cost_usd.value, -point.multiplier))
    return BudgetCurve(family=family, points=tuple(points))


def _measure(
    policy: SubsetPolicy,
    multiplier: float,
    examples: Examples,
    seed: int,
    intervals: np.random.Generator,
) -> BudgetPoint:
    recording, n = examples.recording, len(examples)
    done = replay(
        policy,
        recording,
        examples.features,
        examples.fuser,
        np.random.default_rng(seed),
    )
    cost = mean_statistic(done.cost_usd)
    quality = set_quality(recording, done.fused).statistic
    return BudgetPoint(
        multiplier=multiplier,
        cost_usd=bootstrap(cost, n, intervals, n_resamples=_N_RESAMPLES, unit="USD"),
        cost_error_usd=float(done.cost_usd.std()) / math.sqrt(n),
        quality=bootstrap(quality, n, intervals, n_resamples=_N_RESAMPLES),
    )


def _refine(measure: Callable[[float], BudgetPoint], scale: float) -> list[BudgetPoint]:
    """Measure a coarse grid, then part neighbours where most is between them.

    Between two points of a concave, rising curve lies a triangle: what mixtures of both
    lose, summed over the budgets between, is no more than half of the difference of
    prices times that of qualities.
    """
    points = [measure(m) for m in (0.0, *(scale * _COARSE).tolist(), math.inf)]
    while len(points) < _N_POINTS:
        between = _spread(p.cost_usd.value for p in points)
        between *= _spread(p.quality.value for p in points)
        for i in range(len(between)):
            if _is_narrow(points[i].multiplier, points[i + 1].multiplier, scale):
                between[i] = 0.0
        most = int(between.argmax())
        if between[most] <= _FINE:
            break
        middle = _middle(points[most].multiplier, points[most + 1].multiplier)
        points.insert(most + 1, measure(middle))
    return points


def _spread(values: Iterable[float]) -> Float64[np.ndarray, " k"]:
    """Distances of neighbours, in shares of the whole range."""
    found = np.array(list(values))
    return np.abs(np.diff(found)) / max(float(np.ptp(found)), 1e-300)


def _is_narrow(low: float, high: float, scale: float) -> bool:
    if low == 0:
        return high < scale / _FARTHEST
    if math.isinf(high):
        return low > scale * _FARTHEST
    return high <= low * _NARROW + scale * 1e-9


def _middle(low: float, high: float) -> float:
    if low == 0:
        return high / 4
    return low * 4 if math.isinf(high) else math.sqrt(low * high)
