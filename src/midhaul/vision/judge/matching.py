"""COCO's matching: which detections are right, done once for all that is asked later.

Within an image and a class, detections pick boxes of the ground truth in the order of
falling score; each picks the free box of the highest IoU that reaches the threshold.
Only when no such box is left may it fall on a crowd region (IoU there is the share of
the detection that it covers), and then it counts neither way. The rules are those of
Lin et al. 2014 (Microsoft COCO) as pycocotools applies them, in its arithmetic: at most
100 detections per image and class, thresholds 0.50, 0.55, …, 0.95, unless the rules say
otherwise.

A detection's match does not depend on those of lower score, so leaving out what lies
below a score threshold needs no second matching.

*Rules* say what COCO's evaluation leaves open: how many detections count, and from
which IoU.

*Precision*: boxes and scores are compared in that of the file that they came from.

COCO's evaluation reads ``x, y, width, height`` as double precision and compares an IoU
with a threshold that it may equal exactly, so the last digit of a corner can decide
whether a box was found. Two things would lose it:

- a number kept in single precision; it stands for every number that rounds to it, and
  is taken for the shortest decimal among them, which is what a file had written;
- a width that became a second corner; ``(x + width) - x`` differs from ``width``, and
  the width is taken for the shortest decimal that gives the same corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.display import Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Float64, Int, Int32

    from midhaul.model import Detections, GroundTruth

COCO_IOU: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""0.50, 0.55, …, 0.95, as COCO's evaluation writes them."""
COCO_AREAS_PX = (32.0**2, 96.0**2)
_AP50, _AP75 = 0.5, 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRules:
    """How answers are judged; the defaults are COCO's.

    Attributes:
        max_detections: detections per image and class that count, best first.
        iou: thresholds that AP is the mean over.
        match_iou: threshold of precision, recall and F1.
        area_limits_px: areas that part small boxes from medium ones, and these from
            large ones.
    """

    max_detections: int = 100
    iou: tuple[float, ...] = COCO_IOU
    match_iou: float = 0.5
    area_limits_px: tuple[float, float] = COCO_AREAS_PX

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Every IoU threshold that something is asked at, rising."""
        return tuple(sorted({*self.iou, self.match_iou, _AP50, _AP75}))

    def places(self, iou: float | None = None) -> tuple[int, ...]:
        """Where thresholds stand in ``thresholds``: one, or those of AP."""
        wanted = self.iou if iou is None else (iou,)
        return tuple(self.thresholds.index(one) for one in wanted)


_SINGLE_DIGITS = 9
"""Decimal digits that tell any two numbers of single precision apart."""
_SIZE_DECIMALS = 10
"""Decimals of a px that a width is searched in."""


def as_double(values: Float[np.ndarray, ...]) -> Float64[np.ndarray, ...]:
    """Numbers in double precision, of single ones the shortest decimals for them."""
    if values.dtype != np.float32:
        return values.astype(np.float64, copy=False)
    double = values.astype(np.float64)
    flat, single = double.ravel(), values.ravel()
    open_ = np.flatnonzero(np.isfinite(flat) & (flat != 0))
    powers = np.floor(np.log10(np.abs(flat[open_]))).astype(np.int64)
    for digits in range(1, _SINGLE_DIGITS + 1):
        decimals = digits - 1 - powers
        up = 10.0 ** np.maximum(decimals, 0)
        down = 10.0 ** np.maximum(-decimals, 0)
        short = np.rint(flat[open_] / down * up) / up * down
        with np.errstate(over="ignore"):  # the largest ones round beyond the range
            fits = short.astype(np.float32) == single[open_]
        flat[open_[fits]] = short[fits]
        open_, powers = open_[~fits], powers[~fits]
        if not len(open_):
            break
    return flat.reshape(values.shape)


def corner_and_size(boxes: Float[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """x, y, width and height of boxes given by two corners."""
    corners = as_double(boxes)
    begin, end = corners[:, :2], corners[:, 2:]
    size = end - begin
    is_open = np.isfinite(size)
    for decimals in range(_SIZE_DECIMALS + 1):
        if not is_open.any():
            break
        short = np.round(size, decimals)
        fits = is_open & (begin + short == end)
        size = np.where(fits, short, size)
        is_open &= ~fits
    return np.concatenate([begin, size], axis=1)


IOU_THRESHOLDS: Float64[np.ndarray, " 10"] = np.array(COCO_IOU)
_LARGEST_IOU = 1 - 1e-10
"""An IoU of 1 may be a little less by rounding; pycocotools allows for as much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Matches(Shown):
    """Every detection of a data set with what became of it.

    Detections are sorted by class, then by falling score, then by image.

    Attributes:
        images: ``(d,)`` number of the image.
        labels: ``(d,)`` class.
        scores: ``(d,)`` falling within a class.
        is_true: ``(t, d)`` whether it found a box, per IoU threshold.
        is_ignored: ``(t, d)`` whether it fell on a crowd region.
        support: ``(n, c)`` boxes to be found, per image and class.
        main: the threshold of precision, recall and F1, by its place among the ``t``.
    """

    images: Int32[np.ndarray, " d"]
    labels: Int32[np.ndarray, " d"]
    scores: Float64[np.ndarray, " d"]
    is_true: Bool[np.ndarray, "t d"]
    is_ignored: Bool[np.ndarray, "t d"]
    support: Int32[np.ndarray, "n c"]
    main: int = 0

    def of_label(self, label: int) -> slice:
        """Where the detections of a class stand."""
        begin, end = np.searchsorted(self.labels, [label, label + 1])
        return slice(int(begin), int(end))


def match(
    truths: Sequence[GroundTruth],
    answers: Sequence[Detections],
    rules: JudgeRules | None = None,
) -> Matches:
    """Match the answers for images with their ground truth.

    Both are in the order of the images and have one label set; COCO's rules when
    absent.
    """
    rules = rules or JudgeRules()
    n_classes = len(truths[0].names) if truths else 0
    support = np.zeros((len(truths), n_classes), np.int32)
    parts: list[tuple[np.ndarray, ...]] = []
    # At once for all images: most of the time is in finding short decimals.
    found, there = _of_each(answers), _of_each(truths)
    for i, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        counted = truth.labels[~truth.is_crowd]
        support[i] = np.bincount(counted, minlength=n_classes)
        parts.extend(_match_image(i, truth, answer, rules, (found[i], there[i])))
    if not parts:
        parts.append(_part(0, 0, np.zeros(0), len(rules.thresholds)))
    images, labels, scores = (np.concatenate([p[k] for p in parts]) for k in range(3))
    is_true, is_ignored = (np.concatenate([p[k] for p in parts], 1) for k in (3, 4))
    order = np.lexsort((images, -scores, labels))
    return Matches(
        images=images[order],
        labels=labels[order],
        scores=scores[order],
        is_true=is_true[:, order],
        is_ignored=is_ignored[:, order],
        support=support,
        main=rules.places(rules.match_iou)[0],
    )


def _of_each(
    boxes: Sequence[GroundTruth] | Sequence[Detections],
) -> list[Float64[np.ndarray, "n 4"]]:
    """The boxes of each image by corner and size."""
    if not boxes:
        return []
    every = corner_and_size(np.concatenate([one.boxes for one in boxes]))
    ends = np.cumsum([len(one.boxes) for one in boxes])
    return np.split(every, ends[:-1])


def iou(
    boxes: Float[np.ndarray, "n 4"],
    others: Float[np.ndarray, "m 4"],
    is_crowd: Bool[np.ndarray, " m"],
) -> Float64[np.ndarray, "n m"]:
    """Intersection over union; over the box's own area where the other is a crowd.

    Every step is the one that pycocotools takes, so that they agree to the last digit.
    """
    return _overlaps(corner_and_size(boxes), corner_and_size(others), is_crowd)


def _overlaps(
    one: Float64[np.ndarray, "n 4"],
    other: Float64[np.ndarray, "m 4"],
    is_crowd: Bool[np.ndarray, " m"],
) -> Float64[np.ndarray, "n m"]:
    """The same of boxes given by corner and size."""
    ends, other_ends = one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:]
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    opposite = np.minimum(ends[:, None], other_ends[None])
    shared = np.prod(np.maximum(opposite - corner, 0), axis=2)
    areas = (one[:, 2] * one[:, 3])[:, None]
    other_areas = (other[:, 2] * other[:, 3])[None, :]
    union = np.where(is_crowd[None, :], areas, areas + other_areas - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _match_image(
    image: int,
    truth: GroundTruth,
    answer: Detections,
    rules: JudgeRules,
    boxes: tuple[Float64[np.ndarray, "d 4"], Float64[np.ndarray, "g 4"]],
) -> list[tuple[np.ndarray, ...]]:
    """What became of the detections on one image, class by class."""
    # Classes in turn, within each by falling score; the sort is stable.
    scores = as_double(answer.scores)
    order = np.lexsort((-scores, answer.labels))
    labels = answer.labels[order]
    present, counts = np.unique(labels, return_counts=True)
    parts: list[tuple[np.ndarray, ...]] = []
    ends = np.cumsum(counts)
    thresholds = np.minimum(rules.thresholds, _LARGEST_IOU)
    of_answer, of_truth = boxes
    for label, n, end in zip(present, counts, ends, strict=True):
        kept = order[end - n : end][: rules.max_detections]
        part = _part(image, int(label), scores[kept], len(thresholds))
        which = truth.labels == label
        if which.any():
            chosen = _real_first(truth, which)
            is_crowd = truth.is_crowd[chosen]
            overlaps = _overlaps(of_answer[kept], of_truth[chosen], is_crowd)
            _match_class(overlaps, is_crowd, thresholds, part[3], part[4])
        parts.append(part)
    return parts


def _part(
    image: int, label: int, scores: Float64[np.ndarray, " d"], n_thresholds: int
) -> tuple[np.ndarray, ...]:
    n = len(scores)
    return (
        np.full(n, image, np.int32),
        np.full(n, label, np.int32),
        scores,
        np.zeros((n_thresholds, n), np.bool_),
        np.zeros((n_thresholds, n), np.bool_),
    )


def _real_first(
    truth: GroundTruth, which: Bool[np.ndarray, " g"]
) -> Int[np.ndarray, " g"]:
    """The boxes of one class, those to be found before crowds."""
    chosen = np.flatnonzero(which)
    return chosen[np.argsort(truth.is_crowd[chosen], kind="stable")]


def _match_class(
    overlaps: Float64[np.ndarray, "d g"],
    is_crowd: Bool[np.ndarray, " g"],
    thresholds: Float64[np.ndarray, " t"],
    is_true: Bool[np.ndarray, "t d"],
    is_ignored: Bool[np.ndarray, "t d"],
) -> None:
    """Fill in what became of the detections of one class, best first."""
    # Boxes to be found come first; of equal IoU the later one is picked.
    n_real = int(np.count_nonzero(~is_crowd))
    is_free = np.ones((len(thresholds), n_real), np.bool_)
    reachable = np.flatnonzero(overlaps.max(axis=1) >= thresholds[0])
    for d in reachable:
        row = overlaps[d]
        found, pick = _pick(row[:n_real], is_free, thresholds)
        is_true[:, d] = found
        is_free[np.flatnonzero(found), pick[found]] = False
        if n_real < len(row):
            is_ignored[:, d] = ~found & (row[n_real:].max() >= thresholds)


def _pick(
    row: Float64[np.ndarray, " g"],
    is_free: Bool[np.ndarray, "t g"],
    thresholds: Float64[np.ndarray, " t"],
) -> tuple[Bool[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    """Per threshold, whether a free box is reached, and the best one."""
    if not len(row):
        n_thresholds = len(is_free)
        return np.zeros(n_thresholds, np.bool_), np.zeros(n_thresholds, np.int64)
    candidates = np.where(is_free, row, -1.0)[:, ::-1]
    pick = len(row) - 1 - np.argmax(candidates, axis=1)
    best = np.take_along_axis(candidates, (len(row) - 1 - pick)[:, None], axis=1)[:, 0]
    return best >= thresholds, pick
