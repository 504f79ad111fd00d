"""What a cascade learns to predict: the worth of a subset's fused answer to an item.

Where quality is a mean over items (labels, tags) that is the quality of the item. The
pooled AP50 of boxes is no mean: a box of an image displaces those of other images. Its
linear part is one, though. With T(s) and F(s) the true and false boxes of a class that
score s or more, and N the boxes to be found, the area under the precision is

    AP = 1/N sum over true boxes j of T(s_j) / (T(s_j) + F(s_j))

so that one more box of score s adds, over N,

    true:   T/(T+F) at s + sum over true j with s_j < s of F_j / (T_j + F_j)^2
    false:               - sum over true j with s_j < s of T_j / (T_j + F_j)^2

which is the influence function (Hampel 1974) of AP. Summed over the boxes of an image
and over classes it says what the answer to that image is worth for all.

1. The precision is taken as it is, not its best value at that recall or beyond.
2. T and F are those of a reference: all subsets of the library together, so that the
   scores of small and large subsets are valued by one scale.
3. Classes count by N / (N + mean N): in a plain mean over classes one box of a class
   that has few outweighs many others, and what is learned of it is mostly noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.federation.quality import matches_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.federation.problem import Answers, Recording
    from midhaul.vision.matching import Matches

_TINY = 1e-12

Target = Literal["influence", "item"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InfluenceCurve:
    """What one more box of a class is worth, by its score.

    Attributes:
        scores: ``(k,)`` rising.
        if_true: ``(k,)`` worth of a true box up to that score.
        if_false: ``(k,)`` worth of a false one.
    """

    scores: Float64[np.ndarray, " k"]
    if_true: Float64[np.ndarray, " k"]
    if_false: Float64[np.ndarray, " k"]


def influence_on_ap50(
    recording: Recording, fused: Sequence[Answers]
) -> Float64[np.ndarray, "n s"]:
    """What every subset's answer to every image is worth for the pooled AP50.

    Args:
        recording: with a truth.
        fused: answers of s subsets to all images.

    Returns:
        ``(n, s)`` whose mean over images estimates the AP50 (its classes weighted, see
        3) of answers with the scores of the reference.
    """
    n = len(recording)
    matched = [matches_of(recording, one) for one in fused]
    worth = np.zeros((n, len(fused)))
    support = matched[0].support.sum(axis=0) if matched else np.zeros(0)
    known = np.flatnonzero(support)
    shares = _shares(support)
    for label in known.tolist():
        parts = [_boxes_of(one, label) for one in matched]
        curve = _curve(
            np.concatenate([scores for scores, _, _ in parts]),
            np.concatenate([is_true for _, is_true, _ in parts]),
            1 / len(parts),
        )
        if curve is None:
            continue
        for k, (scores, is_true, images) in enumerate(parts):
            places = np.searchsorted(curve.scores, scores)
            values = np.where(is_true, curve.if_true[places], curve.if_false[places])
            gained = np.bincount(images, values, minlength=n)
            worth[:, k] += gained * (n * shares[label] / support[label])
    return worth


def _shares(support: Float64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
    """How much each class counts, by its boxes to be found; 1 in all."""
    n_known = max(1, np.count_nonzero(support))
    typical = max(1.0, float(support.sum()) / n_known)
    shares = support / (support + typical)
    return shares / max(float(shares.sum()), _TINY)


def _boxes_of(
    matches: Matches, label: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, truth and image of the boxes of a class that count."""
    where = matches.of_label(label)
    counts = ~matches.is_ignored[0, where]
    return (
        matches.scores[where][counts],
        matches.is_true[0, where][counts],
        matches.images[where][counts],
    )


def _curve(
    scores: Float64[np.ndarray, " m"], is_true: np.ndarray, weight: float
) -> InfluenceCurve | None:
    """The influence of one box, from boxes of which each counts ``weight`` times."""
    if not len(scores):
        return None
    levels, place = np.unique(scores, return_inverse=True)
    true_at = np.bincount(place, is_true, len(levels)) * weight
    false_at = np.bincount(place, ~is_true, len(levels)) * weight
    n_true = np.cumsum(true_at[::-1])[::-1]
    n_false = np.cumsum(false_at[::-1])[::-1]
    n_all = n_true + n_false
    lifted = _below(true_at * n_false / n_all**2)
    lowered = _below(true_at * n_true / n_all**2)
    return InfluenceCurve(
        scores=levels, if_true=n_true / n_all + lifted, if_false=-lowered
    )


def _below(values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """The sum of all values before each place."""
    return np.concatenate([[0.0], np.cumsum(values)[:-1]])
