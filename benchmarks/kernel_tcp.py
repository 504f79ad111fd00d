"""How near do simulated TCP flows come to those of this machine's own kernel?

Cubic, Reno and BBR over a link of 5 to 50 Mbit/s and 5 to 60 ms one way, 1 to 20 flows
at a time, and cameras that upload images: the same flows as connections between network
namespaces, and simulated packet by packet, with the rules of Linux and with those of
ns-3; fluid and the ideal beside. Needs root; takes as long as the network does.

    sudo python benchmarks/kernel_tcp.py [--quick] [--bbr] [--reno]
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
PLENTY = 1 << 40
BARS = {"p50": 0.05, "p99": 0.15}
SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Flows over one slow link.

    Attributes:
        name: for the table.
        rate_mbps: of the link.
        delay_ms: of the link, one way.
        n_flows: of one size, that start within half a second.
        is_cameras: instead, cameras that send an image now and then.
    """

    name: str
    rate_mbps: float
    delay_ms: float
    n_flows: int = 1
    is_cameras: bool = False

    def problem(self, transport: TcpTransport) -> NetworkProblem:
        """A host, a router and a host; the link behind the router is slow.

        So the queue is the router's, and not one that the sender's own kernel knows.
        Its buffer is what the link carries in a round trip, and 50 packets at least.
        """
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
)
QUICK = (CASES[1], CASES[5], CASES[8])


def main() -> int:
    """Judge, simulate, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three cases")
    parser.add_argument("--bbr", action="store_true", help="BBR as well, without bars")
    parser.add_argument("--reno", action="store_true", help="Reno as well, likewise")
    options = parser.parse_args()
    cases = QUICK if options.quick else CASES
    figures = judged("cubic", cases)
    for name in ("bbr", "linux-reno"):
        if getattr(options, name.removeprefix("linux-")):
            judged(name, cases)
    is_short = False
    for name, value, bar in figures:
        is_short |= value > bar
        verdict = "short" if value > bar else "ok"
        print(f"figure {name} {value:.4f} - bar <={bar:g} {verdict}")
    return int(is_short)


def judged(congestion: str, cases: tuple[Case, ...]) -> list[tuple[str, float, float]]:
    """A table of all cases; errors of the packet simulator, which are held to bars."""
    print(f"\n{congestion}: FCT in the kernel, and by how much others are off")
    print(
        "case            Mbit/s   ms  flows    p50 s    p99 s  lost | relay us  late us"
    )
    errors: dict[str, list[tuple[float, float]]] = {}
    delays_s: list[float] = []
    for case in cases:
        linux = replace(LINUX, congestion=congestion, is_paced=congestion == "bbr")
        problem = case.problem(linux)
        truth, error_s, late_ns = in_kernel(problem)
        p50, p99 = np.quantile(truth.fct_ns[truth.is_finished] / 1e9, (0.5, 0.99))
        delays_s.append(abs(error_s) / (2e-3 * case.delay_ms))
        print(
            f"{case.name:15s} {case.rate_mbps:6g} {case.delay_ms:4g} "
            f"{len(problem.flows):6d} {p50:8.3f} {p99:8.3f} "
            f"{int(truth.links.n_dropped.sum()):5d} | {error_s * 1e6:8.0f} "
            f"{late_ns / 1e3:8.0f}"
        )
        for name, simulator, transport in simulators(linux):
            try:
                found = simulated(simulator, replace(problem, transports=(transport,)))
            except (MidhaulError, ImportError) as error:  # no TCP, or not these rules
                print(f"   {name:24s} {error}")
                continue
            off50, off99 = (
                np.quantile(found.fct_ns, q) / np.quantile(truth.fct_ns, q) - 1
                for q in (0.5, 0.99)
            )
            errors.setdefault(name, []).append((abs(off50), abs(off99)))
            lost = int(found.links.n_dropped.sum())
            print(f"   {name:24s} p50 {off50:+7.1%}  p99 {off99:+7.1%}  lost {lost}")
    return summed_up(errors, delays_s)


def summed_up(
    errors: dict[str, list[tuple[float, float]]], delays_s: list[float]
) -> list[tuple[str, float, float]]:
    """Mean and worst of each simulator; what the bars are for."""
    for name, found in errors.items():
        mean, worst = np.mean(found, axis=0), np.max(found, axis=0)
        print(
            f"{name:27s} mean |error| p50 {mean[0]:.1%} p99 {mean[1]:.1%}, worst "
            f"{worst[0]:.1%} {worst[1]:.1%}"
        )
    held = next(x for x in ("packet, Linux", "packet, ns-3", "fluid") if x in errors)
    print(f"held to the bars: {held}")
    worst = np.max(errors[held], axis=0)
    return [
        ("kernel_relay_error_of_delay", max(delays_s), 0.02),
        ("kernel_p50_error_worst", float(worst[0]), BARS["p50"]),
        ("kernel_p99_error_worst", float(worst[1]), BARS["p99"]),
    ]


def simulators(linux: TcpTransport) -> list[tuple[str, Simulator, TcpTransport]]:
    """Who is held against the kernel, and with which rules."""
    fluid = FluidSimulator()
    found: list[tuple[str, Simulator, TcpTransport]] = [("fluid", fluid, linux)]
    try:
        from midhaul.network.packet.simulator import (  # noqa: PLC0415  may be missing
            PacketSimulator,
        )
    except ImportError:
        print("there is no packet simulator of TCP here: only fluid is held against it")
        return found
    packet = PacketSimulator()
    found.append(("packet, Linux", packet, linux))
    found.append(("packet, ns-3", packet, replace(linux, stack="ns3")))
    return found


def in_kernel(problem: NetworkProblem) -> tuple[FlowResults, float, float]:
    """Results, what is left of the relay's error, and how late it was at p99, in ns."""
    simulation = KernelSimulator().begin(problem)
    while not simulation.advance(1000):
        pass
    error_s = float(np.mean([x.error_s for x in simulation.delay_errors]))
    late_ns = simulation.relay_report.get("late_ns", {}).get("0.99", float("nan"))
    if simulation.failures:
        print(f"   failed: {simulation.failures}")
    return simulation.results(), error_s, late_ns


def simulated(simulator: Simulator, problem: NetworkProblem) -> FlowResults:
    """To the end."""
    simulation = simulator.begin(problem)
    while not simulation.advance(PLENTY):
        pass
    return simulation.results()


if __name__ == "__main__":
    sys.exit(main())
