"""Average precision as a function of how often each image counts.

COCO's AP of a class is the mean, over the recalls 0, 0.01, …, 1, of the best precision
at that recall or beyond. Precision peaks at true detections, so only those need be
looked at: with ``w`` the weights of the images that hold the detections,

    recall_k = sum of w over true detections up to k / weighted boxes to be found
    precision_k = the same sum / sum of w over all detections up to k

and every step of recall brings in as many of the 101 points as it passes. Whole
weights give what COCO's evaluation gives for a data set with the images repeated, save
that it ranks equal scores by the place of their image.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float64

    from midhaul.model.estimate import Statistic
    from midhaul.vision.judge.matching import Matches

_RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK = 4_000_000
"""Weights of detections held at once."""

_FEWEST_COMPILED = 200
"""Resamples from which loading the compiled pass is worth its time."""


def average_precision(
    matches: Matches, thresholds: Sequence[int] | None = None
) -> Statistic:
    """AP over classes and IoU thresholds, as a function of the images' weights.

    ``thresholds`` are IoU thresholds of the matches by index, all when absent: of
    COCO's ten, ``[0]`` is AP50 and ``[5]`` AP75. It is the mean over classes that have
    boxes of positive weight; NaN where no class has.
    """
    every = range(len(matches.is_true))
    chosen = tuple(every if thresholds is None else thresholds)

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        per_class = class_average_precision(matches, weights, chosen)
        is_known = ~np.isnan(per_class)
        n_known = is_known.sum(axis=1)
        total = np.where(is_known, per_class, 0.0).sum(axis=1)
        return np.divide(
            total, n_known, out=np.full(len(total), np.nan), where=n_known > 0
        )

    return statistic


def class_average_precision(
    matches: Matches, weights: Float64[np.ndarray, "b n"], thresholds: Sequence[int]
) -> Float64[np.ndarray, "b c"]:
    """AP of every class, the mean over IoU thresholds; NaN without boxes to find."""
    to_find = weights @ matches.support.astype(np.float64)
    result = np.full(to_find.shape, np.nan)
    if len(weights) >= _FEWEST_COMPILED and find_spec("numba") is not None:
        return _compiled(matches, weights, to_find, list(thresholds))
    for label in np.flatnonzero(matches.support.any(axis=0)).tolist():
        where = matches.of_label(label)
        width = where.stop - where.start
        for rows in _chunks(len(weights), width):
            total = _of_class(
                matches, where, weights[rows], to_find[rows, label], thresholds
            )
            result[rows, label] = total / len(thresholds)
    result[to_find == 0] = np.nan
    return result


def _compiled(
    matches: Matches,
    weights: Float64[np.ndarray, "b n"],
    to_find: Float64[np.ndarray, "b c"],
    thresholds: list[int],
) -> Float64[np.ndarray, "b c"]:
    """The same in one compiled pass for each class."""
    from midhaul.vision.judge.precision_kernel import class_areas  # noqa: PLC0415

    weights = np.ascontiguousarray(weights, np.float64)
    result = np.full(to_find.shape, np.nan)
    for label in np.flatnonzero(matches.support.any(axis=0)).tolist():
        where = matches.of_label(label)
        total = class_areas(
            weights,
            np.ascontiguousarray(to_find[:, label]),
            matches.images[where].astype(np.int64),
            matches.is_true[thresholds, where],
            matches.is_ignored[thresholds, where],
            _RECALLS,
        )
        result[:, label] = total / len(thresholds)
    result[to_find == 0] = np.nan
    return result


def _of_class(
    matches: Matches,
    where: slice,
    weights: Float64[np.ndarray, "b n"],
    to_find: Float64[np.ndarray, " b"],
    thresholds: Sequence[int],
) -> Float64[np.ndarray, " b"]:
    """The sum of a class's AP over IoU thresholds."""
    images = matches.images[where]
    seen = np.cumsum(weights[:, images], axis=1)
    total = np.zeros(len(weights))
    for t in thresholds:
        is_true, is_ignored = matches.is_true[t, where], matches.is_ignored[t, where]
        places = np.flatnonzero(is_true)
        if not len(places):
            continue
        found = np.cumsum(weights[:, images[places]], axis=1)
        judged = seen[:, places]
        if is_ignored.any():
            judged = judged - _ignored_before(weights, images, is_ignored, places)
        total += _area(found, judged, to_find)
    return total


def _ignored_before(
    weights: Float64[np.ndarray, "b n"],
    images: np.ndarray,
    is_ignored: Bool[np.ndarray, " d"],
    places: np.ndarray,
) -> Float64[np.ndarray, "b k"]:
    """The weight of ignored detections that come before each of some places."""
    ignored = np.flatnonzero(is_ignored)
    reached = np.cumsum(weights[:, images[ignored]], axis=1)
    reached = np.concatenate([np.zeros((len(weights), 1)), reached], axis=1)
    return reached[:, np.searchsorted(ignored, places)]


def _area(
    found: Float64[np.ndarray, "b k"],
    judged: Float64[np.ndarray, "b k"],
    to_find: Float64[np.ndarray, " b"],
) -> Float64[np.ndarray, " b"]:
    """The mean of the best precision at or beyond each of the 101 recalls."""
    precision = np.divide(found, judged, out=np.zeros_like(found), where=judged > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    below = to_find[:, None]
    recall = np.divide(found, below, out=np.zeros_like(found), where=below > 0)
    passed = np.searchsorted(_RECALLS, recall, side="right")
    steps = np.diff(passed, axis=1, prepend=0)
    return (best * steps).sum(axis=1) / len(_RECALLS)


def _chunks(n_rows: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(1, width))
    for begin in range(0, n_rows, step):
        yield slice(begin, begin + step)
