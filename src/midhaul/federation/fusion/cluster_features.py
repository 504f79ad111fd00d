"""What is told of a cluster of boxes to the model that says how likely it is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.fusion.cluster_context import CONTEXT, context_of

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from midhaul.federation.fusion.box_clusters import Clusters

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
