"""A part of a network: some of its links, and ends beside them for cut-off flows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Link, Topology
from midhaul.network.problem import Routes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int32, Int64

    from midhaul.network.problem import LinkTable, NetworkProblem

UNBOUND_BPS = 100e12
"""The rate of links that bound nothing."""


@dataclass(slots=True, kw_only=True)
class NetworkPart:
    """Nodes in a row with the links between them, and ends that are added to them.

    Attributes:
        whole: the problem that it is a part of.
        path: links of the whole, from node to node; here link ``2 i`` is the ``i``-th,
            and ``2 i + 1`` is that which leads back.
        nodes: names so far; first those of the path.
        links: links so far.
        known: ends that were added, by what they are: their node and link.
        joined: nodes of the path that have such ends.
    """

    whole: NetworkProblem
    path: Sequence[int]
    nodes: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    known: dict[tuple[bool, int, int, int, float], tuple[int, int]] = field(
        default_factory=dict
    )
    joined: set[int] = field(default_factory=set)

    def lay(self, table: LinkTable) -> None:
        """Lay the nodes and links of the path."""
        all_links = self.whole.topology.links
        names = [all_links[self.path[0]].source]
        names += [all_links[link].target for link in self.path]
        self.nodes = [f"{i} {name}" for i, name in enumerate(names)]
        for i, link in enumerate(self.path):
            back = int(table.reverse[link])
            a, b = self.nodes[i], self.nodes[i + 1]
            other = all_links[back if back >= 0 else link]
            self.links.append(replace(all_links[link], source=a, target=b))
            self.links.append(replace(other, source=b, target=a))

    def end(
        self, node: int, whose: int, delay_ns: int, rate_bps: float, *, sends: bool
    ) -> tuple[int, int]:
        """An end beside a node of the path, and the link from or to it.

        Ends are the same where all of this is; ``whose`` tells others apart.
        """
        key = sends, node, whose, delay_ns, rate_bps
        if key not in self.known:
            name, near = (
                f"{'from' if sends else 'to'} {len(self.nodes)}",
                self.nodes[node],
            )
            self.known[key] = len(self.nodes), len(self.links)
            self.nodes.append(name)
            self.joined.add(node)
            # The way of the data is first, that of the acknowledgements second.
            pairs = [(name, near), (near, name)]
            for a, b in pairs if sends else pairs[::-1]:
                delay_s = delay_ns / 1e9
                link = Link(source=a, target=b, rate_bps=rate_bps, delay_s=delay_s)
                self.links.append(link)
        return self.known[key]

    def problem(
        self,
        flow: Int64[np.ndarray, " n"],
        ends: Int32[np.ndarray, "2 n"],
        ways: Sequence[Sequence[int]],
    ) -> NetworkProblem:
        """The part with flows of the whole, given where they go in it."""
        n_path = len(self.path) + 1
        forwarding = {*range(1, n_path - 1), *self.joined}
        hosts = set(range(len(self.nodes))) - forwarding
        if not set(ends.ravel().tolist()) <= hosts:
            hosts = set()  # every node may do all
        return replace(
            self.whole,
            topology=Topology(
                nodes=tuple(self.nodes),
                links=tuple(self.links),
                hosts=tuple(self.nodes[node] for node in sorted(hosts)),
            ),
            flows=replace(
                self.whole.flows.take(flow),
                source=ends[0].copy(),
                target=ends[1].copy(),
            ),
            routes=Routes(
                offsets=np.cumsum([0, *map(len, ways)]).astype(np.int64),
                links=np.array([x for way in ways for x in way], np.int32),
            ),
            watched=(),
            sample_ns=0,
        )
