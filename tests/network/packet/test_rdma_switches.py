"""Memory of switches: pauses instead of drops, and configurations that are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.rdma_networks import (
    Sent,
    outcome,
    parking_lot,
    problem_of,
    star,
    two_switches,
)

from midhaul.errors import ConfigError, DataError
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.transports import RdmaCongestion, RdmaTransport, TcpTransport

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.transports import Transport


def incast(n: int, memory: int, *, has_pfc: bool = True) -> NetworkProblem:
    """``n`` hosts that send to one at once, without windows."""
    sent = [Sent(source=i, target=n, size=60_000) for i in range(n)]
    transport = RdmaTransport(
        congestion="dcqcn", has_pfc=has_pfc, ecn_min_bytes=50_000, ecn_max_bytes=90_000
    )
    return problem_of(star(n + 1), sent, transport, switch_buffer_bytes=memory)


@pytest.mark.parametrize("n", [2, 3, 8, 23, 64])
def test_incast_with_pfc_loses_nothing(n: int) -> None:
    """Who sends to a full switch is paused in time, and every flow ends."""
    memory = (n + 1) * 10_000 + 20_000
    found = outcome(incast(n, memory))
    assert found.is_finished.all()
    assert not found.links.n_dropped.any()
    assert not found.n_retransmitted.any()
    assert (found.links.paused_ns[: 2 * n : 2] > 0).all()
    assert int(found.links.max_queue_bytes.max()) <= memory


def test_incast_without_pfc_drops_and_recovers() -> None:
    """Without pauses a full switch drops, and go-back-N brings everything again."""
    found = outcome(incast(8, 60_000, has_pfc=False))
    assert found.is_finished.all()
    assert int(found.links.n_dropped.sum()) > 0
    assert int(found.n_retransmitted.sum()) > 0
    assert not found.links.paused_ns.any()
    assert int(found.links.max_queue_bytes.max()) <= 60_000


@pytest.mark.parametrize("congestion", ["dctcp", "hpcc", "timely"])
def test_pauses_reach_back_over_two_switches(congestion: RdmaCongestion) -> None:
    """A full switch pauses the one before it, and that one the hosts."""
    sent = [Sent(source=i % 7, target=7, size=80_000) for i in range(14)]
    topology = two_switches(4, 40e9)
    transport = RdmaTransport(
        congestion=congestion, ecn_min_bytes=10**9, low_s=1.0, high_s=2.0
    )
    found = outcome(problem_of(topology, sent, transport, switch_buffer_bytes=130_000))
    assert found.is_finished.all()
    assert not found.links.n_dropped.any()
    trunk = [link.name for link in topology.links].index("s0->s1")
    if congestion != "hpcc":
        assert int(found.links.paused_ns[trunk]) > 0
        assert (found.links.paused_ns[:6:2] > 0).any()


def test_memory_that_is_large_enough_changes_nothing() -> None:
    """A switch that is never full is as one whose memory has no end."""
    bounded = outcome(incast(5, 10_000_000))
    endless = outcome(incast(5, 0))
    assert np.array_equal(bounded.fct_ns, endless.fct_ns)
    assert not bounded.links.paused_ns.any()


def test_thresholds_that_wrap_are_refused() -> None:
    """The message says which switch, what its ports take, and what memory would do."""
    problem = incast(31, 32 * 8000)
    with pytest.raises(ConfigError, match=r"switch switch needs .* wrap below 0") as e:
        PacketSimulator().begin(problem)
    enough = int(e.value.hint.split()[3])
    assert f"set switch_buffer_bytes to {enough} or more" in e.value.hint
    found = outcome(replace(problem, switch_buffer_bytes=enough))
    assert found.is_finished.all()
    assert not found.links.n_dropped.any()


def test_thresholds_that_hold_no_packet_are_refused() -> None:
    """Memory beyond headroom must be enough for a packet of each port."""
    problem = incast(4, 0)
    with pytest.raises(ConfigError, match="would wrap") as e:
        PacketSimulator().begin(replace(problem, switch_buffer_bytes=1))
    enough = int(e.value.hint.split()[3])
    with pytest.raises(ConfigError, match="not hold a packet"):
        PacketSimulator().begin(replace(problem, switch_buffer_bytes=enough - 1))
    PacketSimulator().begin(replace(problem, switch_buffer_bytes=enough))


def test_endless_links_of_m3_are_refused_unless_its_quirks_are_wanted() -> None:
    """Headroom of a link of 100 Tbit/s wraps m3's simulator, and is refused here."""
    sent = [Sent(source=0, target=2, size=1000)]
    transport = RdmaTransport(max_rate_bps=10e9)
    problem = problem_of(parking_lot(3), sent, transport, switch_buffer_bytes=400_000)
    with pytest.raises(ConfigError, match="wrap below 0"):
        PacketSimulator().begin(problem)
    as_fork = replace(problem, transports=(replace(transport, as_fork=True),))
    assert outcome(as_fork).is_finished.all()


def broken(name: str) -> NetworkProblem:
    """A problem with one thing that cannot be."""
    sent = [Sent(source=0, target=1, size=1000)]
    transport = RdmaTransport()
    problem = problem_of(star(2), sent, transport)
    links, routes = list(problem.topology.links), problem.routes
    transports: tuple[Transport, ...] = (transport,)
    flows = problem.flows
    match name:
        case "families":
            transports = (transport, TcpTransport())
        case "pfc":
            transports = (transport, replace(transport, has_pfc=False))
        case "thresholds":
            transports = (replace(transport, congestion="dcqcn", ecn_max_bytes=1),)
        case "rate":
            links[0] = replace(links[0], rate_bps=0.0)
        case "loss":
            links[1] = replace(links[1], loss_share=1.0)
        case "back":
            del links[1]
            routes = replace(routes, links=np.array([0, 2], np.int32))
        case "timeout":
            transports = (replace(transport, timeout_s=4e-6),)
        case "route":
            none = np.zeros(2, np.int64)
            routes = replace(routes, offsets=none, links=np.zeros(0, np.int32))
        case _:
            flows = replace(flows, transport=np.array([3]))
    return replace(
        problem,
        topology=replace(problem.topology, links=tuple(links)),
        routes=routes,
        transports=transports,
        flows=flows,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("families", "one family"),
        ("pfc", "has_pfc"),
        ("thresholds", "ecn_max_bytes"),
        ("rate", "h0->switch has a rate of 0"),
        ("loss", "loss_share"),
        ("back", "h0->switch has none"),
        ("route", "flow 0 has none"),
        ("timeout", "round trip of flow 0 takes 4,000 ns"),
        ("transport", "transports 0 to 0"),
    ],
)
def test_what_cannot_be_simulated_is_refused(name: str, words: str) -> None:
    """Each mistake is a ConfigError that names what is wrong."""
    with pytest.raises(ConfigError, match=words):
        PacketSimulator().begin(broken(name))


def test_state_of_something_else_is_refused() -> None:
    """A state goes on with its own problem and version only."""
    state = PacketSimulator().begin(incast(3, 0)).state()
    assert state is not None
    with pytest.raises(DataError, match="another problem"):
        PacketSimulator().begin(incast(4, 0), state)
    with pytest.raises(DataError, match="version 99"):
        PacketSimulator().begin(incast(3, 0), dict(state) | {"version": np.array([99])})
    with pytest.raises(DataError, match="other arrays"):
        PacketSimulator().begin(incast(3, 0), {"version": np.array([1])})
