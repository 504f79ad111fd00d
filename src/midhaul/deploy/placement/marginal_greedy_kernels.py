"""The loop of the marginal greedy, compiled.

Plain-Python reference: ``in_order_of_merit`` of
:mod:`midhaul.deploy.placement.marginal_greedy`.
"""
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64


@njit(cache=True)
def take_by_merit(  # noqa: PLR0913, PLR0917 - one loop on flat arrays
    values: Float64[np.ndarray, " n"],
    usage: Float64[np.ndarray, "n r"],
    indptr: Int64[np.ndarray, " n1"],
    indices: Int64[np.ndarray, " m"],
    user_indptr: Int64[np.ndarray, " e1"],
    users: Int64[np.ndarray, " m"],
    costs: Float64[np.ndarray, "e r"],
    capacities: Float64[np.ndarray, " r"],
    slack: Float64[np.ndarray, " r"],
    groups: Int64[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Take the item with the best value per marginal dominant share, again and again.

    An entry of the heap counts while its version is the item's. Whenever an element is
    paid, all that need it get cheaper and enter anew, so nothing is looked at twice for
    nothing: time grows with the needs times the rows, and a logarithm.

    Args:
        values: ``(n,)`` worth of the items.
        usage: ``(n, r)`` what each takes itself.
        indptr: ``(n + 1,)`` where each item's elements begin.
        indices: ``(m,)`` elements.
        user_indptr: ``(e + 1,)`` where each element's items begin in ``users``.
        users: ``(m,)`` items.
        costs: ``(e, r)`` what the elements take.
        capacities: ``(r,)`` what there is.
        slack: ``(r,)`` overrun that counts as fitting.
        groups: ``(n,)`` small numbers; items with the same one exclude each other.
    """
    need = _all_needs(usage, indptr, indices, costs)
    left = capacities.copy()
    version = np.zeros(len(values), np.int64)
    chosen = np.zeros(len(values), np.bool_)
    is_paid = np.zeros(len(costs), np.bool_)
    is_closed = np.zeros(len(values), np.bool_)
    touched = np.zeros(len(values), np.bool_)
    heap = [(-_merit(values[i], need[i], capacities), i, 0) for i in range(len(values))]
    heapq.heapify(heap)
    while heap:
        _, i, seen = heapq.heappop(heap)
        if seen != version[i] or is_closed[groups[i]]:
            continue
        if (need[i] > left + slack).any():
            continue
        chosen[i] = True
        is_closed[groups[i]] = True
        left -= need[i]
        cheaper = [i]
        for element in indices[indptr[i] : indptr[i + 1]]:
            if is_paid[element]:
                continue
            is_paid[element] = True
            for j in users[user_indptr[element] : user_indptr[element + 1]]:
                if is_closed[groups[j]]:
                    continue
                # Rounding must not make an item cheaper than what it takes itself.
                need[j] = np.maximum(need[j] - costs[element], usage[j])
                if not touched[j]:
                    touched[j] = True
                    cheaper.append(j)
        for j in cheaper[1:]:
            touched[j] = False
            version[j] += 1
            merit = _merit(values[j], need[j], capacities)
            heapq.heappush(heap, (-merit, j, version[j]))
    return chosen


@njit(cache=True)
def _all_needs(
    usage: Float64[np.ndarray, "n r"],
    indptr: Int64[np.ndarray, " n1"],
    indices: Int64[np.ndarray, " m"],
    costs: Float64[np.ndarray, "e r"],
) -> Float64[np.ndarray, "n r"]:
    need = usage.copy()
    for i in range(len(need)):
        for element in indices[indptr[i] : indptr[i + 1]]:
            need[i] += costs[element]
    return need


@njit(cache=True)
def _merit(
    value: float,
    need: Float64[np.ndarray, " r"],
    capacities: Float64[np.ndarray, " r"],
) -> float:
    share = 0.0
    for r in range(len(need)):
        if need[r] > 0:
            if capacities[r] <= 0:
                return 0.0
            share = max(share, need[r] / capacities[r])
    return value / share if share > 0 else np.inf
