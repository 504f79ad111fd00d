"""Make the completion times that the TCP simulator is held to, with ns-3.37.

    python tools/ns3_truth.py [FILE]

Needs ns-3.37 and a compiler (apt-get install libns3-dev g++). The file has the version,
the networks, flows and transports, and what ns-3 made of them; the tests read it and
need no ns-3.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.ns3_truth import Truth, write_truths  # noqa: E402
from tests.support.tcp_scenarios import (  # noqa: E402
    DATA_CENTRE,
    Line,
    dctcp_problem,
    edge_problem,
    fabric_problem,
    line_problem,
    lossy_problem,
    with_limit,
)

from midhaul.model import LinkQueue  # noqa: E402
from midhaul.network.judges.ns3.program import VERSION  # noqa: E402
from midhaul.network.judges.ns3.simulator import Ns3Simulator  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.network import NetworkProblem

TARGET = ROOT / "tests" / "network" / "packet" / "ns3_truth.npz"


def problems() -> Iterator[tuple[str, NetworkProblem]]:
    """Small networks, each about something else."""
    yield "dctcp without loss", dctcp_problem(1, 250)
    for i, kind in enumerate(("newreno", "linux-reno", "dctcp", "cubic")):
        limit = 30 if kind == "dctcp" else 15
        yield (
            f"{kind} in short queues",
            with_limit(lossy_problem(4 + i, 150, kind), limit),
        )
    plain = lossy_problem(8, 150, "cubic", has_hystart=False)
    yield "cubic without hystart", with_limit(plain, 20)
    later = lossy_problem(9, 150, "newreno", acks_every=2, ack_delay_s=0.002)
    yield "delayed ACKs", with_limit(later, 20)
    later = lossy_problem(10, 150, "dctcp", acks_every=2, ack_delay_s=0.002)
    yield "delayed ACKs of dctcp", with_limit(later, 30)
    yield "bbr in short queues", with_limit(lossy_problem(4, 100, "bbr"), 30)
    slow = Line(n_hosts=5, rate_scale=0.01, delay_scale=1000)
    for i, discipline in enumerate(("codel", "fq_codel")):
        queue = LinkQueue(
            discipline=discipline, max_packets=40, target_s=0.001, interval_s=0.01
        )  # type: ignore[arg-type]
        cubic = replace(DATA_CENTRE, congestion="cubic", min_timeout_s=0.2)
        yield (
            discipline,
            line_problem(
                11 + i, 150, [cubic], queue, line=slow, load=1.2, mean_bytes=40_000
            ),
        )
    queue = LinkQueue(discipline="fq_codel", max_packets=1000)
    cubic = replace(DATA_CENTRE, congestion="cubic", min_timeout_s=0.2)
    shared = replace(slow, n_hosts=3)
    yield (
        "fq_codel with queues that flows share",
        line_problem(300, 120, [cubic], queue, line=shared),
    )
    ramp = LinkQueue(
        discipline="red",
        max_packets=200,
        mark_from=5.0,
        mark_all_from=40.0,
        mark_share=0.1,
    )
    several = [
        replace(DATA_CENTRE, congestion="newreno"),
        replace(DATA_CENTRE, congestion="cubic"),
        DATA_CENTRE,
    ]
    one = line_problem(13, 200, several, ramp, line=Line(n_hosts=5))
    links = tuple(
        replace(link, loss_share=0.002, jitter_s=2e-6) for link in one.topology.links
    )
    topology = replace(one.topology, links=links)
    yield "mixed, by chance", replace(one, seed=13, topology=topology)
    yield "a fabric", fabric_problem(14, 200, "dctcp")
    yield "uplinks", edge_problem(15, 100, "cubic")
    yield "bbr on uplinks", edge_problem(16, 60, "bbr")


def main() -> int:
    """Run ns-3 and write the file."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    truths: list[Truth] = []
    for name, problem in problems():
        simulation = Ns3Simulator().begin(problem)
        while not simulation.advance(1):
            pass
        results = simulation.results()
        dropped = results.links.n_dropped
        print(f"{name}: {len(problem.flows)} flows, {dropped.sum()} drops")
        truths.append(
            Truth(name=name, problem=problem, fct_ns=results.fct_ns, n_dropped=dropped)
        )
    write_truths(target, VERSION, truths)
    print(f"{target}: {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
