"""How far off is an estimate of a network's tail, and how much faster is it?

Scenarios that training never saw, each simulated packet by packet: errors of the p99
slowdown of what is shipped and of windows of packets, by transport, in groups and by
class of size, beside the fluid, the simulation of the first flows alone, and other
flows of the same law (the noise floor); pairs that are told in the right order; and 500
paths of a fabric with 200,000 flows against simulating all of its packets.

    python benchmarks/estimate.py [--quick] [--scenarios N] [--flows N] [--most-hops N]
        [--windows SHARE] [--within SHARE] [--corrector FILE] [--jobs N] [--seed N]
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

from midhaul.network import (
    Cable,
    FlowLaw,
    NetworkProblem,
    RdmaTransport,
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
from midhaul.network.estimate.pooling import estimate_problem
from midhaul.network.estimate.windows import MOST_LOSING, windows_of
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.train.dataset import TrainingRows, rows_of, stacked_rows
from midhaul.network.train.judging import ALL, FEWEST, card, level, wasserstein
from midhaul.network.train.learning import ends, tell
from midhaul.network.train.truth import scenario_truth
from midhaul.network.work import packet_hops
from midhaul.network.workload import LognormalArrivals
from midhaul.runs.perform import parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.network.corrector.fitted import FittedCorrector

SEED = 777
P99 = level(0.99)
SHARES = (0.5, 0.95, 0.99, 0.999)
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
    options = parser.parse_args()
    n = 45 if options.quick else options.scenarios
    flows = 1500 if options.quick else options.flows
    corrector = load_corrector(options.corrector)
    print(f"corrector: {corrector.record.get('n_scenarios')} scenarios")
    figures = Figures(is_quick=options.quick)
    work = partial(
        judged,
        seed=options.seed,
        flows=flows,
        share=options.windows,
        within=options.within,
        most_hops=options.most_hops,
    )
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        found = [one for one in pool.map(work, range(n)) if one is not None]
    say_errors(figures, corrector, found)
    say_windows(figures, found)
    say_speed(
        figures, corrector, options.jobs, n_flows=8000 if options.quick else 200_000
    )
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
    few: np.ndarray = np.array([one.losing <= MOST_LOSING for one in found])
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
    """500 paths of a fabric of 256 hosts, and all of its packets."""
    problem = fabric(n_flows)

    def apply(work: Callable[[Any], Any], chunks: Sequence[Any]) -> list[Any]:
        found = dict(parallel(work, chunks, jobs=jobs))
        return [found[place] for place in range(len(chunks))]

    estimate_problem(fabric(500), n_paths=4, corrector=corrector)  # loads the kernels
    begin_s = time.monotonic()
    told = estimate_problem(problem, n_paths=500, corrector=corrector, apply=apply)
    took_s = time.monotonic() - begin_s
    simulation = PacketSimulator().begin(problem)
    begin_s = time.monotonic()
    while not simulation.advance(1_000_000):
        pass
    packet_s = time.monotonic() - begin_s
    p99 = float(np.quantile(simulation.results().slowdown, 0.99))
    print(
        f"fabric of 256 hosts, {n_flows:,} flows, {told.n_paths} paths: p99 {p99:.3f} "
        f"by packets, {told.p99.value:.3f} ({told.p99.low:.3f} to {told.p99.high:.3f}) "
        f"estimated"
    )
    figures.say("estimate_s", took_s, "s", 20)
    figures.say("packets_over_estimate", packet_s / took_s, "x")
    figures.say("fabric_p99_error", abs(told.p99.value / p99 - 1), "-")


def fabric(n_flows: int) -> NetworkProblem:
    """32 racks of 8 hosts, WebServer's sizes, in bursts, a load of a half."""
    inner = Cable(rate_bps=40e9)
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
    transport = RdmaTransport(
        congestion="dctcp", window_bytes=18_000, max_rate_bps=10e9
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
