"""Backward induction over subsets: what going on is worth at one exchange rate.

A situation is the subset S that answered and what it said. Stopping there is worth the
quality q(S) of the fused answer. Going on to a wider subset T costs its price, and is
worth what comes then:

    V(S) = q(S)                                   if stopping looks best,
           V(T) - m * price(T - S) - w            for the T that looks best otherwise

with m the exchange rate and w what a round of waiting is worth. How things look is the
conditional mean given what is known at S, estimated by a regression on training items;
what is carried back is what comes true. This is the least-squares Monte Carlo of
Longstaff and Schwartz (2001, Valuing American Options by Simulation, section 1), whose
path-wise values keep errors of the regression out of what is carried back.

1. The regression is a forest. Its shape does not depend on m, so another exchange rate
   only fills the leaves anew; Longstaff and Schwartz solve a least-squares problem.
2. What is predicted is the difference to stopping: most answers stay right or wrong
   whoever else is asked, and this part cancels.
3. A training item is decided by the trees that have not seen it. With its own trees the
   decision would look into the future that it is meant to predict.
4. An option has one way to go on; here there is one for each wider subset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.problem import prices_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.federation.policies.forests import Grown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """The subsets of a library with the ways between them.

    Attributes:
        masks: ``(s,)`` by rising size, the empty subset first.
        onward: numbers of the subsets that each can go on to.
        prices_usd: ``(M,)`` of a call.
    """

    masks: Int64[np.ndarray, " s"]
    onward: tuple[Int64[np.ndarray, " a"], ...]
    prices_usd: Float64[np.ndarray, " p"]

    def prices_from(self, number: int) -> Float64[np.ndarray, " a"]:
        """Price of each way onward."""
        new = self.masks[self.onward[number]] & ~self.masks[number]
        return prices_of(new, self.prices_usd)


def induce(
    lattice: Lattice,
    grown: Sequence[Grown],
    worth: Float64[np.ndarray, "n s"],
    is_whole: Bool[np.ndarray, "n s"],
    rate: float,
    wait: float,
) -> tuple[Float32[np.ndarray, "l a"], ...]:
    """What the leaves of each subset's forest say about going on, beyond stopping.

    Args:
        lattice: the subsets.
        grown: forest of each, grown on the items whose answers are whole.
        worth: ``(n, s)`` of stopping at each subset.
        is_whole: ``(n, s)`` whether everybody in the subset answered the item.
        rate: quality that one USD has to buy.
        wait: quality that one more round has to bring.

    Returns:
        ``(n_leaves, a)`` for each subset: mean gain of each way onward.
    """
    value = worth.copy()
    tables: list[Float32[np.ndarray, "l a"]] = []
    for number in reversed(range(len(lattice.masks))):
        ways = lattice.onward[number]
        items = np.flatnonzero(is_whole[:, number])
        stop = worth[items, number]
        price = rate * lattice.prices_from(number) + wait
        gains = value[np.ix_(items, ways)] - price - stop[:, None]
        table = grown[number].fill(gains)
        tables.append(table)
        if not len(ways) or not len(items):
            continue
        looks = grown[number].unseen_means(table)
        best = looks.argmax(axis=1)
        rows = np.arange(len(items))
        goes_on = looks[rows, best] > 0 if number else np.ones(len(items), bool)
        value[items, number] += np.where(goes_on, gains[rows, best], 0.0)
    return tuple(reversed(tables))
