"""ECMP in plain Python, from its definition: distances by relaxing, whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.model import Topology

_MASK = (1 << 64) - 1


def mixed(x: int) -> int:
    """A step and the finaliser of SplitMix64."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def distances(topology: Topology, weights: Sequence[int], goal: str) -> dict[str, int]:
    """Weight of the shortest way to a node from each that reaches it."""
    forwards = set(topology.nodes) - set(topology.hosts) | {goal}
    known = {goal: 0}
    for _ in topology.nodes:
        for link, weight in zip(topology.links, weights, strict=True):
            if link.target in known and link.target in forwards:
                far = known[link.target] + weight
                if far < known.get(link.source, far + 1):
                    known[link.source] = far
    return known


def way(
    topology: Topology,
    weights: Sequence[int],
    ends: tuple[int, int],
    key: int,
    seed: int,
) -> list[int] | None:
    """The links that a flow takes; None where there are none."""
    source, goal = (topology.nodes[end] for end in ends)
    forwards = set(topology.nodes) - set(topology.hosts) | {goal}
    known = distances(topology, weights, goal)
    if source not in known:
        return None
    hashed = seed & _MASK
    for part in (*ends, key):
        hashed = mixed(hashed ^ part)
    links: list[int] = []
    node = source
    while node != goal:
        good = [
            i
            for i, link in enumerate(topology.links)
            if link.source == node
            and link.target in forwards
            and known.get(link.target, -1) + weights[i] == known[node]
            and link.target in known
        ]
        draw = mixed(hashed ^ topology.nodes.index(node)) >> 32
        links.append(good[(draw * len(good)) >> 32])
        node = topology.links[links[-1]].target
    return links
