"""Several gateways: one or two of them planned anew while the others stay.

Rows fall into parts that no item and no bundle joins: one for each gateway, where there
is no common backhaul. Only the exclusion between items joins them. On gateways that are
alike the relaxation leaves nearly all open, and a search that moves single items cannot
carry an image with all its analytics from one gateway to another. So

1. parts are filled one after the other. What a part is worth is a placement on one
   gateway, with the worth of each item less the price that its group has in the
   relaxation of all parts still empty: an analytic that is needed elsewhere is left
   there. The last part takes what is worth most. (Relax-and-fix: Pochet and Wolsey,
   Production Planning by Mixed Integer Programming, 2006, section 3.6; the prices are
   those of Dantzig and Wolfe, Operations Research 8, 1960.)
2. Two parts are emptied and filled in the same way, with prices a little off, and each
   is then solved once more beside the others.
3. Random groups of items of two parts are decided anew together (large neighbourhood
   search: Shaw, CP 1998; as many as the solver just manages).

The steps 2 and 3 take turns, one to two, until nothing was gained for a while. Work is
counted in nodes of the solver, so only a time limit makes answers depend on the
machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.lagrangian import core_of
from midhaul.deploy.placement.relaxed import duals, solve_exactly

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.placement.reduction import Reduced

PATTERN_NODES, POLISH_NODES, PAIR_NODES = 300, 100, 1000
"""Nodes of the solver for filling a part, for solving it once more, and for two."""
FIRST_GROUPS, FEWEST_GROUPS = 200, 40
"""Groups that are decided anew together at first, and at the least."""
STEP = 1.05
"""By what their number changes, as the solver comes to an end or not."""
NOISE = 0.02
"""Share by which prices of groups are off."""
PRECISION = 1e-4
"""Share of the bound that a part may be below its best."""
MOST_IDLE = 20
"""Steps without gain after which it ends."""


def parts_of(reduced: Reduced) -> Int64[np.ndarray, " k"]:
    """The part of each item, from 0 upwards, ``(k,)``."""
    touched = reduced.own > 0
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    by_type = np.zeros((reduced.n_types, touched.shape[1]), np.bool_)
    np.logical_or.at(by_type, owners, reduced.costs[reduced.indices] > 0)
    touched |= by_type[reduced.types]
    label = np.arange(touched.shape[1])
    while True:  # the smallest number spreads over rows that an item joins
        lowest = np.where(touched, label, len(label)).min(axis=1, initial=len(label))
        spread = label.copy()
        item, row = np.nonzero(touched)
        np.minimum.at(spread, row, lowest[item])
        if (spread == label).all():
            break
        label = spread
    # An item that takes nothing may stand anywhere.
    return np.unique(lowest % len(label), return_inverse=True)[1].ravel()


@dataclass(slots=True, kw_only=True)
class PartSearch:
    """A search over the parts of one reduced instance.

    Attributes:
        reduced: the instance.
        parts: ``(k,)`` the part of each item.
        bound: no choice is worth more.
        end_s: when to stop, on ``time.monotonic``.
        rng: of all chance.
    """

    reduced: Reduced
    parts: Int64[np.ndarray, " k"]
    bound: float
    end_s: float
    rng: np.random.Generator

    def improve(
        self, known: Bool[np.ndarray, " k"], *, enough: float
    ) -> Bool[np.ndarray, " k"]:
        """A feasible choice that is worth at least as much as a feasible one.

        Args:
            known: ``(k,)`` feasible.
            enough: worth from which on nobody looks further.

        Raises:
            PrerequisiteError: highspy is not installed.
        """
        n_parts = int(self.parts.max()) + 1
        empty = np.zeros(len(known), np.bool_)
        best = self._better(known, self._filled(empty, range(n_parts)))
        n_groups = float(FIRST_GROUPS)
        n_idle = step = 0
        while (
            n_idle < MOST_IDLE
            and self._left_s() > 0
            and self._worth(best) < enough
            and n_parts > 1
        ):
            pair = self.rng.permutation(n_parts)[:2].tolist()
            if step % 3 == 0:
                others = best & ~np.isin(self.parts, pair)
                found = self._filled(others, pair)
            else:
                found, is_complete = self._together(best, pair, int(n_groups))
                n_groups = n_groups * STEP if is_complete else n_groups / STEP
                n_groups = max(FEWEST_GROUPS, min(n_groups, len(known)))
            has_gained = self._worth(found) > self._worth(best)
            best = self._better(best, found)
            n_idle = 0 if has_gained else n_idle + 1
            step += 1
        return best

    def _filled(
        self, chosen: Bool[np.ndarray, " k"], empty: Iterable[int]
    ) -> Bool[np.ndarray, " k"]:
        """The choice with some empty parts filled, one after the other."""
        left = list(empty)
        order = left.copy()
        while left and self._left_s() > 0:
            is_open = np.isin(self.parts, left) & ~self._taken(chosen)
            part = left.pop(0)
            worth = self.reduced.values
            if left:
                worth = worth - self._group_prices(chosen, is_open)[self.reduced.groups]
            is_open &= (self.parts == part) & (worth > 0)
            chosen, _ = self._solved(chosen, is_open, PATTERN_NODES, worth)
        for part in order:
            is_open = (self.parts == part) & ~self._taken(chosen & (self.parts != part))
            chosen, _ = self._solved(chosen, is_open, POLISH_NODES)
        return chosen

    def _group_prices(
        self, chosen: Bool[np.ndarray, " k"], is_open: Bool[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " g"]:
        """Prices of the groups where open items are relaxed; 0 without time."""
        prices = np.zeros(int(self.reduced.groups.max()) + 1)
        rest, items = core_of(self.reduced, chosen, is_open)
        if len(items) == 0 or len(rest.rows) == 0:
            return prices
        found = duals(rest, self._left_s())
        if found is not None:
            off = 1 + NOISE * self.rng.standard_normal(len(found[1]))
            prices[self.reduced.groups[items]] = (found[1] * off)[rest.groups]
        return prices

    def _together(
        self, known: Bool[np.ndarray, " k"], pair: list[int], n_groups: int
    ) -> tuple[Bool[np.ndarray, " k"], bool]:
        """Groups of two parts decided anew, and whether the solver came to an end."""
        here = np.isin(self.parts, pair)
        is_free = here & ~self._taken(known & ~here)
        groups = np.unique(self.reduced.groups[is_free])
        drawn = self.rng.permutation(groups)[:n_groups]
        is_open = is_free & np.isin(self.reduced.groups, drawn)
        return self._solved(known, is_open, PAIR_NODES)

    def _solved(
        self,
        known: Bool[np.ndarray, " k"],
        is_open: Bool[np.ndarray, " k"],
        n_nodes: int,
        worth: Float64[np.ndarray, " k"] | None = None,
    ) -> tuple[Bool[np.ndarray, " k"], bool]:
        """The choice with open items decided anew; the same if that is no better."""
        left_s = self._left_s()
        if left_s <= 0:
            return known, False
        values = self.reduced.values if worth is None else worth
        fixed = known & ~is_open
        core, items = core_of(self.reduced, fixed, is_open)
        start = known[items]
        solved = solve_exactly(
            replace(core, values=values[items]),
            start=start if (known & is_open).sum() == start.sum() else None,
            least_gain=PRECISION * self.bound,
            time_limit_s=left_s,
            n_nodes=n_nodes,
        )
        if solved.chosen is None:
            return known, not solved.is_timed_out
        found = fixed.copy()
        found[items[solved.chosen]] = True
        is_better = values[found].sum() > values[known].sum()
        if is_better and self.reduced.is_feasible(found):
            known = found
        return known, not solved.is_timed_out

    def _taken(self, chosen: Bool[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
        """Items whose group has a chosen one, ``(k,)``."""
        groups = self.reduced.groups
        is_taken = np.zeros(int(groups.max()) + 1, np.bool_)
        is_taken[groups[chosen]] = True
        return is_taken[groups]

    def _better(
        self, one: Bool[np.ndarray, " k"], other: Bool[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " k"]:
        return other if self._worth(other) > self._worth(one) else one

    def _worth(self, chosen: Bool[np.ndarray, " k"]) -> float:
        return float(self.reduced.values[chosen].sum())

    def _left_s(self) -> float:
        return self.end_s - time.monotonic()
