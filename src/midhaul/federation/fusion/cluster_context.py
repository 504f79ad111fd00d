"""What stands around each cluster of boxes on its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

CONTEXT = ("rival", "double", "covered", "log_better", "log_alike")
"""What :func:`context_of` tells of a cluster."""


@njit(cache=True)
def context_of(
    starts: Int64[np.ndarray, " n_plus_1"],
    labels: Int64[np.ndarray, " k"],
    boxes: Float32[np.ndarray, "k 4"],
    strengths: Float64[np.ndarray, " k"],
) -> Float64[np.ndarray, "k 5"]:
    """What the other clusters of its item say about each.

    Of equal strength the earlier cluster is the stronger.

    Returns:
        ``rival``: the highest product of strength and IoU among other labels;
        ``double``: the highest IoU with a stronger cluster of the label; ``covered``:
        the highest share of its area that such a one covers; ``log_better`` and
        ``log_alike``: log1p of the number of stronger and of all others of the label.
    """
    found = np.zeros((len(labels), 5))
    for n in range(len(starts) - 1):
        for a in range(starts[n], starts[n + 1]):
            left, top, right, bottom = boxes[a]
            area = (right - left) * (bottom - top)
            for b in range(starts[n], starts[n + 1]):
                is_same = labels[a] == labels[b]
                if is_same:
                    if a == b:
                        continue
                    found[a, 4] += 1
                    if strengths[b] < strengths[a] or (
                        strengths[b] == strengths[a] and b > a
                    ):
                        continue
                    found[a, 3] += 1
                width = min(right, boxes[b, 2]) - max(left, boxes[b, 0])
                height = min(bottom, boxes[b, 3]) - max(top, boxes[b, 1])
                if width <= 0 or height <= 0:
                    continue
                shared = width * height
                other = (boxes[b, 2] - boxes[b, 0]) * (boxes[b, 3] - boxes[b, 1])
                iou = shared / (area + other - shared)
                if is_same:
                    found[a, 1] = max(found[a, 1], iou)
                    found[a, 2] = max(found[a, 2], shared / area)
                else:
                    found[a, 0] = max(found[a, 0], iou * strengths[b])
    found[:, 3:] = np.log1p(found[:, 3:])
    return found
