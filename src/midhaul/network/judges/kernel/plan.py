"""A network problem as namespaces: devices with rates and delays, addresses, routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError
from midhaul.network.problem import link_table
from midhaul.network.transports import TcpTransport

if TYPE_CHECKING:
    from midhaul.model import Link
    from midhaul.network.problem import NetworkProblem

IP_TCP_BYTES = 52
"""Headers of IP and TCP, with time stamps."""

OVERHEAD_BYTES = 2
"""What a packet has on the link beside its IP packet: PPP, as in the simulators."""

KERNEL_NAMES = {
    "newreno": "reno",
    "linux-reno": "reno",
    "cubic": "cubic",
    "bbr": "bbr",
    "dctcp": "dctcp",
}
"""Congestion controls, and what the kernel calls them."""

IN_DEVICE = 1
"""Packets that wait in a device, and in no queue that is bounded, in the simulators."""

MOST_NODES = 250
_NO_LIMIT_BYTES = 1_000_000_000
_DEVICE_PACKETS = 20_000
_SLACK_BYTES = 8  # the kernel reckons a bucket in ticks
_LATE_S = 50e-6  # by which its clock may be late without the link being slower


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One direction of a link: a tunnel device in the namespace that sends.

    Attributes:
        link: index of the link.
        node: index of the node that sends.
        name: of the device.
        peer: index of the device the other way.
        rate_bps: infinite where it is not shaped.
        delay_ns: of propagation.
        max_packets: that may wait; None: no such bound.
        max_bytes: that may wait; None: no such bound.
    """

    link: int
    node: int
    name: str
    peer: int
    rate_bps: float
    delay_ns: int
    max_packets: int | None
    max_bytes: int | None

    @property
    def ns_per_byte(self) -> float:
        """Time that a byte takes on the link."""
        return 8e9 / self.rate_bps

    def queue_commands(self, mtu_bytes: int) -> list[str]:
        """Lines for ``tc -batch`` that shape it; none where it is not shaped."""
        if self.rate_bps == float("inf"):
            return []
        slack = max(_SLACK_BYTES, int(self.rate_bps * _LATE_S / 8))
        burst = mtu_bytes + OVERHEAD_BYTES + slack
        limit = _NO_LIMIT_BYTES if self.max_bytes is None else self.max_bytes
        head = f"qdisc replace dev {self.name}"
        lines = [
            f"{head} root handle 1: tbf rate {int(self.rate_bps)}bit burst {burst} "
            f"limit {limit} overhead {OVERHEAD_BYTES}"
        ]
        if self.max_packets is not None:
            most = self.max_packets + IN_DEVICE
            lines.append(f"{head} parent 1:1 handle 2: pfifo limit {most}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPlan:
    """Namespaces for the nodes that flows meet, and what is in them.

    Attributes:
        nodes: indices of these nodes.
        devices: one for each direction of each link that flows or their ACKs take.
        next_device: for each node and each node at an end of a flow, the device that
            leads there.
        segment_bytes: payload of a full segment.
        initial_window: segments.
        min_timeout_s: least retransmission time-out.
    """

    nodes: tuple[int, ...]
    devices: tuple[Device, ...]
    next_device: dict[tuple[int, int], int]
    segment_bytes: int
    initial_window: int
    min_timeout_s: float

    @property
    def mtu_bytes(self) -> int:
        """Largest IP packet."""
        return self.segment_bytes + IP_TCP_BYTES

    def address(self, node: int) -> str:
        """The address of a node."""
        return f"10.98.{node // 250}.{node % 250 + 1}"

    def path(self, source: int, target: int) -> list[Device]:
        """The devices between two ends of flows."""
        found: list[Device] = []
        node = source
        while node != target:
            device = self.devices[self.next_device[node, target]]
            found.append(device)
            node = self.devices[device.peer].node
        return found

    def ip_commands(self, node: int) -> list[str]:
        """Lines for ``ip -batch`` that set up the namespace of a node."""
        own = self.address(node)
        lines = ["link set dev lo up", f"address add {own}/32 dev lo"]
        for device in self.devices:
            if device.node == node:
                # Real packets: shaped are segments, and not 64 KB of them.
                # Queues are those of shapers, so the device behind may not be full.
                lines += [
                    f"link set dev {device.name} mtu {self.mtu_bytes} gso_max_segs 1 "
                    f"txqueuelen {_DEVICE_PACKETS}",
                    f"link set dev {device.name} up",
                ]
        rto = max(1, round(self.min_timeout_s * 1e3))
        lines += [
            f"route add {self.address(target)}/32 dev {self.devices[number].name} "
            f"src {own} initcwnd {self.initial_window} rto_min {rto}ms"
            for (at, target), number in self.next_device.items()
            if at == node
        ]
        return lines


def kernel_plan(problem: NetworkProblem) -> KernelPlan:
    """Namespaces, devices and routes of a problem.

    ConfigError where it has what the kernel cannot do here.
    """
    transport = _transport(problem)
    table = link_table(problem.topology)
    devices: list[Device] = []
    of_link: dict[int, int] = {}
    next_device: dict[tuple[int, int], int] = {}
    for flow in range(len(problem.flows)):
        path = problem.routes.of(flow).tolist()
        source, target = (
            int(problem.flows.source[flow]),
            int(problem.flows.target[flow]),
        )
        for link in path:
            back = int(table.reverse[link])
            if back < 0:
                name = problem.topology.links[link].name
                message = f"TCP needs a link back for {name}, which has none"
                raise ConfigError(message, "add the link")
            if link not in of_link:
                for one, peer in ((link, 1), (back, 0)):
                    _check(problem.topology.links[one])
                    of_link[one] = len(devices)
                    at = len(devices) - (0 if peer else 1)
                    devices.append(
                        _device(problem, one, at + peer, int(table.source[one]))
                    )
            _lead(problem, next_device, int(table.source[link]), target, of_link[link])
            _lead(problem, next_device, int(table.target[link]), source, of_link[back])
    nodes = tuple(sorted({device.node for device in devices}))
    if len(nodes) > MOST_NODES:
        message = f"the kernel judge has at most {MOST_NODES} nodes, found {len(nodes)}"
        raise ConfigError(message, "judge a part of the network")
    return KernelPlan(
        nodes=nodes,
        devices=tuple(devices),
        next_device=next_device,
        segment_bytes=transport.segment_bytes,
        initial_window=transport.initial_window,
        min_timeout_s=transport.min_timeout_s,
    )


def _transport(problem: NetworkProblem) -> TcpTransport:
    """What is alike in all transports."""
    found: list[TcpTransport] = []
    for one in problem.transports:
        if not isinstance(one, TcpTransport):
            message = "the kernel judge has TCP connections only, found RDMA"
            raise ConfigError(message, "choose a transport of TCP")
        if one.is_paced and one.congestion != "bbr":
            message = "the kernel judge paces as the kernel does, found is_paced"
            raise ConfigError(message, "leave is_paced away")
        found.append(one)
    for name in ("segment_bytes", "initial_window", "min_timeout_s"):
        values = {getattr(one, name) for one in found}
        if len(values) != 1:
            shown = ", ".join(map(str, sorted(values)))
            message = f"the kernel judge needs one {name} of all flows, found {shown}"
            raise ConfigError(message)
    return found[0]


def _check(link: Link) -> None:
    queue = link.queue
    odd = {
        "queue.discipline": queue.discipline != "fifo",
        "loss_share": link.loss_share > 0,
        "jitter_s": link.jitter_s > 0,
        "rate_changes": bool(link.rate_changes),
    }
    for name, is_odd in odd.items():
        if is_odd:
            message = (
                f"links of the kernel judge are FIFO queues with steady rates that "
                f"lose nothing, found a {name} on {link.name}"
            )
            raise ConfigError(message, "judge the network without it")
    if not link.rate_bps > 0:
        message = f"link {link.name} must carry more than 0 bit/s"
        raise ConfigError(message, "give it a rate, or leave the link out")


def _device(problem: NetworkProblem, link: int, peer: int, node: int) -> Device:
    one = problem.topology.links[link]
    return Device(
        link=link,
        node=node,
        name=f"l{link}",
        peer=peer,
        rate_bps=one.rate_bps,
        delay_ns=round(one.delay_s * 1e9),
        max_packets=one.queue.max_packets,
        max_bytes=one.queue.max_bytes,
    )


def _lead(
    problem: NetworkProblem,
    next_device: dict[tuple[int, int], int],
    node: int,
    end: int,
    device: int,
) -> None:
    """Let packets for a node leave another one by a device."""
    if next_device.setdefault((node, end), device) != device:
        names = problem.topology.nodes
        message = (
            "the kernel judge routes by target, found two ways from "
            f"{names[node]} to {names[end]}"
        )
        raise ConfigError(message, "give flows between the same nodes the same way")
