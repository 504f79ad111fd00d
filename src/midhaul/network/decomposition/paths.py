"""Path decomposition: sampled paths, each with the flows that cross it, cut to it.

C. Li et al., "m3: Accurate Flow-Level Performance Estimation using Machine Learning",
SIGCOMM 2024, section 3: flows whose path is the sampled one are its foreground; flows
that share a link with it are its background, and are cut to the part of the path that
they take. A background flow joins and leaves the path over links that bound nothing,
with the delays of the links that were cut off. Paths are drawn in proportion to the
flows on them.

Differences from m3:

1. Any path length, any rates and delays; the network may have parts of different speed.
2. Delays of what was cut off are kept for each flow, instead of one fixed number.
3. What bounds a background flow elsewhere is not known here; a transport's card bounds
   it, where that has a rate of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.display import Display, Shown, counted
from midhaul.network.decomposition.part import (
    UNBOUND_BPS,
    CutEnds,
    NetworkPart,
)
from midhaul.network.problem import link_table

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64

    from midhaul.network.problem import NetworkProblem, Routes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PathProblem(Shown):
    """A path alone, with all that crosses it.

    Attributes:
        problem: the network of the path.
        flow: ``(n,)`` which flow of the whole each of its flows is, or is a part of.
        is_foreground: ``(n,)`` true for those that take the whole path.
    """

    problem: NetworkProblem
    flow: Int64[np.ndarray, " n"]
    is_foreground: Bool[np.ndarray, " n"]

    def _display(self) -> Display:
        """How many flows there are, and how many take the whole path."""
        n, own = len(self.flow), int(self.is_foreground.sum())
        return Display(
            text=f"a path with {counted(n, 'flow')}, {own:,} of them its own"
        )


def sample_paths(
    routes: Routes, n: int, rng: np.random.Generator
) -> tuple[list[tuple[int, ...]], Int64[np.ndarray, " k"]]:
    """Paths drawn with replacement, each as likely as a flow is on it.

    Args:
        routes: the ways of all flows.
        n: how many are drawn.
        rng: draws them.

    Returns:
        The ``k <= n`` paths that were drawn, as links, and how often each was.
    """
    drawn = rng.integers(0, len(routes.offsets) - 1, n)
    counts: dict[tuple[int, ...], int] = {}
    for flow in drawn.tolist():
        path = tuple(routes.of(flow).tolist())
        counts[path] = counts.get(path, 0) + 1
    return list(counts), np.array(list(counts.values()), np.int64)


def path_problem(whole: NetworkProblem, path: tuple[int, ...]) -> PathProblem:
    """A path with its foreground flows, and the background cut to it.

    Args:
        whole: the network.
        path: links of it, from a node to another.

    Returns:
        The network of the path: its nodes in a row, and a node beside each end of a
        background flow.
    """
    return PathCuts(whole).of(path)


class PathCuts:
    """Cuts many paths of one network.

    Args:
        whole: the network.
    """

    def __init__(self, whole: NetworkProblem) -> None:
        self._whole = whole
        self._table = link_table(whole.topology)
        links, offsets = whole.routes.links, whole.routes.offsets
        self._owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        self._place = np.full(len(self._table.source), -1)
        self._delays = np.concatenate([[0], np.cumsum(self._table.delay_ns[links])])
        # Where each link stands in all routes, link by link.
        self._hops = np.argsort(links, kind="stable")
        counts = np.bincount(links, minlength=len(self._table.source))
        self._at = np.concatenate([[0], np.cumsum(counts)])

    def hops_of(self, link: int) -> Int64[np.ndarray, " k"]:
        """Where a link stands in the links of all routes."""
        return self._hops[self._at[link] : self._at[link + 1]]

    def of(self, path: tuple[int, ...]) -> PathProblem:
        """A path with its foreground flows, and the background cut to it."""
        hops = np.sort(np.concatenate([self.hops_of(link) for link in path]))
        self._place[list(path)] = np.arange(len(path))
        at, owner = self._place[self._whole.routes.links[hops]], self._owner[hops]
        # A part begins where a flow comes to the path, or leaves it and comes back.
        is_first = np.ones(len(hops), np.bool_)
        is_first[1:] = (
            (owner[1:] != owner[:-1])
            | (hops[1:] != hops[:-1] + 1)
            | (at[1:] != at[:-1] + 1)
        )
        is_last = np.append(is_first[1:], len(hops) > 0)
        return self._cut(
            path,
            owner[is_first],
            (hops[is_first], hops[is_last]),
            (at[is_first], at[is_last] + 1),
        )

    def _cut(
        self,
        path: tuple[int, ...],
        flow: Int64[np.ndarray, " n"],
        hops: tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]],
        nodes: tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]],
    ) -> PathProblem:
        """Parts of flows, by their first and last hop, and where these are on it."""
        offsets = self._whole.routes.offsets
        part = NetworkPart(whole=self._whole, path=path)
        part.lay(self._table)
        enters, leaves = nodes
        same = np.zeros(len(flow), np.int64)
        unbound = np.full(len(flow), UNBOUND_BPS)
        first = CutEnds(
            is_cut=(hops[0] > offsets[flow]) | (enters > 0),
            node=enters,
            whose=same,
            delay_ns=self._delays[hops[0]] - self._delays[offsets[flow]],
            rate_bps=unbound,
        )
        last = CutEnds(
            is_cut=(hops[1] + 1 < offsets[flow + 1]) | (leaves < len(path)),
            node=leaves,
            whose=same,
            delay_ns=self._delays[offsets[flow + 1]] - self._delays[hops[1] + 1],
            rate_bps=unbound,
        )
        return PathProblem(
            problem=part.problem(flow, first, last),
            flow=flow,
            is_foreground=~first.is_cut & ~last.is_cut,
        )
