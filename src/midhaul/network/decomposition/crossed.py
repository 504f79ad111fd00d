"""A path with the flows that cross it as arrays: cut out of a network, or drawn.

C. Li et al., "m3: Accurate Flow-Level Performance Estimation using Machine Learning",
SIGCOMM 2024, section 3, as :mod:`midhaul.network.decomposition.paths` has it, with all
flows of a path in one pass of a kernel and without a network of its own, until one is
asked for.

Difference from m3 and from there: a background flow comes from an end of its own host
over a link as fast as the slowest one before the path, so that its packets come no
faster than they could, and those of one host one after the other.
"""
# pyright: reportArgumentType=false, reportReturnType=false
# An element of an array is a number, which its type does not say.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Flows, Link, Topology
from midhaul.model.display import Display, Shown, counted
from midhaul.network.decomposition.part import UNBOUND_BPS
from midhaul.network.packet.events import compiled
from midhaul.network.problem import NetworkProblem, Routes, link_table

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.network.problem import LinkTable
    from midhaul.network.transports import Transport

HERE = -1
"""The end of a flow that begins at the path's own source, or ends at its target."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CrossedPath(Shown):
    """A path of ``h`` links and the ``n`` flows, or parts of flows, on it.

    Attributes:
        links: of the path, from its source to its target.
        back: the links the other way.
        flow: ``(n,)`` which flow of the whole each is, or is a part of.
        size_bytes: ``(n,)`` payload.
        start_ns: ``(n,)`` when it starts.
        transport: ``(n,)`` its transport among ``transports``.
        enters: ``(n,)`` first link of the path that it takes.
        leaves: ``(n,)`` the link behind its last one.
        sender: ``(n,)`` the end that it comes from; :data:`HERE`: the path's source.
        receiver: ``(n,)`` the end that it goes to; :data:`HERE`: the path's target.
        sender_bps: ``(s,)`` rate at which a sending end reaches the path.
        sender_ns: ``(s,)`` delay until there.
        receiver_ns: ``(r,)`` delay from the path to a receiving end.
        transports: how senders decide.
        switch_buffer_bytes: as in a network problem.
        seed: of what is drawn when it is simulated.
    """

    links: tuple[Link, ...]
    back: tuple[Link, ...]
    flow: Int64[np.ndarray, " n"]
    size_bytes: Int64[np.ndarray, " n"]
    start_ns: Int64[np.ndarray, " n"]
    transport: Int64[np.ndarray, " n"]
    enters: Int64[np.ndarray, " n"]
    leaves: Int64[np.ndarray, " n"]
    sender: Int64[np.ndarray, " n"]
    receiver: Int64[np.ndarray, " n"]
    sender_bps: Float64[np.ndarray, " s"]
    sender_ns: Int64[np.ndarray, " s"]
    receiver_ns: Int64[np.ndarray, " r"]
    transports: tuple[Transport, ...]
    switch_buffer_bytes: int = 0
    seed: int = 0

    def __len__(self) -> int:
        """Number of flows, or of parts of them."""
        return len(self.flow)

    @property
    def is_foreground(self) -> Bool[np.ndarray, " n"]:
        """``(n,)`` true for flows that take the whole path, and nothing else."""
        return (
            (self.sender == HERE)
            & (self.receiver == HERE)
            & (self.enters == 0)
            & (self.leaves == len(self.links))
        )

    @property
    def outer_ns(self) -> Int64[np.ndarray, " n"]:
        """``(n,)`` delay of what was cut off, of one way."""
        before = np.append(self.sender_ns, 0)[self.sender]
        return before + np.append(self.receiver_ns, 0)[self.receiver]

    @property
    def own_bps(self) -> Float64[np.ndarray, " n"]:
        """``(n,)`` the rate by which each flow is bound outside of the path."""
        return np.append(self.sender_bps, np.inf)[self.sender]

    def first(self, n: int) -> CrossedPath:
        """The same with the ``n`` flows that start first only."""
        order = np.argsort(self.start_ns, kind="stable")[:n]
        names = ("flow", "size_bytes", "start_ns", "transport", "enters", "leaves")
        kept = {
            name: getattr(self, name)[order] for name in (*names, "sender", "receiver")
        }
        return replace(self, **kept)

    def problem(self) -> NetworkProblem:
        """The network of the path: its nodes in a row, and ends beside them.

        Link ``2 i`` is the ``i``-th of the path and ``2 i + 1`` leads back.
        """
        h = len(self.links)
        names = [self.links[0].source, *(link.target for link in self.links)]
        nodes = [f"{i} {name}" for i, name in enumerate(names)]
        links: list[Link] = []
        for i, (there, back) in enumerate(zip(self.links, self.back, strict=True)):
            links.append(replace(there, source=nodes[i], target=nodes[i + 1]))
            links.append(replace(back, source=nodes[i + 1], target=nodes[i]))
        senders, sender_of = self._ends(self.sender, self.enters)
        receivers, receiver_of = self._ends(self.receiver, self.leaves)
        first_sender, first_receiver = h + 1, h + 1 + len(senders)
        for end, node in senders:
            name = f"from {len(nodes)}"
            rate, delay_s = float(self.sender_bps[end]), self.sender_ns[end] / 1e9
            links += _cable(name, nodes[node], rate, float(delay_s))
            nodes.append(name)
        for end, node in receivers:
            name = f"to {len(nodes)}"
            delay_s = float(self.receiver_ns[end] / 1e9)
            links += _cable(name, nodes[node], UNBOUND_BPS, delay_s)[::-1]
            nodes.append(name)
        from_end, to_end = self.sender != HERE, self.receiver != HERE
        lengths = from_end + (self.leaves - self.enters) + to_end
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        hop = np.arange(offsets[-1]) - np.repeat(offsets[:-1] + from_end, lengths)
        ways = 2 * (np.repeat(self.enters, lengths) + hop)
        ways[offsets[:-1][from_end]] = 2 * (h + sender_of[from_end])
        behind = h + len(senders) + receiver_of[to_end]
        ways[offsets[1:][to_end] - 1] = 2 * behind
        joined = {node for _, node in senders} | {node for _, node in receivers}
        inner = {*range(1, h), *joined}
        source = np.where(from_end, first_sender + sender_of, 0)
        target = np.where(to_end, first_receiver + receiver_of, h)
        used = {*np.unique(source).tolist(), *np.unique(target).tolist()}
        hosts = [node for i, node in enumerate(nodes) if i not in inner]
        return NetworkProblem(
            topology=Topology(
                nodes=tuple(nodes),
                links=tuple(links),
                # A node where others join and flows begin as well may do all.
                hosts=() if used & inner else tuple(hosts),
            ),
            flows=Flows(
                source=source.astype(np.int32),
                target=target.astype(np.int32),
                size_bytes=self.size_bytes,
                start_ns=self.start_ns,
                transport=self.transport,
            ),
            routes=Routes(offsets=offsets, links=ways.astype(np.int32)),
            transports=self.transports,
            switch_buffer_bytes=self.switch_buffer_bytes,
            seed=self.seed,
        )

    def _ends(
        self, end: Int64[np.ndarray, " n"], node: Int64[np.ndarray, " n"]
    ) -> tuple[list[tuple[int, int]], Int64[np.ndarray, " n"]]:
        """The ends that are used with the nodes they are at, and whose each flow is."""
        width = len(self.links) + 1
        is_used = end != HERE
        keys, of_flow = np.unique(
            end[is_used] * width + node[is_used], return_inverse=True
        )
        index = np.full(len(end), HERE, np.int64)
        index[is_used] = of_flow
        return [divmod(key, width) for key in keys.tolist()], index

    def _display(self) -> Display:
        """How many flows there are, and how many take the whole path."""
        own = int(self.is_foreground.sum())
        text = f"a path of {counted(len(self.links), 'link')} with "
        return Display(text=f"{text}{counted(len(self), 'flow')}, {own:,} its own")


class WholeFlows:
    """All flows of a network, indexed by the links they take, to cut paths out of.

    Args:
        whole: the network.

    Raises:
        ConfigError: flows wait for others, which a path alone cannot know of.
    """

    def __init__(self, whole: NetworkProblem) -> None:
        if whole.flows.waits:
            message = "paths are looked at one by one, so no flow can wait for another"
            raise ConfigError(message, "choose packet or fluid")
        self.whole = whole
        self.table: LinkTable = link_table(whole.topology)
        routes = whole.routes
        lengths = np.diff(routes.offsets)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        order = np.argsort(routes.links, kind="stable")
        self._flows = owner[order]
        counts = np.bincount(routes.links, minlength=len(whole.topology.links))
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._place = np.full(len(whole.topology.links), -1, np.int64)
        self._links = routes.links.astype(np.int64)
        self._offsets = routes.offsets.astype(np.int64)

    def n_flows(self, link: int) -> int:
        """How many flows take a link."""
        return int(self._first[link + 1] - self._first[link])

    def cross(self, path: tuple[int, ...]) -> CrossedPath:
        """A path with all flows that share a link with it, cut to it.

        Args:
            path: links of the network, from a node to another.

        Returns:
            The path; its foreground are the flows whose way it is.
        """
        whole, flows = self.whole, self.whole.flows
        there = [self._flows[self._first[i] : self._first[i + 1]] for i in path]
        found = np.unique(np.concatenate(there))
        parts = np.zeros((sum(map(len, there)), _N_COLUMNS), np.int64)
        slowest = np.full(len(parts), np.inf)
        self._place[list(path)] = np.arange(len(path))
        n = int(
            _cut(
                found,
                self._offsets,
                self._links,
                self._place,
                self.table.rate_bps,
                self.table.delay_ns,
                len(path),
                parts,
                slowest,
            )
        )
        self._place[list(path)] = -1
        parts, slowest = parts[:n], slowest[:n]
        flow = parts[:, _FLOW]
        sender, (sender_ns, _, sender_bps) = _grouped(
            parts[:, _BEFORE], flows.source[flow], np.minimum(slowest, UNBOUND_BPS)
        )
        receiver, (receiver_ns, *_) = _grouped(
            parts[:, _BEHIND], np.zeros(n), np.zeros(n)
        )
        links = whole.topology.links
        back = [int(self.table.reverse[link]) for link in path]
        kind = flows.transport[flow] if len(flows.transport) else np.zeros(n, np.int64)
        return CrossedPath(
            links=tuple(links[link] for link in path),
            back=tuple(
                links[b] if b >= 0 else replace(x, source=x.target, target=x.source)
                for b, x in zip(back, (links[link] for link in path), strict=True)
            ),
            flow=flow.copy(),
            size_bytes=flows.size_bytes[flow],
            start_ns=flows.start_ns[flow],
            transport=kind,
            enters=parts[:, _ENTERS].copy(),
            leaves=parts[:, _LEAVES].copy(),
            sender=np.where(parts[:, _BEFORE] == HERE, HERE, sender),
            receiver=np.where(parts[:, _BEHIND] == HERE, HERE, receiver),
            sender_bps=sender_bps,
            sender_ns=np.maximum(sender_ns, 0).astype(np.int64),
            receiver_ns=np.maximum(receiver_ns, 0).astype(np.int64),
            transports=whole.transports,
            switch_buffer_bytes=whole.switch_buffer_bytes,
            seed=whole.seed,
        )


_FLOW, _ENTERS, _LEAVES, _BEFORE, _BEHIND = range(5)
_N_COLUMNS = 5


def _grouped(
    *keys: np.ndarray,
) -> tuple[Int64[np.ndarray, " n"], tuple[np.ndarray, ...]]:
    """Which of the different keys each has, and these."""
    order = np.lexsort(keys)
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = False
    for one in keys:
        is_first[1:] |= one[order[1:]] != one[order[:-1]]
    index = np.empty(len(order), np.int64)
    index[order] = np.cumsum(is_first) - 1
    firsts = order[is_first]
    return index, tuple(one[firsts] for one in keys)


@compiled
def _cut(  # noqa: PLR0913, PLR0917  flat arrays
    flows: Int64[np.ndarray, " k"],
    offsets: Int64[np.ndarray, " n1"],
    links: Int64[np.ndarray, " g"],
    place: Int64[np.ndarray, " m"],
    rate_bps: Float64[np.ndarray, " m"],
    delay_ns: Int64[np.ndarray, " m"],
    h: int,
    parts: Int64[np.ndarray, "p c"],
    slowest: Float64[np.ndarray, " p"],
) -> int:
    """The parts of flows that lie on a path; how many there are.

    A part begins where a flow comes to the path, or leaves it and comes back.
    """
    n = 0
    for k in range(len(flows)):
        flow = flows[k]
        begin, end = offsets[flow], offsets[flow + 1]
        before, least = 0, np.inf
        total = 0
        for i in range(begin, end):
            total += delay_ns[links[i]]
        i = begin
        while i < end:
            at = place[links[i]]
            if at < 0:
                before += delay_ns[links[i]]
                least = min(least, rate_bps[links[i]])
                i += 1
                continue
            first = i
            delay, fastest = before, least
            while i < end and place[links[i]] == at + i - first:
                before += delay_ns[links[i]]
                least = min(least, rate_bps[links[i]])
                i += 1
            leaves = at + i - first
            parts[n, 0], parts[n, 1], parts[n, 2] = flow, at, leaves
            parts[n, 3], parts[n, 4] = delay, total - before
            if first == begin and at == 0:
                parts[n, 3] = -1
            if i == end and leaves == h:
                parts[n, 4] = -1
            slowest[n] = fastest
            n += 1
    return n


def _cable(outer: str, inner: str, rate_bps: float, delay_s: float) -> list[Link]:
    """From an end to a node of the path, and back."""
    return [
        Link(source=a, target=b, rate_bps=rate_bps, delay_s=delay_s)
        for a, b in ((outer, inner), (inner, outer))
    ]
