"""The Lagrangian dual of a placement: prices for capacities, and a certified bound.

With a price for each row, lambda >= 0, and for each group of items that exclude each
other, mu >= 0, capacities and groups may be broken, at a cost:

    L(lambda, mu) = sum_r lambda_r C_r + sum_a mu_a
                    + max { sum_i (v_i - lambda u_i - mu_a(i)) x_i
                            - sum_e (lambda c_e) y_e :  x_i <= y_e }

What is left is a closure (:mod:`midhaul.deploy.placement.closure`). ``L`` is convex,
at least the optimum wherever it is taken, and at its minimum equal to the bound of the
linear relaxation, as closures are totally unimodular (Geoffrion, Mathematical
Programming Study 2, 1974). Its minimisers are in
:mod:`midhaul.deploy.placement.prices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.closure import Closure, Network

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from midhaul.deploy.placement.reduction import Reduced


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """The Lagrangian at some prices.

    Attributes:
        prices: ``(r,)`` value per unit of each row.
        group_prices: ``(g,)`` value of each group.
        bound: the Lagrangian: no feasible choice is worth more.
        profits: ``(k,)`` worth of each item less what it takes for itself.
        closure: the best closure, and its flow.
        chosen: ``(k,)`` items of the smallest best choice; may break capacities.
        value: their worth.
        use: ``(r,)`` what they take.
    """

    prices: Float64[np.ndarray, " r"]
    group_prices: Float64[np.ndarray, " g"]
    bound: float
    profits: Float64[np.ndarray, " k"]
    closure: Closure
    chosen: Bool[np.ndarray, " k"]
    value: float
    use: Float64[np.ndarray, " r"]

    def losses(self, reduced: Reduced) -> Float64[np.ndarray, " k"]:
        """How much the bound falls, at least, when an item is decided otherwise.

        The flow is a dual solution of the closure. With its multipliers the bound is a
        sum over types and bundles, so forcing one item changes few terms: leaving out
        an item costs its profit, or what its type did not send if that is less; taking
        one costs its deficit and what its type's bundles did not receive. ``(k,)``
        """
        per_arc = self.closure.unpaid[reduced.indices]
        owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
        unpaid = np.bincount(owners, per_arc, reduced.n_types)[reduced.types]
        unsent = self.closure.unsent[reduced.types]
        leaving_out = np.minimum(self.profits, unsent)
        taking = np.maximum(-self.profits, 0) + unpaid
        return np.where(self.chosen, leaving_out, taking)


class Relaxation:
    """Evaluates the Lagrangian of one reduced instance, each time from the last flow.

    Args:
        reduced: what is relaxed.
    """

    def __init__(self, reduced: Reduced) -> None:
        self.reduced = reduced
        self.n_evaluations = 0
        self._network = Network(reduced.indptr, reduced.indices, reduced.n_bundles)
        self._n_groups = int(reduced.groups.max(initial=-1)) + 1

    def at(
        self,
        prices: Float64[np.ndarray, " r"],
        group_prices: Float64[np.ndarray, " g"] | None = None,
    ) -> Evaluation:
        """The Lagrangian at prices of at least 0; groups are free without prices."""
        reduced = self.reduced
        self.n_evaluations += 1
        profits = reduced.values - reduced.own @ prices
        if group_prices is None:
            group_prices = np.zeros(self._n_groups)
        else:
            profits -= group_prices[reduced.groups]
        weights = np.bincount(reduced.types, np.maximum(profits, 0), reduced.n_types)
        closure = self._network.best(weights, reduced.costs @ prices)
        chosen = closure.types[reduced.types] & (profits > 0)
        constant = float(reduced.capacities @ prices) + float(group_prices.sum())
        bundles = reduced.costs[closure.bundles].sum(axis=0)
        return Evaluation(
            prices=prices,
            group_prices=group_prices,
            bound=constant + closure.weight,
            profits=profits,
            closure=closure,
            chosen=chosen,
            value=float(reduced.values[chosen].sum()),
            use=reduced.own[chosen].sum(axis=0) + bundles,
        )
