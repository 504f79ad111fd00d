"""Pooling: from the flows of sampled paths to those of the whole network.

Problem: a path that is drawn as often as flows are on it tells of its own flows only.
What of all others?

C. Li et al., "m3", SIGCOMM 2024, section 3: slowdowns of sampled paths are pooled by
class of size, and the network has the distribution of each pool, in proportion to the
flows of the class. Here each flow that is on no sampled path is given the slowdown of
a flow in the pool of its class, its *donor*.

Differences from m3:

1. Flows on sampled paths keep their own completion time, and all flows of the network
   are counted by class, instead of those on sampled paths.
2. A path counts by the flows that it stands for. In m3 every path counts alike in a
   class, however many flows of it there are. Of ``n`` draws a path with the share ``p``
   of all flows is among the sampled ones with probability ``1 - (1 - p) ** n``; each of
   its flows stands for one over that (D. G. Horvitz and D. J. Thompson, "A
   Generalization of Sampling Without Replacement from a Finite Universe", JASA 47,
   1952), itself and, by what is above one, others that were not sampled.
3. Donors are drawn systematically, evenly over the ordered pool, so that drawing adds
   nearly no noise of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.slowdown import SIZE_CLASSES, size_class

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

N_PATHS = 500
"""Paths that are drawn, as many as in m3."""


def stands_for(
    n_on_path: Int64[np.ndarray, " k"], n_flows: int, n_drawn: int
) -> Float64[np.ndarray, " k"]:
    """``(k,)`` flows beside itself that a flow of each sampled path stands for."""
    share = n_on_path / max(n_flows, 1)
    return 1 / -np.expm1(n_drawn * np.log1p(-np.minimum(share, 1 - 1e-12))) - 1


def donors(
    size_bytes: Int64[np.ndarray, " n"],
    slowdown: Float64[np.ndarray, " n"],
    weight: Float64[np.ndarray, " n"],
    gives: Bool[np.ndarray, " n"],
    takes: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " n"]:
    """The flow whose slowdown each flow has: a donor where it takes one, else itself.

    Args:
        size_bytes: of all flows.
        slowdown: of all flows, infinite where one has not ended; only that of those
            that give counts.
        weight: flows beside itself that each stands for.
        gives: whether a flow can be a donor.
        takes: whether a flow needs one.
        rng: draws.

    Returns:
        Indices of flows. A class of size without donors takes those of the nearest one
        that has some; where no flow can give, every flow has itself.
    """
    found = np.arange(len(size_bytes))
    classes = size_class(size_bytes)
    pools = [np.flatnonzero(gives & (classes == c)) for c in range(len(SIZE_CLASSES))]
    known = [c for c, pool in enumerate(pools) if len(pool)]
    for c in range(len(SIZE_CLASSES)):
        mine = np.flatnonzero(takes & (classes == c))
        if not len(mine) or not known:
            continue
        pool = pools[min(known, key=lambda other: (abs(other - c), other))]
        pool = pool[np.argsort(slowdown[pool], kind="stable")]
        reached = np.cumsum(weight[pool])
        if not reached[-1] > 0:
            reached = np.arange(1.0, len(pool) + 1)
        at = (np.arange(len(mine)) + rng.random()) / len(mine) * reached[-1]
        place = np.searchsorted(reached, at, side="right")
        chosen = pool[np.minimum(place, len(pool) - 1)]
        found[mine] = rng.permutation(chosen)
    return found
