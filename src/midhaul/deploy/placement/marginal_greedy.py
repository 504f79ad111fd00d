"""Marginal greedy: the best value for what it adds, shared layers paid once.

The rule is the one that Arulselvan analyses for Set-Union Knapsack ("A note on the set
union knapsack problem", Discrete Applied Mathematics 169, 2014): take items by value
per weight, compared with the best single item. Differences from the paper:

1. An item's weight is what it adds to what is taken already; the paper divides each
   element's weight by the number of items that need it.
2. There are several capacities: weight is the dominant share, the largest part of any
   capacity that an item adds (Ghodsi and others, NSDI 2011, use it to compare users).
3. Items that do not fit are passed over, and come back when a layer of theirs is paid
   by somebody else.
4. No factor is guaranteed, so the bound is infinite.

Its loop is compiled; ``tests/support/placement_reference.py`` has it in plain Python.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.deploy.placement.arrays import TOLERANCE, Choice
from midhaul.deploy.placement.building import place_by
from midhaul.deploy.placement.tabu import TabuSearch
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.arrays import Built, Instance
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem

# pyright: reportUntypedFunctionDecorator=false


@njit(cache=True)
def take_by_merit(  # noqa: PLR0913, PLR0917 - one loop on flat arrays
    values: Float64[np.ndarray, " n"],
    usage: Float64[np.ndarray, "n r"],
    indptr: Int64[np.ndarray, " n1"],
    indices: Int64[np.ndarray, " m"],
    user_indptr: Int64[np.ndarray, " e1"],
    users: Int64[np.ndarray, " m"],
    costs: Float64[np.ndarray, "e r"],
    capacities: Float64[np.ndarray, " r"],
    slack: Float64[np.ndarray, " r"],
    groups: Int64[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Take the item with the best value per marginal dominant share, again and again.

    An entry of the heap counts while its version is the item's. Whenever an element is
    paid, all that need it get cheaper and enter anew, so nothing is looked at twice for
    nothing: time grows with the needs times the rows, and a logarithm.

    Needs are CSR from items to elements, and back from elements to items (``user_``).
    """
    need = _all_needs(usage, indptr, indices, costs)
    left = capacities.copy()
    version = np.zeros(len(values), np.int64)
    chosen = np.zeros(len(values), np.bool_)
    is_paid = np.zeros(len(costs), np.bool_)
    is_closed = np.zeros(len(values), np.bool_)
    touched = np.zeros(len(values), np.bool_)
    heap = [(-_merit(values[i], need[i], capacities), i, 0) for i in range(len(values))]
    heapq.heapify(heap)
    while heap:
        _, i, seen = heapq.heappop(heap)
        if seen != version[i] or is_closed[groups[i]]:
            continue
        if (need[i] > left + slack).any():
            continue
        chosen[i] = True
        is_closed[groups[i]] = True
        left -= need[i]
        cheaper = [i]
        for element in indices[indptr[i] : indptr[i + 1]]:
            if is_paid[element]:
                continue
            is_paid[element] = True
            for j in users[user_indptr[element] : user_indptr[element + 1]]:
                if is_closed[groups[j]]:
                    continue
                # Rounding must not make an item cheaper than what it takes itself.
                need[j] = np.maximum(need[j] - costs[element], usage[j])
                if not touched[j]:
                    touched[j] = True
                    cheaper.append(j)
        for j in cheaper[1:]:
            touched[j] = False
            version[j] += 1
            merit = _merit(values[j], need[j], capacities)
            heapq.heappush(heap, (-merit, j, version[j]))
    return chosen


@njit(cache=True)
def _all_needs(
    usage: Float64[np.ndarray, "n r"],
    indptr: Int64[np.ndarray, " n1"],
    indices: Int64[np.ndarray, " m"],
    costs: Float64[np.ndarray, "e r"],
) -> Float64[np.ndarray, "n r"]:
    need = usage.copy()
    for i in range(len(need)):
        for element in indices[indptr[i] : indptr[i + 1]]:
            need[i] += costs[element]
    return need


@njit(cache=True)
def _merit(
    value: float, need: Float64[np.ndarray, " r"], capacities: Float64[np.ndarray, " r"]
) -> float:
    share = 0.0
    for r in range(len(need)):
        if need[r] > 0:
            if capacities[r] <= 0:
                return 0.0
            share = max(share, need[r] / capacities[r])
    return value / share if share > 0 else np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalGreedy:
    """A placer: quick, and without a guarantee.

    Attributes:
        search: what betters the greedy's choice; None leaves it as it is.
        clock: measures the time of the search, in seconds.
    """

    name = "marginal-greedy"
    search: TabuSearch | None = field(default_factory=TabuSearch)
    clock: Callable[[], float] = time.perf_counter

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem.

        Raises:
            PrerequisiteError: numba is not installed.
        """

        def solve(built: Built) -> Choice:
            return solve_greedily(built.instance)

        return place_by(problem, solve, search=self.search, clock=self.clock)


def solve_greedily(instance: Instance) -> Choice:
    """Items by merit, or the best single one, whichever is worth more."""
    require("numba", "deploy")

    _, groups = np.unique(instance.groups, return_inverse=True)
    owners = np.repeat(np.arange(instance.n_items), np.diff(instance.indptr))
    order = np.argsort(instance.indices, kind="stable")
    counts = np.bincount(instance.indices, minlength=instance.n_elements)
    chosen = take_by_merit(
        instance.values,
        instance.usage,
        instance.indptr,
        instance.indices,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        owners[order],
        instance.costs,
        instance.capacities,
        _slack(instance),
        groups,
    )
    single = best_single(instance)
    if instance.value(single) > instance.value(chosen):
        chosen = single
    return Choice(chosen=chosen, prices=np.full(len(instance.rows), np.nan))


def best_single(instance: Instance) -> Bool[np.ndarray, " n"]:
    """The item of most value that fits alone, ``(n,)``; none where none does."""
    fits = (needs_alone(instance) <= instance.capacities + _slack(instance)).all(axis=1)
    chosen = np.zeros(instance.n_items, np.bool_)
    if fits.any():
        chosen[np.argmax(np.where(fits, instance.values, -1.0))] = True
    return chosen


def needs_alone(instance: Instance) -> Float64[np.ndarray, "n r"]:
    """What each item takes of each row if it pays for all its elements."""
    need = instance.usage.copy()
    owners = np.repeat(np.arange(instance.n_items), np.diff(instance.indptr))
    for row in range(len(instance.rows)):
        of_needs = instance.costs[instance.indices, row]
        need[:, row] += np.bincount(owners, of_needs, instance.n_items)
    return need


def _slack(instance: Instance) -> Float64[np.ndarray, " r"]:
    return TOLERANCE * np.maximum(instance.capacities, 1.0)
