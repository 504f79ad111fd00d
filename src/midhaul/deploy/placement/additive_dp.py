"""The exact optimum of the additive model, by lists of undominated sums.

After each candidate the list holds every reachable (share, value) that no other one
beats in both (Nemhauser and Ullmann, "Discrete Dynamic Programming and Capital
Allocation", Management Science 15, 1969). Differences from the paper:

1. Candidates come by falling value per share, and a sum is dropped when filling it up
   with the rest, the last one split, cannot beat what is known. That keeps lists short
   and the optimum.
2. Lists may grow exponentially where values are nearly proportional to shares. Beyond
   :data:`MAX_STATES` those that promise least are dropped; the answer then says that it
   may not be the optimum.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midhaul.deploy.placement.additive import (
    FULL,
    by_ratio,
    knapsack_greedy,
    place_additively,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.tabu import TabuSearch
    from midhaul.deploy.problem import PlacementProblem

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

    search: TabuSearch | None = None
    clock: Callable[[], float] = time.perf_counter

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "additive-dp"

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem."""
        return place_additively(
            problem,
            lambda values, shares: knapsack_dp(values, shares).taken,
            search=self.search,
            clock=self.clock,
        )


class KnapsackAnswer(NamedTuple):
    """What the lists ended with.

    Attributes:
        taken: ``(k,)`` true for the candidates to take.
        is_exact: false when lists had to be cut.
    """

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
    """The candidates of most value whose shares add up to one.

    Args:
        values: ``(k,)`` above 0.
        shares: ``(k,)`` 0 to :data:`~midhaul.deploy.placement.additive.FULL`.
        max_states: longest list.
    """
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
    """The most that candidates are worth if the last one may be split.

    Args:
        values: ``(k,)`` by falling value per share.
        shares: ``(k,)`` in the same order.
    """

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
