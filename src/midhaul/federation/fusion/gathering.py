"""Gathering everybody's boxes, item by item, in the order in which they are fused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int32, Int64

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

    Args:
        asked: ``(n,)`` mask of the providers asked about each item.
        is_missing: ``(p, n)`` where a provider gave no answer.
        starts: ``(p, n + 1)`` where each item's entries begin among the provider's.
        offsets: ``(p,)`` where each provider's entries begin among all.
        labels: of all entries of all providers.
        scores: of the same.
        boxes: of the same; those without area are left out.

    Returns:
        Entries and their providers, where each item begins among them, and how many
        providers answered about it.
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
