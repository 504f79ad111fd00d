"""Small networks for tests of RDMA, and path scenarios that others have measured."""

from __future__ import annotations

import csv
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from midhaul.model import Flows, Link, Topology
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.problem import NetworkProblem, Routes
from midhaul.network.transports import RdmaTransport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.network.simulator import FlowResults

GBPS = 1e9


def both_ways(ends: Sequence[tuple[str, str, float, float]]) -> tuple[Link, ...]:
    """Links of two nodes at a rate and a delay, there and back."""
    return tuple(
        Link(source=x, target=y, rate_bps=rate, delay_s=delay)
        for a, b, rate, delay in ends
        for x, y in ((a, b), (b, a))
    )


def star(n: int, rate_bps: float = 10 * GBPS, delay_s: float = 1e-6) -> Topology:
    """Hosts ``h0`` to ``h(n-1)`` around a switch."""
    hosts = tuple(f"h{i}" for i in range(n))
    links = both_ways([(host, "switch", rate_bps, delay_s) for host in hosts])
    return Topology(nodes=(*hosts, "switch"), links=links, hosts=hosts)


def two_switches(n: int, trunk_bps: float = 40 * GBPS) -> Topology:
    """``n`` hosts at each of two switches, which a trunk joins."""
    hosts = tuple(f"h{i}" for i in range(2 * n))
    ends = [(h, f"s{i // n}", 10 * GBPS, 1e-6) for i, h in enumerate(hosts)]
    links = both_ways([*ends, ("s0", "s1", trunk_bps, 2e-6)])
    return Topology(nodes=(*hosts, "s0", "s1"), links=links, hosts=hosts)


def parking_lot(n_hosts: int) -> Topology:
    """The paths of m3: hosts on a line, of which those inside have endless links.

    The first and the last link have 10 Gbit/s, those between switches 40, and each host
    inside is at a switch of its own, the farther from the ends the longer its link.
    """
    n_switches = n_hosts - 2
    hosts = tuple(f"h{i}" for i in range(n_hosts))
    switches = tuple(f"s{i}" for i in range(1, n_switches + 1))
    ends = [
        (hosts[0], switches[0], 10 * GBPS, 1e-6),
        (hosts[-1], switches[-1], 10 * GBPS, 1e-6),
    ]
    ends += [
        (f"h{i}", f"s{i}", 100_000 * GBPS, min(i, n_hosts - 1 - i) * 1e-6)
        for i in range(1, n_switches + 1)
    ]
    ends += [(a, b, 40 * GBPS, 1e-6) for a, b in pairwise(switches)]
    return Topology(nodes=hosts + switches, links=both_ways(ends), hosts=hosts)


def shortest_routes(topology: Topology, ends: Sequence[tuple[int, int]]) -> Routes:
    """Of each pair of nodes the shortest way; the first found of those as long."""
    index = {name: i for i, name in enumerate(topology.nodes)}
    out: dict[int, list[tuple[int, int]]] = {}
    for i, link in enumerate(topology.links):
        out.setdefault(index[link.source], []).append((i, index[link.target]))
    ways: dict[tuple[int, int], list[int]] = {}
    for source, target in set(ends):
        came: dict[int, tuple[int, int]] = {source: (-1, -1)}
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for link, other in out.get(node, []):
                if other not in came:
                    came[other] = (link, node)
                    queue.append(other)
        way, node = [], target
        while node != source:
            link, node = came[node]
            way.append(link)
        ways[source, target] = way[::-1]
    found = [ways[pair] for pair in ends]
    return Routes(
        offsets=np.cumsum([0, *(len(way) for way in found)]).astype(np.int64),
        links=np.array([link for way in found for link in way], np.int32),
    )


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One flow, by indices of nodes."""

    source: int
    target: int
    size: int
    start_ns: int = 0
    transport: int = 0
    after: tuple[int, ...] = ()


def problem_of(
    topology: Topology,
    sent: Sequence[Sent],
    *transports: RdmaTransport,
    **rest: object,
) -> NetworkProblem:
    """A problem of flows on their shortest ways."""
    counts = [len(s.after) for s in sent]
    flows = Flows(
        source=np.array([s.source for s in sent], np.int32),
        target=np.array([s.target for s in sent], np.int32),
        size_bytes=np.array([s.size for s in sent], np.int64),
        start_ns=np.array([s.start_ns for s in sent], np.int64),
        transport=np.array([s.transport for s in sent], np.int64),
        after_offsets=np.cumsum([0, *counts]).astype(np.int64)
        if any(counts)
        else np.zeros(0, np.int64),
        after=np.array([a for s in sent for a in s.after], np.int64),
    )
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=shortest_routes(topology, [(s.source, s.target) for s in sent]),
        transports=transports,
        **rest,  # pyright: ignore[reportArgumentType]
    )


def outcome(problem: NetworkProblem) -> FlowResults:
    """What a whole simulation gives."""
    simulation = PacketSimulator().begin(problem)
    assert simulation.advance(1 << 60)
    return simulation.results()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A path scenario of m3, and what its simulator found.

    Attributes:
        number: its number.
        problem: what was simulated.
        fct_ns: completion times found there.
        ideal_fct_ns: what it takes as ideal.
    """

    number: int
    problem: NetworkProblem
    fct_ns: np.ndarray
    ideal_fct_ns: np.ndarray

    @property
    def congestion(self) -> str:
        """Its congestion control."""
        transport = self.problem.transports[0]
        assert isinstance(transport, RdmaTransport)
        return transport.congestion

    @property
    def is_foreground(self) -> np.ndarray:
        """True of the flows that take the whole path."""
        flows, last = self.problem.flows, len(self.problem.topology.hosts) - 1
        return (flows.source == 0) & (flows.target == last)


def m3_scenarios(folder: Path, *, seed: int = 0) -> list[Scenario]:
    """The path scenarios in a folder."""
    table = pq.read_table(folder / "flows.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    found: list[Scenario] = []
    with (folder / "scenarios.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = np.flatnonzero(columns["scenario"] == int(row["scenario"]))
            topology = parking_lot(int(row["hosts"]))
            ends = [columns[name][at].astype(np.int32) for name in ("src", "dst")]
            transport, buffer_bytes = m3_transport(row["raw"])
            problem = NetworkProblem(
                topology=topology,
                flows=Flows(
                    source=ends[0],
                    target=ends[1],
                    size_bytes=columns["size_bytes"][at],
                    start_ns=columns["start_ns"][at],
                ),
                routes=shortest_routes(
                    topology,
                    list(zip(ends[0].tolist(), ends[1].tolist(), strict=True)),
                ),
                transports=(transport,),
                switch_buffer_bytes=buffer_bytes,
                seed=seed,
            )
            found.append(
                Scenario(
                    number=int(row["scenario"]),
                    problem=problem,
                    fct_ns=columns["fct_ns"][at],
                    ideal_fct_ns=columns["ideal_fct_ns"][at],
                )
            )
    return found


def m3_transport(raw: str) -> tuple[RdmaTransport, int]:
    """The transport of a scenario's line of parameters, and the memory of its switches.

    In order: class of the topology, memory in KB, window, PFC, congestion control, K of
    DCTCP, Kmin and Kmax of DCQCN at 25 Gbit/s in KB, eta and additive increase of HPCC,
    Tlow and Thigh of TIMELY in ns.
    """
    _, memory, window, pfc, name, k, k_min, k_max, eta, additive, low, high = (
        raw.split()
    )
    own: dict[str, object] = {"congestion": "timely"}
    own |= {"additive_bps": 10e6, "hyper_bps": 50e6}
    own |= {"low_s": int(low) / 1e9, "high_s": int(high) / 1e9}
    if name == "dctcp":
        own = {"congestion": "dctcp", "additive_bps": 615e6}
        own |= {"ecn_min_bytes": int(k) * 1000}
    elif name.startswith("dcqcn"):
        own = {"congestion": "dcqcn", "additive_bps": 2e6, "hyper_bps": 20e6}
        own |= {"ecn_min_bytes": int(k_min) * 1000, "ecn_max_bytes": int(k_max) * 1000}
        own |= {"ecn_share": 0.2, "ecn_rate_bps": 25e9, "rounds": 1}
    elif name.startswith("hp"):
        own = {"congestion": "hpcc", "utilisation": float(eta), "rounds": 0}
        own |= {"additive_bps": int(additive) * 1e6}
    transport = RdmaTransport(
        **own,  # pyright: ignore[reportArgumentType]
        window_bytes=int(window),
        timeout_s=None,
        min_rate_bps=1e9,
        max_rate_bps=10e9,
        base_rtt_s=14.4e-6,
        has_pfc=pfc == "1",
        as_fork=True,
    )
    return transport, int(memory) * 1000
