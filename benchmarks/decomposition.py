"""What does it cost to take a network apart, in accuracy and in time?

Twelve workloads on a fabric of 256 hosts: the whole fabric packet by packet, against
200 of its paths, each alone with all that crosses it, against each of its links alone,
and against fluid, on the same flows. Errors have no bars, since the whole is the truth;
the whole must not be dearer than its paths.

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
from midhaul.network.decomposition import LinksSimulator, path_problem, sample_paths
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
N_PATHS, N_PATHS_QUICK = 200, 30
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
    parser.add_argument("--quick", action="store_true", help="fewer flows and paths")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    n_bytes = BYTES_QUICK if options.quick else BYTES
    n_paths = N_PATHS_QUICK if options.quick else N_PATHS
    topology = fabric()
    warm = problem_of(CASES[2], topology, options.data, 1e6)
    for simulator in (PacketSimulator(), FluidSimulator()):
        run(simulator, warm)
    print("                                        CPU seconds           error of p99")
    print(
        "matrix  sizes         load  s   flows  whole  paths  links  "
        "same flows  paths    links    fluid"
    )
    rows = [row(case, topology, options.data, n_bytes, n_paths) for case in CASES]
    table = np.array(rows)
    names = ("same_flows", "paths", "links", "fluid")
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
) -> tuple[float, float, float, float, float]:
    """A line of the table; time of the paths over that of the whole, and errors.

    Errors of p99 of the slowdown: of the sampled paths on their own flows, of the
    pooled paths against all flows, of links and of fluid against all flows.
    """
    problem = problem_of(case, topology, data, n_bytes)
    whole, whole_s = run(PacketSimulator(), problem)
    links, links_s = run(LinksSimulator(inner=PacketSimulator()), problem)
    fluid, _ = run(FluidSimulator(), problem)
    drawn, counts = sample_paths(problem.routes, n_paths, np.random.default_rng(SEED))
    flows: list[np.ndarray] = []
    slowdowns: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    paths_s = 0.0
    for path, count in zip(drawn, counts, strict=True):
        begin = time.process_time()
        part = path_problem(problem, path)
        paths_s += time.process_time() - begin
        found, part_s = run(PacketSimulator(), part.problem)
        paths_s += part_s
        flows.append(part.flow[part.is_foreground])
        slowdowns.append(found.slowdown[part.is_foreground])
        weights.append(np.full(len(flows[-1]), count / len(flows[-1])))
    own = np.concatenate(slowdowns)
    true = whole.slowdown
    all_p99 = np.quantile(true, 0.99)
    same = np.quantile(own, 0.99) / np.quantile(true[np.concatenate(flows)], 0.99) - 1
    pooled = weighted_quantile(own, np.concatenate(weights), 0.99) / all_p99 - 1
    off_links = np.quantile(links.slowdown, 0.99) / all_p99 - 1
    off_fluid = np.quantile(fluid.slowdown, 0.99) / all_p99 - 1
    print(
        f"{case.name} {len(true):7,d} {whole_s:6.1f} {paths_s:6.1f} {links_s:6.1f} "
        f"{same:+11.1%} {pooled:+7.1%} {off_links:+8.1%} {off_fluid:+8.1%}",
        flush=True,
    )
    return paths_s / whole_s, float(same), float(pooled), float(off_links), off_fluid


def weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """The value below which a share of the weight lies."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    at = int(np.searchsorted(reached, q * reached[-1]))
    return float(values[order][min(at, len(values) - 1)])


if __name__ == "__main__":
    sys.exit(main())
