"""Box fusion written simply, for boxes of one item and label; tests hold kernels to it.

Everything is double precision and plain lists. See ``fusion/boxes.py`` for the papers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.fusion.boxes import Method, Scoring, Vote

Corners = tuple[float, float, float, float]


class Box(NamedTuple):
    """A box of a provider, or a fused one, which has no provider."""

    corners: Corners
    score: float
    provider: int = -1


def fuse_boxes(
    boxes: Sequence[Box],
    n_answered: int,
    *,
    method: Method,
    vote: Vote = "affirmative",
    iou: float = 0.55,
    scoring: Scoring = "avg",
    sigma: float = 0.5,
) -> list[Box]:
    """Fuse what the providers found, by falling score.

    Args:
        boxes: of one item and label, of all providers that answered.
        n_answered: how many providers answered about the item.
        method: of :class:`midhaul.federation.fusion.boxes.BoxFuser`, as all others.
        vote: which objects stay.
        iou: overlap of boxes that mean the same object.
        scoring: the score of a mean box.
        sigma: width of the Gaussian.
    """
    best_first = sorted(boxes, key=lambda box: -box.score)
    found = _elected(best_first, n_answered, vote, iou)
    if method == "nms":
        fused = _suppressed(found, iou)
    elif method == "wbf":
        clusters = _clusters(found, iou, moves=True)
        fused = [_mean(cluster, n_answered, scoring) for cluster in clusters]
    elif method == "nmw":
        fused = [_mean_by_overlap(c) for c in _clusters(found, iou, moves=False)]
    else:
        fused = _softened(found, iou, sigma if method == "soft_nms" else 0.0)
    return sorted(fused, key=lambda box: -box.score)


def overlap(a: Corners, b: Corners) -> float:
    """Intersection over union; 0 where one has no area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def _elected(
    boxes: Sequence[Box], n_answered: int, vote: Vote, iou: float
) -> list[Box]:
    kept: list[Box] = []
    for cluster in _clusters(boxes, iou, moves=False):
        n_voters = len({box.provider for box in cluster})
        needed = {
            "affirmative": 1,
            "consensus": n_answered // 2 + 1,
            "unanimous": n_answered,
        }
        if n_voters >= needed[vote]:
            kept += cluster
    return sorted(kept, key=lambda box: -box.score)


def _suppressed(boxes: Sequence[Box], iou: float) -> list[Box]:
    kept: list[Box] = []
    for box in boxes:
        if all(overlap(box.corners, other.corners) <= iou for other in kept):
            kept.append(box)
    return kept


def _softened(boxes: Sequence[Box], iou: float, sigma: float) -> list[Box]:
    left, kept = list(boxes), []
    while left:
        best = max(left, key=lambda box: box.score)
        left.remove(best)
        kept.append(best)
        for k, box in enumerate(left):
            shared = overlap(best.corners, box.corners)
            factor = 1.0
            if sigma > 0:
                factor = math.exp(-shared * shared / sigma)
            elif shared > iou:
                factor = 1 - shared
            left[k] = box._replace(score=box.score * factor)
    return kept


def _clusters(boxes: Sequence[Box], iou: float, *, moves: bool) -> list[list[Box]]:
    clusters: list[list[Box]] = []
    centres: list[Corners] = []
    for box in boxes:
        shared = [overlap(centre, box.corners) for centre in centres]
        if shared and max(shared) > iou:
            where = shared.index(max(shared))
            clusters[where].append(box)
            if moves:
                weights = [member.score for member in clusters[where]]
                centres[where] = _weighted(clusters[where], weights)
        else:
            clusters.append([box])
            centres.append(box.corners)
    return clusters


def _mean(cluster: Sequence[Box], n_answered: int, scoring: Scoring) -> Box:
    scores = [box.score for box in cluster]
    n_voters = len({box.provider for box in cluster})
    mean = sum(scores) / len(scores)
    fused = {
        "avg": mean * min(n_answered, len(scores)) / n_answered,
        "max": max(scores),
        "box_and_model_avg": mean * n_voters / n_answered,
        "absent_model_aware_avg": sum(scores) / (len(scores) + n_answered - n_voters),
    }
    return Box(_weighted(cluster, scores), fused[scoring])


def _mean_by_overlap(cluster: Sequence[Box]) -> Box:
    best = cluster[0]
    weights = [box.score * overlap(box.corners, best.corners) for box in cluster]
    return Box(_weighted(cluster, weights), best.score)


def _weighted(cluster: Sequence[Box], weights: Sequence[float]) -> Corners:
    total = sum(weights)
    if total == 0:
        return cluster[0].corners
    x1, y1, x2, y2 = (
        sum(w * box.corners[c] for w, box in zip(weights, cluster, strict=True)) / total
        for c in range(4)
    )
    return x1, y1, x2, y2
