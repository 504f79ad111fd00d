"""Non-maximum suppression: of boxes that overlap and share a label, the best stays."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, Int64

# Boxes compared at once: small enough for the cache, large enough to spare the loop.
_CHUNK = 256


def suppress(
    boxes: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, " n"],
    labels: Int32[np.ndarray, " n"],
    *,
    iou: float,
    limit: int,
) -> Int64[np.ndarray, " m"]:
    """Greedy suppression within each label.

    Boxes are visited from the best score down (the first of equals first); one that
    overlaps a kept box of its label by more than ``iou`` goes. Chunks of sorted boxes
    are compared as a matrix, and the visit ends as soon as ``limit`` boxes are kept, so
    the time grows with what is kept, not with the square of what is given.

    Args:
        boxes: corners x1, y1, x2, y2.
        scores: any finite numbers.
        labels: boxes with different labels never suppress each other.
        iou: the overlap allowed, intersection over union; 1 keeps all.
        limit: the number of boxes kept at most.

    Returns:
        Indices of the kept boxes, best score first.
    """
    order = np.argsort(-scores, kind="stable")
    if iou >= 1:
        return order[:limit]
    kept = order[:0]
    for begin in range(0, len(order), _CHUNK):
        chunk = order[begin : begin + _CHUNK]
        if len(kept):
            beaten = _overlap(boxes, labels, chunk, kept, iou).any(axis=1)
            chunk = chunk[~beaten]
        clash = _overlap(boxes, labels, chunk, chunk, iou)
        alive = np.ones(len(chunk), bool)
        for row in np.flatnonzero(np.triu(clash, 1).any(axis=1)):
            if alive[row]:
                alive[row + 1 :] &= ~clash[row, row + 1 :]
        kept = np.concatenate([kept, chunk[alive]])
        if len(kept) >= limit:
            break
    return kept[:limit]


def _overlap(
    boxes: np.ndarray, labels: np.ndarray, a: np.ndarray, b: np.ndarray, iou: float
) -> np.ndarray:
    """Whether boxes ``a`` (rows) and ``b`` (columns) share a label and overlap."""
    one, two = boxes[a][:, None], boxes[b][None]
    low = np.maximum(one[..., :2], two[..., :2])
    high = np.minimum(one[..., 2:], two[..., 2:])
    size = np.maximum(high - low, 0)
    shared = size[..., 0] * size[..., 1]
    union = _area(one) + _area(two) - shared
    return (shared > iou * union) & (labels[a][:, None] == labels[b][None])


def _area(boxes: np.ndarray) -> np.ndarray:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]
