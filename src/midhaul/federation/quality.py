"""How good fused answers are: of each item alone, and of a whole set.

``labels`` are right or wrong; ``tags`` have the Jaccard index of the two sets of
labels; ``boxes`` have average precision at IoU 0.5. An item's own AP50 is that of Armol
(all points, the mean over the labels that are true of the item); that of a set is
pooled, COCO's 101 points, the mean over labels, and is no mean of items.

1. Armol gives an empty answer -1; here it has 0, and that reward is in ``rewards``.
2. Armol counts a pixel more on each side of a box; corners are exclusive here.
3. Ignored true boxes (difficult, crowds) match by IoU as in VOC; COCO matches crowds by
   the share of the detection that they cover, and at most 100 detections of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.stats import mean_statistic
from midhaul.vision.judge.average_precision import (
    average_precision,
    class_average_precision,
)
from midhaul.vision.judge.matching import IOU_THRESHOLDS, Matches

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.model.estimate import Statistic

_HALF = np.array([0.5])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QualityOfSet:
    """The quality of many answers, as a function of how often each item counts.

    Attributes:
        value: the headline quality with every item once: accuracy, mean Jaccard index
            or pooled AP50.
        statistic: the same for ``(b, n)`` weights of the items.
        ap50: pooled AP50, for boxes.
        ap: the mean over IoU thresholds 0.50 to 0.95, for boxes.
        ap75: at 0.75, for boxes.
    """

    value: float
    statistic: Statistic
    ap50: Statistic | None = None
    ap: Statistic | None = None
    ap75: Statistic | None = None


def item_quality(recording: Recording, fused: Answers) -> Float64[np.ndarray, " n"]:
    """The quality of the answer to each item alone.

    Args:
        recording: with a truth.
        fused: an answer to each of its items.

    Returns:
        ``(n,)`` in [0, 1].

    Raises:
        DataError: there is no truth, or the items are others.
    """
    truth = _truth(recording, fused)
    if recording.task == "labels":
        return _is_right(truth, fused).astype(np.float64)
    if recording.task == "tags":
        return _jaccard(truth, fused, len(recording.names))
    from midhaul.federation import matching  # noqa: PLC0415  numba

    is_true, is_ignored = _match(truth, fused, _HALF)
    return matching.item_precisions(
        fused.starts,
        fused.labels,
        fused.scores,
        is_true[0],
        is_ignored[0],
        truth.starts,
        truth.labels,
        truth.is_ignored,
    )


def set_quality(recording: Recording, fused: Answers) -> QualityOfSet:
    """The quality of all answers together.

    Args:
        recording: with a truth.
        fused: an answer to each of its items.

    Raises:
        DataError: there is no truth, or the items are others.
    """
    ones = np.ones((1, len(recording)))
    if recording.task != "boxes":
        mean = mean_statistic(item_quality(recording, fused))
        value = float(mean(ones)[0]) if len(recording) else float("nan")
        return QualityOfSet(value=value, statistic=mean)
    matches = matches_of(recording, fused)
    ap50 = average_precision(matches, [0])
    return QualityOfSet(
        value=float(ap50(ones)[0]) if len(recording) else float("nan"),
        statistic=ap50,
        ap50=ap50,
        ap=average_precision(matches),
        ap75=average_precision(matches, [5]),
    )


def subset_qualities(
    recording: Recording, fuser: Fuser, masks: Int64[np.ndarray, " s"]
) -> Float64[np.ndarray, "n s"]:
    """The quality of every subset's fused answer to every item.

    Args:
        recording: with a truth and all answers.
        fuser: what fuses them.
        masks: ``(s,)`` the subsets.
    """
    found = np.zeros((len(recording), len(masks)))
    for k, mask in enumerate(masks.tolist()):
        asked = np.full(len(recording), mask, np.int64)
        found[:, k] = item_quality(recording, fuser.fuse(recording, asked))
    return found


def class_qualities(
    recording: Recording, fused: Answers
) -> tuple[Float64[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
    """Quality by label: AP50 of boxes, F1 of tags, recall of single labels.

    Returns qualities, NaN where a label is never true, and how often it is.
    """
    truth = _truth(recording, fused)
    n = len(recording.names)
    counted = truth.labels[~truth.is_ignored]
    support = np.bincount(counted, minlength=n).astype(np.int64)
    if recording.task == "boxes":
        ones = np.ones((1, len(recording)))
        values = class_average_precision(matches_of(recording, fused), ones, [0])
        return values[0], support
    own, answered = _pairs(truth, fused, n)
    hits = np.bincount(own[np.isin(own, answered)] % n, minlength=n)
    if recording.task == "tags":
        said = np.bincount(answered % n, minlength=n)
        hits, below = 2 * hits, support + said
    else:
        below = support
    values = np.divide(hits, below, out=np.full(n, np.nan), where=below > 0)
    values[support == 0] = np.nan
    return values, support


def matches_of(recording: Recording, fused: Answers) -> Matches:
    """What became of every box, for :mod:`midhaul.vision.judge.average_precision`."""
    truth = _truth(recording, fused)
    is_true, is_ignored = _match(truth, fused, IOU_THRESHOLDS)
    support = np.zeros((len(recording), len(recording.names)), np.int32)
    counted = ~truth.is_ignored
    np.add.at(support, (truth.items[counted], truth.labels[counted]), 1)
    items = fused.items
    order = np.lexsort((items, -fused.scores, fused.labels))
    return Matches(
        images=items[order].astype(np.int32),
        labels=fused.labels[order],
        scores=fused.scores[order].astype(np.float64),
        is_true=is_true[:, order],
        is_ignored=is_ignored[:, order],
        support=support,
    )


def _truth(recording: Recording, fused: Answers) -> Answers:
    if recording.truth is None:
        message = "quality needs a truth, and the recording has none"
        raise DataError(message, "name its file in data.truth")
    if len(fused) != len(recording):
        message = f"{len(fused)} answers to {len(recording)} items"
        raise DataError(message)
    return recording.truth


def _match(
    truth: Answers, fused: Answers, thresholds: Float64[np.ndarray, " t"]
) -> tuple[np.ndarray, np.ndarray]:
    from midhaul.federation import matching  # noqa: PLC0415  numba

    return matching.match_items(
        fused.starts,
        fused.labels,
        fused.scores,
        fused.boxes,
        truth.starts,
        truth.labels,
        truth.boxes,
        truth.is_ignored,
        thresholds,
    )


def _pairs(
    truth: Answers, fused: Answers, n_names: int
) -> tuple[Int64[np.ndarray, " g"], Int64[np.ndarray, " m"]]:
    """True and given labels with their items, but for those that are only ignored."""
    every = truth.items * n_names + truth.labels
    own = every[~truth.is_ignored]
    said = fused.items * n_names + fused.labels
    unsure = np.setdiff1d(every[truth.is_ignored], own)
    return own, said[~np.isin(said, unsure)]


def _is_right(truth: Answers, fused: Answers) -> np.ndarray:
    """Whether the only label of each item is the true one."""
    has_both = (fused.counts > 0) & (truth.counts > 0)
    right = np.zeros(len(truth), bool)
    mine = fused.labels[fused.starts[:-1][has_both]]
    right[has_both] = mine == truth.labels[truth.starts[:-1][has_both]]
    return right


def _jaccard(truth: Answers, fused: Answers, n_names: int) -> Float64[np.ndarray, " n"]:
    """Shared labels over all labels; 1 where both sets are empty."""
    n = len(truth)
    own, said = (np.unique(pairs) for pairs in _pairs(truth, fused, n_names))
    both = np.intersect1d(own, said, assume_unique=True)
    shared = np.bincount(both // n_names, minlength=n)
    either = (
        np.bincount(own // n_names, minlength=n)
        + np.bincount(said // n_names, minlength=n)
        - shared
    )
    return np.divide(shared, either, out=np.ones(n), where=either > 0)
