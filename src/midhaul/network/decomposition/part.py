"""A part of a network: some of its links, and ends beside them for cut-off flows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Link, Topology
from midhaul.network.problem import Routes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.network.problem import LinkTable, NetworkProblem
    from midhaul.network.simulator import Arrays, Simulation

_INNER = "inner."
UNBOUND_BPS = 100e12
"""The rate of links that bound nothing."""


def require_separable(problem: NetworkProblem, why: str) -> None:
    """ConfigError if parts of a problem cannot be simulated alone."""
    if problem.flows.waits:
        message = f"{why}, so no flow can wait for another"
        raise ConfigError(message, "choose packet or fluid")
    for link in problem.topology.links:
        if not link.rate_bps > 0:
            message = f"link {link.name} must carry more than 0 bit/s, found "
            message += f"{link.rate_bps:g}"
            raise ConfigError(message, "give it a rate")


def with_inner(
    found: dict[str, np.ndarray], simulation: Simulation | None
) -> dict[str, np.ndarray] | None:
    """A state with that of the part under way; None where that one has no state."""
    if simulation is None:
        return found
    inner = simulation.state()
    if inner is None:
        return None
    return found | {f"{_INNER}{name}": values for name, values in inner.items()}


def inner_of(state: Arrays) -> Arrays:
    """The state of the part under way, out of that of the whole; empty for none."""
    return {
        name.removeprefix(_INNER): values
        for name, values in state.items()
        if name.startswith(_INNER)
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutEnds:
    """Ends that flows are cut off at, one for each of ``n`` flows, first or last.

    Attributes:
        is_cut: ``(n,)`` whether there is one; else the flow begins or ends on the path.
        node: ``(n,)`` the node of the path that it is beside.
        whose: ``(n,)`` tells ends apart that are alike in all else.
        delay_ns: ``(n,)`` of the link between.
        rate_bps: ``(n,)`` of the link between.
    """

    is_cut: Bool[np.ndarray, " n"]
    node: Int64[np.ndarray, " n"]
    whose: Int64[np.ndarray, " n"]
    delay_ns: Int64[np.ndarray, " n"]
    rate_bps: Float64[np.ndarray, " n"]


@dataclass(slots=True, kw_only=True)
class NetworkPart:
    """Nodes in a row with the links between them, and ends that are added to them.

    Attributes:
        whole: the problem that it is a part of.
        path: links of the whole, from node to node; here link ``2 i`` is the ``i``-th,
            and ``2 i + 1`` is that which leads back.
        nodes: names so far; first those of the path.
        links: links so far.
    """

    whole: NetworkProblem
    path: Sequence[int]
    nodes: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

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

    def problem(
        self, flow: Int64[np.ndarray, " n"], first: CutEnds, last: CutEnds
    ) -> NetworkProblem:
        """The part with flows of the whole, from where each begins to where it ends.

        Ends are the same where all that is said of them is.
        """
        n, n_path = len(flow), len(self.path) + 1
        asked = np.stack([first.is_cut, last.is_cut], axis=1).ravel()
        ends, links = self._add(first, last, np.flatnonzero(asked))
        node = np.stack([first.node, last.node], axis=1).ravel()
        forwarding = {*range(1, n_path - 1), *np.unique(node[asked]).tolist()}
        node[asked] = ends
        link = np.zeros(2 * n, np.int64)
        link[asked] = links
        hosts = set(range(len(self.nodes))) - forwarding
        if not set(np.unique(node).tolist()) <= hosts:
            hosts = set()  # every node may do all
        ends = node.reshape(n, 2).astype(np.int32)
        return replace(
            self.whole,
            topology=Topology(
                nodes=tuple(self.nodes),
                links=tuple(self.links),
                hosts=tuple(self.nodes[node] for node in sorted(hosts)),
            ),
            flows=replace(
                self.whole.flows.take(flow),
                source=ends[:, 0].copy(),
                target=ends[:, 1].copy(),
            ),
            routes=_routes(first, last, link.reshape(n, 2)),
            watched=(),
            sample_ns=0,
        )

    def _add(
        self, first: CutEnds, last: CutEnds, asked: Int64[np.ndarray, " k"]
    ) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Add the ends that are asked for; ``(k,)`` node and link of each."""

        def both(name: str) -> np.ndarray:
            pair = getattr(first, name), getattr(last, name)
            return np.stack(pair, axis=1).ravel()[asked]

        node, whose, delay_ns = both("node"), both("whose"), both("delay_ns")
        rate_bps, is_last = both("rate_bps"), asked % 2
        code = np.zeros(len(asked), np.int64)
        for column in (is_last, node, whose, delay_ns, rate_bps):
            values, place = np.unique(column, return_inverse=True)
            if len(values) > 1:
                code = np.unique(code * len(values) + place, return_inverse=True)[1]
        _, where, kind = np.unique(code, return_index=True, return_inverse=True)
        # They stand in the order in which flows come to them.
        order = np.argsort(where, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        n_nodes, n_links = len(self.nodes), len(self.links)
        for i in where[order].tolist():
            self._end(
                int(node[i]), int(delay_ns[i]), float(rate_bps[i]), not is_last[i]
            )
        return n_nodes + rank[kind], n_links + 2 * rank[kind]

    def _end(self, node: int, delay_ns: int, rate_bps: float, sends: bool) -> None:  # noqa: FBT001  it is one of two
        name = f"{'from' if sends else 'to'} {len(self.nodes)}"
        near = self.nodes[node]
        self.nodes.append(name)
        # The way of the data is first, that of the acknowledgements second.
        pairs = [(name, near), (near, name)]
        for a, b in pairs if sends else pairs[::-1]:
            delay_s = delay_ns / 1e9
            self.links.append(
                Link(source=a, target=b, rate_bps=rate_bps, delay_s=delay_s)
            )


def _routes(first: CutEnds, last: CutEnds, link: Int64[np.ndarray, "n 2"]) -> Routes:
    """From the first end over the links of the path to the last."""
    n_on_path = last.node - first.node
    counts = first.is_cut + n_on_path + last.is_cut
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    begins = offsets[:-1] + first.is_cut
    step = np.arange(offsets[-1]) - np.repeat(begins, counts)
    links = 2 * (np.repeat(first.node, counts) + step)
    links[offsets[:-1][first.is_cut]] = link[first.is_cut, 0]
    links[offsets[1:][last.is_cut] - 1] = link[last.is_cut, 1]
    return Routes(offsets=offsets, links=links.astype(np.int32))
