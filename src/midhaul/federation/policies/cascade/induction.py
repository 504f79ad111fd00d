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

The subsets that a cascade may ever have asked are all of them, or the useful ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from midhaul.federation.npz_state import SavedFields
from midhaul.federation.recordings.problem import prices_of, sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Bool, Float32

    from midhaul.federation.policies.cascade.forests import Grown

_RATES = 2.0 ** np.arange(-4, 5, 2)
"""Exchange rates that a subset may be useful at: qualities for everybody's price."""


def all_subsets(n_providers: int) -> Int64[np.ndarray, " s"]:
    """Every subset, the empty one first, by rising size."""
    return by_size(np.arange(1 << n_providers, dtype=np.int64))


def useful_subsets(
    quality_of: Callable[[int], Float64[np.ndarray, " n"]],
    prices_usd: Float64[np.ndarray, " p"],
    n_most: int,
) -> Int64[np.ndarray, " s"]:
    """A library of subsets grown one by one, each reached from another by one call.

    The next one is that which lifts most what the best choice in the library is worth,
    quality less price, averaged over items and exchange rates. This is the greedy rule
    for facility location (Nemhauser, Wolsey and Fisher 1978), over the neighbours of
    what is in the library. The ``n_most`` hold the empty subset and all single
    providers in any case; they are given by rising size.
    """
    n_providers = len(prices_usd)
    total_usd = float(prices_usd.sum())
    rates = _RATES / (total_usd if total_usd > 0 else 1.0)

    def worth_of(mask: int) -> Float64[np.ndarray, "r n"]:
        price = float(prices_of(np.array([mask]), prices_usd)[0])
        return quality_of(mask)[None, :] - rates[:, None] * price

    singles = [1 << p for p in range(n_providers)]
    library = [0, *singles]
    best: Float64[np.ndarray, "r n"] = worth_of(singles[0])
    for mask in singles[1:]:
        best = np.maximum(best, worth_of(mask))
    waiting: dict[int, Float64[np.ndarray, "r n"]] = {}
    newest = singles
    while len(library) < n_most:
        for mask in newest:
            for p in range(n_providers):
                wider = mask | 1 << p
                if wider not in library and wider not in waiting:
                    waiting[wider] = worth_of(wider)
        if not waiting:
            break
        gains = {
            mask: float(np.maximum(worth - best, 0.0).mean())
            for mask, worth in waiting.items()
        }
        chosen = min(gains, key=lambda mask: (-gains[mask], mask))
        best = np.maximum(best, waiting.pop(chosen))
        library.append(chosen)
        newest = [chosen]
    return by_size(np.array(library, np.int64))


def by_size(masks: Int64[np.ndarray, " s"]) -> Int64[np.ndarray, " s"]:
    """Subsets by rising size, then by rising mask."""
    return masks[np.lexsort((masks, sizes_of(masks)))]


def continuations(
    masks: Int64[np.ndarray, " s"], number: int, *, is_one_by_one: bool
) -> Int64[np.ndarray, " a"]:
    """Numbers of the subsets of a library that one more round can lead to."""
    here = masks[number]
    is_wider = ((masks & here) == here) & (masks != here)
    if is_one_by_one:
        is_wider &= sizes_of(masks ^ here) == 1
    return np.flatnonzero(is_wider)


def nearest_known(masks: Int64[np.ndarray, " s"], mask: int) -> int:
    """Number of the largest subset in a library that lies within a mask."""
    inside = np.flatnonzero((masks & ~np.int64(mask)) == 0)
    sizes = sizes_of(masks[inside])
    return int(inside[np.argmax(sizes)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice(SavedFields):
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

    ``grown`` are on items whose answers are whole, ``rate`` is quality that one USD has
    to buy, ``wait`` that one more round has to bring. Returns, for each subset, the
    mean gain ``(n_leaves, a)`` of each way onward.
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
