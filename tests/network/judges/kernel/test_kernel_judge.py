"""The kernel as a judge: what it refuses, what it sets up, that nothing is left."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.fluid_cases import flows_of, routes_of

from midhaul.errors import ConfigError, PrerequisiteError, SimulationError
from midhaul.model import Link, LinkQueue, Topology
from midhaul.network import NetworkProblem, RdmaTransport, TcpTransport
from midhaul.network.judges.kernel import KernelSimulation, KernelSimulator
from midhaul.network.judges.kernel.plan import kernel_plan
from midhaul.network.judges.kernel.relay import Direction, Relay
from midhaul.network.packet import PacketSimulator

_IS_POSSIBLE = (
    sys.platform == "linux"
    and os.geteuid() == 0
    and shutil.which("ip") is not None
    and shutil.which("tc") is not None
    and Path("/dev/net/tun").exists()
)
needs_root = pytest.mark.skipif(not _IS_POSSIBLE, reason="needs root, ip, tc and tun")
CUBIC = TcpTransport(congestion="cubic", stack="linux")
SLOW_BPS, DELAY_S = 20e6, 0.005
MS = 1_000_000


def _line(
    *,
    sizes: tuple[int, ...] = (1000,),
    starts: tuple[int, ...] = (0,),
    after: tuple[tuple[int, ...], ...] = (),
    queue: LinkQueue | None = None,
    transports: tuple[TcpTransport | RdmaTransport, ...] = (CUBIC,),
    **link: float,
) -> NetworkProblem:
    """Flows from ``a`` over ``r`` to ``b``; the second link is slow."""
    queue = queue or LinkQueue(max_packets=100)
    slow = {"rate_bps": SLOW_BPS, "delay_s": DELAY_S, "queue": queue, **link}
    links = (
        Link(source="a", target="r"),
        Link(source="r", target="b", **slow),  # type: ignore[arg-type]
        Link(source="b", target="r", **slow),  # type: ignore[arg-type]
        Link(source="r", target="a"),
    )
    n = len(sizes)
    return NetworkProblem(
        topology=Topology(nodes=("a", "r", "b"), links=links),
        flows=flows_of([(0, 2)] * n, sizes, starts, after),
        routes=routes_of([(0, 1)] * n),
        transports=transports,
    )


def test_a_plan_has_a_device_for_each_direction_that_is_taken() -> None:
    """With its peer, its shaper, and routes there and back."""
    plan = kernel_plan(_line())
    names = [plan.devices[device.peer].name for device in plan.devices]
    assert [device.name for device in plan.devices] == ["l0", "l3", "l1", "l2"]
    assert names == ["l3", "l0", "l2", "l1"]
    assert [device.name for device in plan.path(0, 2)] == ["l0", "l1"]
    assert [device.name for device in plan.path(2, 0)] == ["l2", "l3"]
    assert plan.devices[0].queue_commands(1500) == []
    shaped = plan.devices[2].queue_commands(1500)
    assert "tbf rate 20000000bit burst 1627" in shaped[0]
    assert "pfifo limit 101" in shaped[1]
    assert any("initcwnd 10 rto_min 200ms" in line for line in plan.ip_commands(0))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (_line(transports=(RdmaTransport(),)), "found RDMA"),
        (_line(queue=LinkQueue(discipline="codel")), "queue.discipline on r->b"),
        (_line(loss_share=0.1), "loss_share on r->b"),
        (_line(transports=(CUBIC, replace(CUBIC, segment_bytes=500))), "500, 1448"),
        (_line(rate_bps=0.0), "more than 0"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(
    problem: NetworkProblem, message: str
) -> None:
    """In words, before anything is set up."""
    with pytest.raises(ConfigError, match=message):
        KernelSimulator().begin(problem)


def test_flows_to_a_node_cannot_part_ways() -> None:
    """The kernel routes by target."""
    links = tuple(
        Link(source=a, target=b)
        for a, b in ["ab", "ba", "bd", "db", "ac", "ca", "cd", "dc"]
    )
    problem = NetworkProblem(
        topology=Topology(nodes=("a", "b", "c", "d"), links=links),
        flows=flows_of([(0, 3), (0, 3)], [1, 1], [0, 0]),
        routes=routes_of([(0, 2), (4, 6)]),
        transports=(CUBIC,),
    )
    with pytest.raises(ConfigError, match="two ways from a to d"):
        kernel_plan(problem)


def test_without_root_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works without."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(PrerequisiteError, match="needs root") as caught:
        KernelSimulator().begin(_line())
    assert "sudo" in caught.value.hint


@needs_root
def test_a_congestion_control_that_this_kernel_has_not_is_named() -> None:
    """And those that it has."""
    if (
        "dctcp"
        in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()
    ):
        pytest.skip("this kernel has dctcp")
    with pytest.raises(PrerequisiteError, match="has no dctcp; it has"):
        KernelSimulator().begin(_line(transports=(replace(CUBIC, congestion="dctcp"),)))


def test_the_relay_keeps_order_and_counts_what_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A packet goes after its delay and its bits, never before the one in front."""
    now = [0]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    near, far = os.pipe2(os.O_NONBLOCK), os.pipe2(os.O_NONBLOCK)
    way = Direction(
        source=near[0], target=far[1], delay_ns=1000, ns_per_byte=2, overhead_bytes=5
    )
    relay = Relay(directions={near[0]: way})
    for packet in (b"x" * 95, b"y"):
        os.write(near[1], packet)
        relay.take(near[0])
    assert relay.let_go() == pytest.approx(1200e-9)
    now[0] = 1500
    assert relay.let_go() is None
    assert os.read(far[0], 999) == b"x" * 95 + b"y"
    os.close(far[1])
    os.write(near[1], b"z")
    relay.take(near[0])
    now[0] = 10_000
    relay.let_go()
    said = relay.said()
    assert (said["n_packets"], said["n_lost"]) == (3, 1)
    for end in (*near, far[0]):
        os.close(end)


@needs_root
def test_flows_are_connections_over_a_link_of_the_stated_rate_and_delay() -> None:
    """No flow beats its ideal time, each byte is counted, and one waits for another."""
    problem = _line(
        sizes=(200_000, 3_000, 3_000),
        starts=(0, 10_000_000, 5_000_000),
        after=((), (), (0,)),
    )
    simulation = KernelSimulator().begin(problem)
    while not simulation.advance(100):
        assert 0 <= simulation.share_done < 1
    found = simulation.results()
    assert found.is_finished.all()
    assert simulation.failures == {}
    assert (found.fct_ns > 0.98 * found.ideal_fct_ns).all()
    assert found.fct_ns[0] < 3 * found.ideal_fct_ns[0]
    assert found.start_ns[2] >= found.start_ns[0] + found.fct_ns[0] + 5_000_000
    sent, back = found.links.n_bytes[1], found.links.n_bytes[2]
    assert 206_000 * 1502 / 1448 < sent < 206_000 * 1502 / 1448 * 1.05
    assert 0 < back < 0.1 * sent
    error = simulation.delay_errors[0]
    assert error.expected_s == pytest.approx(2 * DELAY_S, rel=0.01)
    assert abs(error.error_s) < DELAY_S  # of a busy machine
    assert simulation.relay_report["n_lost"] == 0
    assert _namespaces() == []


@needs_root
@pytest.mark.parametrize("congestion", ["cubic", "bbr"])
def test_a_flow_simulated_with_the_ways_of_linux_takes_as_long(congestion: str) -> None:
    """Within a tenth, where the relay is not further off than that itself."""
    known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()
    if congestion not in known.split():
        pytest.skip(f"this kernel has no {congestion}")
    transport = replace(CUBIC, congestion=congestion, is_paced=congestion == "bbr")
    problem = _line(sizes=(600_000,), transports=(transport,))
    simulation = KernelSimulator().begin(problem)
    while not simulation.advance(100):
        pass
    late_ns = simulation.relay_report["late_ns"]["0.99"]
    if abs(simulation.delay_errors[0].error_s) > 0.1 * DELAY_S or late_ns > MS:
        pytest.skip("this machine is too busy for a relay that keeps time")
    simulated = PacketSimulator().begin(problem)
    while not simulated.advance(1 << 40):
        pass
    found, expected = simulation.results(), simulated.results()
    assert found.fct_ns[0] == pytest.approx(expected.fct_ns[0], rel=0.1)
    assert found.n_retransmitted[0] == expected.n_retransmitted[0] == 0


@needs_root
def test_a_network_that_nobody_holds_any_more_is_removed() -> None:
    """Also in the middle of its flows."""
    simulation = KernelSimulator().begin(_line(sizes=(10_000_000,)))
    simulation.advance(1)
    assert len(_namespaces()) == 3
    del simulation
    gc.collect()
    assert _namespaces() == []


@needs_root
def test_a_process_that_was_killed_is_an_error_in_words() -> None:
    """And the rest is removed."""
    simulation = KernelSimulator().begin(_line(sizes=(10_000_000,)))
    os.kill(simulation._ends._process.pid, signal.SIGKILL)
    with pytest.raises(SimulationError, match="ended too early"):
        _finish(simulation)
    simulation.close()
    assert _namespaces() == []


@needs_root
def test_a_simulation_stops_when_it_is_told() -> None:
    """Flows that had not ended then say so."""
    problem = replace(_line(sizes=(100_000_000,)), until_ns=200_000_000)
    simulation = KernelSimulator().begin(problem)
    while not simulation.advance(100):
        pass
    found = simulation.results()
    assert np.array_equal(found.fct_ns, [-1])
    assert found.end_ns == 200_000_000


def _finish(simulation: KernelSimulation) -> None:
    while not simulation.advance(100):
        pass


def _namespaces() -> list[str]:
    """Those of this process."""
    listed = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True
    )
    own = f"midhaul-{os.getpid()}-"
    return [line for line in listed.stdout.splitlines() if line.startswith(own)]
