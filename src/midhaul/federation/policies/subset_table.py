"""The subsets nearest to a point of the action box, by table or by rounding.

The learners of Armol (Xie et al., INFOCOM 2022) put out a point of [0, 1]^M, the *proto
action*; asked is the subset whose 0/1 vector is nearest in squared distance, the empty
one excluded. Dulac-Arnold et al., "Deep Reinforcement Learning in Large Discrete Action
Spaces", 2015 (Wolpertinger), take the K nearest and let the critic choose.

Distances add up over coordinates, so the nearest vector is every coordinate rounded,
and each other one is that with some coordinates turned over, which costs |1 - 2x| for
each. That makes the K nearest the K smallest sums of subsets of M costs, which a heap
finds without a list of 2^M vectors.

1. Of equally near vectors the table takes the smallest mask; rounding turns a
   coordinate of exactly 1/2 off, which is the same one.
2. Where rounding turns everybody off, the largest coordinate is turned on, which is
   the nearest that is not empty.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.problem import all_masks

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

_LARGEST_TABLE = 10
"""Providers up to which a list of all subsets is quicker than a heap."""


def nearest_subsets(
    points: Float64[np.ndarray, "b p"], k: int = 1
) -> Int64[np.ndarray, "b k"]:
    """The K subsets nearest to each point, the nearest first.

    Args:
        points: ``(b, M)`` proto actions.
        k: how many; fewer come back where there are fewer subsets.
    """
    n_providers = points.shape[1]
    if k == 1:
        return rounded(points)[:, None]
    if n_providers <= _LARGEST_TABLE:
        return nearest_by_table(points, k)
    return nearest_by_flips(points, k)


def nearest_by_table(
    points: Float64[np.ndarray, "b p"], k: int = 1
) -> Int64[np.ndarray, "b k"]:
    """The same by brute force over all 2^M - 1 subsets."""
    masks = all_masks(points.shape[1])
    vectors = as_vectors(masks, points.shape[1])
    distances = (vectors**2).sum(axis=1) - 2 * points @ vectors.T
    k = min(k, len(masks))
    if k < len(masks):
        near = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
    else:
        near = np.broadcast_to(np.arange(k), distances.shape)
    order = np.argsort(np.take_along_axis(distances, near, 1), axis=1, kind="stable")
    return masks[np.take_along_axis(near, order, 1)]


def rounded(points: Float64[np.ndarray, "b p"]) -> Int64[np.ndarray, " b"]:
    """The nearest subset by rounding every coordinate, in O(M)."""
    is_on = points > 1 / 2
    lonely = np.flatnonzero(~is_on.any(axis=1))
    is_on[lonely, np.argmax(points[lonely], axis=1)] = True
    return is_on.astype(np.int64) @ (1 << np.arange(points.shape[1]))


def nearest_by_flips(
    points: Float64[np.ndarray, "b p"], k: int
) -> Int64[np.ndarray, "b k"]:
    """The same by turning over the coordinates that cost least, without a list."""
    n_providers = points.shape[1]
    n_subsets = (1 << n_providers) - 1
    found = np.empty((len(points), min(k, n_subsets)), np.int64)
    start = (points > 1 / 2).astype(np.int64) @ (1 << np.arange(n_providers))
    costs = np.abs(1 - 2 * points)
    for row, (base, cost) in enumerate(zip(start.tolist(), costs, strict=True)):
        found[row] = _cheapest_flips(base, cost, found.shape[1])
    return found


def as_vectors(
    masks: Int64[np.ndarray, " s"], n_providers: int
) -> Float64[np.ndarray, "s p"]:
    """The 0/1 vectors of subsets."""
    return ((masks[:, None] >> np.arange(n_providers)) & 1).astype(np.float64)


def _cheapest_flips(base: int, costs: Float64[np.ndarray, " p"], k: int) -> list[int]:
    """The k masks other than 0 that differ from a mask at the smallest cost.

    Sets of coordinates grow in order of their sums: from a set whose dearest member is
    the j-th cheapest follow the one with the next in addition, and in its place.
    """
    order = np.argsort(costs, kind="stable").tolist()
    found = [base] if base else []
    heap = [(float(costs[order[0]]), 0, base ^ (1 << order[0]))]
    while len(found) < k:
        total, place, mask = heapq.heappop(heap)
        if mask:
            found.append(mask)
        if place + 1 == len(order):
            continue
        here, following = order[place], order[place + 1]
        dearer = total + float(costs[following])
        heapq.heappush(heap, (dearer, place + 1, mask ^ (1 << following)))
        instead = mask ^ (1 << here) ^ (1 << following)
        heapq.heappush(heap, (dearer - float(costs[here]), place + 1, instead))
    return found
