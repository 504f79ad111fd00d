"""Fusion of boxes that learns what it means when these providers found this box.

Boxes are calibrated by provider and label, and gathered into clusters as in weighted
boxes fusion (Solovyev, Wang and Gabruseva 2021). The score of a cluster is then not a
mean but an estimate of P(it finds an object at IoU 0.5), given who was asked, who found
it with what score, who was silent, and what stands around it: stacking (Wolpert,
"Stacked generalization", Neural Networks 5, 1992) of detectors. The estimate is the
mean log odds of a logistic regression and of boosted trees (Friedman, Annals of
Statistics 29, 2001).

1. It is fitted to several subsets of providers for each item, so that one model serves
   all subsets and its scores mean the same whichever was asked.
2. A provider that was asked and found nothing says something else than one that was not
   asked.
3. Both models see the same rows; the second is not fitted to the first's residuals.
   Clusters to which the linear model gives less than 1 in 400 are left to it alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.boosted_trees import BoostedTrees
from midhaul.federation.calibration import Calibration, fit_calibration
from midhaul.federation.fusion.box_clusters import cluster_boxes
from midhaul.federation.fusion.cluster_features import (
    cluster_features,
    linear_features,
    log_odds,
    sigmoid,
    strengths_of,
)
from midhaul.federation.fusion.hearing import draw_masks
from midhaul.federation.matching_kernel import match_items
from midhaul.federation.problem import Answers

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.federation.fusion.box_clusters import Clusters
    from midhaul.federation.problem import Recording
    from midhaul.federation.saving import State

MAX_BOXES = 100
"""Boxes of an item that are given, best first."""

_DRAWS = 8
"""Subsets for each item to learn from, everybody among them."""
_CLASS_PRIOR = 200.0
_HOPELESS = -6.0
"""Log odds below which the linear model has the only say."""
_ARRAYS = ("class_odds", "centre", "spread", "coefficients")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedBoxes:
    """A learned fusion of boxes.

    Attributes:
        providers: names, in the order of the model's columns.
        calibration: of each provider's scores.
        class_odds: ``(c,)`` log odds that a cluster of a label is true.
        centre: ``(e,)`` means of the linear model's columns.
        spread: ``(e,)`` their standard deviations.
        coefficients: ``(e + 1,)`` of the linear model, the intercept last.
        trees: the boosted trees.
        iou: above what overlap boxes are one object.
    """

    providers: tuple[str, ...]
    calibration: Calibration
    class_odds: Float64[np.ndarray, " c"]
    centre: Float64[np.ndarray, " e"]
    spread: Float64[np.ndarray, " e"]
    coefficients: Float64[np.ndarray, " e_plus_1"]
    trees: BoostedTrees
    iou: float = 0.55

    kind: ClassVar[str] = "stacked-boxes"

    @property
    def name(self) -> str:
        """Short name."""
        return "stacked"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the boxes of the providers that were asked.

        Args:
            recording: of the providers that this was fitted to, or some of them.
            asked: ``(n,)`` mask of the providers to fuse for each item.

        Returns:
            At most 100 boxes an item, by falling score.

        Raises:
            DataError: it was not fitted to a provider, or to these labels.
        """
        clusters = _clusters(self.calibration, recording, asked, self.iou)
        clusters = _arranged(clusters, recording.providers, self.providers)
        rows = cluster_features(clusters, recording.sizes_px, self.class_odds)
        scores = sigmoid(self._log_odds(rows)).astype(np.float32)
        order = np.lexsort((-scores, clusters.items))
        ranks = np.arange(len(order)) - clusters.starts[clusters.items[order]]
        kept = order[ranks < MAX_BOXES]
        return Answers.of_rows(
            clusters.items[kept],
            len(recording),
            clusters.labels[kept].astype(np.int32),
            scores[kept],
            clusters.boxes[kept],
            is_missing=clusters.has_answered.sum(axis=1) == 0,
        )

    def _log_odds(self, rows: Float32[np.ndarray, "k d"]) -> Float64[np.ndarray, " k"]:
        columns = (linear_features(rows, len(self.providers)) - self.centre) / (
            self.spread
        )
        # A sum for each row alone: a matrix product rounds by how many rows there are.
        linear = (columns * self.coefficients[:-1]).sum(axis=1) + self.coefficients[-1]
        hopes = np.flatnonzero(linear >= _HOPELESS)
        linear[hopes] = 0.5 * (linear[hopes] + self.trees.sums(rows[hopes]))
        return linear

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        arrays: State = {name: getattr(self, name) for name in _ARRAYS}
        return {
            "fuser": self.kind,
            "providers": self.providers,
            "iou": self.iou,
            "calibration": self.calibration.state(),
            "trees": self.trees.state(),
            **arrays,
        }

    @classmethod
    def from_state(cls, state: State) -> StackedBoxes:
        """What :meth:`state` gave."""
        return cls(
            providers=tuple(state["providers"]),
            iou=float(state["iou"]),
            calibration=Calibration.from_state(state["calibration"]),
            trees=BoostedTrees.from_state(state["trees"]),
            **{name: np.asarray(state[name], np.float64) for name in _ARRAYS},
        )


def fit_stacked_boxes(
    recording: Recording, rng: np.random.Generator, *, iou: float = 0.55
) -> StackedBoxes:
    """Fit to everybody's answers to the same items.

    Args:
        recording: of boxes, with a truth and all answers.
        rng: draws the subsets that are learned from.
        iou: above what overlap boxes are one object.

    Raises:
        DataError: there is no truth, or boxes are never or always right.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    calibration = fit_calibration(recording, method="platt")
    rows, is_true, class_odds = _examples(recording, calibration, rng, iou)
    columns = linear_features(rows, recording.n_providers)
    centre, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
    linear = LogisticRegression(solver="newton-cholesky", max_iter=200)
    columns = (columns - centre) / spread
    # Threads wait for each other after every split, long where others use the machine.
    with threadpool_limits(1):
        hopes = linear.fit(columns, is_true).decision_function(columns) >= _HOPELESS
    boosted = HistGradientBoostingClassifier(
        max_iter=80,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        l2_regularization=5.0,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=int(rng.integers(2**31)),
    )
    with threadpool_limits(1):
        boosted.fit(rows[hopes], is_true[hopes])
    return StackedBoxes(
        providers=recording.providers,
        calibration=calibration,
        class_odds=class_odds,
        centre=centre,
        spread=spread,
        coefficients=np.append(linear.coef_[0], linear.intercept_),
        trees=BoostedTrees.of_histogram(boosted),
        iou=iou,
    )


def _examples(
    recording: Recording,
    calibration: Calibration,
    rng: np.random.Generator,
    iou: float,
) -> tuple[
    Float32[np.ndarray, "k d"], Bool[np.ndarray, " k"], Float64[np.ndarray, " c"]
]:
    """Clusters of several subsets for each item, which are true, and odds by label."""
    n_names, p = len(recording.names), recording.n_providers
    parts: list[tuple[np.ndarray, ...]] = []
    everyone = np.full(len(recording), recording.everyone, np.int64)
    drawn = [draw_masks(len(recording), p, rng) for _ in range(_DRAWS - 1)]
    for asked in (everyone, *drawn):
        clusters = _clusters(calibration, recording, asked, iou)
        is_true, counts = _truths(clusters, recording)
        told = cluster_features(clusters, recording.sizes_px, np.zeros(n_names))
        parts.append((told[counts], is_true[counts], clusters.labels[counts]))
    rows, is_true, labels = (np.concatenate([q[k] for q in parts]) for k in range(3))
    n_right = int(is_true.sum())
    if not 0 < n_right < len(is_true):
        message = f"{n_right} of {len(is_true)} clusters of boxes are right"
        raise DataError(message, "learn from items with right and wrong boxes")
    n = np.bincount(labels, minlength=n_names)
    n_true = np.bincount(labels, is_true, n_names)
    prior = _CLASS_PRIOR * n_right / len(is_true)
    class_odds = log_odds((n_true + prior) / (n + _CLASS_PRIOR))
    rows[:, p] = class_odds[labels]
    return rows, is_true, class_odds


def _clusters(
    calibration: Calibration,
    recording: Recording,
    asked: Int64[np.ndarray, " n"],
    iou: float,
) -> Clusters:
    return cluster_boxes(calibration.apply(recording), asked, iou)


def _arranged(
    clusters: Clusters, given: tuple[str, ...], wanted: tuple[str, ...]
) -> Clusters:
    """The same with the columns of other providers; who is not there did not answer."""
    if given == wanted:
        return clusters
    places = [wanted.index(name) for name in given]
    best = np.full((len(clusters), len(wanted)), np.nan, np.float32)
    best[:, places] = clusters.best
    has_answered = np.zeros((len(clusters.has_answered), len(wanted)), bool)
    has_answered[:, places] = clusters.has_answered
    return replace(clusters, best=best, has_answered=has_answered)


def _truths(
    clusters: Clusters, recording: Recording
) -> tuple[Bool[np.ndarray, " k"], Bool[np.ndarray, " k"]]:
    """Which clusters find an object that no stronger one found, and which count."""
    truth = recording.truth
    if truth is None:
        message = "fusion learns from a truth, and the recording has none"
        raise DataError(message, "name its file in data.truth")
    is_true, is_ignored = match_items(
        clusters.starts,
        clusters.labels.astype(np.int32),
        strengths_of(clusters).astype(np.float32),
        clusters.boxes,
        truth.starts,
        truth.labels,
        truth.boxes,
        truth.is_ignored,
        np.array([0.5]),
    )
    return is_true[0], ~is_ignored[0]
