"""The loops of the min-cut placer, compiled.

References: NumPy's stable ``argsort``, and in plain Python
:func:`midhaul.deploy.placement.closure.closure_reference` and
:func:`midhaul.deploy.placement.lagrangian.add_in_order_reference`.
"""
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64


@njit(cache=True)
def stable_order(keys: Int64[np.ndarray, " m"], n: int) -> Int64[np.ndarray, " m"]:
    """The stable order of whole numbers below ``n``, by counting; in linear time."""
    begins = np.zeros(n + 1, np.int64)
    for key in keys:
        begins[key + 1] += 1
    for key in range(n):
        begins[key + 1] += begins[key]
    order = np.empty(len(keys), np.int64)
    for position in range(len(keys)):
        key = keys[position]
        order[begins[key]] = position
        begins[key] += 1
    return order


@njit(cache=True)
def augment(  # noqa: PLR0913, PLR0917 - flat arrays
    indptr: Int64[np.ndarray, " t1"],
    indices: Int64[np.ndarray, " a"],
    back_indptr: Int64[np.ndarray, " b1"],
    back_arcs: Int64[np.ndarray, " a"],
    arc_types: Int64[np.ndarray, " a"],
    flow: Float64[np.ndarray, " a"],
    unsent: Float64[np.ndarray, " t"],
    unpaid: Float64[np.ndarray, " b"],
    epsilon: float,
) -> tuple[Bool[np.ndarray, " t"], Bool[np.ndarray, " b"]]:
    """Send what types earn to the bundles that they need, as much as can be.

    Dinic's algorithm (1970) on a network of two layers: a type sends along any of its
    arcs, a bundle that is paid for sends back what it got, and the flow ends at a
    bundle with something unpaid. ``flow``, ``unsent`` and ``unpaid`` change in place.

    The answer is the smallest closure of highest weight. Arcs are CSR by type and, with
    ``back_``, by bundle; amounts below ``epsilon`` are none.
    """
    type_level = np.empty(len(unsent), np.int64)
    bundle_level = np.empty(len(unpaid), np.int64)
    arc = np.empty(len(unsent), np.int64)
    back = np.empty(len(unpaid), np.int64)
    path = np.empty(len(unpaid) + 1, np.int64)
    path_back = np.empty(len(unpaid) + 1, np.int64)
    while True:
        last = _find_levels(
            indptr,
            indices,
            back_indptr,
            back_arcs,
            arc_types,
            flow,
            unsent,
            unpaid,
            epsilon,
            type_level,
            bundle_level,
        )
        if last < 0:
            return type_level >= 0, bundle_level >= 0
        arc[:] = indptr[:-1]
        back[:] = back_indptr[:-1]
        for start in range(len(unsent)):
            if type_level[start] == 0:
                _send(
                    start,
                    last,
                    indptr,
                    indices,
                    back_indptr,
                    back_arcs,
                    arc_types,
                    flow,
                    unsent,
                    unpaid,
                    epsilon,
                    type_level,
                    bundle_level,
                    arc,
                    back,
                    path,
                    path_back,
                )


@njit(cache=True)
def _find_levels(  # noqa: PLR0913, PLR0917 - one compiled loop
    indptr: Int64[np.ndarray, " t1"],
    indices: Int64[np.ndarray, " a"],
    back_indptr: Int64[np.ndarray, " b1"],
    back_arcs: Int64[np.ndarray, " a"],
    arc_types: Int64[np.ndarray, " a"],
    flow: Float64[np.ndarray, " a"],
    unsent: Float64[np.ndarray, " t"],
    unpaid: Float64[np.ndarray, " b"],
    epsilon: float,
    type_level: Int64[np.ndarray, " t"],
    bundle_level: Int64[np.ndarray, " b"],
) -> int:
    """Distances from the types that have something unsent, -1 where out of reach.

    The search ends with the first level that holds an unpaid bundle; it is returned,
    or -1 when there is none.
    """
    type_level[:] = -1
    bundle_level[:] = -1
    queue = np.empty(len(unsent), np.int64)
    head, tail, last = 0, 0, -1
    for t in range(len(unsent)):
        if unsent[t] > epsilon:
            type_level[t] = 0
            queue[tail] = t
            tail += 1
    while head < tail:
        t = queue[head]
        head += 1
        level = type_level[t] + 1
        if 0 <= last < level:
            break
        for a in range(indptr[t], indptr[t + 1]):
            b = indices[a]
            if bundle_level[b] >= 0:
                continue
            bundle_level[b] = level
            if unpaid[b] > epsilon:
                last = level
            for k in range(back_indptr[b], back_indptr[b + 1]):
                u = arc_types[back_arcs[k]]
                if type_level[u] < 0 and flow[back_arcs[k]] > epsilon:
                    type_level[u] = level
                    queue[tail] = u
                    tail += 1
    return int(last)


@njit(cache=True)
def _send(  # noqa: C901, PLR0913, PLR0917 - one compiled loop
    start: int,
    last: int,
    indptr: Int64[np.ndarray, " t1"],
    indices: Int64[np.ndarray, " a"],
    back_indptr: Int64[np.ndarray, " b1"],
    back_arcs: Int64[np.ndarray, " a"],
    arc_types: Int64[np.ndarray, " a"],
    flow: Float64[np.ndarray, " a"],
    unsent: Float64[np.ndarray, " t"],
    unpaid: Float64[np.ndarray, " b"],
    epsilon: float,
    type_level: Int64[np.ndarray, " t"],
    bundle_level: Int64[np.ndarray, " b"],
    arc: Int64[np.ndarray, " t"],
    back: Int64[np.ndarray, " b"],
    path: Int64[np.ndarray, " p"],
    path_back: Int64[np.ndarray, " p"],
) -> None:
    """Send what a type has along the levels, depth first.

    ``arc`` and ``back`` say which arc of a type and of a bundle is to be tried next;
    ``path`` and ``path_back`` are room for the arcs of a path, there and back.
    """
    t, depth = start, 0
    while unsent[start] > epsilon:
        if arc[t] == indptr[t + 1]:
            if depth == 0:
                return
            depth -= 1
            back[indices[path[depth]]] += 1
            t = arc_types[path[depth]]
        a = arc[t]
        b = indices[a]
        if bundle_level[b] != type_level[t] + 1:
            arc[t] += 1
            continue
        path[depth] = a
        if unpaid[b] > epsilon:
            amount = min(unsent[start], unpaid[b])
            for d in range(depth):
                amount = min(amount, flow[path_back[d]])
            unsent[start] -= amount
            unpaid[b] -= amount
            for d in range(depth):
                flow[path[d]] += amount
                flow[path_back[d]] -= amount
            flow[a] += amount
            t, depth = start, 0
            continue
        found = -1
        while bundle_level[b] < last and found < 0 and back[b] < back_indptr[b + 1]:
            k = back_arcs[back[b]]
            if type_level[arc_types[k]] == bundle_level[b] and flow[k] > epsilon:
                found = k
            else:
                back[b] += 1
        if found >= 0:
            path_back[depth] = found
            depth += 1
            t = arc_types[found]
        else:
            arc[t] += 1


@njit(cache=True)
def add_in_order(  # noqa: C901, PLR0912, PLR0913, PLR0917 - one compiled loop
    order: Int64[np.ndarray, " m"],
    types: Int64[np.ndarray, " k"],
    indptr: Int64[np.ndarray, " t1"],
    indices: Int64[np.ndarray, " a"],
    own: Float64[np.ndarray, "k r"],
    costs: Float64[np.ndarray, "b r"],
    groups: Int64[np.ndarray, " k"],
    chosen: Bool[np.ndarray, " k"],
    is_paid: Bool[np.ndarray, " b"],
    is_taken: Bool[np.ndarray, " g"],
    room: Float64[np.ndarray, " r"],
) -> int:
    """Add items in an order, each if it fits with its bundles; how many were added.

    ``chosen``, ``is_paid`` (bundles), ``is_taken`` (groups) and ``room`` (rows) change
    in place.
    """
    n_rows = len(room)
    n_added = 0
    needed = np.empty(n_rows)
    for i in order:
        if chosen[i] or is_taken[groups[i]]:
            continue
        fits = True
        for r in range(n_rows):
            needed[r] = own[i, r]
            if needed[r] > room[r]:
                fits = False
        if not fits:
            continue
        begin, end = indptr[types[i]], indptr[types[i] + 1]
        for a in range(begin, end):
            if not is_paid[indices[a]]:
                for r in range(n_rows):
                    needed[r] += costs[indices[a], r]
        for r in range(n_rows):
            if needed[r] > room[r]:
                fits = False
        if not fits:
            continue
        for r in range(n_rows):
            room[r] -= needed[r]
        for a in range(begin, end):
            is_paid[indices[a]] = True
        chosen[i] = True
        is_taken[groups[i]] = True
        n_added += 1
    return n_added
