"""Average precision of many resamples, compiled: one class at all its thresholds.

The same as :mod:`midhaul.vision.judge.average_precision` does with arrays, in one pass
for each resample. Recall only rises along the detections, so which of the 101 points
it has passed is a pointer that moves on, and no search.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def class_areas(
    weights: np.ndarray,
    to_find: np.ndarray,
    images: np.ndarray,
    is_true: np.ndarray,
    is_ignored: np.ndarray,
    recalls: np.ndarray,
) -> np.ndarray:
    """The sum of a class's AP over thresholds, for each row of weights.

    ``is_true`` and ``is_ignored`` have a row for each threshold; ``images`` says whose
    weight a detection has. Precision peaks at true detections, so only those are
    visited at each threshold; what was seen before them is summed up once.
    """
    n_rows, n = len(weights), len(images)
    total = np.zeros(n_rows)
    seen = np.empty(n)
    precision, steps = np.empty(n), np.empty(n)
    trues = [np.flatnonzero(one) for one in is_true]
    ignored = [np.flatnonzero(one) for one in is_ignored]
    for row in range(n_rows):
        below = to_find[row]
        if below <= 0:
            continue
        whole = 0.0
        for d in range(n):
            whole += weights[row, images[d]]
            seen[d] = whole
        for t in range(len(trues)):
            found, out, passed, at = 0.0, 0.0, 0, 0
            for k in range(len(trues[t])):
                d = trues[t][k]
                while at < len(ignored[t]) and ignored[t][at] < d:
                    out += weights[row, images[ignored[t][at]]]
                    at += 1
                found += weights[row, images[d]]
                before, recall = passed, found / below
                while passed < len(recalls) and recalls[passed] <= recall:
                    passed += 1
                judged = seen[d] - out
                precision[k] = found / judged if judged > 0 else 0.0
                steps[k] = passed - before
            best = 0.0
            for k in range(len(trues[t]) - 1, -1, -1):
                best = max(best, precision[k])
                total[row] += best * steps[k]
    return total / len(recalls)
