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

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
        from midhaul.deploy.placement.mincut_kernels import (  # noqa: PLC0415
            augment,
        )

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


def closure_reference(
    weights: list[float], costs: list[float], needs: list[list[int]]
) -> tuple[float, set[int]]:
    """Weight and types of the smallest best closure, in plain Python.

    Ford and Fulkerson's search for one path after the other; for tests.
    """
    unsent, unpaid = list(weights), list(costs)
    flow = [dict.fromkeys(bundles, 0.0) for bundles in needs]
    dead: set[int] = set()
    for t in range(len(needs)):
        while unsent[t] > 0:
            seen: set[int] = set()
            sent = _push(t, unsent[t], needs, flow, unpaid, seen)
            unsent[t] -= sent
            if sent == 0:  # nothing unpaid can be reached from here, now or later
                dead |= seen
                break
    chosen = {
        t
        for t in range(len(needs))
        if unsent[t] > 0 or any(flow[t][b] > 0 and b in dead for b in needs[t])
    }
    return sum(unsent), chosen


def _push(
    t: int,
    amount: float,
    needs: list[list[int]],
    flow: list[dict[int, float]],
    unpaid: list[float],
    seen: set[int],
) -> float:
    """Send along one path that avoids bundles seen before; how much was sent."""
    for b in needs[t]:
        if b in seen:
            continue
        seen.add(b)
        sent = min(amount, unpaid[b])
        unpaid[b] -= sent
        for u, sends in enumerate(flow):
            if sent == 0 and sends.get(b, 0.0) > 0:
                sent = _push(u, min(amount, sends[b]), needs, flow, unpaid, seen)
                sends[b] -= sent
        if sent > 0:
            flow[t][b] += sent
            return sent
    return 0.0
