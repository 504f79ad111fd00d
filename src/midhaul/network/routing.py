"""ECMP and k shortest paths: which links the flows of a network take.

ECMP follows C. Hopps, RFC 2992 (2000): each node divides flows among the links that
begin a shortest way by a hash of the flow, so that a flow keeps its path. The hash is
the finaliser of SplitMix64 (G. L. Steele, D. Lea, C. H. Flood: *Fast Splittable
Pseudorandom Number Generators*, OOPSLA 2014) of seed, flow and node: whole numbers of
64 bits, the same on any machine. K shortest paths are J. Y. Yen's: *Finding the K
Shortest Loopless Paths in a Network*, Management Science 17 (1971). Differences:

1. Hosts forward nothing. A path goes through no host but its ends.
2. Weights are whole numbers of at least 1, so that equal ways are equal exactly.
3. Links are chosen, not neighbours: parallel links share.
4. Of paths with equal weights that is first whose links have the lower indices.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

from midhaul.errors import ConfigError
from midhaul.network.problem import LinkTable, Routes, link_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int32, Int64, UInt64

    from midhaul.model import Flows, Topology

Metric = Literal["hops", "delay", "rate"]
Weights = Metric | np.ndarray
Shares = Literal["equal", "inverse"]
Path = tuple[int, ...]
"""Indices of links, from the source to the target."""

_NOT_REACHED = -1
_REFERENCE_BPS = 100e12
"""The rate of weight 1, for weights by rate; OSPF has 100 Mbit/s."""
_MOST_WEIGHT = 1 << 40
_MASK = (1 << 64) - 1


def ecmp(
    topology: Topology,
    flows: Flows,
    *,
    weights: Weights = "hops",
    seed: int = 0,
    keys: Int64[np.ndarray, " n"] | None = None,
) -> Routes:
    """Equal-cost multipath: each flow takes one of the shortest ways, by its hash.

    Args:
        topology: the nodes and links.
        flows: whose sources and targets are routed.
        weights: what is short: ``"hops"``; ``"delay"``, in nanoseconds; ``"rate"``,
            slow links being long as in OSPF; or ``(m,)`` whole numbers of at least 1.
        seed: of the hash.
        keys: ``(n,)`` what tells flows apart besides their ends, as ports do; their
            indices by default. Flows of the same ends and key take the same path.

    Returns:
        The way of each flow.

    Raises:
        ConfigError: a link has no rate, a weight is no weight, a flow ends where it
            begins, or there is no path for it; the first one is named.
    """
    graph = _graph(topology, weights)
    _check_ends(topology, flows)
    hashes = flow_hashes(flows, seed, keys)
    order = np.argsort(flows.target, kind="stable")
    arguments = (graph, order, flows.source, flows.target, hashes)
    n_hops = np.zeros(len(flows), np.int64)
    _walk(*arguments, n_hops, np.zeros(0, np.int32))
    _check_reached(topology, flows, n_hops)
    offsets = np.zeros(len(flows) + 1, np.int64)
    np.cumsum(n_hops, out=offsets[1:])
    links = np.zeros(int(offsets[-1]), np.int32)
    _walk(*arguments, offsets[:-1].copy(), links)
    return Routes(offsets=offsets, links=links)


def over_k_paths(
    topology: Topology,
    flows: Flows,
    k: int,
    *,
    weights: Weights = "delay",
    shares: Shares = "equal",
    seed: int = 0,
) -> Routes:
    """Each flow takes one of the k shortest paths between its ends, by its hash.

    Args:
        topology: the nodes and links.
        flows: whose sources and targets are routed.
        k: paths between two ends, where there are as many.
        weights: what is short, see :func:`ecmp`.
        shares: of flows on each path: ``"equal"``, or ``"inverse"`` to its weight.
        seed: of the hash.

    Returns:
        The way of each flow.

    Raises:
        ConfigError: as for :func:`ecmp`, or k is below 1.
    """
    graph = _graph(topology, weights)
    _check_ends(topology, flows)
    n_nodes = len(topology.nodes)
    pairs = flows.source.astype(np.int64) * n_nodes + flows.target
    known, which = np.unique(pairs, return_inverse=True)
    draws = (flow_hashes(flows, seed, None) >> np.uint64(11)).astype(np.float64) / 2**53
    paths: list[Path] = []
    chosen = np.zeros(len(flows), np.int64)
    by_pair = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[by_pair], np.arange(len(known) + 1))
    for i, pair in enumerate(known.tolist()):
        own = by_pair[ends[i] : ends[i + 1]]
        found = _k_shortest(graph, pair // n_nodes, pair % n_nodes, k)
        if not found:
            reached = np.zeros(len(flows), np.int64)
            reached[own] = _NOT_REACHED
            _check_reached(topology, flows, reached)
        parts = _shares([cost for cost, _ in found], shares)
        picked = np.searchsorted(np.cumsum(parts), draws[own], side="right")
        chosen[own] = len(paths) + np.minimum(picked, len(found) - 1)
        paths += [path for _, path in found]
    return _joined(paths, chosen)


def k_shortest_paths(
    topology: Topology, source: str, target: str, k: int, *, weights: Weights = "delay"
) -> tuple[Path, ...]:
    """The k shortest paths between two nodes that meet no node twice (Yen 1971).

    Args:
        topology: the nodes and links.
        source: name of the node where they begin.
        target: name of the node where they end.
        k: how many; fewer where there are no more.
        weights: what is short, see :func:`ecmp`.

    Returns:
        Indices of links in ``topology.links``, the shortest path first.

    Raises:
        ConfigError: a node is unknown, k is below 1, there is no path, or as for
            :func:`ecmp`.
    """
    index = {name: i for i, name in enumerate(topology.nodes)}
    for name in (source, target):
        if name not in index:
            message = f"expected a node of the topology, found {name!r}"
            raise ConfigError(message)
    if source == target:
        message = f"a path needs two nodes, found {source!r} twice"
        raise ConfigError(message)
    found = _k_shortest(_graph(topology, weights), index[source], index[target], k)
    if not found:
        message = f"there is no path from {source} to {target}"
        raise ConfigError(message, _NO_PATH)
    return tuple(path for _, path in found)


def link_weights(topology: Topology, weights: Weights) -> Int64[np.ndarray, " m"]:
    """Weights of links as whole numbers of at least 1; ConfigError names a bad one."""
    table = link_table(topology)
    if isinstance(weights, str):
        if weights == "hops":
            return np.ones(len(table.source), np.int64)
        if weights == "delay":
            return np.maximum(table.delay_ns, 1)
        exact = np.rint(_REFERENCE_BPS / table.rate_bps)
        return np.maximum(np.minimum(exact, _MOST_WEIGHT), 1).astype(np.int64)
    given = np.asarray(weights)
    if given.shape != table.source.shape:
        message = f"expected a weight for each of {len(table.source)} links, found "
        raise ConfigError(message + f"an array of {given.shape}")
    is_good = (given >= 1) & (given <= _MOST_WEIGHT) & (given == np.rint(given))
    if not is_good.all():
        at = int(np.argmin(is_good))
        message = (
            f"weights of links are whole numbers of 1 to 2^40, link "
            f"{topology.links[at].name} has {given[at]}"
        )
        raise ConfigError(message, "multiply them all, and round")
    return given.astype(np.int64)


def flow_hashes(
    flows: Flows, seed: int, keys: Int64[np.ndarray, " n"] | None
) -> UInt64[np.ndarray, " n"]:
    """``(n,)`` hash of each flow: of the seed, its ends and its key."""
    n = len(flows)
    own = np.arange(n) if keys is None else keys
    if len(own) != n:
        message = f"expected a key for each of {n} flows, found {len(own)}"
        raise ConfigError(message)
    hashes = np.full(n, seed & _MASK, np.uint64)
    for part in (flows.source, flows.target, own):
        hashes = _mixed(hashes ^ part.astype(np.uint64))
    return hashes


def _mixed(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """A step and the finaliser of SplitMix64, of arrays."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class _Graph(NamedTuple):
    """A topology for kernels: links by their sources and by their targets."""

    out_offsets: Int64[np.ndarray, " n1"]
    out_links: Int64[np.ndarray, " m"]
    in_offsets: Int64[np.ndarray, " n1"]
    in_links: Int64[np.ndarray, " m"]
    source: Int32[np.ndarray, " m"]
    target: Int32[np.ndarray, " m"]
    weight: Int64[np.ndarray, " m"]
    forwards: Bool[np.ndarray, " n"]
    is_by_hops: bool


def _graph(topology: Topology, weights: Weights) -> _Graph:
    """A topology as arrays, when each of its links can carry something."""
    table = link_table(topology)
    _check_links(topology, table)
    n = len(topology.nodes)
    hosts = set(topology.hosts)
    weight = link_weights(topology, weights)
    out_offsets, out_links = _grouped(table.source, n)
    in_offsets, in_links = _grouped(table.target, n)
    return _Graph(
        out_offsets=out_offsets,
        out_links=out_links,
        in_offsets=in_offsets,
        in_links=in_links,
        source=table.source,
        target=table.target,
        weight=weight,
        forwards=np.array([name not in hosts for name in topology.nodes], np.bool_),
        is_by_hops=bool((weight == 1).all()),
    )


def _grouped(
    ends: Int32[np.ndarray, " m"], n: int
) -> tuple[Int64[np.ndarray, " n1"], Int64[np.ndarray, " m"]]:
    """Where the links of each of n nodes stand, and the links, in their order."""
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(ends, minlength=n), out=offsets[1:])
    return offsets, np.argsort(ends, kind="stable").astype(np.int64)


def _check_links(topology: Topology, table: LinkTable) -> None:
    is_good = table.rate_bps > 0
    if not is_good.all():
        link = topology.links[int(np.argmin(is_good))]
        message = (
            f"link {link.name} must carry more than 0 bit/s, found {link.rate_bps:g}"
        )
        raise ConfigError(message, "give it a rate, or leave the link out")
    if len(table.delay_ns) and int(table.delay_ns.min()) < 0:
        link = topology.links[int(np.argmin(table.delay_ns))]
        message = f"link {link.name} must have a delay of at least 0 s, found "
        raise ConfigError(message + f"{link.delay_s:g}")


def _check_ends(topology: Topology, flows: Flows) -> None:
    """Flows begin and end at different nodes, at hosts where there are any."""
    n = len(topology.nodes)
    for name in ("source", "target"):
        ends = getattr(flows, name)
        is_good = (ends >= 0) & (ends < n)
        if topology.hosts and is_good.all():
            known = set(topology.hosts)
            is_host = np.array([node in known for node in topology.nodes], np.bool_)
            is_good = is_host[ends]
        if not is_good.all():
            at = int(np.argmin(is_good))
            end = int(ends[at])
            found = topology.nodes[end] if 0 <= end < n else f"node {end} of {n}"
            what = "host" if topology.hosts else "node"
            message = f"the {name} of flow {at} must be a {what}, found {found}"
            raise ConfigError(message)
    is_round = flows.source == flows.target
    if is_round.any():
        at = int(np.argmax(is_round))
        message = f"flow {at} ends where it begins, at "
        raise ConfigError(message + topology.nodes[int(flows.source[at])])


_NO_PATH = "add a link, or mind that a host forwards nothing for others"


def _check_reached(
    topology: Topology, flows: Flows, n_hops: Int64[np.ndarray, " n"]
) -> None:
    lost = np.flatnonzero(n_hops == _NOT_REACHED)
    if not len(lost):
        return
    at = int(lost[0])
    source, target = topology.nodes[flows.source[at]], topology.nodes[flows.target[at]]
    message = f"there is no path from {source} to {target} for flow {at}"
    if len(lost) > 1:
        message += f", nor for {len(lost) - 1:,} other flows"
    raise ConfigError(message, _NO_PATH)


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _walk(
    graph: _Graph,
    order: Int64[np.ndarray, " n"],
    source: Int32[np.ndarray, " n"],
    target: Int32[np.ndarray, " n"],
    hashes: UInt64[np.ndarray, " n"],
    at: Int64[np.ndarray, " n"],
    links: Int32[np.ndarray, " k"],
) -> None:
    """Walk every flow to its target; count its links, or write them from ``at`` on.

    Flows come in the order of their targets. Counts are written into ``at`` where
    ``links`` is empty, -1 where there is no path.
    """
    n_nodes = len(graph.forwards)
    distance = np.empty(n_nodes, np.int64)
    heap_at = np.empty(len(graph.source) + 1, np.int64)
    heap_node = np.empty(len(graph.source) + 1, np.int64)
    is_counting = len(links) == 0
    last = -1
    for i in range(len(order)):
        flow = int(order[i])
        goal = int(target[flow])
        if goal != last:
            if graph.is_by_hops:
                _hops_to(graph, goal, distance, heap_node)
            else:
                _weights_to(graph, goal, distance, heap_at, heap_node)
            last = goal
        node = int(source[flow])
        if distance[node] == _NOT_REACHED:
            at[flow] = _NOT_REACHED
            continue
        n = 0
        while node != goal:
            link = _next(graph, node, goal, distance, hashes[flow])
            if not is_counting:
                links[at[flow] + n] = link
            n += 1
            node = int(graph.target[link])
        if is_counting:
            at[flow] = n


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _next(
    graph: _Graph,
    node: int,
    goal: int,
    distance: Int64[np.ndarray, " n"],
    key: np.uint64,
) -> int:
    """The link that a flow takes from a node, of those that begin a shortest way."""
    n = 0
    first = 0
    for i in range(graph.out_offsets[node], graph.out_offsets[node + 1]):
        if _is_on_way(graph, graph.out_links[i], node, goal, distance):
            if n == 0:
                first = i
            n += 1
    if n == 1:
        return graph.out_links[first]
    x = (key ^ np.uint64(node)) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    left = np.int64(((x >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
    i = first
    while True:
        if _is_on_way(graph, graph.out_links[i], node, goal, distance):
            if left == 0:
                return graph.out_links[i]
            left -= 1
        i += 1


@njit(cache=True, inline="always")  # pyright: ignore[reportUntypedFunctionDecorator]
def _is_on_way(
    graph: _Graph, link: int, node: int, goal: int, distance: Int64[np.ndarray, " n"]
) -> bool:
    there = graph.target[link]
    if distance[there] == _NOT_REACHED:
        return False
    if not (graph.forwards[there] or there == goal):
        return False
    return distance[there] + graph.weight[link] == distance[node]


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _hops_to(
    graph: _Graph,
    goal: int,
    distance: Int64[np.ndarray, " n"],
    waiting: Int64[np.ndarray, " m1"],
) -> None:
    """Hops from every node to the goal, by breadth-first search against the links."""
    distance[:] = _NOT_REACHED
    distance[goal] = 0
    waiting[0] = goal
    first, end = 0, 1
    while first < end:
        node = waiting[first]
        first += 1
        for i in range(graph.in_offsets[node], graph.in_offsets[node + 1]):
            before = np.int64(graph.source[graph.in_links[i]])
            if distance[before] == _NOT_REACHED:
                distance[before] = distance[node] + 1
                if graph.forwards[before]:
                    waiting[end] = before
                    end += 1


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _weights_to(
    graph: _Graph,
    goal: int,
    distance: Int64[np.ndarray, " n"],
    heap_at: Int64[np.ndarray, " m1"],
    heap_node: Int64[np.ndarray, " m1"],
) -> None:
    """Weight of the shortest way from every node to the goal (Dijkstra, binary heap).

    What a shorter way has overtaken stays in the heap and is passed over; each link is
    pushed once at most, so that the heap never outgrows its arrays.
    """
    distance[:] = _NOT_REACHED
    distance[goal] = 0
    heap_at[0], heap_node[0] = 0, goal
    n = 1
    while n:
        near, node = heap_at[0], heap_node[0]
        n -= 1
        _sink(heap_at, heap_node, n, heap_at[n], heap_node[n])
        if near > distance[node] or not (graph.forwards[node] or node == goal):
            continue
        for i in range(graph.in_offsets[node], graph.in_offsets[node + 1]):
            link = graph.in_links[i]
            before = np.int64(graph.source[link])
            far = near + graph.weight[link]
            if distance[before] != _NOT_REACHED and distance[before] <= far:
                continue
            distance[before] = far
            at = n
            n += 1
            while at and heap_at[(at - 1) // 2] > far:
                heap_at[at] = heap_at[(at - 1) // 2]
                heap_node[at] = heap_node[(at - 1) // 2]
                at = (at - 1) // 2
            heap_at[at], heap_node[at] = far, before


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _sink(
    heap_at: Int64[np.ndarray, " m1"],
    heap_node: Int64[np.ndarray, " m1"],
    n: int,
    key: int,
    node: int,
) -> None:
    """Put an entry where the root of a heap of n others was taken away."""
    at = 0
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and heap_at[child + 1] < heap_at[child]:
            child += 1
        if heap_at[child] >= key:
            break
        heap_at[at], heap_node[at] = heap_at[child], heap_node[child]
        at = child
    heap_at[at], heap_node[at] = key, node


def _k_shortest(
    graph: _Graph, source: int, target: int, k: int
) -> list[tuple[int, Path]]:
    """Weights and links of the k shortest loopless paths, in their order (Yen)."""
    if k < 1:
        message = f"k must be at least 1, found {k}"
        raise ConfigError(message)
    first = _shortest(graph, source, target, set(), set())
    if first is None:
        return []
    found = [first]
    waiting: list[tuple[int, Path]] = []
    known = {first[1]}
    while len(found) < k:
        path = found[-1][1]
        cost, visited = 0, {source}
        for i, link in enumerate(path):
            root, spur = path[:i], int(graph.source[link])
            taken = {p[i] for _, p in found if p[:i] == root}
            rest = _shortest(graph, spur, target, taken, visited - {spur})
            if rest is not None and (whole := root + rest[1]) not in known:
                known.add(whole)
                heapq.heappush(waiting, (cost + rest[0], whole))
            cost += int(graph.weight[link])
            visited.add(int(graph.target[link]))
        if not waiting:
            break
        found.append(heapq.heappop(waiting))
    return found


def _shortest(
    graph: _Graph, source: int, target: int, taken: set[int], visited: set[int]
) -> tuple[int, Path] | None:
    """The shortest path that begins with no taken link and meets no visited node."""
    heap: list[tuple[int, Path, int]] = [(0, (), source)]
    done = set(visited)
    while heap:
        cost, path, node = heapq.heappop(heap)
        if node == target:
            return cost, path
        if node in done:
            continue
        done.add(node)
        if path and not graph.forwards[node]:
            continue
        for i in range(graph.out_offsets[node], graph.out_offsets[node + 1]):
            link = int(graph.out_links[i])
            there = int(graph.target[link])
            if there not in done and not (node == source and link in taken):
                far = cost + int(graph.weight[link])
                heapq.heappush(heap, (far, (*path, link), there))
    return None


def _shares(costs: Sequence[int], shares: Shares) -> np.ndarray:
    parts = np.ones(len(costs)) if shares == "equal" else 1 / np.array(costs, float)
    return parts / parts.sum()


def _joined(paths: Sequence[Path], chosen: Int64[np.ndarray, " n"]) -> Routes:
    """Routes of flows that have each chosen one of some paths."""
    n_hops = np.array([len(path) for path in paths], np.int64)
    begins = np.cumsum(n_hops) - n_hops
    flat = np.fromiter((link for path in paths for link in path), np.int32)
    counts = n_hops[chosen]
    offsets = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    links = flat[np.repeat(begins[chosen], counts) + within]
    return Routes(offsets=offsets, links=links)
