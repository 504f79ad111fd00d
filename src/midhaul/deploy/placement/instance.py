"""A placement problem as arrays: set-union knapsack with several capacities.

Items are candidate moves (an analytic to a gateway), elements are what items share
(layers on a gateway, layers that must be there by a deadline). With ``x_i`` for "item i
is chosen" and ``y_e`` for "element e is needed":

    maximise    sum_i v_i x_i
    subject to  x_i <= y_e                                  for e in E_i
                sum_i u_ir x_i + sum_e c_er y_e <= C_r      for each row r
                sum of x_i over the items of a group <= 1

All placers work on this form; :mod:`midhaul.deploy.placement.building` makes it from a
:class:`~midhaul.deploy.problem.PlacementProblem` and turns choices into a placement.
The problem is Set-Union Knapsack (Goldschmidt, Nehme and Yu, Naval Research Logistics
41, 1994), here with more than one capacity row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

TOLERANCE = 1e-9
"""Relative slack that counts as keeping a capacity."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instance:
    """Items, the elements that they share, and the capacities of both.

    Attributes:
        values: ``(n,)`` worth of each item, at least 0.
        usage: ``(n, r)`` what an item itself takes of each row (cpu, memory).
        indptr: ``(n + 1,)`` where each item's elements begin in ``indices``.
        indices: ``(m,)`` elements of all items, one after the other; each once an item.
        costs: ``(e, r)`` what an element takes of each row, once (disk, pulled bytes).
        capacities: ``(r,)`` finite; rows without a limit are left out.
        rows: names of the rows, ``GATEWAY.disk_bytes`` and so on.
        groups: ``(n,)`` items with the same number exclude each other.
    """

    values: Float64[np.ndarray, " n"]
    usage: Float64[np.ndarray, "n r"]
    indptr: Int64[np.ndarray, " n1"]
    indices: Int64[np.ndarray, " m"]
    costs: Float64[np.ndarray, "e r"]
    capacities: Float64[np.ndarray, " r"]
    rows: tuple[str, ...]
    groups: Int64[np.ndarray, " n"]

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.values)

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        return len(self.costs)

    @property
    def has_choices(self) -> bool:
        """True when some items exclude each other."""
        return len(np.unique(self.groups)) < self.n_items

    def elements_of(self, chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " e"]:
        """The elements that the chosen items need together, ``(e,)``."""
        needed = np.zeros(self.n_elements, np.bool_)
        lengths = np.diff(self.indptr)
        needed[self.indices[np.repeat(chosen, lengths)]] = True
        return needed

    def use(self, chosen: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " r"]:
        """What the chosen items take of each row, shared elements once, ``(r,)``."""
        shared = self.costs[self.elements_of(chosen)].sum(axis=0)
        return self.usage[chosen].sum(axis=0) + shared

    def is_feasible(self, chosen: Bool[np.ndarray, " n"]) -> bool:
        """True when the chosen items keep every capacity and every group."""
        slack = TOLERANCE * np.maximum(self.capacities, 1.0)
        if (self.use(chosen) > self.capacities + slack).any():
            return False
        groups = self.groups[chosen]
        return len(np.unique(groups)) == len(groups)

    def value(self, chosen: Bool[np.ndarray, " n"]) -> float:
        """Worth of the chosen items."""
        return float(self.values[chosen].sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """What a search over an instance found.

    Attributes:
        chosen: ``(n,)`` true for the items to take; feasible.
        bound: no feasible choice is worth more; infinite without a guarantee.
        is_optimal: true when the search proved that nothing is worth more.
        is_timed_out: true when it was stopped by its time limit.
        prices: ``(r,)`` dual value of each row, value per unit; NaN where unknown.
    """

    chosen: Bool[np.ndarray, " n"]
    bound: float
    is_optimal: bool
    is_timed_out: bool
    prices: Float64[np.ndarray, " r"]
