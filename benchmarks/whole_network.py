"""What do the rungs of the ladder cost in accuracy and time, on whole networks?

24 workloads on fabrics of 256 hosts (32 racks of 8): three rack matrices, three laws of
sizes, oversubscription 1, 2 and 4, bursts of sigma 1 and 2, loads of .26 to .83, as m3
and Parsimon were evaluated. Each is simulated packet by packet as a whole, and by the
other rungs on the same flows: fluid; links and paths alone; what is shipped (estimate);
network.estimate by windows of packets until the p99 is told within a tenth (windows);
and hybrid, with a fifth of the flows where these are fewer than 50,000. Then one
workload of three sizes by the quick ones, and with --large a fabric of 6,144 hosts.

    python benchmarks/whole_network.py [--quick] [--flows N] [--with NAME ...]
        [--share S] [--jobs N] [--no-growth] [--large] [--data DIR]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from decomposition import matrix_of

from midhaul.network import NetworkProblem, RdmaTransport
from midhaul.network.decomposition.hybrid import FEWEST_FLOWS, WINDOW_SHARE
from midhaul.network.estimate.windows import windows_of
from midhaul.network.simulators import hybrid_simulator, simulator_named
from midhaul.network.topology import Cable, clos
from midhaul.network.workload import (
    FlowLaw,
    LognormalArrivals,
    draw_flows,
    published_sizes,
)

if TYPE_CHECKING:
    from midhaul.model import Topology
    from midhaul.network.workload import TrafficMatrix

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
TRANSPORT = RdmaTransport(congestion="dctcp", window_bytes=18_000, max_rate_bps=10e9)
RUNGS = ("fluid", "links", "paths", "estimate", "windows", "hybrid")
SLOW = ("links", "paths")
"""Rungs that take longer than packets, so that they are not shown as flows grow."""

MOST_ERROR = {"hybrid": 0.06, "windows": 0.06}
"""Bars: the mean error of p99 without sign."""

SIZES = ("webserver", "cachefollower", "hadoop")
MOST_IN_WINDOWS = 0.5
PERCENTILES = (0.5, 0.95, 0.99)
PLENTY = 1 << 40
SEED = 17  # hybrid was tuned on workloads of seed 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workload.

    Attributes:
        matrix: a letter of the published rack matrices.
        sizes: name of a published law.
        over: how much more racks may send than their uplinks carry.
        sigma: of arrivals.
        load: of the busiest link.
    """

    matrix: str
    sizes: str
    over: int
    sigma: float
    load: float

    @property
    def name(self) -> str:
        """For the table."""
        return (
            f"{self.matrix.upper()}  {self.sizes:13s} {self.over}:1  {self.sigma:.0f}  "
            f"{self.load:.2f}"
        )


def cases() -> list[Case]:
    """All matrices, laws and oversubscriptions, loads spread evenly over them."""
    found: list[Case] = []
    for i in range(24):
        golden = (0.5 + i * 0.6180339887) % 1
        found.append(
            Case(
                matrix="abc"[i % 3],
                sizes=SIZES[i // 3 % 3],
                over=(1, 2, 4)[(i + i // 9) % 3],
                sigma=1.0 + (i // 2) % 2,
                load=0.26 + 0.57 * golden,
            )
        )
    return found


def main() -> int:
    """Simulate, print the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and small ones")
    parser.add_argument("--flows", type=int, default=200_000)
    parser.add_argument("--with", nargs="+", dest="rungs", default=list(RUNGS))
    parser.add_argument("--share", type=float, default=WINDOW_SHARE, help="of hybrid")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-growth", action="store_true", help="24 fabrics only")
    parser.add_argument("--large", action="store_true", help="6,144 hosts as well")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    n_flows = 4000 if options.quick else options.flows
    chosen = cases()[::6] if options.quick else cases()
    work = partial(
        row,
        n_flows=n_flows,
        rungs=options.rungs,
        share=options.share,
        data=options.data,
    )
    head = "".join(f"{name:>22s}" for name in ("packet", *options.rungs))
    print(f"matrix, sizes, over, sigma, load   p99{head}   (CPU s, error of p99)")
    found: list[Row] = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for case, one in zip(chosen, pool.map(work, chosen), strict=True):
            found.append(one)
            print(f"{case.name} {one.text}", flush=True)
    is_short = say(found, options.rungs, is_quick=options.quick)
    if not options.no_growth:
        least = 1000 if options.quick else 50_000
        quick = [name for name in options.rungs if name not in SLOW]
        growth(quick, options.share, options.data, least)
    if options.large:
        quick = [name for name in options.rungs if name not in SLOW]
        large(quick, options.share, n_flows)
    return int(is_short and not options.quick)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A workload by all rungs.

    Attributes:
        p99: of the slowdown, packet by packet.
        cpu_s: of packets, then of each rung.
        errors: ``(rungs, percentiles)`` relative ones.
    """

    p99: float
    cpu_s: tuple[float, ...]
    errors: np.ndarray

    @property
    def text(self) -> str:
        """For the table."""
        told = f"{self.p99:7.2f} {self.cpu_s[0]:20.1f} s"
        for cpu_s, error in zip(self.cpu_s[1:], self.errors[:, -1], strict=True):
            told += f"{cpu_s:11.1f} s {error:+8.1%}"
        return told


def row(case: Case, *, n_flows: int, rungs: list[str], share: float, data: Path) -> Row:
    """Simulate a workload by packets and by each rung."""
    return held_against(problem_of(case, n_flows, data), rungs, share)


def held_against(problem: NetworkProblem, rungs: list[str], share: float) -> Row:
    """The same of a problem."""
    (truth, took_s), *others = (
        run(name, problem, share) for name in ("packet", *rungs)
    )
    true = np.quantile(truth, PERCENTILES)
    told = [np.quantile(slowdown, PERCENTILES) / true - 1 for slowdown, _ in others]
    return Row(
        p99=float(true[-1]),
        cpu_s=(took_s, *(cpu_s for _, cpu_s in others)),
        errors=np.array(told),
    )


def run(name: str, problem: NetworkProblem, share: float) -> tuple[np.ndarray, float]:
    """Slowdowns of all flows, and CPU seconds."""
    begin_s = time.process_time()
    if name == "windows":
        slowdown = windows_of(problem, MOST_IN_WINDOWS).flows.slowdown
        return slowdown, time.process_time() - begin_s
    if name == "hybrid":
        fewest = min(FEWEST_FLOWS, len(problem.flows) // 5)
        simulator = hybrid_simulator(share=share, fewest_flows=fewest)
    else:
        simulator = simulator_named(name, n_paths=500)
    simulation = simulator.begin(problem)
    while not simulation.advance(PLENTY):
        pass
    return simulation.results().slowdown, time.process_time() - begin_s


def say(rows: list[Row], rungs: list[str], *, is_quick: bool) -> bool:
    """Print the figures; whether one is short of its bar."""
    errors = np.array([one.errors for one in rows])
    cpu_s = np.array([one.cpu_s for one in rows])
    is_short = False
    for k, name in enumerate(rungs):
        for q, share in enumerate(PERCENTILES):
            size = np.abs(errors[:, k, q])
            most = MOST_ERROR.get(name, float("inf")) if share == 0.99 else float("inf")  # noqa: PLR2004
            is_short |= float(size.mean()) > most
            what = f"{name}_p{share * 100:g}_error"
            verdict = "short" if size.mean() > most and not is_quick else "ok"
            print(
                f"figure {what}_mean {size.mean():.4f} - bar <={most:g} {verdict}\n"
                f"figure {what}_median {np.median(size):.4f} - bar <=inf ok\n"
                f"figure {what}_worst {size.max():.4f} - bar <=inf ok\n"
                f"figure {what}_bias {errors[:, k, q].mean():.4f} - bar <=inf ok"
            )
        ratio = float(cpu_s[:, k + 1].sum() / cpu_s[:, 0].sum())
        print(f"figure {name}_over_packet_cpu {ratio:.4f} x bar <=inf ok")
    return is_short


def growth(rungs: list[str], share: float, data: Path, n_flows: int) -> None:
    """One workload of three sizes."""
    case = cases()[0]
    for factor in (1, 4, 16):
        one = held_against(problem_of(case, factor * n_flows, data), rungs, share)
        print(f"growth {factor * n_flows:9,d} flows {one.text}", flush=True)


def large(rungs: list[str], share: float, n_flows: int) -> None:
    """A fabric of 6,144 hosts, uniform; packets as well, as they are affordable."""
    inner = Cable(rate_bps=40e9)
    topology = clos(
        n_pods=8,
        n_racks=48,
        n_hosts=16,
        n_planes=4,
        n_spines=16,
        access=Cable(rate_bps=10e9),
        fabric=inner,
        spine=inner,
    )
    begin_s = time.process_time()
    problem = drawn(topology, published_sizes("webserver"), 2.0, None, 0.5, n_flows)
    took_s = time.process_time() - begin_s
    one = held_against(problem, rungs, share)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"6,144 hosts, {n_flows:,} flows (drawn in {took_s:.1f} s) {one.text}   "
        f"peak {peak:.1f} GB"
    )


def problem_of(case: Case, n_flows: int, data: Path) -> NetworkProblem:
    """The network and the flows of a workload."""
    inner = Cable(rate_bps=40e9 / case.over)
    topology = clos(
        n_pods=2,
        n_racks=16,
        n_hosts=8,
        n_planes=2,
        n_spines=16,
        access=Cable(rate_bps=10e9),
        fabric=inner,
        spine=inner,
    )
    matrix = matrix_of(case.matrix, topology, data)
    sizes = published_sizes(case.sizes)  # pyright: ignore[reportArgumentType]
    return drawn(topology, sizes, case.sigma, matrix, case.load, n_flows)


def drawn(
    topology: Topology,
    sizes: object,
    sigma: float,
    matrix: TrafficMatrix | None,
    load: float,
    n_flows: int,
) -> NetworkProblem:
    """Flows by a law."""
    law = FlowLaw(
        sizes=sizes,  # pyright: ignore[reportArgumentType]
        arrivals=LognormalArrivals(sigma=sigma),
        matrix=matrix,
        load=load,
        transport=TRANSPORT,
    )
    found = draw_flows(topology, law, n_flows, seed=SEED)
    return NetworkProblem(
        topology=topology,
        flows=found.flows,
        routes=found.routes,
        transports=(TRANSPORT,),
    )


if __name__ == "__main__":
    sys.exit(main())
