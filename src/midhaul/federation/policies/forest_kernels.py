"""The inner loops of forests: flat trees, evaluated and filled.

Nodes of all trees stand in the same arrays: a node's split feature and threshold, its
two children, and its leaf, which is -1 where it is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float32


@njit(cache=True)
def leaf_of(
    row: Float32[np.ndarray, " d"],
    root: int,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    leaves: np.ndarray,
) -> int:
    """The leaf that a row falls into."""
    node = root
    while leaves[node] < 0:
        is_left = row[features[node]] <= thresholds[node]
        node = lefts[node] if is_left else rights[node]
    return leaves[node]


@njit(cache=True)
def leaves_of(
    rows: Float32[np.ndarray, "n d"],
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:
    """``(n, t)`` leaf of each row in each tree."""
    found = np.empty((len(rows), len(roots)), np.int32)
    for i in range(len(rows)):
        for t in range(len(roots)):
            found[i, t] = leaf_of(
                rows[i], roots[t], features, thresholds, lefts, rights, leaves
            )
    return found


@njit(cache=True)
def means_of(
    rows: Float32[np.ndarray, "n d"],
    values: np.ndarray,
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:
    """``(n, k)`` mean over trees of what the leaves of each row say."""
    total = np.zeros((len(rows), values.shape[1]))
    for i in range(len(rows)):
        for t in range(len(roots)):
            leaf = leaf_of(
                rows[i], roots[t], features, thresholds, lefts, rights, leaves
            )
            for k in range(values.shape[1]):
                total[i, k] += values[leaf, k]
    return total / len(roots)


@njit(cache=True)
def fill(
    targets: np.ndarray, members: np.ndarray, is_seen: np.ndarray, n_leaves: int
) -> np.ndarray:
    """``(l, k)`` mean of the targets of the items that each leaf was grown with."""
    n_targets = targets.shape[1]
    total = np.zeros((n_leaves, n_targets))
    counts = np.zeros(n_leaves)
    for i in range(members.shape[0]):
        for t in range(members.shape[1]):
            if is_seen[i, t]:
                leaf = members[i, t]
                counts[leaf] += 1
                for k in range(n_targets):
                    total[leaf, k] += targets[i, k]
    means = np.zeros((n_leaves, n_targets), np.float32)
    for leaf in range(n_leaves):
        for k in range(n_targets):
            means[leaf, k] = total[leaf, k] / max(counts[leaf], 1.0)
    return means


@njit(cache=True)
def unseen_means(
    values: np.ndarray, members: np.ndarray, is_seen: np.ndarray
) -> np.ndarray:
    """``(n, k)`` what trees say of items that they were not grown with.

    Where an item was seen by every tree, it is what all of them say.
    """
    n, n_trees = members.shape
    n_targets = values.shape[1]
    found = np.zeros((n, n_targets))
    for i in range(n):
        n_unseen = 0
        for t in range(n_trees):
            n_unseen += not is_seen[i, t]
        for t in range(n_trees):
            if n_unseen == 0 or not is_seen[i, t]:
                for k in range(n_targets):
                    found[i, k] += values[members[i, t], k]
        for k in range(n_targets):
            found[i, k] /= n_unseen or n_trees
    return found
