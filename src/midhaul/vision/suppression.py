"""Non-maximum suppression: of boxes that overlap and share a label, the best stays."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, Int64

# Boxes compared at once: small enough for the cache, large enough to spare the loop.
_CHUNK = 128


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
    sorted_boxes = _Boxes(boxes[order], labels[order])
    kept = order[:0]
    for begin in range(0, len(order), _CHUNK):
        chunk = np.arange(begin, min(begin + _CHUNK, len(order)))
        if len(kept):
            beaten = sorted_boxes.overlap(chunk, kept, iou).any(axis=1)
            chunk = chunk[~beaten]
        clash = sorted_boxes.overlap(chunk, chunk, iou)
        alive = np.ones(len(chunk), bool)
        for row in np.flatnonzero(np.triu(clash, 1).any(axis=1)):
            if alive[row]:
                alive[row + 1 :] &= ~clash[row, row + 1 :]
        kept = np.concatenate([kept, chunk[alive]])
        if len(kept) >= limit:
            break
    return order[kept[:limit]]


class _Boxes:
    """Boxes as columns, so that comparing many with many runs over flat memory."""

    def __init__(self, boxes: np.ndarray, labels: np.ndarray) -> None:
        self._columns = np.ascontiguousarray(boxes.T)
        self._areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        self._labels = labels

    def overlap(self, a: np.ndarray, b: np.ndarray, iou: float) -> np.ndarray:
        """Whether boxes ``a`` (rows) and ``b`` (columns) share a label and overlap."""
        ax1, ay1, ax2, ay2 = self._columns[:, a, None]
        bx1, by1, bx2, by2 = self._columns[:, b]
        width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1)
        height = np.minimum(ay2, by2) - np.maximum(ay1, by1)
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        union = self._areas[a, None] + self._areas[b] - shared
        return (shared > iou * union) & (self._labels[a, None] == self._labels[b])
