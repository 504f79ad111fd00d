"""What does it cost to take a network apart, in accuracy and in time?

Twelve workloads on a fabric of 256 hosts: the whole fabric packet by packet, against
500 of its paths, each alone with all that crosses it and pooled to all flows, against
each of its links alone, against some windows of its time, and against fluid, on the
same flows. Errors have no bars, as the whole is the truth; the whole must not be dearer
than its paths.

    python benchmarks/decomposition.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.network import NetworkProblem, RdmaTransport
from midhaul.network.decomposition import (
    HybridSimulator,
    LinksSimulator,
    PathsSimulator,
)
from midhaul.network.fluid import FluidSimulator
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.topology import Cable, clos, racks
from midhaul.network.workload import (
    FlowLaw,
    LognormalArrivals,
    TrafficMatrix,
    by_groups,
    draw_flows,
    published_sizes,
    read_matrix,
)

if TYPE_CHECKING:
    from midhaul.model import Topology
    from midhaul.network import FlowResults, Simulator

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
EDGE_BPS, INNER_BPS = 10e9, 40e9
TRANSPORT = RdmaTransport(
    congestion="dctcp", window_bytes=18_000, max_rate_bps=EDGE_BPS
)
N_PATHS = 500
BYTES, BYTES_QUICK = 1.5e9, 1e8
PLENTY = 1 << 40
SEED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workload.

    Attributes:
        matrix: ``uniform``, or a letter of the published rack matrices.
        sizes: name of a published law.
        load: of the busiest link.
        sigma: of arrivals.
    """

    matrix: str
    sizes: str
    load: float
    sigma: float

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.matrix:7s} {self.sizes:13s} {self.load:4.2f} {self.sigma:3.0f}"


CASES = (
    Case(matrix="b", sizes="webserver", load=0.5, sigma=2),
    Case(matrix="a", sizes="webserver", load=0.7, sigma=2),
    Case(matrix="uniform", sizes="webserver", load=0.7, sigma=1),
    Case(matrix="c", sizes="webserver", load=0.75, sigma=2),
    Case(matrix="uniform", sizes="webserver", load=0.3, sigma=2),
    Case(matrix="b", sizes="hadoop", load=0.5, sigma=2),
    Case(matrix="a", sizes="hadoop", load=0.3, sigma=1),
    Case(matrix="uniform", sizes="hadoop", load=0.7, sigma=2),
    Case(matrix="c", sizes="cachefollower", load=0.5, sigma=1),
    Case(matrix="b", sizes="cachefollower", load=0.3, sigma=2),
    Case(matrix="a", sizes="websearch", load=0.5, sigma=1),
    Case(matrix="uniform", sizes="websearch", load=0.5, sigma=2),
)


def main() -> int:
    """Simulate, print the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer flows")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    n_bytes = BYTES_QUICK if options.quick else BYTES
    topology = fabric()
    warm = problem_of(CASES[2], topology, options.data, 1e6)
    for simulator in (PacketSimulator(), FluidSimulator()):
        run(simulator, warm)
    print(" " * 38 + "CPU seconds" + " " * 33 + "error of p99")
    print(
        "matrix  sizes         load  s   flows  whole  paths  links hybrid  fluid  "
        "same flows sampling    paths    links   hybrid    fluid"
    )
    rows = [row(case, topology, options.data, n_bytes, N_PATHS) for case in CASES]
    table = np.array(rows)
    names = ("same_flows", "sampling", "paths", "links", "hybrid", "fluid")
    for name, errors in zip(names, table[:, 1:].T, strict=True):
        print(
            f"figure {name}_p99_error_mean {np.abs(errors).mean():.4f} - bar <=inf ok\n"
            f"figure {name}_p99_error_worst {np.abs(errors).max():.4f} - bar <=inf ok"
        )
    ratio = float(np.median(table[:, 0]))
    is_short = ratio < 1 and not options.quick
    verdict = "short" if is_short else "ok"
    print(f"figure paths_over_whole_cpu_median {ratio:.3f} x bar >=1 {verdict}")
    return int(is_short)


def fabric() -> Topology:
    """32 racks of 8 hosts in two pods, 16 spines in each of two planes."""
    inner = Cable(rate_bps=INNER_BPS)
    return clos(
        n_pods=2,
        n_racks=16,
        n_hosts=8,
        n_planes=2,
        n_spines=16,
        access=Cable(rate_bps=EDGE_BPS),
        fabric=inner,
        spine=inner,
    )


def problem_of(
    case: Case, topology: Topology, data: Path, n_bytes: float
) -> NetworkProblem:
    """Flows of a workload, of so many bytes in all."""
    sizes = published_sizes(case.sizes)
    law = FlowLaw(
        sizes=sizes,
        arrivals=LognormalArrivals(sigma=case.sigma),
        matrix=matrix_of(case.matrix, topology, data),
        load=case.load,
        transport=TRANSPORT,
    )
    n = max(200, int(n_bytes / sizes.mean_bytes))
    drawn = draw_flows(topology, law, n, seed=SEED)
    return NetworkProblem(
        topology=topology,
        flows=drawn.flows,
        routes=drawn.routes,
        transports=(TRANSPORT,),
    )


def matrix_of(name: str, topology: Topology, data: Path) -> TrafficMatrix | None:
    """Between racks; one of our own, with the same sort of skew, without the data."""
    if name == "uniform":
        return None
    file = data / "traffic_matrices" / f"cluster_{name}_2_16.json"
    groups = racks(topology)
    if file.is_file():
        weights = read_matrix(file)
    else:
        rng = np.random.default_rng(ord(name))
        weights = rng.lognormal(0, 2, (len(groups), len(groups)))
    return by_groups(groups, weights)[0]


def run(simulator: Simulator, problem: NetworkProblem) -> tuple[FlowResults, float]:
    """Results, and CPU seconds."""
    begin = time.process_time()
    simulation = simulator.begin(problem)
    while not simulation.advance(PLENTY):
        pass
    found = simulation.results()
    return found, time.process_time() - begin


def row(
    case: Case, topology: Topology, data: Path, n_bytes: float, n_paths: int
) -> tuple[float, ...]:
    """A line of the table; time of the paths over that of the whole, and errors.

    Errors of p99 of the slowdown: of the sampled paths on their own flows, of the
    sampling alone (with the true slowdowns of sampled flows), and of paths, links,
    hybrid and fluid against all flows.
    """
    problem = problem_of(case, topology, data, n_bytes)
    whole, whole_s = run(PacketSimulator(), problem)
    links, links_s = run(LinksSimulator(inner=PacketSimulator()), problem)
    fluid, fluid_s = run(FluidSimulator(), problem)
    sampled = PathsSimulator(inner=PacketSimulator(), n_paths=n_paths)
    paths, paths_s = run(sampled, problem)
    windows = HybridSimulator(inner=PacketSimulator(), fluid=FluidSimulator())
    hybrid, hybrid_s = run(windows, problem)
    true, own = whole.slowdown, ~paths.is_drawn
    all_p99 = np.quantile(true, 0.99)
    same = np.quantile(paths.slowdown[own], 0.99) / np.quantile(true[own], 0.99) - 1
    found = (paths, links, hybrid, fluid)
    told = (true[paths.drawn_from], *(one.slowdown for one in found))
    errors = [float(np.quantile(one, 0.99) / all_p99 - 1) for one in told]
    print(
        f"{case.name} {len(true):7,d} {whole_s:6.1f} {paths_s:6.1f} {links_s:6.1f} "
        f"{hybrid_s:6.1f} {fluid_s:6.1f} {same:+11.1%} "
        + " ".join(f"{one:+8.1%}" for one in errors),
        flush=True,
    )
    return paths_s / whole_s, float(same), *errors


if __name__ == "__main__":
    sys.exit(main())
