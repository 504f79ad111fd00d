"""The TCP simulator: closed forms, conservation, chance, states and bad problems."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.tcp_scenarios import (
    DATA_CENTRE,
    Line,
    begin_tcp,
    line_problem,
    lossy_problem,
)

from midhaul.errors import ConfigError, DataError
from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import NetworkProblem, RdmaTransport, Routes, TcpTransport
from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.packet import PacketSimulator

if TYPE_CHECKING:
    from midhaul.network import FlowResults


def done(problem: NetworkProblem) -> FlowResults:
    """What becomes of a problem."""
    simulation = begin_tcp(problem)
    while not simulation.advance(100_000):
        pass
    return simulation.results()


def two_nodes(
    *, rate_bps: float = 8e9, delay_s: float = 1e-6, **queue: Any
) -> Topology:
    """A cable between two nodes."""
    links = [
        Link(
            source=a,
            target=b,
            rate_bps=rate_bps,
            delay_s=delay_s,
            queue=LinkQueue(**queue),
        )  # type: ignore[arg-type]
        for a, b in (("a", "b"), ("b", "a"))
    ]
    return Topology(nodes=("a", "b"), links=tuple(links))


def at_once(
    topology: Topology, sizes: list[int], transport: TcpTransport, **more: Any
) -> NetworkProblem:
    """Flows that begin at the same time, over the first link."""
    n = len(sizes)
    flows = Flows(
        source=np.zeros(n, np.int32),
        target=np.ones(n, np.int32),
        size_bytes=np.array(sizes, np.int64),
        start_ns=np.zeros(n, np.int64),
    )
    routes = Routes(
        offsets=np.arange(n + 1, dtype=np.int64), links=np.zeros(n, np.int32)
    )
    return NetworkProblem(
        topology=topology,
        flows=flows,
        routes=routes,
        transports=(transport,),
        **more,  # type: ignore[arg-type]
    )


def test_one_segment_takes_a_handshake_and_its_own_time() -> None:
    """SYN, SYN-ACK, ACK and 1 ns, then the segment: 58, 58 and 54 + 1054 bytes."""
    problem = at_once(two_nodes(), [1000], DATA_CENTRE)
    # 8 Gbit/s is a byte each ns; the data wait for the ACK, 54 ns against 1 ns
    assert done(problem).fct_ns.tolist() == [58 + 1000 + 58 + 1000 + 54 + 1054 + 1000]


def test_a_long_flow_alone_takes_its_ideal_time() -> None:
    """A window that covers the path keeps the link busy to the end."""
    results = done(at_once(two_nodes(), [1_000_000], DATA_CENTRE))
    assert results.fct_ns[0] == results.ideal_fct_ns[0]


def test_bytes_are_conserved_where_nothing_is_lost() -> None:
    """A link carries each segment once, and the packets of opening and closing."""
    sizes = [1, 999, 1000, 1001, 123_456]
    results = done(at_once(two_nodes(), sizes, DATA_CENTRE))
    segments = sum(-(-size // 1000) for size in sizes)
    least = sum(sizes) + 54 * segments + 58 * len(sizes)
    assert results.links.n_dropped.sum() == 0
    assert least <= results.links.n_bytes[0] <= least + 3 * 54 * len(sizes)


def test_long_flows_share_a_link_evenly() -> None:
    """Four flows of DCTCP over one link end within a fifth of each other."""
    topology = two_nodes(discipline="red", mark_from=20.0, mark_all_from=20.0)
    fct = done(at_once(topology, [20_000_000] * 4, DATA_CENTRE)).fct_ns
    assert fct.min() > 0.8 * fct.max()


def test_dctcp_keeps_the_queue_near_its_threshold() -> None:
    """The queue of two long flows stays some tens of packets around the threshold."""
    topology = two_nodes(
        delay_s=20e-6, discipline="red", mark_from=50.0, mark_all_from=50.0
    )
    problem = at_once(topology, [30_000_000] * 2, DATA_CENTRE)
    links = done(replace(problem, sample_ns=100_000)).links
    waits = np.median(links.samples_bytes[20:, 0])
    assert 10 * 1054 < waits < 90 * 1054
    assert links.n_marked[0] > 0


@pytest.mark.parametrize(
    "congestion", ["newreno", "linux-reno", "cubic", "dctcp", "bbr"]
)
def test_what_is_lost_is_sent_again(congestion: str) -> None:
    """All flows end in short queues, and each drop of data costs a retransmission."""
    problem = lossy_problem(4, 200, congestion)  # type: ignore[arg-type]
    links = tuple(
        replace(link, queue=LinkQueue(max_packets=10))
        for link in problem.topology.links
    )
    problem = replace(problem, topology=replace(problem.topology, links=links))
    results = done(problem)
    assert results.is_finished.all()
    assert results.links.n_dropped.sum() > 0
    assert results.n_retransmitted.sum() > 0
    assert (results.fct_ns >= results.ideal_fct_ns).all()


def test_a_lost_syn_waits_for_the_connection_timeout() -> None:
    """Over a link that loses all packets a flow never opens, and stays unfinished."""
    there, back = two_nodes().links
    lossy = replace(there, loss_share=1 - 1e-12)
    topology = Topology(nodes=("a", "b"), links=(lossy, back))
    results = done(at_once(topology, [1000], DATA_CENTRE))
    assert results.fct_ns.tolist() == [-1]
    # SYNs at 0, 10, 30, 70, 150 and 310 ms, given up after 640 ms
    assert results.links.n_dropped[0] == 6
    assert results.end_ns >= 630_000_000


def test_loss_by_chance_follows_the_seed() -> None:
    """The same seed loses the same packets, another seed others."""
    problem = line_problem(3, 200, [DATA_CENTRE], LinkQueue(), line=Line(n_hosts=3))
    links = tuple(replace(link, loss_share=0.01) for link in problem.topology.links)
    problem = replace(problem, topology=replace(problem.topology, links=links))
    one, same, other = (done(replace(problem, seed=seed)).fct_ns for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_rate_that_falls_slows_what_comes_after() -> None:
    """A link at half its rate from the start takes twice as long for a long flow."""
    topology = two_nodes()
    slow = replace(topology.links[0], rate_changes=((0.0, 4e9),))
    halved = replace(topology, links=(slow, topology.links[1]))
    whole, half = (
        done(at_once(t, [5_000_000], DATA_CENTRE)).fct_ns[0] for t in (topology, halved)
    )
    assert 1.9 < half / whole < 2.1


def test_a_flow_waits_for_those_before_it() -> None:
    """A flow that waits for two starts at the end of the later one, plus its delay."""
    problem = at_once(two_nodes(), [1000, 50_000, 1000], DATA_CENTRE)
    flows = replace(
        problem.flows,
        start_ns=np.array([0, 0, 500]),
        after_offsets=np.array([0, 0, 0, 2]),
        after=np.array([0, 1]),
    )
    results = done(replace(problem, flows=flows))
    assert results.start_ns[2] == results.fct_ns[:2].max() + 500
    assert results.fct_ns[2] > 0


@pytest.mark.parametrize("congestion", ["cubic", "bbr"])
def test_a_state_goes_on_to_the_same_end(congestion: str) -> None:
    """Cut after some thousand events and gone on with, every number is the same."""
    problem = lossy_problem(5, 150, congestion)  # type: ignore[arg-type]
    problem = replace(problem, watched=(3, 4), sample_ns=10_000)
    whole = begin_tcp(problem)
    cut = begin_tcp(problem)
    cut.advance(5_000)
    resumed = begin_tcp(problem, cut.state())
    for simulation in (whole, resumed):
        while not simulation.advance(7_777):
            pass
    ends = [simulation.state() for simulation in (whole, resumed)]
    for name in ends[0]:
        found, expected = ends[1][name], ends[0][name]
        n = min(len(found), len(expected))
        if name in ("h", "t"):
            continue  # beyond what they hold
        assert np.array_equal(found[:n], expected[:n]), name
    assert np.array_equal(whole.results().fct_ns, resumed.results().fct_ns)


def test_a_state_of_another_problem_is_refused() -> None:
    """A state says which problem it is of."""
    state = begin_tcp(lossy_problem(1, 10, "cubic")).state()
    with pytest.raises(DataError, match="another"):
        begin_tcp(lossy_problem(2, 10, "cubic"), state)
    with pytest.raises(DataError, match="version"):
        begin_tcp(lossy_problem(1, 10, "cubic"), {})


def test_a_watched_flow_has_a_timeline() -> None:
    """Acknowledged bytes rise to the size of the flow, times with them."""
    problem = at_once(two_nodes(), [200_000], DATA_CENTRE, watched=(0,))
    timeline = done(problem).timeline
    assert timeline is not None
    assert (np.diff(timeline.time_ns) >= 0).all()
    assert (np.diff(timeline.acked_bytes) >= 0).all()
    assert 150_000 < timeline.acked_bytes[-1] <= 200_000


def test_it_stops_when_told_to() -> None:
    """What has not ended by then is -1."""
    problem = at_once(two_nodes(), [1000, 10_000_000], DATA_CENTRE, until_ns=100_000)
    results = done(problem)
    assert results.end_ns == 100_000
    assert results.is_finished.tolist() == [True, False]


def test_compiled_and_plain_kernels_agree() -> None:
    """The plain Python of the rounding is the compiled one."""
    from midhaul.network.packet.tcp.links import transmission_ns  # noqa: PLC0415

    plain = transmission_ns.py_func  # type: ignore[attr-defined]
    for size, rate in ((1054, 40e9), (75, 400e9), (1502, 1e7), (54, 3e9)):
        assert transmission_ns(size, int(rate)) == plain(size, int(rate))
    assert transmission_ns(1054, 40_000_000_000) == 211
    assert transmission_ns(54, 10**12) == 0


def queued(**queue: Any) -> dict[str, Topology]:
    """Two nodes whose links have this queue."""
    return {"topology": two_nodes(**queue)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transports": (RdmaTransport(),)}, "TCP only"),
        (
            {"transports": (TcpTransport(has_ecn=True),)},
            "ways of Linux only",
        ),
        (
            {"topology": Topology(nodes=("a", "b"), links=two_nodes().links[:1])},
            "link back",
        ),
        ({"topology": two_nodes(rate_bps=0.0)}, "rate"),
        (queued(max_bytes=1000), "holds 1,000 bytes, and a full packet has 1,054"),
        (queued(discipline="red", mark_from=9.0, mark_all_from=3.0), "each from 3 on"),
        (queued(discipline="red"), "marks or drops each packet"),
        (
            queued(discipline="red", max_packets=5, mark_from=9.0, mark_all_from=9.0),
            "holds 5 packets, and marks from 9 on",
        ),
    ],
)
def test_what_it_cannot_simulate_is_refused(
    change: dict[str, Any], message: str
) -> None:
    """A message says what was expected and found."""
    problem = replace(at_once(two_nodes(), [10], DATA_CENTRE), **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        begin_tcp(problem)


@pytest.mark.parametrize(
    "congestion",
    [
        # the first one compiles the kernels, while others wait or do something else
        pytest.param("newreno", marks=pytest.mark.slow),
        "linux-reno",
        "cubic",
        "dctcp",
        "bbr",
    ],
)
def test_it_is_a_simulator(congestion: str) -> None:
    """The conformance suite; a flow alone has slow start above its ideal time."""
    claims = SimulatorClaims(max_lone_slowdown=1.2)
    transport = TcpTransport(congestion=congestion)  # type: ignore[arg-type]
    check_simulator(PacketSimulator(), transport, claims=claims)
