"""FPTAS of the additive model: nearly the optimum, in time polynomial in 1 / epsilon.

Ibarra and Kim, "Fast Approximation Algorithms for the Knapsack and Sum of Subset
Problems", Journal of the ACM 22, 1975. With a known value ``P`` of at least half the
optimum, candidates worth more than ``epsilon P / 2`` are large. Their values are
counted in quanta of ``epsilon^2 P / 4``; a table holds the smallest share for each sum
of quanta; each entry is filled up with small candidates by value per share.

At most ``2 opt / (epsilon P)`` large candidates lose less than a quantum each, in all
``epsilon opt / 2``; the small ones lose less than one of them, ``epsilon opt / 2``. So
the answer is worth at least ``(1 - epsilon)`` of the optimum. Differences:

1. ``P`` is the greedy's value; the paper bisects.
2. The table ends at the bound with one candidate split, which is below ``2 P``.
3. After filling up, small candidates that still fit are taken as well.
4. The thesis cited in :mod:`midhaul.deploy.placement.additive` rounds values and then
   enumerates, which bounds the loss but not the time.

Its loop is compiled; its plain-Python reference is ``lightest_reference``.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.deploy.placement.additive import (
    FULL,
    SplitBound,
    by_ratio,
    fill_up,
    knapsack_greedy,
    place_additively,
)
from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.tabu import TabuSearch
    from midhaul.deploy.problem import PlacementProblem

# pyright: reportUntypedFunctionDecorator=false


@njit(cache=True)
def lightest(
    quanta: Int64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    n_quanta: int,
    full: float,
) -> tuple[Float64[np.ndarray, " q"], Bool[np.ndarray, "k q"]]:
    """The smallest share that reaches each value, and who is taken for it.

    Args:
        quanta: ``(k,)`` value of each candidate, a whole number above 0.
        shares: ``(k,)`` what each takes.
        n_quanta: highest value of interest.
        full: highest sum of shares of interest.

    Returns:
        ``(n_quanta + 1,)`` the smallest sum, infinite where there is none, and
        ``(k, n_quanta + 1)`` whether the candidate is in it, given those before it.
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

    epsilon: float = 0.1
    search: TabuSearch | None = None
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        """Check epsilon."""
        if not 0 < self.epsilon < 1:
            message = f"expected epsilon between 0 and 1, found {self.epsilon}"
            raise DataError(message, "0.1 is a good start; AdditiveDp is exact")

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "fptas"

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
    values: Float64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    epsilon: float,
) -> Bool[np.ndarray, " k"]:
    """Candidates that are worth at least ``1 - epsilon`` of the optimum, ``(k,)``.

    Args:
        values: ``(k,)`` above 0.
        shares: ``(k,)`` 0 to :data:`~midhaul.deploy.placement.additive.FULL`.
        epsilon: share of the optimum that may be lost, above 0 and below 1.

    Raises:
        PrerequisiteError: numba is not installed.
    """
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


def lightest_reference(
    quanta: Int64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    n_quanta: int,
    full: float,
) -> Float64[np.ndarray, " q"]:
    """The smallest shares of the kernel, from all subsets' sums; for tests."""
    least = {0: 0.0}
    for step, share in zip(quanta.tolist(), shares.tolist(), strict=True):
        for q, before in list(least.items()):
            trial = before + share
            if q + step <= n_quanta and trial <= full:
                least[q + step] = min(least.get(q + step, math.inf), trial)
    return np.array([least.get(q, math.inf) for q in range(n_quanta + 1)])
