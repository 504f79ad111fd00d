"""How fast are a million flows routed, and does the time grow with their number?

ECMP in a fabric of 256 hosts and in one of 6,144, for three numbers of flows; networkx,
which finds one path for each flow, or all to choose of, in the same run on some of
them; and, as the limit, one pass that counts the links of the routes.

    python benchmarks/network_routing.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from midhaul.model import Flows, Topology
from midhaul.network.routing import ecmp
from midhaul.network.topology import Cable, clos
from midhaul.network.workload import host_indices, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (10_000, 100_000, 1_000_000)
SIZES_QUICK = (1_000, 10_000, 100_000)
N_PEER = 300
ACCESS = Cable(rate_bps=10e9)
FABRIC = Cable(rate_bps=40e9)


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the flows")
    sizes = SIZES_QUICK if parser.parse_args().quick else SIZES
    small = clos(
        n_pods=2,
        n_racks=16,
        n_hosts=8,
        n_planes=2,
        n_spines=16,
        access=ACCESS,
        fabric=FABRIC,
        spine=FABRIC,
    )
    large = clos(
        n_pods=8,
        n_racks=48,
        n_hosts=16,
        n_planes=4,
        n_spines=24,
        access=ACCESS,
        fabric=FABRIC,
        spine=FABRIC,
    )
    ecmp(small, flows_of(small, 10))  # compiled before it is timed
    figures: list[tuple[str, float, str, str]] = []
    for name, topology in (("256", small), ("6144", large)):
        all_flows = [flows_of(topology, n) for n in sizes]
        took = [timed(partial(ecmp, topology, flows)) for flows in all_flows]
        for n, (seconds, _) in zip(sizes, took, strict=True):
            print(f"{name} hosts, {n:,} flows: {seconds:.3f} s, {n / seconds:,.0f} /s")
        growth = (took[2][0] - took[1][0]) / (took[1][0] - took[0][0])
        figures.append((f"growth_{name}_hosts", growth, "ratio", "<=14"))
        per_flow = took[2][0] / sizes[2]
        for what, bar in (("one", 10), ("all", 50)):
            ratio = peer(topology, what) / per_flow
            figures.append((f"over_networkx_{what}_{name}", ratio, "ratio", f">={bar}"))
        limit = timed(partial(np.bincount, took[2][1].links))[0]
        figures.append((f"over_one_pass_{name}", took[2][0] / limit, "ratio", "<=1000"))
    is_short = False
    for name, value, unit, bar in figures:
        is_met = value >= float(bar[2:]) if bar[0] == ">" else value <= float(bar[2:])
        is_short |= not is_met
        print(
            f"figure {name} {value:.2f} {unit} bar {bar} {'ok' if is_met else 'short'}"
        )
    return int(is_short)


def flows_of(topology: Topology, n: int) -> Flows:
    """Flows between hosts that are drawn."""
    hosts = host_indices(topology)
    source, target = uniform(hosts).draw(np.random.default_rng(1), n)
    return Flows(
        source=source,
        target=target,
        size_bytes=np.ones(n, np.int64),
        start_ns=np.zeros(n, np.int64),
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the quicker of two tries, and what came of it."""
    took: list[float] = []
    for _ in range(2):
        begin = time.process_time()
        found = work()
        took.append(time.process_time() - begin)
    return min(took), found


def peer(topology: Topology, what: str) -> float:
    """CPU seconds of networkx for each flow: one shortest path, or all to choose of."""
    graph = nx.DiGraph()
    graph.add_edges_from((link.source, link.target) for link in topology.links)
    flows = flows_of(topology, N_PEER)
    begin = time.process_time()
    for source, target in zip(flows.source, flows.target, strict=True):
        ends = topology.nodes[source], topology.nodes[target]
        if what == "one":
            nx.shortest_path(graph, *ends)
        else:
            list(nx.all_shortest_paths(graph, *ends))
    return (time.process_time() - begin) / N_PEER


if __name__ == "__main__":
    sys.exit(main())
