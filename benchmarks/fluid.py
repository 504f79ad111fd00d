"""How fast is exact fluid simulation, and is it the model that m3 has?

Flows per second on paths of 2, 4 and 6 links at three loads, with 20 thousand, 200
thousand and 2 million flows, and how the time grows; a fabric of 256 hosts at three
loads beside sharing everything out from scratch at each event, in the same run; and the
difference from the times that m3's own program gave for its demo.

    python benchmarks/fluid.py [--quick] [--data DIR] [--only paths|fabric|demo]
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from midhaul.model import Flows, Link, Topology
from midhaul.network import NetworkProblem, RdmaTransport, Routes
from midhaul.network.fluid import FluidSimulation, FluidSimulator
from midhaul.network.fluid.flow_classes import fluid_load
from midhaul.network.fluid.scratch import simulate_from_scratch
from midhaul.network.topology import Cable, clos
from midhaul.network.workload import (
    FlowLaw,
    LognormalArrivals,
    LognormalSize,
    TrafficMatrix,
    draw_flows,
)

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
N_LINKS = (2, 4, 6)
LOADS = (0.3, 0.5, 0.8)
N_FLOWS = (20_000, 200_000, 2_000_000)
FABRIC_LOADS = (0.3, 0.5, 0.7)
N_FABRIC, N_FABRIC_QUICK = 20_000, 5_000
EDGE_BPS, INNER_BPS = 10e9, 40e9
SIZES = LognormalSize(mean_bytes=20_000, sigma=1.5)
ARRIVALS = LognormalArrivals(sigma=1.5)
TRANSPORT = RdmaTransport(max_rate_bps=EDGE_BPS)
PLENTY = 1 << 60
SEED = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """CPU seconds of a simulation.

    Attributes:
        begin_s: from the problem to arrays.
        run_s: of the events.
        results_s: of the results.
        simulation: what was simulated.
    """

    begin_s: float
    run_s: float
    results_s: float
    simulation: FluidSimulation

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.begin_s + self.run_s + self.results_s


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer flows")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    parser.add_argument("--only", choices=("paths", "fabric", "demo"), help="one part")
    options = parser.parse_args()
    timed(path_problem(2, 0.3, 100))  # compiles
    counts = [n // 10 for n in N_FLOWS] if options.quick else list(N_FLOWS)
    figures: list[Figure] = []
    if options.only in (None, "paths"):
        figures += paths(counts)
    if options.only in (None, "fabric"):
        timed(path_problem(2, 0.3, 100), "graph")  # compiles
        figures += fabric(N_FABRIC_QUICK if options.quick else N_FABRIC)
    if options.only in (None, "demo"):
        figures += demo(options.data)
    is_short = False
    for name, value, unit, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.4g} {unit} bar {sign}{bar:g} {verdict}")
    return int(is_short)


Figure = tuple[str, float, str, str, float]


def path_problem(n_links: int, load: float, n: int) -> NetworkProblem:
    """Flows from any node in a row to any later one; links at the ends are slow."""
    rates = [EDGE_BPS, *[INNER_BPS] * (n_links - 2), EDGE_BPS]
    names = [f"n{i}" for i in range(n_links + 1)]
    links: list[Link] = []
    for a, b, rate in zip(names, names[1:], rates, strict=False):
        links.append(Link(source=a, target=b, rate_bps=rate, delay_s=1e-6))
        links.append(Link(source=b, target=a, rate_bps=rate, delay_s=1e-6))
    nodes = np.arange(len(names), dtype=np.int32)
    forwards = np.triu(np.ones((len(names), len(names))), 1)
    matrix = TrafficMatrix(
        groups=tuple(nodes[i : i + 1] for i in nodes), weights=forwards
    )
    topology = Topology(nodes=tuple(names), links=tuple(links))
    return drawn(topology, load, n, matrix)


def drawn(
    topology: Topology, load: float, n: int, matrix: TrafficMatrix | None = None
) -> NetworkProblem:
    """Flows of the law that all parts of this benchmark share."""
    law = FlowLaw(
        sizes=SIZES, arrivals=ARRIVALS, matrix=matrix, load=load, transport=TRANSPORT
    )
    found = draw_flows(topology, law, n, seed=SEED)
    return NetworkProblem(
        topology=topology,
        flows=found.flows,
        routes=found.routes,
        transports=(TRANSPORT,),
    )


def timed(problem: NetworkProblem, method: str = "auto") -> Timed:
    """Simulate, and take the CPU time of each part."""
    marks = [time.process_time()]
    simulation = FluidSimulator(method=method).begin(problem)
    marks.append(time.process_time())
    simulation.advance(PLENTY)
    marks.append(time.process_time())
    simulation.results()
    marks.append(time.process_time())
    return Timed(
        begin_s=marks[1] - marks[0],
        run_s=marks[2] - marks[1],
        results_s=marks[3] - marks[2],
        simulation=simulation,
    )


def paths(counts: list[int]) -> list[Figure]:
    """Flows per second on paths; the time to draw flows does not count."""
    print(
        "\npaths: CPU seconds, and million flows per second of begin, run and results"
    )
    print("links load     flows  begin    run  results  M flows/s  (run alone)")
    speeds: dict[int, list[float]] = {n: [] for n in counts}
    for n_links in N_LINKS:
        for load in LOADS:
            for n in counts:
                found = timed(path_problem(n_links, load, n))
                speeds[n].append(n / found.total_s / 1e6)
                print(
                    f"{n_links:5d} {load:4.1f} {n:9,d} {found.begin_s:6.3f} "
                    f"{found.run_s:6.3f} {found.results_s:8.3f} "
                    f"{speeds[n][-1]:10.2f} {n / found.run_s / 1e6:9.2f}",
                    flush=True,
                )
    growth = max(
        a / b for a, b in zip(speeds[counts[1]], speeds[counts[2]], strict=True)
    )
    return [
        ("path_flows_per_s_least", min(speeds[counts[-1]]), "M/s", ">=", 1.5),
        ("path_time_per_flow_growth", growth, "-", "<=", 1.5),
    ]


def fabric(n: int) -> list[Figure]:
    """A fabric: only what can change is shared out, against everything from scratch."""
    cables = Cable(rate_bps=EDGE_BPS), Cable(rate_bps=INNER_BPS)
    topology = clos(
        n_pods=2,
        n_racks=16,
        n_hosts=8,
        n_planes=2,
        n_spines=16,
        access=cables[0],
        fabric=cables[1],
        spine=cables[1],
    )
    compiled = fluid_load(path_problem(2, 0.3, 10))
    simulate_from_scratch(compiled.given, compiled.fate(), PLENTY)
    print(f"\nfabric of 256 hosts, {len(topology.links)} links, {n:,} flows")
    print("load     flows  flows/s  from scratch  ratio  largest relative difference")
    ratios: list[float] = []
    worst = 0.0
    for load in FABRIC_LOADS:
        problem = drawn(topology, load, n)
        found = timed(problem)
        load_ = fluid_load(problem)
        fate = load_.fate()
        begin = time.process_time()
        simulate_from_scratch(load_.given, fate, PLENTY)
        scratch_s = time.process_time() - begin
        ratios.append(scratch_s / found.run_s)
        differs = np.abs(found.simulation.sent_ns / fate.sent_ns - 1).max()
        worst = max(worst, float(differs))
        print(
            f"{load:4.1f} {n:9,d} {n / found.run_s:8,.0f} {n / scratch_s:13,.0f} "
            f"{ratios[-1]:6.1f}  {differs:.1e}",
            flush=True,
        )
    for more in (10 * n, 50 * n):
        found = timed(drawn(topology, 0.5, more))
        print(f" 0.5 {more:9,d} {more / found.run_s:8,.0f}", flush=True)
    simgrid()
    return [
        ("fabric_over_scratch_least", min(ratios), "x", ">=", 5.0),
        ("fabric_difference_from_scratch", worst, "-", "<=", 1e-9),
    ]


def simgrid() -> None:
    """Say whether SimGrid is there to be put beside."""
    try:
        import simgrid  # noqa: PLC0415  optional
    except ImportError:
        print("SimGrid is not installed, so it does not stand beside")
    else:
        print(f"SimGrid {simgrid.__file__} is there, but this script does not drive it")


def demo(data: Path) -> list[Figure]:
    """The largest difference from m3's own program, over its demo."""
    folder = data / "m3_demo"
    if not folder.is_dir():
        print(f"no demo of m3 in {folder}: not compared with it")
        return []
    import pyarrow.parquet as pq  # noqa: PLC0415  with data only

    table = pq.read_table(folder / "flows.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    with (folder / "scenarios.csv").open() as file:
        hosts = {int(r["scenario"]): int(r["hosts"]) for r in csv.DictReader(file)}
    worst, n = 0.0, 0
    for scenario in np.unique(columns["scenario"]).tolist():
        own = {k: v[columns["scenario"] == scenario] for k, v in columns.items()}
        simulation = FluidSimulator().begin(demo_problem(own, hosts[scenario]))
        simulation.advance(PLENTY)
        differs = np.abs(simulation.sent_ns / own["fluid_fct_ns"] - 1)
        worst, n = max(worst, float(differs.max())), n + len(differs)
    print(f"\ndemo of m3: {n:,} flows, largest relative difference {worst:.1e}")
    return [("m3_demo_difference", worst, "-", "<=", 1e-6)]


def demo_problem(own: dict[str, np.ndarray], n_hosts: int) -> NetworkProblem:
    """A scenario of m3: hosts in a row, with m3's headers whatever the transport."""
    rates = [EDGE_BPS, *[INNER_BPS] * (n_hosts - 3), EDGE_BPS]
    names = [f"n{i}" for i in range(n_hosts)]
    links = [
        Link(source=a, target=b, rate_bps=rate, delay_s=1e-6)
        for a, b, rate in zip(names, names[1:], rates, strict=False)
    ]
    lengths = own["dst"] - own["src"]
    first = np.cumsum(lengths) - lengths
    hops = np.arange(lengths.sum()) - np.repeat(first - own["src"], lengths)
    return NetworkProblem(
        topology=Topology(nodes=tuple(names), links=tuple(links)),
        flows=Flows(
            source=own["src"].astype(np.int32),
            target=own["dst"].astype(np.int32),
            size_bytes=own["size_bytes"],
            start_ns=own["start_ns"],
        ),
        routes=Routes(
            offsets=np.append(first, lengths.sum()).astype(np.int64),
            links=hops.astype(np.int32),
        ),
        transports=(RdmaTransport(as_fork=True, max_rate_bps=EDGE_BPS),),
    )


if __name__ == "__main__":
    sys.exit(main())
