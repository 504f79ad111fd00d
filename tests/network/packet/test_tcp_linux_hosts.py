"""TCP small queues: what a sender with the ways of Linux puts into its own uplink."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import FlowResults, NetworkProblem, Routes, TcpTransport

SEGMENT, WIRE = 1448, 1502


def part(name: str) -> Any:
    """A module of the simulator: imported now, as that compiles its kernels."""
    return import_module(f"midhaul.network.packet.tcp.{name}")


def plain(kernel: Any) -> Any:
    """The Python of a kernel."""
    return getattr(kernel, "py_func", kernel)


def uploads(sizes: list[int], queue: LinkQueue, **transport: Any) -> FlowResults:
    """Flows at once over an uplink of 20 Mbit/s that is the sender's own."""
    slow = {"rate_bps": 20e6, "delay_s": 0.01}
    links = (
        Link(source="a", target="r", queue=queue, **slow),  # type: ignore[arg-type]
        Link(source="r", target="b", rate_bps=1e9),
        Link(source="b", target="r", rate_bps=1e9),
        Link(source="r", target="a", **slow),  # type: ignore[arg-type]
    )
    settings: dict[str, Any] = {"stack": "linux", **transport}
    n = len(sizes)
    problem = NetworkProblem(
        topology=Topology(nodes=("a", "r", "b"), links=links),
        flows=Flows(
            source=np.zeros(n, np.int32),
            target=np.full(n, 2, np.int32),
            size_bytes=np.array(sizes),
            start_ns=np.arange(n) * 1_000_000,
        ),
        routes=Routes(
            offsets=np.arange(0, 2 * n + 1, 2),
            links=np.tile(np.array([0, 1], np.int32), n),
        ),
        transports=(TcpTransport(**settings),),
    )
    simulation = part("simulation").begin_tcp(problem)
    while not simulation.advance(1 << 30):
        pass
    return simulation.results()


@pytest.mark.parametrize(
    ("rate", "n_most"),
    [
        (13_036_288, 6),
        (9_107_095, 4),
        (2_500_000, 2),
        (115_631_862, 50),
        (10**12, 1840),
    ],
)
def test_a_host_holds_a_thousandth_of_a_second(rate: int, n_most: int) -> None:
    """As seen of Linux 6.18: so many segments at so many bytes in a second.

    They count with 2,280 bytes each, and the one that passes the bound is the last.
    """
    a, queues = part("arena"), part("linux.small_queues")
    m, c = [0] * 4096, 1024
    m[c + a.C_PACE_RATE] = 8 * rate
    m[c + a.C_SENT_I] = 100
    n = 0
    while not plain(queues.is_held_back)(m, c, SEGMENT, 0):
        m[c + a.C_LINUX + a.U_AT_HOST] += 2280
        n += 1
    assert n == n_most
    assert m[c + a.C_LINUX + a.U_IS_HELD] == 1
    n_again = 0
    m[c + a.C_LINUX + a.U_AT_HOST] = 0
    while not plain(queues.is_held_back)(m, c, SEGMENT, 1):
        m[c + a.C_LINUX + a.U_AT_HOST] += 2280
        n_again += 1
    assert 2 * n_most - 2 <= n_again <= 2 * n_most


def test_a_single_segment_is_never_held_back() -> None:
    """One that is under way does not keep the next at home."""
    a, queues = part("arena"), part("linux.small_queues")
    m, c = [0] * 4096, 1024
    m[c + a.C_LINUX + a.U_AT_HOST] = 1 << 30
    m[c + a.C_SENT_I] = 1
    assert not plain(queues.is_held_back)(m, c, SEGMENT, 0)


@pytest.mark.parametrize("congestion", ["cubic", "linux-reno", "bbr"])
def test_an_own_uplink_has_a_short_queue_and_is_full(congestion: str) -> None:
    """A flow of 4 MB has a few segments there; ns-3 puts all of its window into it."""
    given: dict[str, Any] = {"congestion": congestion, "is_paced": congestion == "bbr"}
    linux = uploads([4_000_000], LinkQueue(max_packets=500), **given)
    ns3 = uploads([4_000_000], LinkQueue(max_packets=500), **given, stack="ns3")
    assert linux.links.max_queue_bytes[0] <= 10 * WIRE
    assert ns3.links.max_queue_bytes[0] > 2 * linux.links.max_queue_bytes[0]
    assert linux.fct_ns[0] < 1.05 * linux.ideal_fct_ns[0]


def test_small_queues_share_an_uplink_as_if_it_were_fair() -> None:
    """A short flow passes long ones, and a queue of 30 packets loses nothing."""
    sizes, queue = [3_000_000, 3_000_000, 100_000], LinkQueue(max_packets=30)
    linux, ns3 = uploads(sizes, queue), uploads(sizes, queue, stack="ns3")
    assert linux.links.n_dropped.sum() == 0
    assert ns3.links.n_dropped[0] > 0
    # three flows share 20 Mbit/s: 100 KB take 0.12 s and the handshake
    assert linux.fct_ns[2] < 0.2e9


def test_what_finds_the_own_queue_full_is_not_lost() -> None:
    """It stays with the sender, whose window shrinks; nothing is sent twice."""
    results = uploads([400_000] * 12, LinkQueue(max_packets=8))
    assert results.is_finished.all()
    assert results.links.n_dropped[0] > 0
    assert results.n_retransmitted.sum() <= 2  # of a probe, which is lost there


def test_a_queue_that_drops_what_waits_wakes_its_sender() -> None:
    """CoDel and FqCoDel at the own uplink: all flows end; none waits for a timer."""
    for discipline in ("codel", "fq_codel"):
        queue = LinkQueue(discipline=discipline, target_s=0.001, interval_s=0.01)  # type: ignore[arg-type]
        results = uploads([300_000] * 8, queue)
        assert results.links.n_dropped[0] > 0
        assert results.is_finished.all()
        assert results.fct_ns.max() < 1.3 * 8 * 300_000 * 8 / 20e6 * 1e9
