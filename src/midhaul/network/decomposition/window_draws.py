"""Window draws: which windows of time are simulated, and what each stands for.

Two designs. *In proportion*: a fixed number, half of the chance the same for each, half
by the slow flows that the fluid has in them (systematic sampling in proportion to
size; W. G. Madow: "On the Theory of Systematic Sampling, II", Annals of Mathematical
Statistics 20, 1949). *By turns*: one after the other, so that more can follow: in turn
the one with most slow flows, which stands for itself, and one by chance, which stands
for others as well (a take-all and a take-some stratum; M. A. Hidiroglou: "The
Construction of a Self-Representing Stratum of Large Units in Survey Design", The
American Statistician 40, 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowDraw:
    """Windows in the order in which they are simulated.

    Attributes:
        n_windows: that time is cut into.
        order: ``(k,)`` which may be simulated, the first ones first.
        chance: ``(k,)`` of each to be drawn in proportion; 0: it is drawn by turns.
        is_chosen: ``(k,)`` true for those by turns that were taken for their slow
            flows, false for those by chance.
    """

    n_windows: int
    order: Int64[np.ndarray, " k"]
    chance: Float64[np.ndarray, " k"]
    is_chosen: Bool[np.ndarray, " k"]

    def stands_for(self, is_kept: Bool[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
        """How many windows each of the first ones stands for; 0: it is left out.

        Args:
            is_kept: whether what it shows is known, of the first ones in order.
        """
        chance, is_chosen = self.chance[: len(is_kept)], self.is_chosen[: len(is_kept)]
        by_chance = is_kept & ~is_chosen
        n_others = self.n_windows - int((is_kept & is_chosen).sum())
        each = np.where(is_chosen, 1.0, n_others / max(int(by_chance.sum()), 1))
        each = np.where(chance > 0, 1 / np.maximum(chance, 1e-12), each)
        return np.where(is_kept, each, 0.0)


def draw_in_proportion(
    slow: Float64[np.ndarray, " w"], share: float, rng: np.random.Generator
) -> WindowDraw:
    """A share of the windows, given how many flows are slow in each."""
    chosen, chances = drawn_windows(slow, share, rng)
    return WindowDraw(
        n_windows=len(slow),
        order=np.array(chosen, np.int64),
        chance=chances,
        is_chosen=np.zeros(len(chosen), np.bool_),
    )


def draw_by_turns(
    slow: Float64[np.ndarray, " w"], rng: np.random.Generator
) -> WindowDraw:
    """All windows: in turn the slowest that is left, and one by chance."""
    n = len(slow)
    first = np.lexsort((rng.random(n), -slow)).tolist()
    other = rng.permutation(n).tolist()
    order: dict[int, bool] = {}
    for pair in zip(first, other, strict=True):
        # What one of the two has taken, the other passes over.
        for window, is_chosen in zip(pair, (True, False), strict=True):
            order.setdefault(window, is_chosen)
    return WindowDraw(
        n_windows=n,
        order=np.array(list(order), np.int64),
        chance=np.zeros(n),
        is_chosen=np.array(list(order.values()), np.bool_),
    )


def drawn_windows(
    slow: Float64[np.ndarray, " w"], share: float, rng: np.random.Generator
) -> tuple[list[int], Float64[np.ndarray, " c"]]:
    """Which windows are simulated, given how many flows are slow, and their chances."""
    n = len(slow)
    if share >= 1:
        return list(range(n)), np.ones(n)
    chance = np.full(n, 1 / n)
    if slow.sum() > 0:
        chance = (chance + slow / slow.sum()) / 2
    order = rng.permutation(n)
    n_drawn = max(1, math.ceil(share * n - 1e-9))
    points = (rng.random() + np.arange(n_drawn)) / n_drawn
    at = np.searchsorted(np.cumsum(chance[order]), points, side="right")
    chosen = np.unique(order[np.minimum(at, n - 1)])
    return chosen.tolist(), np.minimum(n_drawn * chance[chosen], 1.0)
