"""Random networks with flows of TCP, to hold the packet simulator against ns-3."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import NetworkProblem, Routes, TcpTransport, ecmp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from midhaul.network.packet.tcp.simulation import TcpSimulation
    from midhaul.network.simulator import Arrays
    from midhaul.network.transports import TcpCongestion

FAST_BPS, CORE_BPS, EDGE_BPS = 1e12, 40e9, 10e9
DELAY_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A parking lot: hosts on a line, with others that come in and leave on the way.

    Attributes:
        n_hosts: nodes of the line; its ends are slower than what is between.
        rate_scale: by which all rates are multiplied.
        delay_scale: by which all delays are multiplied.
    """

    n_hosts: int
    rate_scale: float = 1.0
    delay_scale: float = 1.0

    def topology(self, queue: LinkQueue) -> Topology:
        """Nodes of the line, then a host beside each inner one."""
        n = self.n_hosts
        names = [f"n{i}" for i in range(n)] + [f"h{i}" for i in range(1, n - 1)]
        links: list[Link] = []

        def join(a: str, b: str, rate: float) -> None:
            for source, target in ((a, b), (b, a)):
                links.append(
                    Link(
                        source=source,
                        target=target,
                        rate_bps=rate * self.rate_scale,
                        delay_s=DELAY_S * self.delay_scale,
                        queue=queue,
                    )
                )

        for i in range(n - 1):
            join(names[i], names[i + 1], EDGE_BPS if i in (0, n - 2) else CORE_BPS)
        for i in range(1, n - 1):
            join(names[i], f"h{i}", FAST_BPS)
        return Topology(nodes=tuple(names), links=tuple(links))

    def path(self, first: int, last: int) -> list[int]:
        """Links from a place on the line to a later one."""
        n = self.n_hosts
        way = [2 * i for i in range(first, last)]
        if first > 0:
            way.insert(0, 2 * (n - 1) + 2 * (first - 1) + 1)
        if last < n - 1:
            way.append(2 * (n - 1) + 2 * (last - 1))
        return way


def begin_tcp(problem: NetworkProblem, state: Arrays | None = None) -> TcpSimulation:
    """Begin a simulation; only now import its kernels, which compiles them.

    At the top of a file each process of ``make test`` would compile all of them before
    its first test.
    """
    from midhaul.network.packet.tcp import simulation  # noqa: PLC0415

    return simulation.begin_tcp(problem, state)


def _sizes(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    law = rng.integers(3)
    if law == 0:
        sizes = rng.exponential(mean, n)
    elif law == 1:
        sigma = rng.uniform(0.5, 2.0)
        sizes = mean * np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2)
    else:
        shape = rng.uniform(1.5, 3.0)
        sizes = mean * (shape - 1) / shape * (1 + rng.pareto(shape, n))
    return np.clip(sizes, 50, 20e6).astype(np.int64)


def line_problem(
    seed: int,
    n_flows: int,
    transports: Sequence[TcpTransport],
    queue: LinkQueue,
    *,
    line: Line | None = None,
    load: float | None = None,
    mean_bytes: float | None = None,
) -> NetworkProblem:
    """Flows on a random line: arrivals, sizes, classes and load by the seed."""
    rng = np.random.default_rng(seed)
    line = line or Line(n_hosts=int(rng.choice([3, 5, 7])))
    n = line.n_hosts
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    weights = rng.dirichlet(np.ones(len(pairs)))
    which = rng.choice(len(pairs), n_flows, p=weights)
    drawn_mean = 1000 * rng.uniform(1, 10) ** 2
    sizes = _sizes(rng, drawn_mean if mean_bytes is None else mean_bytes, n_flows)
    topology = line.topology(queue)
    n_bytes = np.zeros(len(topology.links))
    ways = [line.path(*pair) for pair in pairs]
    for pair, size in zip(which.tolist(), sizes.tolist(), strict=True):
        n_bytes[ways[pair]] += size
    rates = np.array([link.rate_bps for link in topology.links])
    busy_s = (8 * n_bytes / rates).max()
    drawn_load = rng.uniform(0.2, 0.8)
    gaps = np.exp(rng.uniform(1, 2) * rng.standard_normal(n_flows))
    starts = np.cumsum(gaps)
    starts *= busy_s / (drawn_load if load is None else load) / starts[-1]
    offsets = np.concatenate(([0], np.cumsum([len(ways[k]) for k in which])))
    ends = np.array(
        [(topology.links[w[0]].source, topology.links[w[-1]].target) for w in ways]
    )
    index = {name: i for i, name in enumerate(topology.nodes)}
    flows = Flows(
        source=np.array([index[ends[k][0]] for k in which], np.int32),
        target=np.array([index[ends[k][1]] for k in which], np.int32),
        size_bytes=sizes,
        start_ns=np.rint(starts * 1e9).astype(np.int64),
        transport=rng.integers(len(transports), size=n_flows).astype(np.int64),
    )
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=Routes(
            offsets=offsets.astype(np.int64),
            links=np.concatenate([ways[k] for k in which]).astype(np.int32),
        ),
        transports=tuple(transports),
    )


DATA_CENTRE = TcpTransport(
    congestion="dctcp",
    segment_bytes=1000,
    min_timeout_s=0.005,
    connect_timeout_s=0.01,
    acks_every=1,
)
"""What a data centre would set; delayed ACKs are set apart."""


def dctcp_problem(seed: int, n_flows: int) -> NetworkProblem:
    """DCTCP without loss: thresholds of 5 to 20 packets, windows of 5 to 30."""
    rng = np.random.default_rng(seed + 10_000)
    threshold = float(rng.integers(5, 21))
    queue = LinkQueue(discipline="red", mark_from=threshold, mark_all_from=threshold)
    transport = replace(DATA_CENTRE, initial_window=int(rng.integers(5, 31)))
    return line_problem(seed, n_flows, [transport], queue)


def lossy_problem(
    seed: int, n_flows: int, congestion: TcpCongestion, **changes: Any
) -> NetworkProblem:
    """Short queues: 20 to 1000 packets, by the seed."""
    rng = np.random.default_rng(seed + 20_000)
    size = int(rng.choice([20, 50, 100, 300, 1000]))
    threshold = float(rng.integers(5, 21))
    queue = LinkQueue(max_packets=size)
    if congestion == "dctcp":
        queue = LinkQueue(
            discipline="red",
            max_packets=min(size, 100),
            mark_from=threshold,
            mark_all_from=threshold,
        )
    window = int(rng.integers(5, 31))
    transport = replace(
        DATA_CENTRE,
        congestion=congestion,
        initial_window=window,
        **changes,
    )
    return line_problem(seed, n_flows, [transport], queue)


def fabric_problem(
    seed: int, n_flows: int, congestion: TcpCongestion
) -> NetworkProblem:
    """Random pairs of 32 hosts under 4 leaves and 2 spines, routed by ECMP."""
    rng = np.random.default_rng(seed)
    queue = LinkQueue(max_packets=100)
    if congestion == "dctcp":
        queue = LinkQueue(
            discipline="red", max_packets=100, mark_from=15.0, mark_all_from=15.0
        )
    hosts = [f"h{i}" for i in range(32)]
    leaves, spines = [f"l{i}" for i in range(4)], ["s0", "s1"]
    ends = [(host, leaves[i // 8], EDGE_BPS) for i, host in enumerate(hosts)]
    ends += [(leaf, spine, CORE_BPS) for leaf in leaves for spine in spines]
    topology = _joined((*hosts, *leaves, *spines), ends, DELAY_S, queue)
    source = rng.integers(32, size=n_flows)
    target = (source + rng.integers(1, 32, size=n_flows)) % 32
    mean = 1000 * rng.uniform(2, 10) ** 2
    sizes = _sizes(rng, mean, n_flows)
    span = 8 * sizes.sum() / (32 * EDGE_BPS) / rng.uniform(0.2, 0.6)
    return _routed(
        topology,
        source,
        target,
        sizes,
        rng.uniform(0, span, n_flows),
        [replace(DATA_CENTRE, congestion=congestion)],
    )


def edge_problem(seed: int, n_flows: int, congestion: TcpCongestion) -> NetworkProblem:
    """Gateways behind uplinks of 20 to 100 Mbit/s and some ms, metro, core, cloud."""
    rng = np.random.default_rng(seed)
    n = 8
    queue = LinkQueue(max_packets=int(rng.choice([50, 100, 300])))
    gateways = [f"g{i}" for i in range(n)]
    names = (*gateways, "metro", "core", "cloud")
    links: list[Link] = []
    for i, gateway in enumerate(gateways):
        rate, delay = rng.choice([20e6, 50e6, 100e6]), rng.choice([0.002, 0.005, 0.01])
        links += _both(gateway, "metro" if i % 2 else "core", rate, delay, queue)
    links += _both("metro", "core", 200e6, 0.003, queue)
    links += _both("core", "cloud", 1e9, 0.008, queue)
    topology = Topology(nodes=names, links=tuple(links))
    gateway, is_up = rng.integers(n, size=n_flows), rng.random(n_flows) < 0.7
    source = np.where(is_up, gateway, n + 2)
    target = np.where(is_up, n + 2, gateway)
    sizes = _sizes(rng, rng.uniform(50e3, 400e3), n_flows)
    span = 8 * sizes.sum() / (n * 40e6) / rng.uniform(0.3, 0.7)
    transport = TcpTransport(congestion=congestion, acks_every=int(rng.integers(1, 3)))
    return _routed(
        topology, source, target, sizes, rng.uniform(0, span, n_flows), [transport]
    )


def _both(a: str, b: str, rate: float, delay: float, queue: LinkQueue) -> list[Link]:
    return [
        Link(
            source=x, target=y, rate_bps=float(rate), delay_s=float(delay), queue=queue
        )
        for x, y in ((a, b), (b, a))
    ]


def _joined(
    names: tuple[str, ...],
    ends: Sequence[tuple[str, str, float]],
    delay: float,
    queue: LinkQueue,
) -> Topology:
    links = [link for a, b, rate in ends for link in _both(a, b, rate, delay, queue)]
    return Topology(nodes=names, links=tuple(links))


def _routed(
    topology: Topology,
    source: np.ndarray,
    target: np.ndarray,
    sizes: np.ndarray,
    starts_s: np.ndarray,
    transports: Sequence[TcpTransport],
) -> NetworkProblem:
    flows = Flows(
        source=source.astype(np.int32),
        target=target.astype(np.int32),
        size_bytes=sizes,
        start_ns=np.sort(np.rint(starts_s * 1e9).astype(np.int64)),
    )
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=ecmp(topology, flows),
        transports=tuple(transports),
    )


def with_limit(problem: NetworkProblem, max_packets: int) -> NetworkProblem:
    """The same flows over links whose queues hold so many packets."""
    links = tuple(
        replace(link, queue=replace(link.queue, max_packets=max_packets))
        for link in problem.topology.links
    )
    return replace(problem, topology=replace(problem.topology, links=links))
