"""Boxes of several providers gathered into clusters that may be one object each.

Steps 1 to 4 of weighted boxes fusion (Solovyev, Wang and Gabruseva, Image and Vision
Computing 107, 2021, section 3), with what every provider contributed kept beside the
fused box, so that somebody else can score it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.federation.fusion import box_kernels
from midhaul.federation.fusion.boxes import pool
from midhaul.federation.matching_kernel import overlap

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from midhaul.federation.problem import Recording


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """Boxes that may be one object each, by item and then by label.

    Attributes:
        starts: ``(n + 1,)`` where each item's clusters begin.
        items: ``(k,)`` rising.
        labels: ``(k,)``.
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

    Args:
        recording: with scores that are comparable between providers.
        asked: ``(n,)`` mask of the providers asked about each item.
        iou: above what overlap with the fused box so far a box joins a cluster.
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
