"""Precision, recall and F1 at a score threshold, and choosing that threshold.

A detection counts when its score is at least the threshold and it does not fall on a
crowd region; it is right when it found a box at IoU 0.5, unless the rules name another.
Counts are summed over the
data set before anything is divided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.display import Shown

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32

    from midhaul.model.estimate import Statistic
    from midhaul.vision.judge.matching import Matches

DEFAULT_THRESHOLD = 0.5
"""Used where there is nothing to choose a threshold by."""
THESIS_THRESHOLD = 0.75
"""The one threshold that the predecessor of this program used for every model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ClassScores(Shown):
    """Precision, recall and F1 of every class at one threshold, IoU 0.5.

    Attributes:
        names: the classes.
        threshold: score from which a detection counts.
        support: ``(c,)`` boxes to be found.
        n_true: ``(c,)`` detections that found one.
        n_false: ``(c,)`` detections that did not.
        precision: ``(c,)`` NaN where nothing was detected.
        recall: ``(c,)`` NaN where there was nothing to find.
        f1: ``(c,)`` NaN where there was neither.
    """

    names: tuple[str, ...]
    threshold: float
    support: Int32[np.ndarray, " c"]
    n_true: Int32[np.ndarray, " c"]
    n_false: Int32[np.ndarray, " c"]
    precision: Float64[np.ndarray, " c"]
    recall: Float64[np.ndarray, " c"]
    f1: Float64[np.ndarray, " c"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """Precision, recall and F1 over all classes at one threshold.

    Attributes:
        threshold: score from which a detection counts.
        precision: of all detections together (micro average).
        recall: of all boxes together.
        f1: of both.
        macro_precision: mean over classes with boxes; a class of which nothing was
            detected counts as 0.
        macro_recall: mean over classes with boxes.
        macro_f1: mean over classes with boxes.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Counts(Shown):
    """Right and wrong detections and boxes, ``(n, c)`` per image and class."""

    n_true: Float64[np.ndarray, "n c"]
    n_false: Float64[np.ndarray, "n c"]
    support: Float64[np.ndarray, "n c"]


def count(matches: Matches, threshold: float) -> Counts:
    """Count per image and class what scores at least the threshold."""
    counts = matches.scores >= threshold
    found, ignored = matches.is_true[matches.main], matches.is_ignored[matches.main]
    is_true = found & counts
    is_false = ~found & ~ignored & counts
    return Counts(
        n_true=_per_cell(matches, is_true),
        n_false=_per_cell(matches, is_false),
        support=matches.support.astype(np.float64),
    )


def class_scores(
    matches: Matches, names: tuple[str, ...], threshold: float
) -> ClassScores:
    """Precision, recall and F1 of every class."""
    counts = count(matches, threshold)
    n_true, n_false = counts.n_true.sum(axis=0), counts.n_false.sum(axis=0)
    support = counts.support.sum(axis=0)
    return ClassScores(
        names=names,
        threshold=threshold,
        support=support.astype(np.int32),
        n_true=n_true.astype(np.int32),
        n_false=n_false.astype(np.int32),
        precision=_ratio(n_true, n_true + n_false),
        recall=_ratio(n_true, support),
        f1=_ratio(2 * n_true, n_true + n_false + support),
    )


def averages(matches: Matches, threshold: float) -> Averages:
    """Precision, recall and F1 over all classes, both ways of averaging."""
    counts = count(matches, threshold)
    ones = np.ones((1, len(counts.support)))

    def value(metric: str, *, is_macro: bool) -> float:
        return float(of_weights(counts, metric, is_macro=is_macro)(ones)[0])

    return Averages(
        threshold=threshold,
        precision=value("precision", is_macro=False),
        recall=value("recall", is_macro=False),
        f1=value("f1", is_macro=False),
        macro_precision=value("precision", is_macro=True),
        macro_recall=value("recall", is_macro=True),
        macro_f1=value("f1", is_macro=True),
    )


def of_weights(counts: Counts, metric: str, *, is_macro: bool) -> Statistic:
    """Precision, recall or F1 as a function of how often each image counts.

    The metric is ``precision``, ``recall`` or ``f1``. Macro is the mean over the
    classes that have boxes, instead of one value for all detections; a class of which
    nothing is detected then has precision 0.
    """

    def sums(values: Float64[np.ndarray, "n c"]) -> Float64[np.ndarray, "n k"]:
        return values if is_macro else values.sum(axis=1, keepdims=True)

    n_true, n_false = sums(counts.n_true), sums(counts.n_false)
    support = sums(counts.support)

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        right, wrong, boxes = weights @ n_true, weights @ n_false, weights @ support
        if metric == "precision":
            values = _ratio(right, right + wrong)
        elif metric == "recall":
            values = _ratio(right, boxes)
        else:
            values = _ratio(2 * right, right + wrong + boxes)
        if not is_macro:
            return values[:, 0]
        has_boxes = boxes > 0
        total = np.where(has_boxes, np.nan_to_num(values), 0.0).sum(axis=1)
        return _ratio(total, has_boxes.sum(axis=1).astype(np.float64))

    return statistic


def f1_threshold(matches: Matches) -> float:
    """The score threshold of the highest F1 over all classes.

    It lies midway between the last score that counts and the next lower one; 0.5 where
    no threshold gives an F1 above 0. Of equal ones the highest.
    """
    judged = ~matches.is_ignored[matches.main]
    scores = matches.scores[judged]
    is_true = matches.is_true[matches.main][judged]
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(is_true[order])
    # A threshold cannot part equal scores: look at the last of each.
    ends = np.flatnonzero(np.diff(scores, append=-np.inf))
    f1 = _ratio(2.0 * found[ends], ends + 1.0 + matches.support.sum())
    if not len(f1) or not np.nanmax(f1) > 0:
        return DEFAULT_THRESHOLD
    best = int(np.nanargmax(f1))
    last = float(scores[ends[best]])
    if best + 1 == len(ends):
        return last
    return (last + float(scores[ends[best + 1]])) / 2


def thesis_f1(matches: Matches, threshold: float = THESIS_THRESHOLD) -> float:
    """F1 averaged as the predecessor did: over pairs of an image and a class in it.

    Every pair weighs the same, be it one box or fifty, and detections of classes that
    the image does not show are not held against the detector. Kept to show how far
    this lies from the F1 of the data set; NaN without boxes.
    """
    counts = count(matches, threshold)
    has_boxes = counts.support > 0
    f1 = _ratio(2 * counts.n_true, counts.n_true + counts.n_false + counts.support)
    return float(f1[has_boxes].mean()) if has_boxes.any() else float("nan")


def _per_cell(matches: Matches, which: np.ndarray) -> Float64[np.ndarray, "n c"]:
    n, c = matches.support.shape
    cells = matches.images[which].astype(np.int64) * c + matches.labels[which]
    return np.bincount(cells, minlength=n * c).reshape(n, c).astype(np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
