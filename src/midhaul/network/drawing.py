"""Where the nodes of a topology stand when it is drawn.

Fabrics stand in layers: hosts at the bottom, each switch as high as it is far from the
nearest host, in the order that crosses fewest links (the barycentre heuristic of
Sugiyama, Tagawa and Toda, *Methods for Visual Understanding of Hierarchical System
Structures*, 1981). Where links join nodes of one layer, as in rings, distances on the
page are those in the network instead (T. Kamada and S. Kawai, *An Algorithm for Drawing
General Undirected Graphs*, 1989), for large ones by springs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

_FEW_NODES = 150
_SWEEPS = 8


def positions(
    n_nodes: int, links: Sequence[tuple[int, int]], hosts: Sequence[int]
) -> Float64[np.ndarray, "n 2"]:
    """``(n, 2)`` places of nodes in [0, 1], from the left and from the bottom.

    PrerequisiteError if networkx is needed and not installed.
    """
    beside: list[set[int]] = [set() for _ in range(n_nodes)]
    for a, b in links:
        beside[a].add(b)
        beside[b].add(a)
    layer = _layers(beside, hosts)
    if all(layer[a] != layer[b] for a, b in links) and max(layer, default=0) > 0:
        return _layered(beside, layer)
    return _apart(n_nodes, links)


def _layers(beside: Sequence[set[int]], hosts: Sequence[int]) -> list[int]:
    """How far each node is from the nearest host."""
    layer = [-1] * len(beside)
    reached = list(hosts)
    for node in reached:
        layer[node] = 0
    for node in reached:  # grows meanwhile
        for other in sorted(beside[node]):
            if layer[other] < 0:
                layer[other] = layer[node] + 1
                reached.append(other)
    return [max(one, 0) for one in layer]


def _layered(
    beside: Sequence[set[int]], layer: Sequence[int]
) -> Float64[np.ndarray, "n 2"]:
    n, top = len(layer), max(layer)
    rows = [[i for i in range(n) if layer[i] == height] for height in range(top + 1)]
    x = np.zeros(n)
    for row in rows:
        x[row] = _spread(len(row))
    for _ in range(_SWEEPS):
        for row in rows[1:]:
            _sort(row, x, beside)
        for row in rows[-2::-1]:
            _sort(row, x, beside)
    return np.column_stack([x, np.array(layer) / max(top, 1)])


def _spread(n: int) -> Float64[np.ndarray, " n"]:
    return (np.arange(n) + 0.5) / max(n, 1)


def _sort(
    row: Sequence[int], x: Float64[np.ndarray, " n"], beside: Sequence[set[int]]
) -> None:
    """Put the nodes of a layer in the order of the middles of their neighbours."""
    middle = [float(np.mean([x[k] for k in beside[i]] or [x[i]])) for i in row]
    order = np.argsort(middle, kind="stable")
    x[[row[i] for i in order]] = _spread(len(row))


def _apart(
    n_nodes: int, links: Sequence[tuple[int, int]]
) -> Float64[np.ndarray, "n 2"]:
    networkx = cast("Any", require("networkx", "network"))
    graph = networkx.Graph()
    graph.add_nodes_from(range(n_nodes))
    graph.add_edges_from(links)
    if n_nodes <= _FEW_NODES:
        require("scipy", "network")
        found = networkx.kamada_kawai_layout(graph)
    else:
        found = networkx.spring_layout(graph, seed=0)
    places = np.array([found[i] for i in range(n_nodes)], np.float64).reshape(-1, 2)
    span = np.ptp(places, axis=0)
    return (places - places.min(axis=0)) / np.where(span > 0, span, 1)
