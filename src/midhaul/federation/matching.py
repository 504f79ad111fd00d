"""Which boxes of many items are right: the inner loops of quality.

Detections of an item and label pick true boxes in the order of falling score; each
picks the free box of the highest IoU that reaches the threshold, the last of equals
(COCO's rule, Lin et al. 2014). Where none is left, one that reaches the threshold on an
ignored box counts neither way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int32, Int64


@njit(cache=True)
def overlap(a: Float32[np.ndarray, " 4"], b: Float32[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes; 0 where one has no area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = np.float64(width) * np.float64(height)
    first = np.float64(a[2] - a[0]) * np.float64(a[3] - a[1])
    second = np.float64(b[2] - b[0]) * np.float64(b[3] - b[1])
    return shared / (first + second - shared)


@njit(cache=True)
def match_items(  # noqa: C901, PLR0913, PLR0917 - a kernel takes flat arrays
    starts: Int64[np.ndarray, " n_plus_1"],
    labels: Int32[np.ndarray, " m"],
    scores: Float32[np.ndarray, " m"],
    boxes: Float32[np.ndarray, "m 4"],
    true_starts: Int64[np.ndarray, " n_plus_1"],
    true_labels: Int32[np.ndarray, " g"],
    true_boxes: Float32[np.ndarray, "g 4"],
    true_ignored: Bool[np.ndarray, " g"],
    thresholds: Float64[np.ndarray, " t"],
) -> tuple[Bool[np.ndarray, "t m"], Bool[np.ndarray, "t m"]]:
    """Whether each box found a true one at each threshold, or counts neither way."""
    n_thresholds, m = len(thresholds), len(labels)
    is_true = np.zeros((n_thresholds, m), np.bool_)
    is_ignored = np.zeros((n_thresholds, m), np.bool_)
    for item in range(len(starts) - 1):
        first, last = starts[item], starts[item + 1]
        begin, end = true_starts[item], true_starts[item + 1]
        taken = np.zeros((n_thresholds, end - begin), np.bool_)
        order = np.argsort(-scores[first:last], kind="mergesort")
        shared = np.zeros(end - begin)
        for rank in order:
            one = first + rank
            for g in range(end - begin):
                shared[g] = 0.0
                if true_labels[begin + g] == labels[one]:
                    shared[g] = overlap(boxes[one], true_boxes[begin + g])
            for t in range(n_thresholds):
                best, most = -1, thresholds[t]
                falls = False
                for g in range(end - begin):
                    if shared[g] < thresholds[t]:
                        continue
                    if true_ignored[begin + g]:
                        falls = True
                    elif not taken[t, g] and shared[g] >= most:
                        best, most = g, shared[g]
                if best >= 0:
                    taken[t, best] = True
                    is_true[t, one] = True
                elif falls:
                    is_ignored[t, one] = True
    return is_true, is_ignored


@njit(cache=True)
def item_precisions(
    starts: Int64[np.ndarray, " n_plus_1"],
    labels: Int32[np.ndarray, " m"],
    scores: Float32[np.ndarray, " m"],
    is_true: Bool[np.ndarray, " m"],
    is_ignored: Bool[np.ndarray, " m"],
    true_starts: Int64[np.ndarray, " n_plus_1"],
    true_labels: Int32[np.ndarray, " g"],
    true_ignored: Bool[np.ndarray, " g"],
) -> Float64[np.ndarray, " n"]:
    """Average precision of each item alone, all points, the mean over its true labels.

    An item without true boxes has 1 less the highest score among its boxes that do not
    fall on an ignored one.
    """
    n = len(starts) - 1
    quality = np.zeros(n)
    for item in range(n):
        first, last = starts[item], starts[item + 1]
        begin, end = true_starts[item], true_starts[item + 1]
        order = np.argsort(-scores[first:last], kind="mergesort")
        total, n_labels = 0.0, 0
        for g in range(begin, end):
            label, is_new, support = true_labels[g], not true_ignored[g], 0
            for other in range(begin, end):
                if true_labels[other] == label and not true_ignored[other]:
                    support += 1
                    is_new = is_new and other >= g
            if not is_new:
                continue
            total += _precision(
                first, order, labels, is_true, is_ignored, label, support
            )
            n_labels += 1
        if n_labels:
            quality[item] = total / n_labels
        else:
            highest = 0.0
            for one in range(first, last):
                if not is_ignored[one]:
                    highest = max(highest, np.float64(scores[one]))
            quality[item] = 1.0 - highest
    return quality


@njit(cache=True)
def _precision(
    first: int,
    order: Int64[np.ndarray, " k"],
    labels: Int32[np.ndarray, " m"],
    is_true: Bool[np.ndarray, " m"],
    is_ignored: Bool[np.ndarray, " m"],
    label: int,
    support: int,
) -> float:
    """Average precision of one label in one item."""
    n_seen, n_found = 0, 0
    precisions = np.zeros(support)
    for rank in order:
        one = first + rank
        if labels[one] != label or is_ignored[one]:
            continue
        n_seen += 1
        if is_true[one]:
            precisions[n_found] = (n_found + 1) / n_seen
            n_found += 1
    best, total = 0.0, 0.0
    for k in range(n_found - 1, -1, -1):
        best = max(best, precisions[k])
        total += best
    return total / support
