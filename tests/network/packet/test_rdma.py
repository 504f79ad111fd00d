"""RDMA packet by packet: closed forms, a plain reference, and what must always hold."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.rdma_networks import (
    Sent,
    both_ways,
    outcome,
    problem_of,
    star,
    two_switches,
)
from tests.support.rdma_reference import HEADER, Reference

from midhaul.model import Topology
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.transports import RdmaCongestion, RdmaTransport

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import FlowResults

ALL: tuple[RdmaCongestion, ...] = ("dctcp", "dcqcn", "hpcc", "timely")


def sending_ns(n_bytes: int, rate_bps: float = 10e9) -> int:
    """Time to send so many bytes."""
    return round(n_bytes * 8e9 / rate_bps)


def through_switch_ns(size: int, header: int) -> int:
    """What a flow takes alone over two links of 10 Gbit/s and 1 µs and a switch."""
    first = second = 0
    for sent in range(0, size, 1000):
        took = sending_ns(min(1000, size - sent) + header)
        first += took
        second = max(first + 1000, second) + took
    return second + 1000


@pytest.mark.parametrize("congestion", ["dctcp", "dcqcn", "timely"])
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 54_321])
def test_flow_alone_takes_its_closed_form(
    congestion: RdmaCongestion, size: int
) -> None:
    """A flow that nothing slows takes what its bytes take on its links."""
    transport = RdmaTransport(congestion=congestion)
    sent = [Sent(source=0, target=1, size=size, start_ns=77)]
    found = outcome(problem_of(star(2), sent, transport))
    assert int(found.fct_ns[0]) == through_switch_ns(size, HEADER[congestion])
    assert abs(int(found.ideal_fct_ns[0] - found.fct_ns[0])) <= size // 1000 + 1
    assert int(found.start_ns[0]) == 77
    assert found.slowdown[0] == pytest.approx(1, abs=1e-3)


def test_hpcc_alone_is_slowed_to_its_aim_only() -> None:
    """A long flow with HPCC alone has the share of the link that it aims at."""
    transport = RdmaTransport(congestion="hpcc", utilisation=0.9)
    sent = [Sent(source=0, target=1, size=3_000_000)]
    found = outcome(problem_of(star(2), sent, transport))
    assert 1 / 0.96 < found.slowdown[0] < 1 / 0.88


def test_two_flows_share_a_link() -> None:
    """Two flows to one host end when the link has sent what both have."""
    sent = [Sent(source=i, target=2, size=200_000) for i in range(2)]
    found = outcome(problem_of(star(3), sent, RdmaTransport(window_bytes=20_000)))
    least = 2 * 200 * sending_ns(1048)
    assert least < int(found.fct_ns.max()) < 1.05 * least
    assert int(np.ptp(found.fct_ns)) < 0.1 * least
    assert found.busiest_link.tolist() == [5, 5]


@st.composite
def problems(draw: st.DrawFn) -> NetworkProblem:
    """Small networks with one or two transports."""
    n = draw(st.integers(1, 9))
    sent: list[Sent] = []
    for _ in range(n):
        source, target = draw(st.permutations(range(6)))[:2]
        size = draw(st.sampled_from([1, 700, 1000, 3001, 20_000, 60_000]))
        start = draw(st.integers(0, 30_000))
        kind = draw(st.integers(0, 1))
        sent.append(
            Sent(
                source=source, target=target, size=size, start_ns=start, transport=kind
            )
        )
    transports = [
        RdmaTransport(
            congestion=draw(st.sampled_from(ALL)),
            window_bytes=draw(st.sampled_from([0, 4000, 30_000])),
            timeout_s=None,
            min_rate_bps=draw(st.sampled_from([1e8, 1e9])),
            max_rate_bps=draw(st.sampled_from([7e9, float("inf")])),
            ecn_min_bytes=draw(st.sampled_from([0, 3000])),
            ecn_max_bytes=20_000,
            ecn_share=0.5,
            low_s=8e-6,
            high_s=30e-6,
            rounds=draw(st.integers(0, 5)),
        )
        for _ in range(2)
    ]
    trunk = draw(st.sampled_from([5e9, 40e9]))
    return problem_of(
        two_switches(3, trunk), sent, *transports, seed=draw(st.integers(0, 9))
    )


@pytest.mark.slow  # the first of them to compile the kernel
@settings(max_examples=60)
@given(problem=problems())
def test_kernel_equals_plain_reference(problem: NetworkProblem) -> None:
    """Each completion time is that of a simulator that schedules every event."""
    found = outcome(problem)
    assert found.fct_ns.tolist() == Reference(problem).run().tolist()


def wire_bytes(sent: list[Sent], header: int) -> int:
    """Bytes of flows with their headers."""
    return sum(s.size + -(-s.size // 1000) * header for s in sent)


@pytest.mark.parametrize("congestion", ALL)
def test_every_byte_is_sent_once_where_nothing_is_lost(
    congestion: RdmaCongestion,
) -> None:
    """Links carry each byte once, with a header and an answer for each packet."""
    rng = np.random.default_rng(1)
    sent = [
        Sent(
            source=int(i % 3),
            target=3,
            size=int(rng.integers(1, 40_000)),
            start_ns=int(rng.integers(0, 100_000)),
        )
        for i in range(40)
    ]
    found = outcome(problem_of(star(4), sent, RdmaTransport(congestion=congestion)))
    assert found.is_finished.all()
    last = 7  # switch->h3
    assert int(found.links.n_bytes[last]) == wire_bytes(sent, HEADER[congestion])
    n_packets = sum(-(-s.size // 1000) for s in sent)
    answer = 88 if congestion == "hpcc" else 60
    assert int(found.links.n_bytes[6]) == n_packets * answer
    assert not found.links.n_dropped.any()
    assert not found.n_retransmitted.any()
    assert int(found.n_marked.sum()) <= int(found.links.n_marked.sum())


@pytest.mark.parametrize("congestion", ALL)
def test_lost_packets_come_again(congestion: RdmaCongestion) -> None:
    """With a tenth of the packets lost each flow ends, by going back or by time-out."""
    topology = with_chance(star(3), loss_share=0.1)
    sent = [Sent(source=i % 2, target=2, size=30_000, start_ns=i) for i in range(10)]
    found = outcome(problem_of(topology, sent, RdmaTransport(congestion=congestion)))
    assert found.is_finished.all()
    assert int(found.n_retransmitted.sum()) > 10
    assert int(found.links.n_dropped.sum()) > 10


def with_chance(topology: Topology, **chance: float) -> Topology:
    """The same network with loss or jitter on each link."""
    links = tuple(replace(link, **chance) for link in topology.links)
    return replace(topology, links=links)


def test_lost_tail_is_recovered_by_the_time_out_alone() -> None:
    """Flows of one packet that is lost end after a time-out, and never without one."""
    topology = with_chance(star(2), loss_share=0.3)
    sent = [Sent(source=0, target=1, size=500, start_ns=i * 50_000) for i in range(40)]
    timed = outcome(problem_of(topology, sent, RdmaTransport(timeout_s=0.001)))
    assert timed.is_finished.all()
    again = (timed.n_retransmitted > 0) & (timed.fct_ns > 10_000)
    assert again.any()
    assert int(timed.fct_ns[again].min()) > 1_000_000
    forever = outcome(problem_of(topology, sent, RdmaTransport(timeout_s=None)))
    assert not forever.is_finished.all()
    assert np.isnan(forever.slowdown[~forever.is_finished]).all()


def test_jitter_keeps_packets_in_order() -> None:
    """However much chance adds to delays, nothing is taken for lost."""
    topology = with_chance(star(3), jitter_s=20e-6)
    sent = [Sent(source=i, target=2, size=100_000) for i in range(2)]
    found = outcome(problem_of(topology, sent, RdmaTransport(window_bytes=50_000)))
    assert found.is_finished.all()
    assert not found.n_retransmitted.any()
    assert int(found.fct_ns.min()) > through_switch_ns(100_000, 48)


@pytest.mark.parametrize("congestion", ALL)
def test_long_flows_are_treated_alike(congestion: RdmaCongestion) -> None:
    """Four long flows over one link get about the same of it (Jain's index)."""
    sent = [Sent(source=i, target=4, size=500_000_000) for i in range(4)]
    transport = RdmaTransport(
        congestion=congestion,
        window_bytes=30_000,
        additive_bps=100e6 if congestion == "hpcc" else 0.0,
        ecn_min_bytes=20_000,
        ecn_max_bytes=60_000,
        ecn_share=0.1,
        low_s=12e-6,
        high_s=60e-6,
    )
    problem = problem_of(
        star(5), sent, transport, until_ns=20_000_000, watched=(0, 1, 2, 3)
    )
    found = outcome(problem)
    timeline = found.timeline
    assert timeline is not None
    got = np.array([timeline.acked_bytes[timeline.flow == i].max() for i in range(4)])
    assert got.sum() ** 2 / (4 * (got**2).sum()) > 0.93
    assert got.sum() * 8 / 20e-3 > 7e9
    assert found.end_ns == 20_000_000
    assert not found.is_finished.any()


def queue_of_long_flows(transport: RdmaTransport) -> tuple[np.ndarray, FlowResults]:
    """What waits for the last link of two long flows, when they have settled."""
    sent = [Sent(source=i, target=2, size=500_000_000) for i in range(2)]
    problem = problem_of(star(3), sent, transport, until_ns=8_000_000, sample_ns=1000)
    found = outcome(problem)
    late = found.links.samples_ns > 2_000_000
    return found.links.samples_bytes[late, 5], found


def test_dctcp_holds_its_queue_at_the_threshold() -> None:
    """The queue swings around K, and is never empty for long."""
    transport = RdmaTransport(window_bytes=60_000, ecn_min_bytes=30_000)
    queue, found = queue_of_long_flows(transport)
    assert 0.5 * 30_000 < queue.mean() < 1.4 * 30_000
    assert int(queue.max()) < 3 * 30_000
    assert (queue == 0).mean() < 0.02
    assert int(found.links.busy_ns[5]) > 0.97 * 8_000_000
    assert int(found.links.n_marked[5]) > 0


def test_hpcc_leaves_almost_no_queue() -> None:
    """With HPCC hardly a packet waits, and the link has the load that is aimed at."""
    queue, found = queue_of_long_flows(RdmaTransport(congestion="hpcc"))
    assert queue.mean() < 2 * 1090
    assert 0.9 < int(found.links.busy_ns[5]) / 8_000_000 < 0.99


def test_flow_waits_for_others() -> None:
    """A flow starts after the last of those that it waits for, and some time more."""
    sent = [
        Sent(source=0, target=1, size=5000),
        Sent(source=1, target=2, size=50_000),
        Sent(source=2, target=0, size=2000, start_ns=300, after=(0, 1)),
        Sent(source=0, target=1, size=10, after=(2,)),
    ]
    found = outcome(problem_of(star(3), sent, RdmaTransport()))
    ended = found.start_ns + found.fct_ns
    assert int(found.start_ns[2]) == int(ended[:2].max()) + 300
    assert int(found.start_ns[3]) == int(ended[2])
    assert found.is_finished.all()


def test_rate_that_falls_is_kept() -> None:
    """What is sent after a rate fell takes as much longer."""
    topology = star(2)
    links = list(topology.links)
    links[3] = replace(links[3], rate_changes=((50e-6, 1e9), (450e-6, 10e9)))
    topology = replace(topology, links=tuple(links))
    sent = [Sent(source=0, target=1, size=200_000)]
    transport = RdmaTransport(
        congestion="dcqcn", ecn_min_bytes=10**9, ecn_max_bytes=10**9
    )
    found = outcome(problem_of(topology, sent, transport))
    expected = 50_000 + 400_000 + (200 * sending_ns(1048) - 50_000 - 40_000)
    assert int(found.fct_ns[0]) == pytest.approx(expected, rel=0.02)


def busy_problem(seed: int = 0) -> NetworkProblem:
    """Something of everything: four transports, losses, pauses, samples, a timeline."""
    transports = [
        RdmaTransport(
            congestion=name,
            window_bytes=40_000,
            ecn_min_bytes=4000,
            ecn_max_bytes=40_000,
            ecn_share=0.3,
        )
        for name in ALL
    ]
    topology = with_chance(two_switches(3, 10e9), loss_share=0.002, jitter_s=1e-7)
    rng = np.random.default_rng(3)
    sent = [
        Sent(
            source=int(rng.integers(0, 3)),
            target=int(rng.integers(3, 6)),
            size=int(rng.integers(1, 60_000)),
            start_ns=int(rng.integers(0, 200_000)),
            transport=i % 4,
            after=(i - 1,) if i % 7 == 6 else (),
        )
        for i in range(60)
    ]
    return problem_of(
        topology,
        sent,
        *transports,
        switch_buffer_bytes=120_000,
        seed=seed,
        watched=(0, 5),
        sample_ns=10_000,
    )


def flat(found: FlowResults) -> list[np.ndarray]:
    """All arrays of results."""
    links, timeline = found.links, found.timeline
    assert timeline is not None
    return [
        *(found.start_ns, found.fct_ns, found.n_retransmitted, found.n_marked),
        *(links.n_bytes, links.busy_ns, links.n_dropped, links.n_marked),
        *(links.paused_ns, links.max_queue_bytes, links.samples_ns),
        *(links.samples_bytes, timeline.time_ns, timeline.flow, timeline.rate_bps),
        *(timeline.window_bytes, timeline.in_flight_bytes, timeline.acked_bytes),
        np.array([found.n_events, found.end_ns]),
    ]


def test_same_seed_gives_the_same_bits_and_another_one_does_not() -> None:
    """A simulation depends on its problem and its seed alone."""
    once, again, other = (outcome(busy_problem(seed)) for seed in (0, 0, 1))
    for a, b in zip(flat(once), flat(again), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(once.fct_ns, other.fct_ns)


@pytest.mark.parametrize("n_events", [37, 1000])
def test_killed_and_resumed_simulation_equals_an_undisturbed_one(n_events: int) -> None:
    """A state that went through a file goes on to the same bits, however often."""
    problem = busy_problem()
    simulation = PacketSimulator().begin(problem)
    n = 0
    while not simulation.advance(n_events):
        n += 1
        if n % 3 == 0 or n_events == 1000:
            file = io.BytesIO()
            state = simulation.state()
            assert state is not None
            np.savez(file, **state)
            file.seek(0)
            with np.load(file) as loaded:
                simulation = PacketSimulator().begin(problem, dict(loaded))
    for a, b in zip(flat(simulation.results()), flat(outcome(problem)), strict=True):
        assert np.array_equal(a, b)
    assert simulation.share_done == 1


def test_share_done_rises_to_one() -> None:
    """What is done grows from nothing to all."""
    simulation = PacketSimulator().begin(busy_problem())
    shares = [simulation.share_done]
    while not simulation.advance(500):
        shares.append(simulation.share_done)
    assert shares[0] == 0
    assert sorted(shares) == shares
    assert simulation.share_done == 1


def test_tables_grow_between_events() -> None:
    """More packets, flows and turns than there is room for at first change nothing."""
    ends = [("a", "s", 10e9, 1e-3), ("s", "b", 10e9, 4e-3)]
    topology = Topology(nodes=("a", "b", "s"), links=both_ways(ends), hosts=("a", "b"))
    sent = [Sent(source=0, target=1, size=20_000, start_ns=i) for i in range(400)]
    transport = RdmaTransport(congestion="dcqcn", timeout_s=0.1)
    found = outcome(problem_of(topology, sent, transport))
    assert found.is_finished.all()
    assert int(found.links.n_bytes[2]) == wire_bytes(sent, 48)
    least = 5_000_000 + 400 * 20 * sending_ns(1048)
    assert int(found.fct_ns.max()) == pytest.approx(least, rel=1e-3)


def test_timeline_follows_the_watched_flow_only() -> None:
    """Rows are of the watched flow, in time, and its acknowledged bytes grow to all."""
    sent = [Sent(source=i, target=2, size=100_000) for i in range(2)]
    problem = problem_of(
        star(3), sent, RdmaTransport(window_bytes=20_000), watched=(1,)
    )
    timeline = outcome(problem).timeline
    assert timeline is not None
    assert set(timeline.flow.tolist()) == {1}
    assert (np.diff(timeline.time_ns) >= 0).all()
    assert (np.diff(timeline.acked_bytes) >= 0).all()
    assert int(timeline.acked_bytes[-1]) == 100_000
    assert timeline.window_bytes.max() == 20_000
    assert (timeline.in_flight_bytes <= 21_000).all()


def test_nothing_to_send_is_an_empty_result() -> None:
    """A problem without flows ends at once."""
    found = outcome(problem_of(star(2), [], RdmaTransport(), sample_ns=1000))
    assert found.n_events == 0
    assert len(found.fct_ns) == 0
    assert found.links.samples_bytes.shape == (0, 4)
