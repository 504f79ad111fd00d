"""Steady states that the RDMA kernel leaps over: the same bits, with fewer events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.rdma_networks import (
    Sent,
    outcome,
    parking_lot,
    problem_of,
    star,
    two_switches,
)

from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.transports import RdmaTransport

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import FlowResults


def worked_through(problem: NetworkProblem) -> FlowResults:
    """Results without leaps: who looks at queues now and then would see them."""
    return outcome(replace(problem, sample_ns=200_000))


def flat(found: FlowResults) -> list[list[int]]:
    """What leaps must not change."""
    links = found.links
    return [
        *(found.start_ns.tolist(), found.fct_ns.tolist()),
        *(found.n_retransmitted.tolist(), found.n_marked.tolist()),
        *(found.busiest_link.tolist(), links.n_bytes.tolist(), links.busy_ns.tolist()),
        *(links.n_marked.tolist(), links.max_queue_bytes.tolist()),
    ]


@st.composite
def quiet_problems(draw: st.DrawFn) -> NetworkProblem:
    """Few flows, of which some are long and for a while alone on their links."""
    topology, n_hosts = draw(
        st.sampled_from(
            [(star(4), 4), (two_switches(3, 5e9), 6), (parking_lot(5), 5)],
        )
    )
    sent: list[Sent] = []
    for _ in range(draw(st.integers(1, 6))):
        ends = sorted(draw(st.permutations(range(n_hosts)))[:2])
        sent.append(
            Sent(
                source=ends[0],
                target=ends[1],
                size=draw(st.sampled_from([1, 2500, 80_000, 400_001, 900_000])),
                start_ns=draw(st.integers(0, 1_000_000)),
                transport=draw(st.integers(0, 1)),
            )
        )
    first = RdmaTransport(
        window_bytes=draw(st.sampled_from([0, 1000, 7300, 18_000, 60_000])),
        max_rate_bps=draw(st.sampled_from([3e9, 10e9, float("inf")])),
        ecn_min_bytes=draw(st.sampled_from([0, 3000, 30_000])),
        timeout_s=draw(st.sampled_from([None, 0.0002, 0.004])),
    )
    other = RdmaTransport(congestion=draw(st.sampled_from(["dctcp", "dcqcn"])))
    until_ns = draw(st.sampled_from([None, 700_000]))
    return problem_of(topology, sent, first, other, until_ns=until_ns)


@pytest.mark.slow  # hundreds of thousands of packets
@settings(max_examples=80)
@given(problem=quiet_problems())
def test_leaps_change_no_result(problem: NetworkProblem) -> None:
    """Times, bytes, queues and marks are those of working through each packet."""
    found, expected = outcome(problem), worked_through(problem)
    assert flat(found) == flat(expected)
    if problem.until_ns is None:  # there a look at queues that is still to come counts
        assert found.end_ns == expected.end_ns


def alone(size: int, **rest: object) -> NetworkProblem:
    """One flow over two links and a switch."""
    transport = RdmaTransport(window_bytes=18_000, timeout_s=None)
    return problem_of(star(2), [Sent(source=0, target=1, size=size)], transport, **rest)


def test_flow_alone_has_as_many_events_however_long_it_is() -> None:
    """A flow a thousand times as long takes that much longer, and no more work."""
    short, long = outcome(alone(1_000_000)), outcome(alone(1_000_000_000))
    assert long.n_events < 1.5 * short.n_events
    assert short.n_events < 0.1 * worked_through(alone(1_000_000)).n_events
    gaps = (long.fct_ns - short.fct_ns) / 999_000
    assert gaps[0] == pytest.approx(1048 * 0.8, rel=1e-3)
    assert long.links.n_bytes.max() == 1_000_000 * 1048


def test_leap_ends_before_another_flow_starts() -> None:
    """A flow on the same link, or on its way back, finds what it would have found."""
    for ends in ((0, 2), (1, 3), (2, 0)):
        sent = [
            Sent(source=0, target=1, size=3_000_000),
            Sent(source=ends[0], target=ends[1], size=9000, start_ns=1_234_567),
        ]
        problem = problem_of(star(4), sent, RdmaTransport(window_bytes=18_000))
        found = outcome(problem)
        assert flat(found) == flat(worked_through(problem))
        assert found.n_events < 5000


def test_watched_flow_is_worked_through() -> None:
    """A timeline has a row for each answer, so nothing of it is skipped."""
    found = outcome(alone(1_000_000, watched=(0,)))
    assert found.timeline is not None
    assert len(found.timeline.time_ns) > 1000
    assert flat(found) == flat(outcome(alone(1_000_000)))


def test_state_goes_on_between_leaps() -> None:
    """A simulation that is taken up anew every few events ends the same."""
    rng = np.random.default_rng(2)
    sent = [
        Sent(source=i % 3, target=3, size=400_000, start_ns=int(start))
        for i, start in enumerate(rng.integers(0, 3_000_000, 12))
    ]
    problem = problem_of(star(4), sent, RdmaTransport(window_bytes=18_000))
    simulation = PacketSimulator().begin(problem)
    while not simulation.advance(53):
        state = simulation.state()
        assert state is not None
        simulation = PacketSimulator().begin(problem, state)
    found = simulation.results()
    assert flat(found) == flat(worked_through(problem))
    assert found.n_events == outcome(problem).n_events
