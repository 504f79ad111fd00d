"""Greedy for the additive model: by value per share, or the best single image.

The better of the two is worth at least half the optimum of the model (Kellerer,
Pferschy and Pisinger, "Knapsack Problems", 2004, section 2.5). Differences from the
book: what does not fit is passed over and smaller ones are tried; the thesis that
:mod:`midhaul.deploy.placement.additive` cites leaves the single image out, and with it
the guarantee.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.additive import FULL, place_additively

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.placement.tabu import TabuSearch
    from midhaul.deploy.problem import PlacementProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveGreedy:
    """A placer: half the optimum of the additive model, at least.

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
        return "additive-greedy"

    def place(self, problem: PlacementProblem) -> Placement:
        """A placement that keeps every limit of the problem."""
        return place_additively(
            problem, knapsack_greedy, search=self.search, clock=self.clock
        )


def knapsack_greedy(
    values: Float64[np.ndarray, " k"], shares: Float64[np.ndarray, " k"]
) -> Bool[np.ndarray, " k"]:
    """Candidates by value per share, or the best single one, ``(k,)``.

    Args:
        values: ``(k,)`` above 0.
        shares: ``(k,)`` 0 to :data:`~midhaul.deploy.placement.additive.FULL`.
    """
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
