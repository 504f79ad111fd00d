"""Maximum-weight closures: which types pay for the bundles that they need.

A type earns a weight when all its bundles are there, and each bundle costs something
once, however many types need it. The best set is a maximum-weight closure, which is a
minimum cut (Picard, Management Science 22, 1976): let each type send at most its weight
along arcs to its bundles, and let each bundle receive at most its cost. When no more
can be sent, what the types could not send is the weight of the best closure, and types
from which something unsent reaches are in it.

The flow is at the same time a certificate: whatever it is, the sum of what is unsent is
at least the weight of every closure.

Differences from the paper:

1. The graph has two layers, types and bundles, and is solved with Dinic's algorithm.
2. A flow for other weights and costs is not thrown away: each arc is cut down to what
   its two ends still allow, and the rest is augmented from there.
"""
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.errors import require

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

EPSILON = 1e-13
"""Share of the largest weight or cost below which a flow counts as none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Closure:
    """A closure of highest weight, and the flow's certificate for it.

    Attributes:
        types: ``(t,)`` types in the smallest closure of highest weight.
        bundles: ``(b,)`` what they need.
        unsent: ``(t,)`` what types did not send; their sum is the weight, or above it
            by rounding.
        unpaid: ``(b,)`` what bundles did not receive.
    """

    types: Bool[np.ndarray, " t"]
    bundles: Bool[np.ndarray, " b"]
    unsent: Float64[np.ndarray, " t"]
    unpaid: Float64[np.ndarray, " b"]

    @property
    def weight(self) -> float:
        """Weight of the closure, from above."""
        return float(self.unsent.sum())


class CutNetwork:
    """Which type needs which bundles (CSR); keeps its flow for the next weights."""

    def __init__(
        self,
        indptr: Int64[np.ndarray, " t1"],
        indices: Int64[np.ndarray, " a"],
        n_bundles: int,
    ) -> None:
        require("numba", "deploy")
        self._indptr = np.ascontiguousarray(indptr, np.int64)
        self._indices = np.ascontiguousarray(indices, np.int64)
        self._types = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        self._back_arcs = np.argsort(self._indices, kind="stable")
        degrees = np.bincount(self._indices, minlength=n_bundles)
        self._back_indptr = np.concatenate([[0], np.cumsum(degrees)])
        self._flow = np.zeros(len(indices))

    def best(
        self, weights: Float64[np.ndarray, " t"], costs: Float64[np.ndarray, " b"]
    ) -> Closure:
        """The closure of highest weight; types earn, bundles cost, at least 0."""
        sent = np.bincount(self._types, self._flow, len(weights))
        received = np.bincount(self._indices, self._flow, len(costs))
        shares = np.minimum(_share(weights, sent), 1.0)[self._types]
        shares = np.minimum(shares, _share(costs, received)[self._indices])
        flow = self._flow = self._flow * shares
        unsent = weights - np.bincount(self._types, flow, len(weights))
        unpaid = costs - np.bincount(self._indices, flow, len(costs))
        np.maximum(unsent, 0, out=unsent)
        np.maximum(unpaid, 0, out=unpaid)
        largest = max(weights.max(initial=0), costs.max(initial=0))
        epsilon = EPSILON * float(largest)
        types, bundles = augment(
            self._indptr,
            self._indices,
            self._back_indptr,
            self._back_arcs,
            self._types,
            flow,
            unsent,
            unpaid,
            epsilon,
        )
        return Closure(types=types, bundles=bundles, unsent=unsent, unpaid=unpaid)


def _share(
    limits: Float64[np.ndarray, " n"], used: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    return np.divide(limits, used, out=np.ones(len(limits)), where=used > 0).clip(0, 1)


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
