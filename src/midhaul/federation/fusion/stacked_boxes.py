"""Stacked box fusion: learns what it means when these providers found this box.

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

Boxes are gathered into *clusters* that may be one object each: steps 1 to 4 of weighted
boxes fusion (Image and Vision Computing 107, 2021, section 3), with what every provider
contributed kept beside the fused box, so that somebody else can score it. A cluster's
*context* is what stands around it on its image, its *features* are what is told of it
to the model that says how likely it is true.

*Boosted trees* are flat arrays, evaluated without the library that grew them. A
tree sends a row left where ``row[feature] <= threshold``, or where the value is NaN and
the node says so; a leaf adds its value to the sum. Nodes of all trees stand in one
array; ``roots`` says where each tree begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float64, Int32
from numba import njit

from midhaul.errors import DataError
from midhaul.federation.fusion import boxes as box_kernels
from midhaul.federation.fusion.base import draw_masks
from midhaul.federation.fusion.boxes import pool
from midhaul.federation.fusion.calibration import Calibration, fit_calibration
from midhaul.federation.matching import match_items, overlap
from midhaul.federation.recordings.problem import Answers
from midhaul.npz_state import SavedFields

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

    from midhaul.federation.recordings.problem import Recording


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoostedTrees(SavedFields):
    """A sum of regression trees.

    Attributes:
        baseline: what the sum begins with.
        roots: ``(t,)`` first node of each tree.
        features: ``(v,)`` column that a node looks at; -1 in leaves.
        thresholds: ``(v,)`` left up to here.
        nan_left: ``(v,)`` whether a NaN goes left.
    """

    baseline: float
    roots: Int32[np.ndarray, " t"]
    features: Int32[np.ndarray, " v"]
    thresholds: Float64[np.ndarray, " v"]
    lefts: Int32[np.ndarray, " v"]
    rights: Int32[np.ndarray, " v"]
    nan_left: Bool[np.ndarray, " v"]
    values: Float64[np.ndarray, " v"]

    @classmethod
    def of_histogram(cls, model: Any) -> BoostedTrees:
        """The trees of a fitted binary HistGradientBoostingClassifier or regressor.

        Its sum is the decision function: log odds of a classifier. Scikit-learn has no
        public way to its nodes; a test compares both forms.
        """
        nodes = [one.nodes for (one,) in model._predictors]  # noqa: SLF001
        sizes = np.array([len(tree) for tree in nodes])
        roots = np.cumsum(sizes) - sizes
        shift = np.repeat(roots, sizes)
        flat = np.concatenate(nodes)
        is_leaf = flat["is_leaf"].astype(bool)
        return cls(
            baseline=float(np.ravel(model._baseline_prediction)[0]),  # noqa: SLF001
            roots=roots.astype(np.int32),
            features=np.where(is_leaf, -1, flat["feature_idx"]).astype(np.int32),
            thresholds=flat["num_threshold"].astype(np.float64),
            lefts=(flat["left"] + shift).astype(np.int32),
            rights=(flat["right"] + shift).astype(np.int32),
            nan_left=flat["missing_go_to_left"].astype(bool),
            values=flat["value"].astype(np.float64),
        )

    def sums(self, rows: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """The sum of all trees for each row."""
        return self.baseline + _sums(
            np.ascontiguousarray(rows),
            self.roots,
            self.features,
            self.thresholds,
            self.lefts,
            self.rights,
            self.nan_left,
            self.values,
        )


@njit(cache=True)
def _sums(
    rows: np.ndarray,
    roots: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    lefts: np.ndarray,
    rights: np.ndarray,
    nan_left: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    result = np.zeros(len(rows))
    for i in range(len(rows)):
        row = rows[i]
        total = 0.0
        for root in roots:
            node = root
            while features[node] >= 0:
                value = row[features[node]]
                if value <= thresholds[node] or (np.isnan(value) and nan_left[node]):
                    node = lefts[node]
                else:
                    node = rights[node]
            total += values[node]
        result[i] = total
    return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """Boxes that may be one object each, by item and then by label.

    Attributes:
        starts: ``(n + 1,)`` where each item's clusters begin.
        items: ``(k,)`` rising.
        boxes: ``(k, 4)`` means of the members, weighted by score.
        best: ``(k, p)`` highest score of each provider's members; NaN where it has
            none.
        agreement: ``(k,)`` mean IoU of the members with the fused box.
        has_answered: ``(n, p)`` whether a provider was asked and answered.
    """

    starts: Int64[np.ndarray, " n_plus_1"]
    items: Int64[np.ndarray, " k"]
    labels: Int64[np.ndarray, " k"]
    boxes: Float32[np.ndarray, "k 4"]
    best: Float32[np.ndarray, "k p"]
    agreement: Float64[np.ndarray, " k"]
    has_answered: Bool[np.ndarray, "n p"]

    def __len__(self) -> int:
        """Number of clusters."""
        return len(self.items)


def cluster_boxes(
    recording: Recording, asked: Int64[np.ndarray, " n"], iou: float
) -> Clusters:
    """Gather the boxes of the providers asked about each item into clusters.

    Scores are comparable between providers; a box joins where it overlaps with the
    fused box so far.
    """
    found = pool(recording, asked)
    of, n_clusters = box_kernels.cluster(
        found.groups, found.scores, found.boxes, iou, moves=True
    )
    firsts = np.unique(of, return_index=True)[1]
    _, fused = box_kernels.fuse_weighted(
        of,
        n_clusters,
        found.scores,
        found.boxes,
        found.providers,
        found.n_answered[found.items],
        box_kernels.AVERAGE,
    )
    boxes = fused.astype(np.float32)
    best, agreement = contributions(
        of, boxes, found.boxes, found.providers, found.scores, recording.n_providers
    )
    items = found.items[firsts]
    places = np.arange(recording.n_providers)
    is_missing = np.column_stack([one.is_missing for one in recording.answers])
    return Clusters(
        starts=np.searchsorted(items, np.arange(len(recording) + 1)),
        items=items,
        labels=found.labels[firsts].astype(np.int64),
        boxes=boxes,
        best=best,
        agreement=agreement,
        has_answered=((asked[:, None] >> places) & 1 == 1) & ~is_missing,
    )


@njit(cache=True)
def contributions(
    of: Int64[np.ndarray, " m"],
    fused: Float32[np.ndarray, "k 4"],
    boxes: Float32[np.ndarray, "m 4"],
    providers: Int64[np.ndarray, " m"],
    scores: Float32[np.ndarray, " m"],
    n_providers: int,
) -> tuple[Float32[np.ndarray, "k p"], Float64[np.ndarray, " k"]]:
    """Each provider's best score in each cluster, and how well its members agree."""
    k = len(fused)
    best = np.full((k, n_providers), np.nan, np.float32)
    agreement = np.zeros(k)
    counts = np.zeros(k)
    for i in range(len(of)):
        c, p = of[i], providers[i]
        if not best[c, p] >= scores[i]:
            best[c, p] = scores[i]
        agreement[c] += overlap(fused[c], boxes[i])
        counts[c] += 1
    return best, agreement / np.maximum(counts, 1.0)


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


SILENT = -8.0
"""Log odds told for a provider that was asked and has no box in the cluster."""

_EDGE = 0.01
"""Of the image: what is nearer to its end touches it."""

COMMON = (
    "prior",
    "n_answered",
    "n_found",
    "share_found",
    "strongest",
    "mean",
    "agreement",
    "log_area",
    "log_aspect",
    "at_edge",
    *CONTEXT,
)
"""What is told besides one column for each provider, which stand first."""


def strengths_of(clusters: Clusters) -> Float64[np.ndarray, " k"]:
    """Mean over the providers that answered of their best score in each cluster."""
    n_answered = clusters.has_answered.sum(axis=1)[clusters.items]
    total = np.nansum(clusters.best, axis=1, dtype=np.float64)
    return total / np.maximum(n_answered, 1)


def cluster_features(
    clusters: Clusters,
    sizes_px: Float32[np.ndarray, "n 2"] | None,
    class_odds: Float64[np.ndarray, " c"],
) -> Float32[np.ndarray, "k d"]:
    """One row for each cluster.

    Args:
        clusters: whose scores are probabilities.
        sizes_px: ``(n, 2)`` of the images; None where not known.
        class_odds: ``(c,)`` log odds that a cluster of the label is true.

    Returns:
        First a column for each provider: log odds of its best box, ``SILENT`` where it
        answered without one, NaN where it did not answer; then those of ``COMMON``.
    """
    k, p = clusters.best.shape
    rows = np.empty((k, p + len(COMMON)), np.float32)
    if not k:
        return rows
    answered = clusters.has_answered[clusters.items]
    has_found = ~np.isnan(clusters.best)
    n_answered, n_found = answered.sum(axis=1), has_found.sum(axis=1)
    odds = np.where(answered, SILENT, np.nan)
    odds[has_found] = np.maximum(log_odds(clusters.best[has_found]), SILENT + 1)
    strengths = strengths_of(clusters)
    rows[:, :p] = odds
    rows[:, p : -len(CONTEXT)] = np.column_stack(
        [
            class_odds[clusters.labels],
            n_answered,
            n_found,
            n_found / n_answered,
            np.nanmax(odds, axis=1),
            log_odds(strengths),
            clusters.agreement,
            _shapes(clusters, sizes_px),
        ]
    )
    rows[:, -len(CONTEXT) :] = context_of(
        clusters.starts, clusters.labels, clusters.boxes, strengths
    )
    return rows


def linear_features(
    rows: Float32[np.ndarray, "k d"], n_providers: int
) -> Float64[np.ndarray, "k e"]:
    """The same for a linear model: no NaN, and steps where something is missing.

    Columns are, of each provider, the log odds where it found something, whether it
    did, and whether it was silent; then all others, areas also squared.
    """
    odds = rows[:, :n_providers].astype(np.float64)
    is_silent = odds == SILENT
    has_found = ~np.isnan(odds) & ~is_silent
    others = rows[:, n_providers:].astype(np.float64)
    others[:, COMMON.index("n_answered")] = np.log(
        np.maximum(others[:, COMMON.index("n_answered")], 1.0)
    )
    area = others[:, COMMON.index("log_area")]
    return np.column_stack(
        [np.where(has_found, odds, 0.0), has_found, is_silent, others, area**2]
    )


def log_odds(p: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Log odds of probabilities, at most 12 in size."""
    inside = np.clip(np.asarray(p, np.float64), 6.1e-6, 1 - 6.1e-6)
    return np.log(inside) - np.log1p(-inside)


def sigmoid(x: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Probabilities of log odds, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _shapes(
    clusters: Clusters, sizes_px: Float32[np.ndarray, "n 2"] | None
) -> Float64[np.ndarray, "k 3"]:
    """Log share of the image, log aspect, and the number of edges touched."""
    width, height = (clusters.boxes[:, 2:] - clusters.boxes[:, :2]).T
    width, height = np.maximum(width, 1e-3), np.maximum(height, 1e-3)
    shapes = np.zeros((len(clusters), 3))
    shapes[:, 1] = np.log(width / height)
    if sizes_px is None:
        shapes[:, 0] = np.log(width * height / 1e5)
        return shapes
    size = np.maximum(sizes_px[clusters.items].astype(np.float64), 1.0)
    shapes[:, 0] = np.log(width * height / size.prod(axis=1))
    near = np.column_stack(
        [clusters.boxes[:, :2] / size, 1.0 - clusters.boxes[:, 2:] / size]
    )
    shapes[:, 2] = (near < _EDGE).sum(axis=1)
    return shapes


MAX_BOXES = 100
"""Boxes of an item that are given, best first."""

_DRAWS = 8
"""Subsets for each item to learn from, everybody among them."""
_CLASS_PRIOR = 200.0
_HOPELESS = -6.0
"""Log odds below which the linear model has the only say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedBoxes(SavedFields):
    """A learned fusion of boxes.

    Attributes:
        providers: names, in the order of the model's columns.
        iou: above what overlap boxes are one object.
        class_odds: ``(c,)`` log odds that a cluster of a label is true.
        centre: ``(e,)`` means of the linear model's columns.
        spread: ``(e,)`` their standard deviations.
        coefficients: ``(e + 1,)`` of the linear model, the intercept last.
    """

    name = "stacked"
    providers: tuple[str, ...]
    iou: float = 0.55
    calibration: Calibration
    trees: BoostedTrees
    class_odds: Float64[np.ndarray, " c"]
    centre: Float64[np.ndarray, " e"]
    spread: Float64[np.ndarray, " e"]
    coefficients: Float64[np.ndarray, " e_plus_1"]

    tag: ClassVar[str] = "fuser"
    kind: ClassVar[str] = "stacked-boxes"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """At most 100 boxes an item, by falling score, of the providers asked.

        DataError where it was not fitted to one of them, or to these labels.
        """
        calibrated = self.calibration.apply(recording)
        clusters = cluster_boxes(calibrated, asked, self.iou)
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


def fit_stacked_boxes(
    recording: Recording, rng: np.random.Generator, *, iou: float = 0.55
) -> StackedBoxes:
    """Fit to everybody's answers to the same items.

    DataError where there is no truth, or boxes are never or always right.
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
    recording: Recording, calibration: Calibration, rng: np.random.Generator, iou: float
) -> tuple[
    Float32[np.ndarray, "k d"], Bool[np.ndarray, " k"], Float64[np.ndarray, " c"]
]:
    """Clusters of several subsets for each item, which are true, and odds by label."""
    n_names, p = len(recording.names), recording.n_providers
    parts: list[tuple[np.ndarray, ...]] = []
    calibrated = calibration.apply(recording)
    everyone = np.full(len(recording), recording.everyone, np.int64)
    drawn = [draw_masks(len(recording), p, rng) for _ in range(_DRAWS - 1)]
    for asked in (everyone, *drawn):
        clusters = cluster_boxes(calibrated, asked, iou)
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
