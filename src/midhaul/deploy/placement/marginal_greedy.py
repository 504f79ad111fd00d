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
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.building import Built, place_by
from midhaul.deploy.placement.instance import TOLERANCE, Choice
from midhaul.deploy.placement.tabu import TabuSearch
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.instance import Instance
    from midhaul.deploy.problem import PlacementProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalGreedy:
    """A placer: quick, and without a guarantee.

    Attributes:
        search: what betters the greedy's choice; None leaves it as it is.
        clock: measures the time of the search, in seconds.
    """

    search: TabuSearch | None = field(default_factory=TabuSearch)
    clock: Callable[[], float] = time.perf_counter

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        return "marginal-greedy"

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem.

        Raises:
            PrerequisiteError: numba is not installed.
        """

        def solve(built: Built) -> Choice:
            return solve_greedily(built.instance)

        return place_by(problem, solve, search=self.search, clock=self.clock)


def solve_greedily(instance: Instance) -> Choice:
    """Items by merit, or the best single one, whichever is worth more.

    Raises:
        PrerequisiteError: numba is not installed.
    """
    require("numba", "deploy")
    from midhaul.deploy.placement.marginal_greedy_kernels import (  # noqa: PLC0415
        take_by_merit,
    )

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
    return Choice(
        chosen=chosen,
        bound=math.inf,
        is_optimal=False,
        is_timed_out=False,
        prices=np.full(len(instance.rows), np.nan),
    )


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


def in_order_of_merit(instance: Instance) -> Bool[np.ndarray, " n"]:
    """The same as the kernel, computed anew in each step; for tests."""
    chosen = np.zeros(instance.n_items, np.bool_)
    scale = np.where(instance.capacities > 0, instance.capacities, np.nan)
    while True:
        best, best_merit = -1, -1.0
        before = instance.use(chosen)
        for i in np.flatnonzero(~chosen):
            trial = chosen.copy()
            trial[i] = True
            if not instance.is_feasible(trial):
                continue
            share = np.nanmax((instance.use(trial) - before) / scale, initial=0.0)
            merit = instance.values[i] / share if share > 0 else math.inf
            if merit > best_merit:
                best, best_merit = int(i), merit
        if best < 0:
            return chosen
        chosen[best] = True


def _slack(instance: Instance) -> Float64[np.ndarray, " r"]:
    return TOLERANCE * np.maximum(instance.capacities, 1.0)
