"""Box fusion without learning: NMS, Soft-NMS, weighted box fusion (WBF), NMW, votes.

- ``nms``: of boxes that overlap the best stays (greedy non-maximum suppression).
- ``soft_nms``: the others' scores are lowered instead (Bodla et al. 2017); Gaussian, or
  linear as ``soft_nms_linear``.
- ``wbf``: weighted boxes fusion (Solovyev, Wang and Gabruseva 2021).
- ``nmw``: non-maximum weighted (Zhou et al. 2017).

A vote comes first where a name has one (Casado-García and Heras 2020): boxes of one
label that overlap are one object, and it stays where any provider found it
(``affirmative``), more than half of them (``consensus``), or all (``unanimous``).

1. WBF divides by the number of providers that were asked about the item and answered,
   not by a fixed number of models.
2. Its score cannot exceed 1, whatever rule gives it.
3. Votes are by providers, not boxes: a provider that names one object twice votes once.
4. Boxes without area are nobody's.

Everybody's boxes are gathered item by item, in the order in which they are fused.

The inner loops go over groups of boxes of one item and one label.

Boxes of all items stand in one array, sorted by item, then label, then falling score;
``groups`` holds where each group of one item and label begins, and its end.
``fusion/reference.py`` has the same written simply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numba import njit

from midhaul.errors import ConfigError
from midhaul.federation.matching import overlap
from midhaul.federation.recordings.problem import Answers
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int32, Int64

    from midhaul.federation.recordings.problem import Recording

_RUN = 16
"""Entries sorted by insertion before they are merged."""


@njit(cache=True)
def gather(
    asked: Int64[np.ndarray, " n"],
    is_missing: Bool[np.ndarray, "p n"],
    starts: Int64[np.ndarray, "p n_plus_1"],
    offsets: Int64[np.ndarray, " p"],
    labels: Int32[np.ndarray, " all"],
    scores: Float32[np.ndarray, " all"],
    boxes: Float32[np.ndarray, "all 4"],
) -> tuple[
    Int64[np.ndarray, " m"],
    Int64[np.ndarray, " m"],
    Int64[np.ndarray, " n_plus_1"],
    Int64[np.ndarray, " n"],
]:
    """Which entries are fused, by item, then label, then falling score, then provider.

    ``is_missing`` and ``starts`` are by provider, ``offsets`` is where each provider's
    entries begin among all; boxes without area are left out. Returns entries and
    their providers, where each item begins among them, and how many providers answered
    about it.
    """
    n_providers, n = is_missing.shape
    n_answered = np.zeros(n, np.int64)
    begins = np.zeros(n + 1, np.int64)
    for item in range(n):
        begins[item + 1] = begins[item]
        for p in range(n_providers):
            if (asked[item] >> p) & 1 and not is_missing[p, item]:
                n_answered[item] += 1
                begins[item + 1] += starts[p, item + 1] - starts[p, item]
    entries = np.empty(begins[n], np.int64)
    providers = np.empty(begins[n], np.int64)
    keys = np.empty(begins[n])
    m = 0
    for item in range(n):
        first = m
        for p in range(n_providers):
            if not (asked[item] >> p) & 1 or is_missing[p, item]:
                continue
            for k in range(starts[p, item], starts[p, item + 1]):
                one = offsets[p] + k
                if boxes[one, 2] > boxes[one, 0] and boxes[one, 3] > boxes[one, 1]:
                    entries[m] = one
                    providers[m] = p
                    keys[m] = 4.0 * labels[one] - scores[one]
                    m += 1
        begins[item] = first
        order = rising(keys[first:m])
        entries[first:m] = entries[first:m][order]
        providers[first:m] = providers[first:m][order]
    begins[n] = m
    return entries[:m], providers[:m], begins, n_answered


@njit(cache=True)
def falling(
    starts: Int64[np.ndarray, " n_plus_1"], scores: Float32[np.ndarray, " m"]
) -> Int64[np.ndarray, " m"]:
    """The entries of each item by falling score, the earlier of equals first."""
    order = np.empty(len(scores), np.int64)
    for item in range(len(starts) - 1):
        first, last = starts[item], starts[item + 1]
        order[first:last] = first + rising(-scores[first:last].astype(np.float64))
    return order


@njit(cache=True)
def rising(keys: Float64[np.ndarray, " k"]) -> Int64[np.ndarray, " k"]:
    """A stable order of few numbers: merge sort, by insertion at the bottom."""
    k = len(keys)
    order = np.arange(k)
    for begin in range(0, k, _RUN):
        for right in range(begin + 1, min(begin + _RUN, k)):
            one, place = order[right], right
            while place > begin and keys[order[place - 1]] > keys[one]:
                order[place] = order[place - 1]
                place -= 1
            order[place] = one
    other = np.empty_like(order)
    width = _RUN
    while width < k:
        for begin in range(0, k, 2 * width):
            left, middle = begin, min(begin + width, k)
            right, end = middle, min(begin + 2 * width, k)
            for place in range(begin, end):
                is_left = right >= end or (
                    left < middle and keys[order[left]] <= keys[order[right]]
                )
                if is_left:
                    other[place] = order[left]
                    left += 1
                else:
                    other[place] = order[right]
                    right += 1
        order, other = other, order
        width *= 2
    return order


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

    From an overlap of ``iou`` on, linearly, or by a Gaussian of width ``sigma`` where
    that is not 0.
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

    Scores fall within a group. A cluster that ``moves`` stands where the score-weighted
    mean of its boxes is, else where its first box is. Returns numbers of clusters, by
    first appearance, and how many there are.
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

    ``n_answered`` is of each box's item, ``how`` one of the constants above.
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


Method = Literal["nms", "soft_nms", "soft_nms_linear", "wbf", "nmw"]
Vote = Literal["affirmative", "consensus", "unanimous"]
Scoring = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]

METHODS: tuple[Method, ...] = ("nms", "soft_nms", "soft_nms_linear", "wbf", "nmw")
VOTES: tuple[Vote, ...] = ("affirmative", "consensus", "unanimous")
SCORINGS: tuple[Scoring, ...] = (
    "avg",
    "max",
    "box_and_model_avg",
    "absent_model_aware_avg",
)
_FLOOR = 0.001


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """The boxes of everybody who was asked, sorted by item, label and falling score.

    Attributes:
        n_answered: ``(n,)`` providers that were asked about each item and answered.
        groups: ``(g + 1,)`` where each group of one item and label begins.
    """

    items: Int64[np.ndarray, " m"]
    labels: Int32[np.ndarray, " m"]
    scores: Float32[np.ndarray, " m"]
    boxes: Float32[np.ndarray, "m 4"]
    providers: Int64[np.ndarray, " m"]
    n_answered: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " g_plus_1"]

    def take(self, keep: Bool[np.ndarray, " m"]) -> Pool:
        """The boxes that a mask picks."""
        return Pool(
            items=self.items[keep],
            labels=self.labels[keep],
            scores=self.scores[keep],
            boxes=self.boxes[keep],
            providers=self.providers[keep],
            n_answered=self.n_answered,
            groups=_groups(self.items[keep], self.labels[keep]),
        )


def pool(recording: Recording, asked: Int64[np.ndarray, " n"]) -> Pool:
    """Gather the boxes of the providers that were asked about each item."""
    given = recording.answers
    sizes = np.array([len(answers.labels) for answers in given], np.int64)
    labels = np.concatenate([answers.labels for answers in given])
    scores = np.concatenate([answers.scores for answers in given])
    boxes = np.concatenate([answers.boxes for answers in given])
    entries, providers, starts, n_answered = gather(
        np.asarray(asked, np.int64),
        np.stack([answers.is_missing for answers in given]),
        np.stack([answers.starts for answers in given]),
        np.cumsum(sizes) - sizes,
        labels,
        scores,
        boxes,
    )
    items = np.repeat(np.arange(len(recording)), np.diff(starts))
    labels = labels[entries]
    return Pool(
        items=items,
        labels=labels,
        scores=scores[entries],
        boxes=boxes[entries],
        providers=providers,
        n_answered=n_answered,
        groups=_groups(items, labels),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFuser(SavedFields):
    """One way to fuse boxes.

    Attributes:
        method: what becomes of boxes that overlap.
        vote: which objects stay.
        iou: overlap of boxes that mean the same object.
        scoring: the score of a mean box (wbf), in the words of ensemble-boxes.
        sigma: width of the Gaussian (soft_nms).
    """

    method: Method = "wbf"
    vote: Vote = "affirmative"
    iou: float = 0.55
    scoring: Scoring = "avg"
    sigma: float = 0.5

    tag: ClassVar[str] = "fuser"
    kind: ClassVar[str] = "boxes"

    def __post_init__(self) -> None:
        """Check the names."""
        for found, known in (
            (self.method, METHODS),
            (self.vote, VOTES),
            (self.scoring, SCORINGS),
        ):
            if found not in known:
                message = f"there is no fusion {found!r}, only {', '.join(known)}"
                raise ConfigError(message)

    @property
    def name(self) -> str:
        """Method, and the vote where it is not affirmative."""
        return self.method if self.vote == "affirmative" else self._long

    @property
    def _long(self) -> str:
        return f"{self.method}/{self.vote}"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the boxes of the providers that were asked."""
        found = pool(recording, asked)
        if self.vote != "affirmative" and len(found.items):
            found = found.take(self._elected(found))
        groups, scores, boxes = found.groups, found.scores, found.boxes
        if self.method in ("nms", "soft_nms", "soft_nms_linear"):
            if self.method == "nms":
                keep = suppress(groups, boxes, self.iou)
            else:
                sigma = self.sigma if self.method == "soft_nms" else 0.0
                lowered = soften(groups, scores, boxes, self.iou, sigma)
                keep, scores = lowered > _FLOOR, lowered.astype(np.float32)
            return _answers(
                found, found.items[keep], found.labels[keep], scores[keep], boxes[keep]
            )
        moves = self.method == "wbf"
        of, n = cluster(groups, scores, boxes, self.iou, moves)
        first = np.unique(of, return_index=True)[1]
        if moves:
            fused = fuse_weighted(
                of,
                n,
                scores,
                boxes,
                found.providers,
                found.n_answered[found.items],
                SCORINGS.index(self.scoring),
            )
        else:
            fused = fuse_maximal(of, n, scores, boxes)
        return _answers(found, found.items[first], found.labels[first], *fused)

    def _elected(self, found: Pool) -> Bool[np.ndarray, " m"]:
        """The boxes of objects that enough providers found."""
        of, n = cluster(found.groups, found.scores, found.boxes, self.iou, moves=False)
        voters = np.zeros(n, np.int64)
        np.bitwise_or.at(voters, of, np.int64(1) << found.providers)
        n_voters = np.bitwise_count(voters)[of]
        n_answered = found.n_answered[found.items]
        if self.vote == "unanimous":
            return n_voters >= n_answered
        return 2 * n_voters > n_answered


def _groups(
    items: Int64[np.ndarray, " m"], labels: Int32[np.ndarray, " m"]
) -> Int64[np.ndarray, " g_plus_1"]:
    if not len(items):
        return np.zeros(1, np.int64)
    is_new = (np.diff(items) != 0) | (np.diff(labels) != 0)
    return np.concatenate([[0], np.flatnonzero(is_new) + 1, [len(items)]])


def _answers(
    found: Pool,
    items: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray,
) -> Answers:
    """Fused boxes as answers, those of an item by falling score; items must rise."""
    scores = np.clip(scores, 0, 1).astype(np.float32)
    n = len(found.n_answered)
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(items, minlength=n), out=starts[1:])
    order = falling(starts, scores)
    return Answers(
        starts=starts,
        labels=labels[order],
        scores=scores[order],
        boxes=boxes[order].astype(np.float32),
        is_missing=found.n_answered == 0,
        is_ignored=np.zeros(len(order), bool),
    )
