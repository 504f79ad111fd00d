"""Plans from prices, and better ones from them: who goes to a gateway, then rates.

At prices every item has a gain and a rent, the price of what it takes. Items in order
of gain over rent, each if it fits with the layers that it still needs, are a first
plan. Better ones come from *exchanges*: one or two types of items (those that need the
same layers) or one item leave, another type enters first, and the order fills the rest.
Rates are divided anew for each, unless prices show that it cannot be better than the
best plan so far: who moves ``S`` has at most ``lambda U + sum_a c_a + sum of gains in
S``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.hull import HullGreedy
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.joint.model import JointModel
    from midhaul.deploy.joint.relaxation import Priced
    from midhaul.deploy.placement.reduction import Reduced

_QUICK = HullGreedy(n_rounds=0)
_CAREFUL = HullGreedy(gap=5e-4, n_rounds=10)


class Plans:
    """The best choice of items so far, and the search for better ones.

    Attributes:
        chosen: ``(k,)`` items of the reduced instance.
        value: what they are worth, about: rates are divided by a greedy.
    """

    def __init__(self, model: JointModel, reduced: Reduced) -> None:
        """Begin with everything in the cloud."""
        require("numba", "deploy")
        self._model = model
        self._reduced = reduced
        self._seen: set[bytes] = set()
        self.chosen = np.zeros(len(reduced.items), np.bool_)
        self.value = 0.0
        self.offer(self.chosen)

    def offer(self, chosen: Bool[np.ndarray, " k"]) -> bool:
        """Keep a feasible choice if it is better than the best so far."""
        known = chosen.tobytes()
        if known in self._seen:
            return False
        self._seen.add(known)
        lifted = self._reduced.lift(chosen, self._model.instance.n_items)
        moved = self._model.moved(lifted)
        quick = self._model.allocate(moved, _QUICK)
        if quick.bound <= self.value or self._model.built.broken_s(lifted):
            return False
        value = max(quick.value, self._model.allocate(moved, _CAREFUL).value)
        if value <= self.value:
            return False
        self.chosen, self.value = chosen, value
        return True

    def fill(
        self, order: Int64[np.ndarray, " m"], kept: Bool[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " k"]:
        """Items added in an order to some that are kept, each if it fits."""
        from midhaul.deploy.placement.mincut_kernels import (  # noqa: PLC0415
            add_in_order,
        )

        reduced = self._reduced
        chosen = kept.copy()
        is_taken = np.zeros(int(reduced.groups.max(initial=-1)) + 1, np.bool_)
        is_taken[reduced.groups[chosen]] = True
        add_in_order(
            order,
            reduced.types,
            reduced.indptr,
            reduced.indices,
            reduced.own,
            reduced.costs,
            reduced.groups,
            chosen,
            reduced.bundles_of(chosen),
            is_taken,
            reduced.limits - reduced.use(chosen),
        )
        return chosen

    def follow(
        self, priced: Priced, shares: Float64[np.ndarray, " k"] | None = None
    ) -> None:
        """Offer the plans that fill up in the order of some prices.

        Args:
            priced: gains and rents at prices.
            shares: ``(k,)`` items with a larger share come first; by default those that
                are in the best closure.
        """
        nobody = np.zeros(len(self.chosen), np.bool_)
        order = self._order(priced)
        self.offer(self.fill(order, nobody))
        if shares is None:
            shares = priced.is_open[self._reduced.types].astype(np.float64)
        first = order[np.argsort(-shares[order], kind="stable")]
        self.offer(self.fill(first, nobody))

    def exchange(self, priced: Priced, *, limit: int, n_tries: int) -> None:
        """Look for better choices among exchanges, until none of them helps.

        Args:
            priced: gains and rents at prices.
            limit: types and items that may leave, and types that may enter, at most.
            n_tries: exchanges to look at, at most.
        """
        order = self._order(priced)
        is_better = True
        while is_better:
            is_better = False
            for kept, first in self._exchanges(priced, limit):
                if n_tries <= 0:
                    return
                n_tries -= 1
                chosen = self.fill(np.concatenate([first, order]), kept)
                ceiling = priced.base + float(priced.gains[chosen].sum())
                if ceiling > self.value and self.offer(chosen):
                    is_better = True
                    break

    def _exchanges(
        self, priced: Priced, limit: int
    ) -> Iterator[tuple[Bool[np.ndarray, " k"], Int64[np.ndarray, " m"]]]:
        """Who stays and who enters first, the most promising exchanges first."""
        reduced = self._reduced
        profits = self._by_type(np.maximum(priced.profits, 0.0)) - priced.type_rents
        is_open = np.zeros(reduced.n_types, np.bool_)
        is_open[reduced.types[self.chosen]] = True
        by_profit = np.argsort(profits, kind="stable")
        open_types = by_profit[is_open[by_profit]][:limit]
        leaving = [self.chosen & (reduced.types == t) for t in open_types]
        items = np.flatnonzero(self.chosen)
        items = items[np.argsort(priced.profits[items], kind="stable")]
        singles = [np.arange(len(self.chosen)) == item for item in items[:limit]]
        closed = by_profit[::-1][~is_open[by_profit[::-1]]][:limit]
        entering = [
            np.flatnonzero((reduced.types == t) & (priced.gains > 0)) for t in closed
        ]
        entering = [who[np.argsort(-priced.profits[who])] for who in entering]
        entering.append(np.zeros(0, np.int64))
        both = [one | other for one, other in itertools.combinations(leaving, 2)]
        leaving = [np.zeros_like(self.chosen), *leaving, *singles, *both]
        for out, enter in itertools.product(leaving, entering):
            yield self.chosen & ~out, enter

    def _order(self, priced: Priced) -> Int64[np.ndarray, " m"]:
        """Items that gain, by the gain over the rent of their type, then their own."""
        reduced = self._reduced
        gains = np.maximum(priced.gains, 0.0)
        rents = priced.gains - priced.profits
        type_rents = priced.type_rents + self._by_type(rents * (gains > 0))
        density = self._by_type(gains) / np.maximum(type_rents, 1e-12)
        order = np.lexsort(
            (-priced.profits, -density[reduced.types], priced.profits <= 0)
        )
        return order[gains[order] > 0]

    def _by_type(self, values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " t"]:
        """Sums of what the items of each type have."""
        sums = np.zeros(self._reduced.n_types)
        np.add.at(sums, self._reduced.types, values)
        return sums
