"""How near do simulated TCP flows come to those of this machine's own kernel?

Cubic, Reno and BBR over a link of 5 to 50 Mbit/s and 5 to 60 ms one way, 1 to 20 flows
at a time, cameras that upload images, and ten gateways whose uplinks are their own, so
that their kernels know the queue (TCP small queues): the same flows as connections
between network namespaces, and simulated packet by packet, with the rules of Linux and
with those of ns-3; fluid beside. Needs root; takes as long as the network does.

A kernel is no generator of equal runs: where flows lose packets, a tenth of a
millisecond decides who loses which. So each case runs often in the kernel, and more
often in simulators, with starts that are moved by up to a millisecond. The links of
simulators have the jitter that was measured of the judge, and round trips that differ
from run to run by as much, as those of the judge are not known better: without that,
packets meet a full queue at one phase of its departures again and again.
Medians of percentiles are compared. Beside them stand by how much one of the kernel's
runs was away, and the noise: the standard error of the ratio of two medians, which is
held to the same bar, so that too few runs miss it. Runs whose relay was further off
than its bar are left out and counted.

    sudo python benchmarks/kernel_tcp.py [--quick] [--congestion NAME] [--cases 0 3]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import MidhaulError
from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import NetworkProblem, Routes, TcpTransport
from midhaul.network.fluid import FluidSimulator
from midhaul.network.judges.kernel import KernelSimulator

if TYPE_CHECKING:
    from midhaul.network import FlowResults, Simulator

LINUX = TcpTransport(congestion="cubic", stack="linux")
NS3 = TcpTransport(congestion="cubic", stack="ns3")
SECONDS = 6.0  # that the flows of a case would need if the link were always full
CAMERA_S = 12.0
N_GATEWAYS, UPLOAD_S = 10, 6.0
UPLOADS = ((120_000, 0.4, 0.4), (1_500_000, 0.8, 0.2))
"""Mean bytes, sigma of the logarithm, share of an uplink: images, and recordings."""
PLENTY = 1 << 40
BARS = np.array([0.05, 0.15])  # of p50 and p99
WIDTH_OF_SPREAD = 1 / 1.106
"""Of the sum of two draws from one width, 10th and 90th percentile are 1.106 apart."""
SIMULATED = 4  # runs of a simulator for one of the kernel
DRAWS = 2000
MOST_RELAY_ERROR = 0.02
MOST_LEFT_OUT = 5
MOVED_S = 1e-3  # by which starts differ between runs, as they do in the kernel
SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What some runs of a case gave.

    Attributes:
        percentiles_s: ``(n, 2)`` p50 and p99 of the completion times of each.
        lost: packets, the median.
    """

    percentiles_s: np.ndarray
    lost: float

    @property
    def middle_s(self) -> np.ndarray:
        """Medians of both."""
        return np.median(self.percentiles_s, axis=0)

    @property
    def apart(self) -> np.ndarray:
        """By how much a run was away at most, as a share."""
        return np.abs(self.percentiles_s / self.middle_s - 1).max(axis=0)

    @property
    def noise(self) -> np.ndarray:
        """Standard errors of the medians, as shares; infinite of a single run."""
        n = len(self.percentiles_s)
        if n == 1:
            return np.full(2, np.inf)
        drawn = np.random.default_rng(SEED).integers(0, n, (DRAWS, n))
        medians = np.median(self.percentiles_s[drawn], axis=1)
        return medians.std(axis=0) / self.middle_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A simulator that is held against the kernel.

    Attributes:
        name: for the table.
        simulator: what simulates.
        transport: and with which rules.
        has_jitter: whether its links have the jitter of the judge.
    """

    name: str
    simulator: Simulator
    transport: TcpTransport
    has_jitter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Flows over one slow link.

    Attributes:
        name: for the table.
        rate_mbps: of the link.
        delay_ms: of the link, one way.
        n_flows: of one size, that start within half a second.
        is_cameras: instead, cameras that send an image now and then.
        is_uplinks: instead, ten gateways with such a link each, and what they upload.
    """

    name: str
    rate_mbps: float
    delay_ms: float
    n_flows: int = 1
    is_cameras: bool = False
    is_uplinks: bool = False

    def problem(self, transport: TcpTransport) -> NetworkProblem:
        """A host, a router and a host; the link behind the router is slow.

        So the queue is the router's, and not one that the sender's own kernel knows.
        Its buffer is what the link carries in a round trip, and 50 packets at least.
        """
        if self.is_uplinks:
            return self._uplinks(transport)
        rate_bps, delay_s = self.rate_mbps * 1e6, self.delay_ms / 1e3
        in_flight = int(rate_bps * 2 * delay_s / 8 / 1502)
        slow = {
            "rate_bps": rate_bps,
            "delay_s": delay_s,
            "queue": LinkQueue(max_packets=max(50, in_flight)),
        }
        fast = {"rate_bps": 1e9}
        links = (
            Link(source="a", target="r", **fast),
            Link(source="r", target="b", **slow),
            Link(source="b", target="r", **slow),
            Link(source="r", target="a", **fast),
        )
        flows = self._cameras() if self.is_cameras else self._together()
        n = len(flows)
        return NetworkProblem(
            topology=Topology(nodes=("a", "r", "b"), links=links),
            flows=flows,
            routes=Routes(
                offsets=np.arange(0, 2 * n + 1, 2),
                links=np.tile(np.array([0, 1], np.int32), n),
            ),
            transports=(transport,),
        )

    def _uplinks(self, transport: TcpTransport) -> NetworkProblem:
        """Gateways that send images and, now and then, recordings, to a load of 0.6."""
        rng = np.random.default_rng(SEED)
        slow = {"rate_bps": self.rate_mbps * 1e6, "delay_s": self.delay_ms / 1e3}
        links: list[Link] = []
        sources: list[int] = []
        sizes: list[float] = []
        for gateway in range(N_GATEWAYS):
            queue = LinkQueue(max_packets=200)
            links += [
                Link(source=f"g{gateway}", target="r", queue=queue, **slow),
                Link(source="r", target=f"g{gateway}", queue=queue, **slow),
            ]
            for mean_bytes, sigma, share in UPLOADS:
                each_s = mean_bytes * 8 / (share * slow["rate_bps"])
                n = rng.poisson(UPLOAD_S / each_s)
                mean = np.log(mean_bytes) - sigma**2 / 2
                sizes += rng.lognormal(mean, sigma, n).tolist()
                sources += [gateway] * n
        links += [
            Link(source="r", target="cloud", rate_bps=1e9, delay_s=0.0005),
            Link(source="cloud", target="r", rate_bps=1e9, delay_s=0.0005),
        ]
        n = len(sizes)
        starts = rng.random(n) * UPLOAD_S * 1e9
        order = np.argsort(starts)
        source = np.array(sources, np.int32)[order]
        last = np.full(n, 2 * N_GATEWAYS, np.int32)
        names = tuple(f"g{gateway}" for gateway in range(N_GATEWAYS))
        return NetworkProblem(
            topology=Topology(nodes=(*names, "r", "cloud"), links=tuple(links)),
            flows=Flows(
                source=source,
                target=np.full(n, N_GATEWAYS + 1, np.int32),
                size_bytes=np.array(sizes).astype(np.int64)[order],
                start_ns=starts.astype(np.int64)[order],
            ),
            routes=Routes(
                offsets=np.arange(0, 2 * n + 1, 2),
                links=np.stack([2 * source, last], axis=1).ravel(),
            ),
            transports=(transport,),
        )

    def _together(self) -> Flows:
        rng = np.random.default_rng(SEED)
        size = int(self.rate_mbps * 1e6 * SECONDS / 8 / self.n_flows)
        starts = np.sort(rng.random(self.n_flows) * 0.5e9)
        return _flows(np.full(self.n_flows, size), starts)

    def _cameras(self) -> Flows:
        """Ten cameras, each with an image now and then, to a load of 0.6."""
        rng = np.random.default_rng(SEED)
        mean_bytes = 60_000
        rate = 0.6 * self.rate_mbps * 1e6 / 8 / mean_bytes
        n = int(rate * CAMERA_S)
        sizes = rng.lognormal(np.log(mean_bytes) - 0.08, 0.4, n)
        return _flows(sizes, np.sort(rng.random(n) * CAMERA_S * 1e9))


def _flows(sizes: np.ndarray, starts: np.ndarray) -> Flows:
    n = len(sizes)
    return Flows(
        source=np.zeros(n, np.int32),
        target=np.full(n, 2, np.int32),
        size_bytes=sizes.astype(np.int64),
        start_ns=starts.astype(np.int64),
    )


CASES = (
    Case(name="one flow", rate_mbps=5, delay_ms=5),
    Case(name="one flow", rate_mbps=20, delay_ms=20),
    Case(name="one flow", rate_mbps=50, delay_ms=60),
    Case(name="five flows", rate_mbps=5, delay_ms=60, n_flows=5),
    Case(name="five flows", rate_mbps=20, delay_ms=20, n_flows=5),
    Case(name="five flows", rate_mbps=50, delay_ms=5, n_flows=5),
    Case(name="twenty flows", rate_mbps=20, delay_ms=60, n_flows=20),
    Case(name="twenty flows", rate_mbps=50, delay_ms=20, n_flows=20),
    Case(name="cameras", rate_mbps=20, delay_ms=20, is_cameras=True),
    Case(name="cameras", rate_mbps=50, delay_ms=60, is_cameras=True),
    Case(name="ten uplinks", rate_mbps=20, delay_ms=4, is_uplinks=True),
)
QUICK = (CASES[1], CASES[5], CASES[8], CASES[10])


def main() -> int:
    """Judge, simulate, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four cases")
    parser.add_argument("--cases", type=int, nargs="+", help="these, by number")
    parser.add_argument(
        "--congestion", default="cubic", choices=("cubic", "linux-reno", "bbr")
    )
    parser.add_argument("--runs", type=int, default=20, help="of each case")
    options = parser.parse_args()
    cases = QUICK if options.quick else CASES
    if options.cases is not None:
        cases = tuple(CASES[i] for i in options.cases)
    is_short = False
    for name, value, bar in judged(options.congestion, cases, options.runs):
        is_short |= not value <= bar
        verdict = "ok" if value <= bar else "MISSED"
        print(f"figure {name} {value:.4f} - bar <={bar:g} {verdict}")
    return int(is_short)


def judged(
    congestion: str, cases: tuple[Case, ...], n_runs: int
) -> list[tuple[str, float, float]]:
    """A table of all cases; errors of the packet simulator, which are held to bars."""
    print(f"\n{congestion}: FCT in the kernel, and by how much others are off +- noise")
    print("case            Mbit/s   ms  flows    p50 s    p99 s  apart p50   p99  lost")
    errors: dict[str, list[np.ndarray]] = {}
    relays: list[float] = []
    for case in cases:
        linux = replace(LINUX, congestion=congestion, is_paced=congestion == "bbr")
        problem = case.problem(linux)
        truth, relay, spread_s = in_kernel(problem, case, n_runs)
        relays.append(relay)
        print(
            f"{case.name:15s} {case.rate_mbps:6g} {case.delay_ms:4g} "
            f"{len(problem.flows):6d} "
            f"{truth.middle_s[0]:8.3f} {truth.middle_s[1]:8.3f} "
            f"{truth.apart[0]:10.1%} {truth.apart[1]:5.1%} {truth.lost:5.0f}"
            f"  jitter {spread_s * 1e6:.0f} us",
            flush=True,
        )
        for rival in rivals(linux):
            try:
                found = simulated(rival, problem, SIMULATED * n_runs, spread_s)
            except (MidhaulError, ImportError) as error:  # no TCP, or not these rules
                print(f"   {rival.name:24s} {error}")
                continue
            off = found.middle_s / truth.middle_s - 1
            noise = np.hypot(found.noise, truth.noise)
            errors.setdefault(rival.name, []).append(np.array([np.abs(off), noise]))
            print(
                f"   {rival.name:24s} p50 {off[0]:+7.1%} +-{noise[0]:5.1%}  "
                f"p99 {off[1]:+7.1%} +-{noise[1]:5.1%}  lost {found.lost:.0f}",
                flush=True,
            )
    return summed_up(congestion, errors, relays)


def summed_up(
    congestion: str, errors: dict[str, list[np.ndarray]], relays: list[float]
) -> list[tuple[str, float, float]]:
    """Mean and worst of each simulator; what the bars are for."""
    for name, found in errors.items():
        mean, worst = np.mean(found, axis=0)[0], np.max(found, axis=0)[0]
        print(
            f"{name:27s} mean |error| p50 {mean[0]:.1%} p99 {mean[1]:.1%}, worst "
            f"{worst[0]:.1%} {worst[1]:.1%}"
        )
    held = next(x for x in ("packet, Linux", "fluid") if x in errors)
    print(f"held to the bars: {held}")
    error, noise = np.max(errors[held], axis=0)
    figures = [
        (f"kernel_{congestion}_relay_error_of_rtt", max(relays), MOST_RELAY_ERROR)
    ]
    for i, which in enumerate(("p50", "p99")):
        name, bar = f"kernel_{congestion}_{which}", float(BARS[i])
        figures.append((f"{name}_error_worst", float(error[i]), bar))
        figures.append((f"{name}_noise_worst", float(noise[i]), bar))
    return figures


def rivals(linux: TcpTransport) -> list[Rival]:
    """Who is held against the kernel, and with which rules."""
    found = [Rival(name="fluid", simulator=FluidSimulator(), transport=linux)]
    try:
        from midhaul.network.packet.simulator import (  # noqa: PLC0415  may be missing
            PacketSimulator,
        )
    except ImportError:
        print("there is no packet simulator of TCP here: only fluid is held against it")
        return found
    packet, ns3 = PacketSimulator(), replace(linux, stack="ns3")
    return [
        *found,
        Rival(name="packet, Linux", simulator=packet, transport=linux, has_jitter=True),
        Rival(name="packet, Linux, exact", simulator=packet, transport=linux),
        Rival(name="packet, ns-3", simulator=packet, transport=ns3, has_jitter=True),
    ]


def in_kernel(
    problem: NetworkProblem, case: Case, n_runs: int
) -> tuple[Runs, float, float]:
    """Runs in the kernel, the relay's worst error, and the median spread in s.

    The error is a share of the round trip, the spread that of round trips.
    """
    found: list[np.ndarray] = []
    lost: list[int] = []
    relays: list[float] = []
    spreads_s: list[float] = []
    n_left_out = 0
    while len(found) < n_runs:
        simulation = KernelSimulator().begin(problem)
        while not simulation.advance(1000):
            pass
        errors = simulation.delay_errors
        relay = abs(float(np.mean([x.error_s for x in errors])))
        relay /= 2e-3 * case.delay_ms
        if relay > MOST_RELAY_ERROR and n_left_out < MOST_LEFT_OUT:
            n_left_out += 1
            continue
        if simulation.failures:
            print(f"   failed: {simulation.failures}")
        results = simulation.results()
        found.append(_percentiles(results))
        lost.append(int(results.links.n_dropped.sum()))
        relays.append(relay)
        spreads_s.append(float(np.mean([x.spread_s for x in errors])))
    if n_left_out:
        print(f"   {n_left_out} runs left out, whose relay was too far off")
    runs = Runs(percentiles_s=np.array(found), lost=float(np.median(lost)))
    return runs, max(relays), float(np.median(spreads_s))


def jittered(problem: NetworkProblem, spread_s: float, seed: int) -> NetworkProblem:
    """The same network with round trips as far apart as the judge's, and as unsure.

    Half of either is in each direction of the link that has a delay.
    """
    width_s = spread_s * WIDTH_OF_SPREAD
    off_s = (np.random.default_rng(seed).random() - 0.5) * spread_s
    links = tuple(
        replace(link, delay_s=link.delay_s - width_s / 2 + off_s, jitter_s=width_s)
        if link.delay_s > spread_s
        else link
        for link in problem.topology.links
    )
    return replace(problem, topology=replace(problem.topology, links=links))


def simulated(rival: Rival, problem: NetworkProblem, n: int, spread_s: float) -> Runs:
    """Runs of a simulator, with starts that differ a little."""
    found: list[np.ndarray] = []
    lost: list[int] = []
    for seed in range(n):
        moved = np.random.default_rng(seed).random(len(problem.flows)) * MOVED_S * 1e9
        starts = np.sort(problem.flows.start_ns + moved.astype(np.int64))
        flows = replace(problem.flows, start_ns=starts)
        given = replace(problem, flows=flows, seed=seed, transports=(rival.transport,))
        if rival.has_jitter:
            given = jittered(given, spread_s, seed)
        simulation = rival.simulator.begin(given)
        while not simulation.advance(PLENTY):
            pass
        results = simulation.results()
        found.append(_percentiles(results))
        lost.append(int(results.links.n_dropped.sum()))
    return Runs(percentiles_s=np.array(found), lost=float(np.median(lost)))


def _percentiles(results: FlowResults) -> np.ndarray:
    fct_s = results.fct_ns[results.is_finished] / 1e9
    return np.quantile(fct_s, (0.5, 0.99))


if __name__ == "__main__":
    sys.exit(main())
