"""How many events a second does the packet simulator do, and what bounds it?

RDMA on paths of 3, 5 and 7 hosts and in a fabric of 256, growth from 20,000 to a
million flows, memory, the operations of its heap alone, which are the least that it
must do, and the CPU time of ns-3 over its own on the same flows and links.

No version of ns-3 that can be installed simulates RDMA, so the nearest is taken: its
DCTCP, with segments of the same payload, a first window of as many bytes, and queues
that mark from the same length on. Its flows also open and close connections, at least
six small packets each, so it has more to do for each flow; what the ratio holds is time
for the same transfers, not for the same packets. Needs ns-3.37 (apt-get install
libns3-dev g++), without which this part has no figures.

    python benchmarks/packet.py [--quick] [--data DIR] [--only PART]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numba import njit

from midhaul.errors import PrerequisiteError
from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network.judges.ns3.simulator import Ns3Simulator
from midhaul.network.packet import events
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.problem import NetworkProblem, Routes
from midhaul.network.routing import ecmp
from midhaul.network.topology import Cable, clos
from midhaul.network.transports import RdmaCongestion, RdmaTransport, TcpTransport

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
ALL: tuple[RdmaCongestion, ...] = ("dctcp", "dcqcn", "hpcc", "timely")
N_HOSTS = (3, 5, 7)
SIZES, SIZES_QUICK = (20_000, 200_000, 1_000_000), (5_000, 20_000)
MEAN_BYTES, LOAD = 20_000, 0.5
N_RACKS, N_IN_RACK, N_PODS, N_PLANES, N_SPINES = 32, 8, 2, 2, 16
WINDOW_BYTES, THRESHOLD_BYTES = 18_000, 10_000
N_HEAP = (10, 1500)  # events at once on a path, and in the fabric
PEER_HOSTS = {3: 200.0, 7: 150.0}  # bars of the ratio to ns-3
PACKET_BYTES = 1000
SEED = 11
LOOK_NS = 10_000_000

PARTS = ("paths", "growth", "fabric", "memory", "limit", "ns3")
Figure = tuple[str, float, str, str, float]


def links_of(ends: list[tuple[str, str, float, float]]) -> tuple[Link, ...]:
    """Links both ways."""
    return tuple(
        Link(source=x, target=y, rate_bps=rate, delay_s=delay)
        for a, b, rate, delay in ends
        for x, y in ((a, b), (b, a))
    )


def transport(congestion: RdmaCongestion) -> RdmaTransport:
    """The transport of all runs."""
    return RdmaTransport(
        congestion=congestion,
        window_bytes=WINDOW_BYTES,
        max_rate_bps=10e9,
        ecn_min_bytes=THRESHOLD_BYTES,
        ecn_max_bytes=THRESHOLD_BYTES * (1 if congestion == "dctcp" else 4),
        ecn_share=0.2,
    )


def spread(
    source: np.ndarray,
    target: np.ndarray,
    size: np.ndarray,
    routes: Routes,
    topology: Topology,
    rng: np.random.Generator,
) -> Flows:
    """Flows in bursts (lognormal, sigma 2), so that the busiest link has the load."""
    gaps = rng.lognormal(0.0, 2.0, len(size))
    per_link = np.zeros(len(topology.links))
    counts = np.diff(routes.offsets)
    np.add.at(per_link, routes.links, np.repeat(size * 1.048, counts))
    rates = np.array([link.rate_bps for link in topology.links])
    lasts_ns = float((per_link * 8e9 / rates).max()) / LOAD
    start = np.cumsum(gaps * (lasts_ns / gaps.sum())).astype(np.int64)
    return Flows(source=source, target=target, size_bytes=size, start_ns=start)


def path_problem(
    n_hosts: int, n_flows: int, congestion: RdmaCongestion
) -> NetworkProblem:
    """Flows between random pairs of hosts on a line, as in m3's training set."""
    rng = np.random.default_rng(SEED)
    hosts = tuple(f"h{i}" for i in range(n_hosts))
    inner = [f"s{i}" for i in range(1, n_hosts - 1)]
    ends = [(hosts[0], inner[0], 10e9, 1e-6), (hosts[-1], inner[-1], 10e9, 1e-6)]
    ends += [
        (f"h{i}", f"s{i}", 100e12, min(i, n_hosts - 1 - i) * 1e-6)
        for i in range(1, n_hosts - 1)
    ]
    ends += [(a, b, 40e9, 1e-6) for a, b in pairwise(inner)]
    topology = Topology(nodes=(*hosts, *inner), links=links_of(ends), hosts=hosts)
    index = {(k.source, k.target): i for i, k in enumerate(topology.links)}
    pairs = [(a, b) for a in range(n_hosts) for b in range(a + 1, n_hosts)]
    drawn = rng.integers(0, len(pairs), n_flows)
    drawn[rng.random(n_flows) < 1 / 3] = pairs.index((0, n_hosts - 1))
    ways: list[list[int]] = []
    for a, b in pairs:
        first, last = max(a, 1), min(b, n_hosts - 2)
        nodes = [f"h{a}", *(f"s{i}" for i in range(first, last + 1)), f"h{b}"]
        ways.append([index[step] for step in pairwise(nodes)])
    ends_of = np.array(pairs, np.int32)[drawn]
    size = 1 + rng.exponential(MEAN_BYTES, n_flows).astype(np.int64)
    routes = routes_of(ways, drawn)
    flows = spread(ends_of[:, 0], ends_of[:, 1], size, routes, topology, rng)
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=routes,
        transports=(transport(congestion),),
    )


def routes_of(ways: list[list[int]], drawn: np.ndarray) -> Routes:
    """Routes of flows that take one of a few ways each."""
    counts = np.array([len(way) for way in ways])[drawn]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    table = np.full((len(ways), max(len(way) for way in ways)), -1, np.int32)
    for row, way in zip(table, ways, strict=True):
        row[: len(way)] = way
    flat = table[drawn].ravel()
    return Routes(offsets=offsets, links=flat[flat >= 0])


def fabric() -> Topology:
    """32 racks of 8 hosts in 2 pods, 2 planes of 16 spines; 10 and 40 Gbit/s, 1 µs."""
    inner = Cable(rate_bps=40e9, delay_s=1e-6)
    return clos(
        n_pods=N_PODS,
        n_racks=N_RACKS // N_PODS,
        n_hosts=N_IN_RACK,
        n_planes=N_PLANES,
        n_spines=N_SPINES,
        access=Cable(rate_bps=10e9, delay_s=1e-6),
        fabric=inner,
        spine=inner,
    )


def fabric_problem(
    n_flows: int, congestion: RdmaCongestion, data: Path, memory: int = 0
) -> NetworkProblem:
    """Flows of WebServer's sizes between random hosts of the fabric, by ECMP."""
    rng = np.random.default_rng(SEED)
    topology = fabric()
    index = {name: i for i, name in enumerate(topology.nodes)}
    hosts = np.array([index[name] for name in topology.hosts], np.int32)
    source = rng.integers(0, len(hosts), n_flows)
    target = (source + rng.integers(1, len(hosts), n_flows)) % len(hosts)
    size = web_server_sizes(n_flows, data, rng)
    start = np.zeros(n_flows, np.int64)
    flows = Flows(
        source=hosts[source], target=hosts[target], size_bytes=size, start_ns=start
    )
    routes = ecmp(topology, flows, seed=SEED)
    flows = spread(flows.source, flows.target, size, routes, topology, rng)
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=routes,
        transports=(transport(congestion),),
        switch_buffer_bytes=memory,
    )


def web_server_sizes(n: int, data: Path, rng: np.random.Generator) -> np.ndarray:
    """Sizes of a file of percentiles, or lognormal ones of about the same mean."""
    files = sorted((data / "flow_sizes").glob("*[wW]eb*erver*"))
    if not files:
        return 1 + np.minimum(rng.lognormal(7.5, 2.8, n), 1e7).astype(np.int64)
    rows = [line.split() for line in files[0].read_text(encoding="utf-8").splitlines()]
    table = np.array([[float(x) for x in row[:2]] for row in rows if is_number(row)])
    return 1 + np.interp(rng.random(n) * 100, table[:, 1], table[:, 0]).astype(np.int64)


def is_number(row: list[str]) -> bool:
    """Whether a row begins with a number."""
    return bool(row) and row[0].replace(".", "").replace("e+", "").isdigit()


def timed(problem: NetworkProblem, n_times: int = 3) -> tuple[float, int]:
    """Least CPU seconds of a simulation, without making its tables; its events."""
    least, n_events = float("inf"), 0
    for _ in range(n_times):
        simulation = PacketSimulator().begin(problem)
        before = time.process_time()
        simulation.advance(1 << 60)
        least = min(least, time.process_time() - before)
        found = simulation.results()
        n_events = found.n_events
        if not found.is_finished.all():
            sys.exit("some flows did not end")
    return least, n_events


@njit(cache=True)
def churn(heap: np.ndarray, meta: np.ndarray, n: int, n_pairs: int) -> int:
    """Pop the earliest event and push one later, so often, with ``n`` in the heap."""
    state = np.int64(12345)
    for i in range(n):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        events.push(heap, meta, state % 4000, events.order_of(meta, 0, i))
    for _ in range(n_pairs):
        events.settle(heap, meta)
        time_ns, order = heap[0], heap[1]
        meta[events.HAS_HOLE] = 1
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        later = time_ns + 500 + state % 4000
        events.push(heap, meta, later, events.order_of(meta, 0, order & 7))
    return heap[0]


def heap_alone(n: int, n_pairs: int = 5_000_000) -> float:
    """Pairs of pop and push a second, with ``n`` events in the heap."""
    for n_now in (10, n_pairs):  # the first compiles it
        heap, meta = events.empty_heap(n + 2), np.zeros(events.N_META, np.int64)
        before = time.process_time()
        churn(heap, meta, n, n_now)
        took = time.process_time() - before
    return n_pairs / took


def memory_of(n_flows: int) -> float:
    """Most memory of a process that simulates a path with so many flows, in MB."""
    command = [sys.executable, __file__, "--memory-of", str(n_flows)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout)


def paths(n_flows: int) -> list[Figure]:
    """Time and events of each transport on each path; events a second with DCTCP."""
    rates: list[float] = []
    print(f"paths, {n_flows:,} flows, load {LOAD}: CPU s, events, million events/s")
    for n_hosts in N_HOSTS:
        for congestion in ALL:
            took, n_events = timed(path_problem(n_hosts, n_flows, congestion))
            rate = n_events / took
            if congestion == "dctcp":
                rates.append(rate)
            print(
                f"  {n_hosts} hosts {congestion:<7}{took:8.3f}{n_events:>12,}"
                f"{rate / 1e6:7.1f}",
                flush=True,
            )
    return [("path_events_per_s", min(rates), "1/s", ">=", 15e6)]


def growth(sizes: tuple[int, ...]) -> list[Figure]:
    """Time for each flow at the most flows over that at the fewest."""
    each: list[float] = []
    print("growth, 3 hosts, DCTCP: flows, CPU s, µs for each")
    for n in sizes:
        took, _ = timed(path_problem(3, n, "dctcp"), 2)
        each.append(took / n)
        print(f"  {n:>9,}{took:8.3f}{each[-1] * 1e6:8.2f}", flush=True)
    return [("growth_of_time_per_flow", each[-1] / each[0], "ratio", "<=", 1.5)]


def fabrics(n_flows: int, data: Path) -> list[Figure]:
    """Events a second in the fabric with DCTCP, and how much faster leaps make it.

    Whoever looks at queues now and then keeps the simulator from leaping.
    """
    found: list[tuple[float, int]] = []
    print(f"fabric of 256 hosts, {n_flows:,} flows: CPU s, events, million events/s")
    cases: tuple[tuple[RdmaCongestion, int, int], ...] = (
        *(("dctcp", 0, 0), ("dctcp", 0, LOOK_NS)),
        *(("dctcp", 1_000_000, 0), ("hpcc", 0, 0)),
    )
    for name, memory, look_ns in cases:
        problem = fabric_problem(n_flows, name, data, memory)
        problem = replace(problem, sample_ns=look_ns)
        n_packets = int((-(-problem.flows.size_bytes // PACKET_BYTES)).sum())
        took, n_events = timed(problem, 2)
        found.append((took, n_events))
        print(
            f"  {name:<7}memory {memory:>7,}{' no leaps' if look_ns else '':<9}"
            f"{n_packets:>11,} packets{took:8.2f}{n_events:>13,}"
            f"{n_events / took / 1e6:7.1f}",
            flush=True,
        )
    leaping, through = found[:2]
    rate = through[1] / through[0]
    return [
        ("fabric_events_per_s", rate, "1/s", ">=", 8e6),
        ("fabric_leaps", through[0] / leaping[0], "x", ">=", 0.95),
    ]


def memory(sizes: tuple[int, ...]) -> list[Figure]:
    """What a process that simulates the most flows has beyond one with the fewest."""
    memory_of(sizes[0])  # one that has to compile takes more
    took = [memory_of(n) for n in sizes]
    for n, mb in zip(sizes, took, strict=True):
        print(f"memory: {mb:.0f} MB at {n:,} flows", flush=True)
    per_million = (took[-1] - took[0]) / (sizes[-1] - sizes[0]) * 1e6
    return [("memory_per_million_flows", per_million, "MB", "<=", 600)]


def limit(n_flows: int) -> list[Figure]:
    """The heap alone, and how near to it a path comes."""
    alone = [heap_alone(n) for n in N_HEAP]
    for n, rate in zip(N_HEAP, alone, strict=True):
        print(f"heap alone, {n} events in it: {rate / 1e6:.1f} million a second")
    took, n_events = timed(path_problem(3, n_flows, "dctcp"))
    share = n_events / took / alone[0]
    print(f"3 hosts have {share:.2f} of what their heap alone would have")
    return []


def peer_problem(problem: NetworkProblem) -> NetworkProblem:
    """The same flows, links and routes with TCP's DCTCP, for ns-3."""
    links: list[Link] = []
    for link in problem.topology.links:
        mark = THRESHOLD_BYTES / PACKET_BYTES * max(link.rate_bps / 10e9, 1.0)
        queue = LinkQueue(discipline="red", mark_from=mark, mark_all_from=mark)
        links.append(replace(link, queue=queue))
    tcp = TcpTransport(
        congestion="dctcp",
        segment_bytes=PACKET_BYTES,
        initial_window=WINDOW_BYTES // PACKET_BYTES,
        min_timeout_s=0.001,
        connect_timeout_s=0.001,
        acks_every=1,
    )
    topology = replace(problem.topology, links=tuple(links))
    return replace(problem, topology=topology, transports=(tcp,))


def peer(n_flows: int) -> list[Figure]:
    """CPU time of ns-3 over ours on the same flows; none where there is no ns-3."""
    found: list[Figure] = []
    print(f"ns-3 with DCTCP of TCP beside RDMA, {n_flows:,} flows: CPU s of each")
    for n_hosts, bar in PEER_HOSTS.items():
        problem = path_problem(n_hosts, n_flows, "dctcp")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            simulation = Ns3Simulator().begin(peer_problem(problem))
        except PrerequisiteError as error:
            print(f"  not compared: {error}")
            return []
        while not simulation.advance(1):
            pass
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        theirs = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if not simulation.results().is_finished.all():
            sys.exit("some flows of ns-3 did not end")
        ours, _ = timed(problem)
        print(f"  {n_hosts} hosts: ns-3 {theirs:.1f}, ours {ours:.3f}", flush=True)
        found.append((f"ns3_over_ours_{n_hosts}_hosts", theirs / ours, "x", ">=", bar))
    return found


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer flows")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        problem = path_problem(3, options.memory_of, "dctcp")
        simulation = PacketSimulator().begin(problem)
        simulation.advance(1 << 60)
        simulation.results()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
        return 0
    sizes = SIZES_QUICK if options.quick else SIZES
    n_fabric = 5_000 if options.quick else 100_000
    parts = {
        "paths": lambda: paths(sizes[0]),
        "growth": lambda: growth(sizes),
        "fabric": lambda: fabrics(n_fabric, options.data),
        "memory": lambda: memory(sizes),
        "limit": lambda: limit(sizes[0]),
        "ns3": lambda: peer(sizes[0]),
    }
    is_short = False
    for part in PARTS:
        if options.only not in (None, part):
            continue
        for name, value, unit, sign, bar in parts[part]():
            is_ok = value >= bar if sign == ">=" else value <= bar
            is_short |= not is_ok
            verdict = "ok" if is_ok else "short"
            print(f"figure {name} {value:.4g} {unit} bar {sign}{bar:.4g} {verdict}")
            sys.stdout.flush()
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
