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
from midhaul.network.decomposition.part import UNBOUND_BPS, NetworkPart
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
    topology, routes = whole.topology, whole.routes
    place = np.full(len(topology.links), -1)
    place[list(path)] = np.arange(len(path))
    at = place[routes.links]
    lengths = np.diff(routes.offsets)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    hops = np.flatnonzero(at >= 0)
    # A part begins where a flow comes to the path, or leaves it and comes back.
    is_first = np.ones(len(hops), np.bool_)
    is_first[1:] = (
        (owner[hops[1:]] != owner[hops[:-1]])
        | (hops[1:] != hops[:-1] + 1)
        | (at[hops[1:]] != at[hops[:-1]] + 1)
    )
    firsts = hops[is_first]
    lasts = hops[np.append(is_first[1:], len(hops) > 0)]
    return _cut(whole, path, owner[firsts], firsts, lasts)


def _cut(
    whole: NetworkProblem,
    path: tuple[int, ...],
    flow: Int64[np.ndarray, " n"],
    firsts: Int64[np.ndarray, " n"],
    lasts: Int64[np.ndarray, " n"],
) -> PathProblem:
    """Parts of flows, from hop to hop of all routes, on the nodes of the path."""
    table, offsets = link_table(whole.topology), whole.routes.offsets
    place = {link: i for i, link in enumerate(path)}
    delays = np.concatenate([[0], np.cumsum(table.delay_ns[whole.routes.links])])
    before = delays[firsts] - delays[offsets[flow]]
    behind = delays[offsets[flow + 1]] - delays[lasts + 1]
    is_cut = firsts > offsets[flow], lasts + 1 < offsets[flow + 1]
    part = NetworkPart(whole=whole, path=path)
    part.lay(table)
    ways: list[list[int]] = []
    ends = np.zeros((2, len(flow)), np.int32)
    for i in range(len(flow)):
        enters = place[int(whole.routes.links[firsts[i]])]
        leaves = place[int(whole.routes.links[lasts[i]])] + 1
        way = list(range(2 * enters, 2 * leaves, 2))
        ends[:, i] = enters, leaves
        if is_cut[0][i] or enters > 0:
            delay_ns = int(before[i])
            ends[0, i], link = part.end(enters, 0, delay_ns, UNBOUND_BPS, sends=True)
            way.insert(0, link)
        if is_cut[1][i] or leaves < len(path):
            delay_ns = int(behind[i])
            ends[1, i], link = part.end(leaves, 0, delay_ns, UNBOUND_BPS, sends=False)
            way.append(link)
        ways.append(way)
    return PathProblem(
        problem=part.problem(flow, ends, ways),
        flow=flow,
        is_foreground=(ends[0] == 0) & (ends[1] == len(path)),
    )
