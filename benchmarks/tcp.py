"""Is the TCP simulator equal to ns-3.37, flow by flow, and how much faster is it?

The exactness grid: random lines of 3, 5 and 7 hosts (10/40 Gbit/s, 1 us, loads of .2 to
.8, mean sizes of 1 to 100 KB), a fabric and a slow edge, simulated by both. A flow is
equal when its completion time is within max(2 ns, 1e-5). Both simulate the same
problems in this run, and CPU times are compared. Needs ns-3.37 (apt-get install
libns3-dev g++).

    python benchmarks/tcp.py [--quick] [--only NAME]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.tcp_scenarios import (
    DATA_CENTRE,
    Line,
    dctcp_problem,
    edge_problem,
    fabric_problem,
    line_problem,
    lossy_problem,
)

from midhaul.model import LinkQueue
from midhaul.network.judges.ns3.simulator import Ns3Simulator
from midhaul.network.packet.tcp.simulation import begin_tcp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midhaul.network import FlowResults, NetworkProblem

    Problems = Iterator[NetworkProblem]


@dataclass(slots=True)
class Grid:
    """What a set of problems has shown."""

    exact: list[float] = field(default_factory=list)
    p99_errors: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    n_flows: int = 0
    n_drops: int = 0
    ours_s: float = 0.0
    theirs_s: float = 0.0
    events: int = 0


def run_ours(problem: NetworkProblem) -> tuple[FlowResults, float]:
    """Results and CPU seconds of our simulator."""
    began = time.process_time()
    simulation = begin_tcp(problem)
    while not simulation.advance(1 << 22):
        pass
    spent = time.process_time() - began
    return simulation.results(), spent


def run_theirs(problem: NetworkProblem) -> tuple[FlowResults, float]:
    """Results and CPU seconds of ns-3."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    simulation = Ns3Simulator().begin(problem)
    while not simulation.advance(1):
        pass
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return simulation.results(), spent


def compare(problem: NetworkProblem, grid: Grid) -> None:
    """Run both on a problem and note what differs."""
    ours, ours_s = run_ours(problem)
    theirs, theirs_s = run_theirs(problem)
    allowed = np.maximum(2, 1e-5 * theirs.fct_ns)
    grid.exact.append(float((np.abs(ours.fct_ns - theirs.fct_ns) <= allowed).mean()))
    both = ours.is_finished & theirs.is_finished
    if both.any():
        p99 = [np.percentile(r.slowdown[both], 99) for r in (ours, theirs)]
        grid.p99_errors.append(float(abs(p99[0] / p99[1] - 1)))
    grid.n_flows += len(ours.fct_ns)
    grid.n_drops += int(theirs.links.n_dropped.sum())
    grid.ours_s += ours_s
    grid.theirs_s += theirs_s
    grid.ratios.append(theirs_s / max(ours_s, 1e-9))
    grid.events += ours.n_events


class Figures:
    """Lines of figures, and whether one is short of its bar."""

    def __init__(self) -> None:
        self.is_short = False

    def at_least(self, name: str, value: float, unit: str, bar: float) -> None:
        """A figure that is to be no less than its bar."""
        self._print(name, value, unit, f">={bar:g}", value >= bar)

    def at_most(self, name: str, value: float, unit: str, bar: float) -> None:
        """A figure that is to be no more than its bar."""
        self._print(name, value, unit, f"<={bar:g}", value <= bar)

    def _print(self, name: str, value: float, unit: str, bar: str, is_ok: bool) -> None:  # noqa: FBT001
        self.is_short |= not is_ok
        word = "ok" if is_ok else "short"
        print(f"figure {name} {value:.6g} {unit} bar {bar} {word}", flush=True)


def lossless(n: int, n_flows: int) -> Problems:
    """DCTCP without loss."""
    return (dctcp_problem(seed, n_flows) for seed in range(n))


def lossy(n: int, n_flows: int) -> Problems:
    """NewReno, LinuxReno and DCTCP in short queues."""
    kinds = ("newreno", "linux-reno", "dctcp")
    return (lossy_problem(seed, n_flows, kinds[seed % 3]) for seed in range(n))


def cubic(n: int, n_flows: int) -> Problems:
    """Cubic in short queues, with and without HyStart."""
    return (
        lossy_problem(seed, n_flows, "cubic", has_hystart=bool(seed % 4))
        for seed in range(100, 100 + n)
    )


def delayed(n: int, n_flows: int) -> Problems:
    """Delayed ACKs, with all but BBR."""
    kinds = ("newreno", "linux-reno", "dctcp", "cubic")
    return (
        lossy_problem(seed, n_flows, kinds[seed % 4], acks_every=2, ack_delay_s=0.002)
        for seed in range(200, 200 + n)
    )


def aqm(n: int, n_flows: int) -> Problems:
    """CoDel and FqCoDel on lines a hundred times slower."""
    kinds = ("cubic", "newreno", "dctcp")
    for seed in range(300, 300 + n):
        discipline = "codel" if seed % 2 else "fq_codel"
        queue = LinkQueue(discipline=discipline, max_packets=1000)  # type: ignore[arg-type]
        transport = replace(DATA_CENTRE, congestion=kinds[seed % 3], min_timeout_s=0.2)
        line = Line(n_hosts=3 + 2 * (seed % 3), rate_scale=0.01, delay_scale=1000)
        yield line_problem(seed, n_flows, [transport], queue, line=line)


def mixed(n: int, n_flows: int) -> Problems:
    """All algorithms but BBR in one network, packets lost by chance, jitter."""
    kinds = ("newreno", "linux-reno", "dctcp", "cubic")
    for seed in range(400, 400 + n):
        transports = [replace(DATA_CENTRE, congestion=kind) for kind in kinds]
        queue = LinkQueue(
            discipline="red",
            max_packets=200,
            mark_from=20.0,
            mark_all_from=60.0,
            mark_share=0.1,
        )
        problem = line_problem(seed, n_flows, transports, queue, line=Line(n_hosts=5))
        links = tuple(
            replace(link, loss_share=0.001, jitter_s=2e-6)
            for link in problem.topology.links
        )
        yield replace(
            problem, seed=seed, topology=replace(problem.topology, links=links)
        )


def fabric(n: int, n_flows: int) -> Problems:
    """A leaf-spine fabric."""
    kinds = ("dctcp", "cubic")
    return (
        fabric_problem(seed, n_flows, kinds[seed % 2]) for seed in range(500, 500 + n)
    )


def edge(n: int, n_flows: int) -> Problems:
    """Uplinks of gateways to a cloud: 20 to 100 Mbit/s, milliseconds."""
    kinds = ("cubic", "newreno")
    return (
        edge_problem(seed, n_flows, kinds[seed % 2]) for seed in range(600, 600 + n)
    )


def bbr(n: int, n_flows: int) -> Problems:
    """BBR on the uplinks and on lines."""
    for seed in range(700, 700 + n):
        if seed % 2:
            yield edge_problem(seed, n_flows, "bbr")
        else:
            yield lossy_problem(seed, n_flows, "bbr")


GRIDS: dict[str, tuple[Callable[[int, int], Problems], int, int]] = {
    "dctcp_lossless": (lossless, 40, 2000),
    "dctcp_20k": (lossless, 4, 20_000),
    "lossy": (lossy, 60, 2000),
    "cubic": (cubic, 30, 2000),
    "delayed_acks": (delayed, 30, 2000),
    "codel_fq_codel": (aqm, 20, 1000),
    "mixed_chance": (mixed, 10, 2000),
    "fabric": (fabric, 6, 2000),
    "edge": (edge, 10, 500),
    "bbr": (bbr, 20, 500),
}
QUICK = 4
NEARLY_ALL = 0.999


def main() -> int:
    """Run the grids, print figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the scenarios")
    parser.add_argument("--only", choices=[*GRIDS, "speed"], help="one grid")
    options = parser.parse_args()
    figures = Figures()
    run_ours(dctcp_problem(0, 10))  # compiles
    for name, (make, n, n_flows) in GRIDS.items():
        if options.only not in (None, name):
            continue
        grid = Grid()
        few, small = max(n // 10, 1), n_flows // QUICK
        chosen = make(few, small) if options.quick else make(n, n_flows)
        for problem in chosen:
            compare(problem, grid)
        report(name, grid, figures)
    if options.only in (None, "speed"):
        speed(figures, 5000 if options.quick else 20_000)
    return 1 if figures.is_short else 0


def report(name: str, grid: Grid, figures: Figures) -> None:
    """Print what a grid has shown."""
    exact = np.array(grid.exact)
    n_drops = f"{grid.n_drops:,} drops"
    print(
        f"{name}: {len(exact)} scenarios, {grid.n_flows:,} flows, {n_drops};"
        f" all equal in {(exact == 1).sum()}; least {100 * exact.min():.2f} %;"
        f" ours {grid.ours_s:.2f} CPU s, ns-3 {grid.theirs_s:.1f} CPU s"
    )
    if name == "bbr":
        figures.at_most(
            "bbr_p99_error_mean", 100 * float(np.mean(grid.p99_errors)), "%", 3
        )
    elif name.startswith("dctcp"):
        figures.at_least(f"{name}_flows_equal", 100 * exact.min(), "%", 100)
    else:
        share = 100 * (exact >= NEARLY_ALL).mean()
        figures.at_least(f"{name}_scenarios_equal", share, "%", 95)
        figures.at_most(
            f"{name}_p99_error_median",
            100 * float(np.median(grid.p99_errors)),
            "%",
            0.1,
        )


def speed(figures: Figures, n_flows: int) -> None:
    """CPU time of ns-3 over ours, events a second, and growth."""
    for n_hosts in (3, 7):
        line = Line(n_hosts=n_hosts)
        for name, kind, queue in (
            (
                "dctcp",
                "dctcp",
                LinkQueue(discipline="red", mark_from=10.0, mark_all_from=10.0),
            ),
            ("newreno_lossy", "newreno", LinkQueue(max_packets=50)),
        ):
            transport = replace(DATA_CENTRE, congestion=kind)  # type: ignore[arg-type]
            problem = line_problem(
                1, n_flows, [transport], queue, line=line, load=0.5, mean_bytes=20_000
            )
            grid = Grid()
            compare(problem, grid)
            rate = grid.events / grid.ours_s / 1e6
            print(f"{name}, {n_hosts} hosts: {grid.events:,} events at {rate:.1f} M/s")
            figures.at_least(f"speed_{name}_{n_hosts}", grid.ratios[0], "x", 100)
    for n in (n_flows // 10, n_flows, 10 * n_flows):
        problem = line_problem(
            2,
            n,
            [DATA_CENTRE],
            LinkQueue(discipline="red", mark_from=10.0, mark_all_from=10.0),
            line=Line(n_hosts=3),
            load=0.5,
            mean_bytes=20_000,
        )
        results, spent = run_ours(problem)
        print(f"growth: {n:,} flows, {results.n_events:,} events, {spent:.3f} CPU s")


if __name__ == "__main__":
    sys.exit(main())
