"""Hot deck: whose correction a flow has that was not simulated.

Gaps in a survey are filled by the answers of units that are alike, *donors*
(R. R. Andridge, R. J. A. Little: "A Review of Hot Deck Imputation for Survey
Non-response", International Statistical Review 78, 2010). Here a flow that windows of
packets do not have is given what packets are over fluid for one that they have: of the
same class of size, of the same way where there are many of it, and nearly as slow in
the fluid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.slowdown import SIZE_CLASSES

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

_NEIGHBOURS = 15
_FEWEST = 10
_FEWEST_OF_WAY = 30
"""Known flows of a way and class from which others of it have donors among these."""


def nearest_donors(
    classes: Int64[np.ndarray, " n"],
    ways: Int64[np.ndarray, " n"],
    fluid: Float64[np.ndarray, " n"],
    stands_for: Float64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " n"]:
    """A flow that is known for each that is not: of its class, nearly as slow in fluid.

    Args:
        classes: of size.
        ways: the way of each; of many flows of one way and class their own tell.
        fluid: slowdowns of all flows.
        stands_for: how many flows each that is known stands for, which is how likely
            it is among its neighbours; 0: it is not known.
        rng: draws among neighbours.

    Returns:
        Indices of flows. A class with few of them takes the nearest one that has more;
        where nothing is known every flow has itself.
    """
    found, is_known = np.arange(len(classes)), stands_for > 0
    is_left = ~is_known
    key = ways.astype(np.int64) * len(SIZE_CLASSES) + classes
    order = np.argsort(key, kind="stable")
    able = np.flatnonzero(np.bincount(key[is_known]) >= _FEWEST_OF_WAY)
    edges = np.searchsorted(key[order], np.stack([able, able + 1]))
    for first, last in edges.T.tolist():
        alike = order[first:last]
        mine, pool = alike[~is_known[alike]], alike[is_known[alike]]
        found[mine] = _neighbours(pool, mine, fluid, stands_for, rng)
        is_left[mine] = False
    pools = [
        np.flatnonzero(is_known & (classes == c)) for c in range(len(SIZE_CLASSES))
    ]
    most = max(map(len, pools))
    able = [c for c, pool in enumerate(pools) if len(pool) >= min(_FEWEST, most)]
    for c in range(len(SIZE_CLASSES)):
        mine = np.flatnonzero(is_left & (classes == c))
        if len(mine) and most:
            pool = pools[min(able, key=lambda other: (abs(other - c), other))]
            found[mine] = _neighbours(pool, mine, fluid, stands_for, rng)
    return found


def _neighbours(
    pool: Int64[np.ndarray, " p"],
    mine: Int64[np.ndarray, " k"],
    fluid: Float64[np.ndarray, " n"],
    stands_for: Float64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " k"]:
    """One of a pool for each, nearly as slow in the fluid."""
    pool = pool[np.argsort(fluid[pool], kind="stable")]
    low = np.searchsorted(fluid[pool], fluid[mine], side="left")
    high = np.searchsorted(fluid[pool], fluid[mine], side="right")
    # Of those that are just as slow any, and some to both sides.
    low = np.maximum(low - _NEIGHBOURS, 0)
    high = np.minimum(high + _NEIGHBOURS, len(pool))
    reached = np.concatenate([[0.0], np.cumsum(stands_for[pool])])
    at = reached[low] + rng.random(len(mine)) * (reached[high] - reached[low])
    place = np.searchsorted(reached, at, side="right") - 1
    return pool[np.clip(place, low, high - 1)]
