"""The set of tags with the greatest expected Jaccard index, given their chances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

MAX_TAGS = 16
"""Of an item that are given, likeliest first."""
_N_NODES = 8


def best_prefixes(chances: Float64[np.ndarray, "n c"]) -> Int64[np.ndarray, " n"]:
    """How many of an item's likeliest tags to give.

    With independent tags of falling chances p, the first k have the expected index

        sum over i <= k of p_i  times  E 1 / (k + N),  N true tags among the others,
        E 1 / (k + N) = integral over x from 0 to 1 of
                        x^(k - 1) prod over j > k of (1 - p_j + p_j x)

    which Gauss and Legendre's rule gives exactly up to 16 tags. No tag at all has the
    chance that none is true. The best set of a size is the likeliest tags of it.

    Args:
        chances: ``(n, c)``, falling in each row.
    """
    n, c = chances.shape
    top = min(c, MAX_TAGS)
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    nodes, weights = (nodes + 1) / 2, weights / 2
    rest = np.ones((n, _N_NODES))
    for k in range(c, top, -1):
        rest *= 1 - chances[:, k - 1, None] * (1 - nodes)
    best, found = np.full(n, -1.0), np.zeros(n, np.int64)
    inside = np.cumsum(chances[:, :top], axis=1)
    for k in range(top, 0, -1):
        value = inside[:, k - 1] * (rest * (weights * nodes ** (k - 1))).sum(axis=1)
        better = value >= best
        best[better], found[better] = value[better], k
        rest *= 1 - chances[:, k - 1, None] * (1 - nodes)
    none = np.multiply.reduce(1 - chances, axis=1)
    found[none > best] = 0
    return found
