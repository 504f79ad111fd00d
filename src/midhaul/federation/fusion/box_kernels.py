"""The inner loops of box fusion, over groups of boxes of one item and one label.

Boxes of all items stand in one array, sorted by item, then label, then falling score;
``groups`` holds where each group of one item and label begins, and its end.
``fusion/reference.py`` has the same written simply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.federation.matching_kernel import overlap

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

AVERAGE, HIGHEST, BOX_AND_MODEL, ABSENT_AWARE = range(4)
"""How a fused box gets its score."""


@njit(cache=True)
def suppress(
    groups: Int64[np.ndarray, " g_plus_1"],
    boxes: Float32[np.ndarray, "m 4"],
    iou: float,
) -> Bool[np.ndarray, " m"]:
    """Which boxes are left when the best of those that overlap stays."""
    keep = np.ones(len(boxes), np.bool_)
    # Columns of their own and no branch, so that the inner loop runs on vectors.
    most = np.diff(groups).max() if len(groups) > 1 else 0
    columns = np.empty((5, most))
    x1, y1, x2, y2, areas = columns
    for g in range(len(groups) - 1):
        first, n = groups[g], groups[g + 1] - groups[g]
        for k in range(n):
            for c in range(4):
                columns[c, k] = boxes[first + k, c]
            areas[k] = (x2[k] - x1[k]) * (y2[k] - y1[k])
        for one in range(n):
            if not keep[first + one]:
                continue
            for other in range(one + 1, n):
                width = max(min(x2[one], x2[other]) - max(x1[one], x1[other]), 0.0)
                height = max(min(y2[one], y2[other]) - max(y1[one], y1[other]), 0.0)
                shared = width * height
                union = areas[one] + areas[other] - shared
                keep[first + other] &= shared <= iou * union
    return keep


@njit(cache=True)
def soften(
    groups: Int64[np.ndarray, " g_plus_1"],
    scores: Float32[np.ndarray, " m"],
    boxes: Float32[np.ndarray, "m 4"],
    iou: float,
    sigma: float,
) -> Float64[np.ndarray, " m"]:
    """Scores that are lowered by the better boxes they overlap with.

    Args:
        groups: where each begins.
        scores: ``(m,)``.
        boxes: ``(m, 4)``.
        iou: overlap from which scores are lowered (linear).
        sigma: width of the Gaussian; 0 for the linear rule.
    """
    lowered = scores.astype(np.float64)
    for g in range(len(groups) - 1):
        first, last = groups[g], groups[g + 1]
        is_done = np.zeros(last - first, np.bool_)
        for _ in range(last - first):
            best = -1
            for k in range(last - first):
                is_better = best < 0 or lowered[first + k] > lowered[first + best]
                if not is_done[k] and is_better:
                    best = k
            is_done[best] = True
            for k in range(last - first):
                if is_done[k]:
                    continue
                shared = overlap(boxes[first + best], boxes[first + k])
                if sigma > 0:
                    lowered[first + k] *= np.exp(-shared * shared / sigma)
                elif shared > iou:
                    lowered[first + k] *= 1 - shared
    return lowered


@njit(cache=True)
def cluster(
    groups: Int64[np.ndarray, " g_plus_1"],
    scores: Float32[np.ndarray, " m"],
    boxes: Float32[np.ndarray, "m 4"],
    iou: float,
    moves: bool,  # noqa: FBT001
) -> tuple[Int64[np.ndarray, " m"], int]:
    """The cluster of each box: the nearest one that it overlaps with, or a new one.

    Args:
        groups: where each begins.
        scores: ``(m,)``, falling within a group.
        boxes: ``(m, 4)``.
        iou: overlap above which a box belongs to a cluster.
        moves: whether a cluster stands where the score-weighted mean of its boxes is,
            or where its first box is.

    Returns:
        ``(m,)`` numbers of clusters, by first appearance, and how many there are.
    """
    of = np.zeros(len(boxes), np.int64)
    n_clusters = 0
    for g in range(len(groups) - 1):
        first, last = groups[g], groups[g + 1]
        centres = np.zeros((last - first, 4))
        sums = np.zeros((last - first, 4))
        weights = np.zeros(last - first)
        n_here = 0
        for one in range(first, last):
            best, most = -1, iou
            for k in range(n_here):
                shared = overlap(centres[k], boxes[one])
                if shared > most:
                    best, most = k, shared
            if best < 0:
                best = n_here
                n_here += 1
                centres[best] = boxes[one]
            weights[best] += scores[one]
            for c in range(4):
                sums[best, c] += np.float64(scores[one]) * boxes[one, c]
            if moves and weights[best] > 0:
                centres[best] = sums[best] / weights[best]
            of[one] = n_clusters + best
        n_clusters += n_here
    return of, n_clusters


@njit(cache=True)
def fuse_weighted(
    of: Int64[np.ndarray, " m"],
    n_clusters: int,
    scores: Float32[np.ndarray, " m"],
    boxes: Float32[np.ndarray, "m 4"],
    providers: Int64[np.ndarray, " m"],
    n_answered: Int64[np.ndarray, " m"],
    how: int,
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, "k 4"]]:
    """Weighted boxes fusion: the mean box of each cluster, and its score.

    Args:
        of: ``(m,)`` cluster of each box.
        n_clusters: how many.
        scores: ``(m,)``.
        boxes: ``(m, 4)``.
        providers: ``(m,)`` number of each box's provider.
        n_answered: ``(m,)`` providers that answered about the box's item.
        how: one of the constants above.
    """
    sums = np.zeros((n_clusters, 4))
    total = np.zeros(n_clusters)
    highest = np.zeros(n_clusters)
    counts = np.zeros(n_clusters, np.int64)
    voters = np.zeros(n_clusters, np.int64)
    models = np.zeros(n_clusters, np.int64)
    for i in range(len(of)):
        k = of[i]
        score = np.float64(scores[i])
        weight = max(score, 1e-9)
        for c in range(4):
            sums[k, c] += weight * boxes[i, c]
        total[k] += weight
        highest[k] = max(highest[k], score)
        counts[k] += 1
        voters[k] |= np.int64(1) << providers[i]
        models[k] = n_answered[i]
    fused = np.zeros(n_clusters)
    for k in range(n_clusters):
        sums[k] /= total[k]
        n_voters, left = 0, voters[k]
        while left:
            n_voters += left & 1
            left >>= 1
        mean = total[k] / counts[k]
        if how == HIGHEST:
            fused[k] = highest[k]
        elif how == BOX_AND_MODEL:
            fused[k] = mean * n_voters / models[k]
        elif how == ABSENT_AWARE:
            fused[k] = total[k] / (counts[k] + models[k] - n_voters)
        else:
            fused[k] = mean * min(models[k], counts[k]) / models[k]
    return fused, sums


@njit(cache=True)
def fuse_maximal(
    of: Int64[np.ndarray, " m"],
    n_clusters: int,
    scores: Float32[np.ndarray, " m"],
    boxes: Float32[np.ndarray, "m 4"],
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, "k 4"]]:
    """Non-maximum weighted: boxes weigh by score and overlap with the best one."""
    sums = np.zeros((n_clusters, 4))
    total = np.zeros(n_clusters)
    best = np.full(n_clusters, -1)
    fused = np.zeros(n_clusters)
    for i in range(len(of)):
        k = of[i]
        if best[k] < 0:
            best[k] = i
            fused[k] = scores[i]
        shared = overlap(boxes[i], boxes[best[k]])
        weight = max(np.float64(scores[i]), 1e-9) * shared
        for c in range(4):
            sums[k, c] += weight * boxes[i, c]
        total[k] += weight
    for k in range(n_clusters):
        sums[k] /= total[k]
    return fused, sums
