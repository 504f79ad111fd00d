"""Which set of tags is true of an item: chances of whole sets, and the best to give.

A set S of tags has the probability

    P(S) = w(|S|) prod over i in S of o_i / Z

(the n-choose-k model of Swersky, Tarlow, Adams, Zemel and Frey, "Probabilistic
n-choose-k models for classification and ranking", NIPS 2012). With w = 1 tags are
independent with odds o; with any other w one tag makes others likelier or less likely,
as in pictures that mostly show one thing and never nothing. All sums over sets are
elementary symmetric polynomials of the odds, one tag after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

MAX_TAGS = 16
"""Of an item that are given, likeliest first."""


@njit(cache=True)
def set_chances(
    utilities: Float64[np.ndarray, "n c"], log_weights: Float64[np.ndarray, " k"]
) -> tuple[
    Float64[np.ndarray, " n"], Float64[np.ndarray, "n c"], Float64[np.ndarray, "n k"]
]:
    """Log Z of each item, chances of each tag, and chances of each size of the set.

    Args:
        utilities: ``(n, c)`` log odds o of each tag.
        log_weights: ``(k,)`` log w of the sizes 0, 1, ...; larger sets are impossible.

    Returns:
        ``(n,)``, ``(n, c)`` and ``(n, k)``.
    """
    n, c = utilities.shape
    n_sizes = len(log_weights)
    log_z, tags, sizes = np.empty(n), np.empty((n, c)), np.empty((n, n_sizes))
    sums = np.empty((c + 1, n_sizes))
    weights, back, odds = np.empty(n_sizes), np.empty(n_sizes), np.empty(c)
    for i in range(n):
        lift = _scale(utilities[i], log_weights, odds, weights)
        sums[0] = 0.0
        sums[0, 0] = 1.0
        for j in range(c):
            sums[j + 1, 0] = 1.0
            for k in range(1, n_sizes):
                sums[j + 1, k] = sums[j, k] + odds[j] * sums[j, k - 1]
        total = 0.0
        for k in range(n_sizes):
            sizes[i, k] = weights[k] * sums[c, k]
            total += sizes[i, k]
        log_z[i] = np.log(total) + lift
        sizes[i] /= total
        back[:] = weights / total
        for j in range(c - 1, -1, -1):
            found = 0.0
            for k in range(1, n_sizes):
                found += back[k] * sums[j, k - 1]
                back[k - 1] += back[k] * odds[j]
            tags[i, j] = min(1.0, odds[j] * found)
    return log_z, tags, sizes


@njit(cache=True)
def best_sizes(
    falling: Float64[np.ndarray, "n c"], log_weights: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " n"]:
    """How many of an item's likeliest tags have the greatest expected Jaccard index.

    The first m tags have, with E and R the polynomials of these and of the others,

        sum over a, b of w(a + b) E_a R_b a / (m + b)

    and no other set of m tags has more: a likelier tag in place of one that is less
    likely can only add. No tag at all has the chance that none is true.

    Args:
        falling: ``(n, c)`` utilities, falling in each row.
        log_weights: as in :func:`set_chances`.

    Returns:
        ``(n,)`` at most 16.
    """
    n, c = falling.shape
    n_sizes, top = len(log_weights), min(c, MAX_TAGS)
    found = np.zeros(n, np.int64)
    others = np.empty((top + 1, n_sizes))
    weights, first, odds = np.empty(n_sizes), np.empty(n_sizes), np.empty(c)
    for i in range(n):
        _scale(falling[i], log_weights, odds, weights)
        row = np.zeros(n_sizes)
        row[0] = 1.0
        for j in range(c - 1, -1, -1):
            if j < top:
                others[j + 1] = row
            for k in range(n_sizes - 1, 0, -1):
                row[k] += odds[j] * row[k - 1]
        best = weights[0]
        first[:] = 0.0
        first[0] = 1.0
        for m in range(1, top + 1):
            for k in range(n_sizes - 1, 0, -1):
                first[k] += odds[m - 1] * first[k - 1]
            value = 0.0
            for a in range(1, min(m, n_sizes - 1) + 1):
                for b in range(n_sizes - a):
                    value += weights[a + b] * first[a] * others[m, b] * a / (m + b)
            if value > best:
                best, found[i] = value, m
    return found


@njit(cache=True)
def _scale(
    utilities: Float64[np.ndarray, " c"],
    log_weights: Float64[np.ndarray, " k"],
    odds: Float64[np.ndarray, " c"],
    weights: Float64[np.ndarray, " k"],
) -> float:
    """Odds of at most 1 with the weights that go with them; returns what was taken out.

    A set of k tags has k times the greatest utility less, which its weight has more.
    """
    most = utilities.max()
    odds[:] = np.exp(utilities - most)
    weights[:] = log_weights + most * np.arange(len(log_weights))
    lift = weights.max()
    weights[:] = np.exp(weights - lift)
    return lift
