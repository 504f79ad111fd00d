"""Knapsack without sharing: the additive model, its greedy, optimum and FPTAS.

Every container image pays alone for all its missing layers. This is how Wang models
image download ("Image Download and Rate Allocation of Internet-of-Things Analytics at
Gateways in Smart Cities", master's thesis, NTHU, 2020): a knapsack of distinct images,
whose weight is the bytes that are missing now. Shared layers are paid by everybody, so
a choice that fits the model fits the gateway, and a better one may be overlooked.
Differences from the thesis:

1. There are several capacities. An image's weight is its dominant share: the largest
   part of any capacity that it takes alone. Shares add up to at most one, so all
   capacities are kept; the thesis has one, the smaller of disk and download.
2. Disk is charged in uncompressed bytes, and time and deadlines are rows as well.
3. Analytics of one image are one candidate, as in the thesis; of those that do not fit
   together, the least valuable are left out of it.
4. Several gateways are filled one after the other, in their order. What one has taken
   of the backhaul is gone for the next, and so are the analytics.

*Greedy* takes by value per share, or the best single image. The better of the two is
worth at least half the optimum of the model (Kellerer, Pferschy and Pisinger, "Knapsack
Problems", 2004, section 2.5). Differences from the book: what does not fit is passed
over and smaller ones are tried; the thesis leaves the single image out, and with it the
guarantee.

*Dynamic programming* finds the optimum, by lists of undominated sums. After each
candidate the list holds every reachable (share, value) that no other one beats in both
(Nemhauser and Ullmann, "Discrete Dynamic Programming and Capital Allocation",
Management Science 15, 1969). Differences from the paper:

1. Candidates come by falling value per share, and a sum is dropped when filling it up
   with the rest, the last one split, cannot beat what is known. That keeps lists short
   and the optimum.
2. Lists may grow exponentially where values are nearly proportional to shares. Beyond
   :data:`MAX_STATES` those that promise least are dropped; the answer then says that it
   may not be the optimum.

*FPTAS* finds nearly the optimum, in time polynomial in 1 / epsilon: Ibarra and Kim,
"Fast Approximation Algorithms for the Knapsack and Sum of Subset Problems", Journal of
the ACM 22, 1975. With a known value ``P`` of at least half the optimum, candidates
worth more than ``epsilon P / 2`` are large. Their values are counted in quanta of
``epsilon^2 P / 4``; a table holds the smallest share for each sum of quanta; each entry
is filled up with small candidates by value per share.

At most ``2 opt / (epsilon P)`` large candidates lose less than a quantum each, in all
``epsilon opt / 2``; the small ones lose less than one of them, ``epsilon opt / 2``. So
the answer is worth at least ``(1 - epsilon)`` of the optimum. Differences:

1. ``P`` is the greedy's value; the paper bisects.
2. The table ends at the bound with one candidate split, which is below ``2 P``.
3. After filling up, small candidates that still fit are taken as well.
4. The thesis rounds values and then enumerates, which bounds the loss but not the time.

Its loop is compiled; ``tests/support/placement_reference.py`` has it in plain Python.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from midhaul.deploy.placement.arrays import TOLERANCE, Choice
from midhaul.deploy.placement.building import place_by
from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Built, Instance
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.tabu import TabuSearch
    from midhaul.deploy.problem import PlacementProblem

    Knapsack = Callable[
        [Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]], Bool[np.ndarray, " k"]
    ]

FULL = 1 + TOLERANCE / 2
"""Sum of shares that counts as fitting."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdditiveModel:
    """A knapsack with capacity one.

    Attributes:
        values: ``(k,)`` worth of each distinct image on the gateway.
        shares: ``(k,)`` dominant share of each, at most :data:`FULL`.
        members: by candidate, its items in the instance.
    """

    values: Float64[np.ndarray, " k"]
    shares: Float64[np.ndarray, " k"]
    members: tuple[Int64[np.ndarray, " m"], ...]


def additive_model(
    built: Built, number: int = 0, taken: Bool[np.ndarray, " n"] | None = None
) -> AdditiveModel:
    """The additive model of one gateway, less the items ``taken`` by those before it.

    Its optimum is a bound on what the additive placers find, and on nothing else: the
    placement problem itself may be worth more.
    """
    instance = built.instance
    if taken is None:
        taken = np.zeros(instance.n_items, np.bool_)
    is_free = ~np.isin(instance.groups, instance.groups[taken])
    items = np.flatnonzero(is_free & (built.gateways == number))
    left = instance.capacities - instance.use(taken)
    _, image_of = np.unique(built.images[items], return_inverse=True)
    order = np.argsort(image_of, kind="stable")
    ends = np.searchsorted(image_of[order], np.arange(1, image_of.max(initial=-1) + 2))
    shares = _shares(_needs(instance, items, image_of), left)
    candidates = [
        (members, share)
        for group, share in zip(np.split(items[order], ends)[:-1], shares, strict=True)
        for members, share in [_that_fit(instance, group, float(share), left)]
        if len(members)
    ]
    return AdditiveModel(
        values=np.array([instance.values[m].sum() for m, _ in candidates], np.float64),
        shares=np.array([share for _, share in candidates], np.float64),
        members=tuple(members for members, _ in candidates),
    )


def place_additively(
    problem: PlacementProblem,
    knapsack: Knapsack,
    *,
    search: TabuSearch | None,
    clock: Callable[[], float],
) -> Placement:
    """Fill one gateway after the other; ``search`` betters choices in the true model.

    From values and shares, ``knapsack`` says which candidates to take; their shares add
    up to at most :data:`FULL`.
    """

    def solve(built: Built) -> Choice:
        chosen = np.zeros(built.instance.n_items, np.bool_)
        for number in range(len(built.problem.gateways)):
            model = additive_model(built, number, chosen)
            for candidate in np.flatnonzero(knapsack(model.values, model.shares)):
                chosen[model.members[candidate]] = True
        return Choice(chosen=chosen, prices=np.full(len(built.instance.rows), np.nan))

    return place_by(problem, solve, search=search, clock=clock)


def _that_fit(
    instance: Instance,
    items: Int64[np.ndarray, " m"],
    share: float,
    left: Float64[np.ndarray, " r"],
) -> tuple[Int64[np.ndarray, " m"], float]:
    """The most valuable analytics of an image that fit together, and their share."""
    if share <= FULL:
        return items, share
    ranked = items[np.argsort(-instance.values[items], kind="stable")]
    for n in range(len(ranked) - 1, 0, -1):
        one = np.zeros(n, np.int64)
        fewer = _shares(_needs(instance, ranked[:n], one), left)[0]
        if fewer <= FULL:
            return ranked[:n], float(fewer)
    return ranked[:0], 0.0


def _needs(
    instance: Instance,
    items: Int64[np.ndarray, " k"],
    group_of: Int64[np.ndarray, " k"],
) -> Float64[np.ndarray, "g r"]:
    """What groups of items take of each row, each group alone, ``(g, r)``."""
    n_groups = int(group_of.max(initial=-1)) + 1
    lengths = np.diff(instance.indptr)[items]
    begins = np.cumsum(lengths) - lengths
    within = np.arange(lengths.sum()) - np.repeat(begins, lengths)
    elements = instance.indices[np.repeat(instance.indptr[items], lengths) + within]
    pairs = np.unique(np.repeat(group_of, lengths) * instance.n_elements + elements)
    groups, elements = np.divmod(pairs, max(1, instance.n_elements))
    needs = np.zeros((n_groups, len(instance.rows)))
    for row in range(len(instance.rows)):
        own = np.bincount(group_of, instance.usage[items, row], n_groups)
        shared = np.bincount(groups, instance.costs[elements, row], n_groups)
        needs[:, row] = own + shared
    return needs


def _shares(
    needs: Float64[np.ndarray, "g r"], left: Float64[np.ndarray, " r"]
) -> Float64[np.ndarray, " g"]:
    """Dominant shares, infinite where something is needed that is used up."""
    room = np.where(left > 0, left, 1.0)
    shares = np.where(left > 0, needs / room, np.where(needs > 0, np.inf, 0.0))
    return shares.max(axis=1, initial=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveGreedy:
    """A placer: half the optimum of the additive model, at least.

    Attributes:
        search: what betters the choice in the true model; none by default, as the
            additive model's own optimum is what this placer is asked for.
        clock: measures the time of the search, in seconds.
    """

    name = "additive-greedy"
    search: TabuSearch | None = None
    clock: Callable[[], float] = time.perf_counter

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem."""
        return place_additively(
            problem, knapsack_greedy, search=self.search, clock=self.clock
        )


def knapsack_greedy(
    values: Float64[np.ndarray, " k"], shares: Float64[np.ndarray, " k"]
) -> Bool[np.ndarray, " k"]:
    """Candidates by value (above 0) per share, or the best single one, ``(k,)``."""
    taken = np.zeros(len(values), np.bool_)
    if not len(values):
        return taken
    fill_up(taken, by_ratio(values, shares), shares, FULL)
    best = int(np.argmax(values))
    if values[best] > values[taken].sum():
        taken[:] = False
        taken[best] = True
    return taken


def by_ratio(
    values: Float64[np.ndarray, " k"], shares: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " k"]:
    """Candidates, the highest value per share first; what is free comes first."""
    ratios = np.divide(
        values, shares, out=np.full(len(values), np.inf), where=shares > 0
    )
    return np.argsort(-ratios, kind="stable")


def fill_up(
    taken: Bool[np.ndarray, " k"],
    order: Int64[np.ndarray, " o"],
    shares: Float64[np.ndarray, " k"],
    room: float,
) -> None:
    """Take candidates in order as long as they fit; ``taken`` changes in place."""
    for candidate, share in zip(order.tolist(), shares[order].tolist(), strict=True):
        if share <= room:
            taken[candidate] = True
            room -= share


MAX_STATES = 100_000
"""Longest list of sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveDp:
    """A placer: the optimum of the additive model.

    Attributes:
        search: what betters the choice in the true model; none by default, as the
            additive model's own optimum is what this placer is asked for.
        clock: measures the time of the search, in seconds.
    """

    name = "additive-dp"
    search: TabuSearch | None = None
    clock: Callable[[], float] = time.perf_counter

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem."""
        return place_additively(
            problem,
            lambda values, shares: knapsack_dp(values, shares).taken,
            search=self.search,
            clock=self.clock,
        )


class KnapsackAnswer(NamedTuple):
    """Who is taken of the candidates, ``(k,)``; not exact when lists had to be cut."""

    taken: Bool[np.ndarray, " k"]
    is_exact: bool


class _Stage(NamedTuple):
    """Where each sum of a list comes from."""

    origin: Int64[np.ndarray, " s"]
    has_taken: Bool[np.ndarray, " s"]


def knapsack_dp(
    values: Float64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    *,
    max_states: int = MAX_STATES,
) -> KnapsackAnswer:
    """The candidates of most value (above 0) whose shares add up to :data:`FULL`."""
    best = knapsack_greedy(values, shares)
    known = float(values[best].sum())
    order = by_ratio(values, shares)
    bounds = SplitBound(values[order], shares[order])
    sums, worths = np.zeros(1), np.zeros(1)
    stages: list[_Stage] = []
    is_exact = True
    for k, (value, share) in enumerate(zip(values[order], shares[order], strict=True)):
        fits = np.flatnonzero(sums + share <= FULL)
        sums = np.concatenate([sums, sums[fits] + share])
        origin = np.concatenate([np.arange(len(worths)), fits])
        has_taken = np.arange(len(sums)) >= len(worths)
        worths = np.concatenate([worths, worths[fits] + value])
        keep = _undominated(sums, worths)
        promise = worths[keep] + bounds.of(FULL - sums[keep], k + 1)
        promising = promise > known
        keep, promise = keep[promising], promise[promising]
        if len(keep) > max_states:
            keep = keep[np.sort(np.argpartition(-promise, max_states)[:max_states])]
            is_exact = False
        sums, worths = sums[keep], worths[keep]
        stages.append(_Stage(origin[keep], has_taken[keep]))
        if not len(keep):
            return KnapsackAnswer(best, is_exact)
    if len(worths) and worths.max() > known:
        best = np.zeros(len(values), np.bool_)
        state = int(np.argmax(worths))
        for candidate, stage in zip(order[::-1], stages[::-1], strict=True):
            best[candidate] = stage.has_taken[state]
            state = int(stage.origin[state])
    return KnapsackAnswer(best, is_exact)


def _undominated(
    sums: Float64[np.ndarray, " s"], worths: Float64[np.ndarray, " s"]
) -> Int64[np.ndarray, " u"]:
    """Sums that are worth more than all that take no more, by rising share."""
    order = np.lexsort((-worths, sums))
    ranked = worths[order]
    best_before = np.concatenate([[-1.0], np.maximum.accumulate(ranked)[:-1]])
    return order[ranked > best_before]


class SplitBound:
    """The most that candidates, best value per share first, are worth if one splits."""

    def __init__(
        self, values: Float64[np.ndarray, " k"], shares: Float64[np.ndarray, " k"]
    ) -> None:
        self._values = np.concatenate([[0.0], np.cumsum(values)])
        self._shares = np.concatenate([[0.0], np.cumsum(shares)])
        ratios = np.divide(values, shares, out=np.zeros(len(values)), where=shares > 0)
        self._ratios = np.append(ratios, 0.0)

    def of(
        self, room: Float64[np.ndarray, " s"], first: int
    ) -> Float64[np.ndarray, " s"]:
        """For each room, what candidates from ``first`` on are worth in it at most."""
        goal = room + self._shares[first]
        whole = np.searchsorted(self._shares, goal, side="right") - 1
        whole = np.maximum(whole, first)
        rest = np.maximum(goal - self._shares[whole], 0.0)
        worth = self._values[whole] - self._values[first] + rest * self._ratios[whole]
        # Sums are rounded; a bound must not be.
        return worth * (1 + 1e-12)


# pyright: reportUntypedFunctionDecorator=false


@njit(cache=True)
def lightest(
    quanta: Int64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    n_quanta: int,
    full: float,
) -> tuple[Float64[np.ndarray, " q"], Bool[np.ndarray, "k q"]]:
    """The smallest share that reaches each value, and who is taken for it.

    Values are whole ``quanta`` above 0, up to ``n_quanta``. The first answer is
    infinite where no sum reaches a value, the second whether a candidate is in it,
    given those before it.
    """
    least = np.full(n_quanta + 1, np.inf)
    least[0] = 0.0
    has_taken = np.zeros((len(quanta), n_quanta + 1), np.bool_)
    for k in range(len(quanta)):
        step, share = quanta[k], shares[k]
        for q in range(n_quanta, step - 1, -1):
            trial = least[q - step] + share
            if trial < least[q] and trial <= full:
                least[q] = trial
                has_taken[k, q] = True
    return least, has_taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Fptas:
    """A placer: at least ``1 - epsilon`` of the optimum of the additive model.

    Attributes:
        epsilon: share of the optimum that may be lost, above 0 and below 1.
        search: what betters the choice in the true model; none by default, as the
            additive model's own optimum is what this placer is asked for.
        clock: measures the time of the search, in seconds.

    Raises:
        DataError: epsilon is not in its range.
    """

    name = "fptas"
    epsilon: float = 0.1
    search: TabuSearch | None = None
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        """Check epsilon."""
        if not 0 < self.epsilon < 1:
            message = f"expected epsilon between 0 and 1, found {self.epsilon}"
            raise DataError(message, "0.1 is a good start; AdditiveDp is exact")

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem.

        Raises:
            PrerequisiteError: numba is not installed.
        """
        return place_additively(
            problem,
            lambda values, shares: knapsack_fptas(values, shares, self.epsilon),
            search=self.search,
            clock=self.clock,
        )


def knapsack_fptas(
    values: Float64[np.ndarray, " k"], shares: Float64[np.ndarray, " k"], epsilon: float
) -> Bool[np.ndarray, " k"]:
    """Candidates that are worth at least ``1 - epsilon`` of the optimum, ``(k,)``."""
    require("numba", "deploy")

    best = knapsack_greedy(values, shares)
    known = float(values[best].sum())
    if known == 0:
        return best
    order = by_ratio(values, shares)
    most = float(SplitBound(values[order], shares[order]).of(np.array([FULL]), 0)[0])
    quantum = epsilon**2 * known / 4
    is_large = values > epsilon * known / 2
    large = np.flatnonzero(is_large)
    small = order[~is_large[order]]
    quanta = np.floor(values[large] / quantum).astype(np.int64)
    n_quanta = math.ceil(most / quantum)
    least, has_taken = lightest(quanta, shares[large], n_quanta, FULL)
    full_small = np.concatenate([[0.0], np.cumsum(shares[small])])
    worth_small = np.concatenate([[0.0], np.cumsum(values[small])])
    reached = np.flatnonzero(np.isfinite(least))
    whole = np.searchsorted(full_small, FULL - least[reached], side="right") - 1
    promise = reached * quantum + worth_small[np.maximum(whole, 0)]
    q = int(reached[np.argmax(promise)])
    taken = np.zeros(len(values), np.bool_)
    room = FULL - float(least[q])
    for k in range(len(large) - 1, -1, -1):
        if has_taken[k, q]:
            taken[large[k]] = True
            q -= int(quanta[k])
    fill_up(taken, small, shares, room)
    return taken if values[taken].sum() > known else best
