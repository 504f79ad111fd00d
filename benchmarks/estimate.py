"""How far off is an estimate of a network's tail, and how much faster is it?

Scenarios that training never saw, each simulated packet by packet: errors of the p99
slowdown of what is shipped and of windows of packets, by transport, in groups and by
class of size, beside the fluid, the simulation of the first flows alone, and other
flows of the same law (the noise floor); pairs that are told in the right order; and 500
paths of a fabric with 200,000 flows against simulating all of its packets, against
windows of it, and against ns-3 on some of these paths (apt-get install libns3-dev g++).

    python benchmarks/estimate.py [--quick] [--scenarios N] [--flows N] [--most-hops N]
        [--windows SHARE] [--within SHARE] [--corrector FILE] [--jobs N] [--seed N]
        [--ns3 PATHS] [--only speed]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import PrerequisiteError
from midhaul.model import LinkQueue
from midhaul.network import (
    Cable,
    FlowLaw,
    NetworkProblem,
    RdmaTransport,
    TcpTransport,
    clos,
    draw_flows,
    load_corrector,
    published_sizes,
)
from midhaul.network.corrector.scenarios import (
    GROUPS,
    NAMES,
    ScenarioAmount,
    draw_scenario,
)
from midhaul.network.decomposition.crossed import WholeFlows
from midhaul.network.estimate.pooling import estimate_problem
from midhaul.network.estimate.windows import windows_of
from midhaul.network.judges.ns3.simulator import Ns3Simulator
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.train.dataset import TrainingRows, rows_of, stacked_rows
from midhaul.network.train.judging import ALL, FEWEST, card, level, wasserstein
from midhaul.network.train.learning import ends, tell
from midhaul.network.train.truth import scenario_truth
from midhaul.network.work import packet_hops, work_off
from midhaul.network.workload import LognormalArrivals
from midhaul.runs.perform import parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.network.corrector.fitted import FittedCorrector
    from midhaul.network.estimate.pooling import NetworkEstimate
    from midhaul.network.transports import Transport

SEED = 777
P99 = level(0.99)
SHARES = (0.5, 0.95, 0.99, 0.999)
FEW_LOSING = 0.01
"""Share of flows in windows that lost packets, above which many have."""

SLACK = 0.002
"""By what a logarithm may leave an interval: percentiles are read between levels."""
OPEN = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A scenario with its truth, and the p99 of other flows of the same law.

    Attributes:
        rows: what all is held against.
        other_p99: its logarithm, of other flows.
        cost: of windows, as a share of the events of packets.
        losing: share of the flows in windows that lost packets.
        half: ``(b + 1, s)`` half of the intervals by windows of the foreground, by
            class and all, of the logarithms of :data:`SHARES`.
    """

    rows: TrainingRows
    other_p99: float
    cost: float
    losing: float
    half: np.ndarray


def main() -> int:
    """Simulate, tell, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and small ones")
    parser.add_argument("--scenarios", type=int, default=500)
    parser.add_argument("--flows", type=int, default=20_000)
    parser.add_argument(
        "--most-hops", type=float, default=OPEN, help="packets times links at most"
    )
    parser.add_argument("--windows", type=float, default=0.7, help="flows at most")
    parser.add_argument("--within", type=float, default=0.1, help="of their p99")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--corrector", type=Path, help="the shipped one by default")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--ns3", type=int, default=2, help="paths; 0: none")
    parser.add_argument("--only", choices=("errors", "speed"), help="one part")
    options = parser.parse_args()
    n = 45 if options.quick else options.scenarios
    flows = 1500 if options.quick else options.flows
    corrector = load_corrector(options.corrector)
    print(f"corrector: {corrector.record.get('n_scenarios')} scenarios")
    figures = Figures(is_quick=options.quick)
    if options.only != "speed":
        work = partial(
            judged,
            seed=options.seed,
            flows=flows,
            share=options.windows,
            within=options.within,
            most_hops=options.most_hops,
        )
        context = get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            found = [one for one in pool.map(work, range(n)) if one is not None]
        say_errors(figures, corrector, found)
        say_windows(figures, found)
    if options.only != "errors":
        n_flows = 8000 if options.quick else 200_000
        say_speed(figures, corrector, options.jobs, n_flows)
        if options.ns3:
            say_ns3(figures, corrector, options.jobs, n_flows, options.ns3)
    return int(figures.is_short)


class Figures:
    """Prints figures, and knows whether one is short of its bar.

    Args:
        is_quick: few scenarios say whether it works, so no bar counts.
    """

    def __init__(self, *, is_quick: bool) -> None:
        self.is_short = False
        self._is_quick = is_quick

    def say(self, name: str, value: float, unit: str, most: float = OPEN) -> None:
        """One line for a figure that is to be at most so much."""
        is_short = value > most
        self.is_short |= is_short and not self._is_quick
        verdict = "short" if is_short else "ok"
        print(f"figure {name} {value:.4f} {unit} bar <={most:g} {verdict}", flush=True)

    def say_least(self, name: str, value: float, unit: str, least: float) -> None:
        """The same of one that is to be at least so much."""
        is_short = value < least
        self.is_short |= is_short and not self._is_quick
        verdict = "short" if is_short else "ok"
        print(f"figure {name} {value:.4f} {unit} bar >={least:g} {verdict}", flush=True)


def judged(
    number: int,
    *,
    seed: int,
    flows: int,
    share: float,
    within: float,
    most_hops: float,
) -> Judged | None:
    """Simulate a scenario, its windows, and other flows of its law.

    None if it collapses, or has more packets times links.
    """
    amount = ScenarioAmount(
        fewest=flows, most=flows, rdma_hops=float("inf"), tcp_hops=float("inf")
    )
    scenario = draw_scenario(seed, number, amount)
    problem = scenario.path.problem()
    if packet_hops(problem).sum() > most_hops:
        return None
    truth = scenario_truth(scenario)
    other = scenario_truth(draw_scenario(seed, number, amount, again=1))
    if truth.is_given_up or other.is_given_up:
        return None
    own = scenario.path.is_foreground
    found = windows_of(problem, share, within=within, of=own)
    flows_found = found.flows
    truth = replace(truth, windows=flows_found.slowdown[own].astype(np.float32))
    classes = size_class(problem.flows.size_bytes)
    masks = [own & (classes == b) for b in range(len(SIZE_CLASSES))]
    half = [
        found.half(one, SHARES) if one.any() else np.zeros(len(SHARES))
        for one in (*masks, own)
    ]
    retransmitted = flows_found.n_retransmitted[found.is_simulated]
    return Judged(
        rows=stacked_rows(rows_of(scenario, truth)[:1]),
        other_p99=float(np.log(np.quantile(other.own, 0.99))),
        cost=(flows_found.n_events - len(own)) / truth.n_events,
        losing=float((retransmitted > 0).mean()),
        half=np.stack(half),
    )


def say_errors(
    figures: Figures, corrector: FittedCorrector, found: Sequence[Judged]
) -> None:
    """Errors over all scenarios, by transport, group and class; pairs; the rest."""
    rows = TrainingRows.joined([one.rows for one in found])
    told = tell(corrector, rows)
    low, high = ends(corrector, told, rows)
    truth = rows.exact.astype(np.float64)

    def of(mask: np.ndarray, place: int = ALL) -> Any:
        counts = rows.counts.sum(axis=1) if place == ALL else rows.counts[:, place]
        kept = mask & (counts >= FEWEST)
        return card(
            truth[kept, place, P99],
            told.logs[kept, place, P99],
            low[kept, place, P99],
            high[kept, place, P99],
        )

    everything = np.ones(len(rows), np.bool_)
    print("                         n   mean  median    p90   worst    bias  covered")
    masks: dict[str, np.ndarray] = {"all": everything}
    masks["no group"] = np.logical_not(rows.groups.any(axis=1))
    masks |= {name: rows.transport == i for i, name in enumerate(NAMES)}
    masks |= {f"group {g}": rows.groups[:, i] for i, g in enumerate(GROUPS)}
    for name, mask in masks.items():
        line(name, of(mask))
    for b, name in enumerate(SIZE_CLASSES):
        line(name, of(everything, b))
    whole = of(everything)
    figures.say("p99_error_mean", whole.mean, "-", 0.05)
    figures.say("p99_error_p90", whole.p90, "-", 0.11)
    figures.say("p99_bias", abs(whole.bias), "-", 0.01)
    figures.say("coverage_off_090", abs(whole.coverage - 0.9), "-", 0.03)
    for i, name in enumerate(NAMES):
        one = of(rows.transport == i)
        if one.n:
            figures.say(f"p99_error_mean_{name}", one.mean, "-", 0.05)
    for b, name in enumerate(SIZE_CLASSES):
        one = of(everything, b)
        if one.n:
            figures.say(
                f"p99_error_mean_{name}", one.mean, "-", 0.14 if b == 0 else 0.08
            )
    for share in (0.5, 0.95):
        q = level(share)
        one = card(truth[:, ALL, q], told.logs[:, ALL, q])
        figures.say(f"p{share * 100:g}_error_mean", one.mean, "-")
    distance = wasserstein(truth[:, ALL], told.logs[:, ALL])
    figures.say("distance_mean", float(distance.mean()), "-")
    others = np.array([one.other_p99 for one in found])
    for name, values in (
        ("fluid", rows.fluid[:, ALL, P99]),
        ("first_flows", rows.short[:, ALL, P99]),
        ("other_flows", others),
    ):
        one = card(truth[:, ALL, P99], values.astype(np.float64))
        figures.say(f"p99_error_mean_of_{name}", one.mean, "-")
    figures.say_least("pairs_in_order", order(rows, told.logs), "-", 0.93)


def say_windows(figures: Figures, found: Sequence[Judged]) -> None:
    """Errors of windows of packets, what they cost, and what their intervals hold."""
    rows = TrainingRows.joined([one.rows for one in found])
    truth, told = rows.exact.astype(np.float64), rows.windows.astype(np.float64)
    counts = np.concatenate([rows.counts, rows.counts.sum(axis=1)[:, None]], axis=1)
    halves = np.stack([one.half for one in found]) + SLACK

    def of(mask: np.ndarray, place: int = ALL, share: float = 0.99) -> Any:
        kept = mask & (counts[:, place] >= FEWEST)
        exact, mine = (x[kept, place, level(share)] for x in (truth, told))
        half = halves[kept, place, SHARES.index(share)]
        return card(exact, mine, mine - half, mine + half)

    everything = np.ones(len(rows), np.bool_)
    print("windows                  n   mean  median    p90   worst    bias  covered")
    few: np.ndarray = np.array([one.losing <= FEW_LOSING for one in found])
    masks: dict[str, np.ndarray] = {"all": everything, "few losses": few}
    masks["losses"] = np.logical_not(few)
    masks |= {name: rows.transport == i for i, name in enumerate(NAMES)}
    masks |= {f"group {g}": rows.groups[:, i] for i, g in enumerate(GROUPS)}
    for name, mask in masks.items():
        line(name, of(mask))
    for b, name in enumerate(SIZE_CLASSES):
        line(name, of(everything, b))
    whole = of(everything)
    figures.say("windows_p99_error_mean", whole.mean, "-", 0.05)
    figures.say("windows_p99_error_p90", whole.p90, "-", 0.11)
    figures.say("windows_p99_bias", abs(whole.bias), "-", 0.01)
    for b, name in enumerate(SIZE_CLASSES):
        one = of(everything, b)
        if one.n:
            most = 0.14 if b == 0 else 0.08
            figures.say(f"windows_p99_error_mean_{name}", one.mean, "-", most)
    figures.say("windows_p99_error_mean_few_losses", of(few).mean, "-")
    for share in SHARES:
        name = f"windows_p{share * 100:g}"
        one = of(everything, share=share)
        figures.say(f"{name}_error_mean", one.mean, "-")
        most = 0.03 if share == 0.99 else OPEN  # noqa: PLR2004
        figures.say(f"{name}_coverage_off_090", abs(one.coverage - 0.9), "-", most)
    cost = [one.cost for one in found]
    figures.say("windows_cost_mean", float(np.mean(cost)), "-")
    figures.say("windows_cost_median", float(np.median(cost)), "-")
    figures.say_least("windows_pairs_in_order", order(rows, told), "-", 0.93)


def line(name: str, one: Any) -> None:
    """A row of the table."""
    if one.n:
        print(
            f"{name:20s} {one.n:5d} {one.mean:6.1%} {one.median:7.1%} {one.p90:6.1%} "
            f"{one.worst:7.1%} {one.bias:+7.1%} {one.coverage:7.1%}"
        )


def order(rows: TrainingRows, logs: np.ndarray) -> float:
    """Share of pairs of a transport, more than 5 % apart, told in the right order."""
    right, total = 0, 0
    for kind in np.unique(rows.transport):
        mine = rows.transport == kind
        truth, told = rows.exact[mine, ALL, P99], logs[mine, ALL, P99]
        apart = truth[:, None] > truth[None, :] + np.log(1.05)
        right += int(np.sum(apart & (told[:, None] > told[None, :])))
        total += int(apart.sum())
    return right / max(total, 1)


def say_speed(
    figures: Figures, corrector: FittedCorrector, jobs: int, n_flows: int
) -> None:
    """500 paths of a fabric of 256 hosts, windows of it, and all of its packets."""
    problem = fabric(n_flows)
    told, took_s = of_paths(problem, corrector, jobs)
    simulation = PacketSimulator().begin(problem)
    begin_s = time.monotonic()
    work_off(simulation)
    packet_s = time.monotonic() - begin_s
    p99 = float(np.quantile(simulation.results().slowdown, 0.99))
    begin_s = time.monotonic()
    found = windows_of(problem, 0.5)
    windows_s = time.monotonic() - begin_s
    windows_p99 = float(np.quantile(found.flows.slowdown, 0.99))
    half = float(np.expm1(found.half(found.members("all"), (0.99,))[0]))
    print(
        f"fabric of 256 hosts, {n_flows:,} flows, {told.n_paths} paths: p99 {p99:.3f} "
        f"by packets, {told.p99.value:.3f} ({told.p99.low:.3f} to {told.p99.high:.3f}) "
        f"estimated, {windows_p99:.3f} within {half:.0%} by windows with "
        f"{found.is_simulated.mean():.0%} of the flows"
    )
    figures.say("estimate_s", took_s, "s", 20)
    figures.say("packets_over_estimate", packet_s / took_s, "x")
    figures.say("fabric_p99_error", abs(told.p99.value / p99 - 1), "-")
    figures.say("packets_over_windows", packet_s / windows_s, "x")
    figures.say("fabric_windows_p99_error", abs(windows_p99 / p99 - 1), "-")


def of_paths(
    problem: NetworkProblem, corrector: FittedCorrector, jobs: int
) -> tuple[NetworkEstimate, float]:
    """An estimate by 500 paths, and the seconds that it took."""

    def apply(work: Callable[[Any], Any], chunks: Sequence[Any]) -> list[Any]:
        found = dict(parallel(work, chunks, jobs=jobs))
        return [found[place] for place in range(len(chunks))]

    is_tcp = isinstance(problem.transports[0], TcpTransport)
    few = fabric(500, is_tcp=is_tcp)
    estimate_problem(few, n_paths=4, corrector=corrector)  # loads the kernels
    begin_s = time.monotonic()
    told = estimate_problem(problem, n_paths=500, corrector=corrector, apply=apply)
    return told, time.monotonic() - begin_s


def say_ns3(
    figures: Figures, corrector: FittedCorrector, jobs: int, n_flows: int, n: int
) -> None:
    """The same fabric with TCP's DCTCP, and ns-3 on some of the paths."""
    problem = fabric(n_flows, is_tcp=True)
    told, took_s = of_paths(problem, corrector, jobs)
    whole = WholeFlows(problem)
    seconds: dict[str, list[float]] = {"ns3": [], "packets": []}
    simulators = {"ns3": Ns3Simulator(), "packets": PacketSimulator()}
    for links in told.sampled.paths[:n]:
        part = whole.cross(links).problem()
        fct_ns: list[np.ndarray] = []
        for name, simulator in simulators.items():
            begin_s = time.monotonic()
            try:
                simulation = simulator.begin(part)
            except PrerequisiteError as error:
                print(f"no ns-3: {error}")
                return
            work_off(simulation)
            seconds[name].append(time.monotonic() - begin_s)
            fct_ns.append(simulation.results().fct_ns)
        equal = np.mean(np.abs(fct_ns[0] - fct_ns[1]) <= 2)  # noqa: PLR2004
        print(
            f"path of {len(links)} links, {len(part.flows):,} flows: ns-3 "
            f"{seconds['ns3'][-1]:.1f} s, packets {seconds['packets'][-1]:.2f} s, "
            f"{equal:.2%} of the flows equal"
        )
    each_s = took_s / told.n_paths
    figures.say("estimate_tcp_s", took_s, "s", 20)
    for name, spent_s in seconds.items():
        ratio = float(np.mean(spent_s)) / each_s
        figures.say(f"{name}_of_paths_over_estimate", ratio, "x")


def fabric(n_flows: int, *, is_tcp: bool = False) -> NetworkProblem:
    """32 racks of 8 hosts, WebServer's sizes, in bursts, a load of a half."""
    marks = LinkQueue(discipline="red", mark_from=10.0, mark_all_from=10.0)
    queue = marks if is_tcp else LinkQueue()
    inner = Cable(rate_bps=40e9, queue=queue)
    topology = clos(
        n_pods=2,
        n_racks=16,
        n_hosts=8,
        n_planes=2,
        n_spines=16,
        access=Cable(rate_bps=10e9, queue=queue),
        fabric=inner,
        spine=inner,
    )
    transport: Transport = RdmaTransport(
        congestion="dctcp", window_bytes=18_000, max_rate_bps=10e9
    )
    if is_tcp:
        transport = TcpTransport(
            congestion="dctcp",
            segment_bytes=1000,
            min_timeout_s=0.005,
            connect_timeout_s=0.01,
            acks_every=1,
        )
    law = FlowLaw(
        sizes=published_sizes("webserver"),
        arrivals=LognormalArrivals(sigma=2.0),
        load=0.5,
        transport=transport,
    )
    drawn = draw_flows(topology, law, n_flows, seed=3)
    return NetworkProblem(
        topology=topology,
        flows=drawn.flows,
        routes=drawn.routes,
        transports=(transport,),
    )


if __name__ == "__main__":
    sys.exit(main())
