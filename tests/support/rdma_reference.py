"""A plain simulator of RDMA that schedules every event, to hold the kernel against.

Objects, one heap of all that will happen, no memory of switches and no time-outs. What
the kernel leaves out of its heap (links that become free, timers of DCQCN) is in it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.network.packet.events import chance_of, draw
from midhaul.network.problem import NetworkProblem, link_table
from midhaul.network.transports import RdmaTransport

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = {"dctcp": 48, "dcqcn": 48, "hpcc": 90, "timely": 56}
ACK = {"dctcp": 60, "dcqcn": 60, "hpcc": 88, "timely": 60}


@dataclass
class Sender:
    """A flow under way, at both its ends."""

    index: int
    transport: RdmaTransport
    path: list[int]
    size: int
    full: int
    rate: int = 0
    sent: int = 0
    acked: int = 0
    expected: int = 0
    avail: int = 0
    last_size: int = 0
    round: int = 0
    stage: int = 0
    count: int = 0
    batch: int = 1
    mark: int = 0
    alpha: float = 1.0
    difference: float = 0.0
    used: float = 1.0
    current: int = 0
    target: int = 0
    last_rtt: int = 0
    base: int = 0
    additive: int = 0
    hyper: int = 0
    has_timers: bool = False
    alpha_hit: bool = False
    decrease_hit: bool = False
    increase: int = 0
    seen: list[tuple[int, int, int, int]] = field(default_factory=list)

    @property
    def window(self) -> int | None:
        """Bytes that may be under way."""
        full = self.transport.window_bytes
        if not full and self.transport.congestion == "hpcc":
            full = max(int(self.full / 8e9 * self.base), self.transport.mtu_bytes)
        return max(full * self.rate // self.full, 1) if full else None


@dataclass
class Parcel:
    """A packet."""

    flow: Sender
    kind: str
    size: int
    seq: int
    payload: int
    path: list[int]
    sent_at: int
    place: int = 0
    is_marked: bool = False
    is_forwarded: bool = False
    hops: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass
class Port:
    """The sending end of a link."""

    rate: int
    delay: int
    is_busy: bool = False
    urgent: list[Parcel] = field(default_factory=list)
    queue: list[Parcel] = field(default_factory=list)
    flows: list[Sender] = field(default_factory=list)
    last: int = 0
    sent_bytes: int = 0
    wake: object = None
    wake_time: int = -1

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        return sum(p.size for p in self.urgent) + sum(p.size for p in self.queue)


class Reference:
    """All of a simulation; ``run`` gives the completion times."""

    def __init__(self, problem: NetworkProblem) -> None:
        self.problem = problem
        table = link_table(problem.topology)
        self.reverse = table.reverse.tolist()
        self.ports = [
            Port(int(r), d)
            for r, d in zip(table.rate_bps, table.delay_ns.tolist(), strict=True)
        ]
        self.random = chance_of(problem.seed)
        self.heap: list[Any] = []
        self.n = 0
        self.now = 0
        self.fct = np.full(len(problem.flows), -1, np.int64)

    def at(self, time: int, do: Callable[..., None], *args: Any) -> object:
        """Schedule what is done, behind what is scheduled for that time already."""
        entry = [time, self.n, do, args]
        self.n += 1
        heapq.heappush(self.heap, entry)
        return entry

    def run(self) -> np.ndarray:
        """Completion times of all flows."""
        for i in np.argsort(self.problem.flows.start_ns, kind="stable").tolist():
            self.at(int(self.problem.flows.start_ns[i]), self.start, i)
        while self.heap:
            self.now, _, do, args = heapq.heappop(self.heap)
            do(*args)
        return self.fct

    @staticmethod
    def took(size: int, rate: int) -> int:
        """Time to send so many bytes, to the nearest nanosecond."""
        return (8_000_000_000 * size + (rate >> 1)) // rate

    def start(self, i: int) -> None:
        """Let a flow start."""
        flows = self.problem.flows
        kind = int(flows.transport[i]) if len(flows.transport) else 0
        transport = self.problem.transports[kind]
        assert isinstance(transport, RdmaTransport)
        path = self.problem.routes.of(i).tolist()
        full = int(min(self.ports[path[0]].rate, transport.max_rate_bps))
        flow = Sender(i, transport, path, int(flows.size_bytes[i]), full)
        flow.rate = flow.current = flow.target = full
        flow.avail = self.now
        name = transport.congestion
        size = transport.mtu_bytes + HEADER[name]
        for link in path:
            back = self.ports[self.reverse[link]]
            flow.base += self.ports[link].delay + back.delay
            flow.base += self.took(size, self.ports[link].rate)
            flow.base += self.took(ACK[name], back.rate)
        usual = {"dcqcn": full // 5000, "hpcc": full // 2500, "timely": full // 1000}
        usual["dctcp"] = int(transport.mtu_bytes * 8e9 / flow.base)
        flow.additive = int(transport.additive_bps) or max(usual[name], 1)
        factor = 5 if name == "timely" else 10
        flow.hyper = int(transport.hyper_bps) or flow.additive * factor
        self.ports[path[0]].flows.append(flow)
        self.serve(path[0])

    def serve(self, link: int) -> None:
        """Let a link send, if it is free and has something."""
        port = self.ports[link]
        if port.is_busy:
            return
        if port.urgent or port.queue:
            parcel = (port.urgent or port.queue).pop(0)
            if parcel.is_forwarded:
                self.leave(port, parcel)
            self.transmit(link, parcel)
            return
        flow = self.turn(link) if port.flows else None
        if flow is None:
            return
        transport = flow.transport
        payload = min(transport.mtu_bytes, flow.size - flow.sent)
        size = payload + HEADER[transport.congestion]
        parcel = Parcel(flow, "data", size, flow.sent, payload, flow.path, self.now)
        flow.sent += payload
        flow.last_size = size
        flow.avail = self.now + self.took(size, flow.rate)
        self.transmit(link, parcel)

    def turn(self, link: int) -> Sender | None:
        """The flow whose turn it is."""
        port = self.ports[link]
        n = len(port.flows)
        chosen, passed, soonest = None, n, None
        for step in range(1, n + 1):
            i = (port.last + step) % n
            flow = port.flows[i]
            window = flow.window
            if flow.sent < flow.size and (
                window is None or flow.sent - flow.acked < window
            ):
                if flow.avail <= self.now:
                    chosen = flow
                    break
                soonest = flow.avail if soonest is None else min(soonest, flow.avail)
            elif flow.acked >= flow.size:
                passed = min(passed, i)
        if passed < n:
            port.flows = port.flows[:passed] + [
                flow for flow in port.flows[passed:] if flow.acked < flow.size
            ]
        if chosen is not None:
            port.last = port.flows.index(chosen)
        elif soonest is not None and port.wake is None:
            self.wake_at(link, soonest)
        return chosen

    def wake_at(self, link: int, time: int) -> None:
        """Look at a card later; one such look is waited for."""
        self.ports[link].wake_time = time
        self.ports[link].wake = entry = self.at(time, self.woken, link)
        assert isinstance(entry, list)
        entry[3] = (link, entry)

    def woken(self, link: int, entry: object) -> None:
        """Look at a card, if this is the look that is waited for."""
        if self.ports[link].wake is entry:
            self.ports[link].wake = None
            self.serve(link)

    def leave(self, port: Port, parcel: Parcel) -> None:
        """Mark a packet that leaves a switch, and tell it of the queue."""
        transport, link = parcel.flow.transport, port
        if parcel.kind != "data":
            return
        name = transport.congestion
        waiting = sum(p.size for p in port.queue)
        scale = link.rate / transport.ecn_rate_bps if transport.ecn_rate_bps else 1.0
        if name in ("dctcp", "dcqcn"):
            least = int(transport.ecn_min_bytes * scale)
            most = least if name == "dctcp" else int(transport.ecn_max_bytes * scale)
            if waiting > most:
                parcel.is_marked = True
            elif waiting > least:
                share = transport.ecn_share * ((waiting - least) / (most - least))
                parcel.is_marked |= draw(self.random) < share  # what is marked stays so
        if name == "hpcc":
            parcel.hops.append((self.now, link.sent_bytes, link.waiting, link.rate))

    def transmit(self, link: int, parcel: Parcel) -> None:
        """Send a packet; both what follows on it are scheduled."""
        port = self.ports[link]
        port.is_busy = True
        until = self.now + self.took(parcel.size, port.rate)
        port.sent_bytes += parcel.size
        self.at(until, self.freed, link)
        self.at(until + port.delay, self.arrive, parcel)

    def freed(self, link: int) -> None:
        """A link has sent its packet."""
        self.ports[link].is_busy = False
        self.serve(link)

    def arrive(self, parcel: Parcel) -> None:
        """A packet has come to the end of a link."""
        parcel.place += 1
        if parcel.place < len(parcel.path):
            parcel.is_forwarded = True
        elif parcel.kind == "data":
            self.receive(parcel)
            parcel.place = 0
        else:
            self.acknowledge(parcel)
            return
        link = parcel.path[parcel.place]
        port = self.ports[link]
        is_first = parcel.flow.transport.congestion in ("dctcp", "timely")
        if parcel.kind != "data" and is_first:
            port.urgent.append(parcel)
        else:
            port.queue.append(parcel)
        self.serve(link)

    def receive(self, parcel: Parcel) -> None:
        """Turn a data packet into what is answered; none is lost, none comes twice."""
        flow = parcel.flow
        assert parcel.seq == flow.expected
        flow.expected += parcel.payload
        if flow.expected == flow.size:
            start = int(self.problem.flows.start_ns[flow.index])
            self.fct[flow.index] = self.now - start
        parcel.kind = "ack"
        parcel.seq = flow.expected
        parcel.size = ACK[flow.transport.congestion]
        parcel.path = [self.reverse[link] for link in reversed(flow.path)]
        parcel.is_forwarded = False

    def acknowledge(self, parcel: Parcel) -> None:
        """An answer has come back."""
        flow = parcel.flow
        flow.acked = parcel.seq
        getattr(self, flow.transport.congestion)(flow, parcel)
        self.serve(flow.path[0])

    def dctcp(self, flow: Sender, parcel: Parcel) -> None:
        """Algorithm of DCTCP on a rate."""
        flow.count += parcel.is_marked
        is_round = flow.acked > flow.round
        if is_round:
            if flow.round:
                share = min(1.0, flow.count / flow.batch)
                flow.alpha = (1 - 1 / 16) * flow.alpha + 1 / 16 * share
                flow.count = 0
                flow.batch = (flow.sent - flow.acked) // flow.transport.mtu_bytes + 1
            else:
                flow.batch = flow.sent // flow.transport.mtu_bytes + 1
            flow.round = flow.sent
        if flow.stage == 1 and flow.acked > flow.mark:
            flow.stage = 0
        if flow.stage == 0 and parcel.is_marked:
            lower = int(flow.rate * (1 - flow.alpha / 2))
            flow.rate = max(int(flow.transport.min_rate_bps), lower)
            flow.stage, flow.mark = 1, flow.sent
        elif flow.stage == 0 and is_round:
            flow.rate = min(flow.full, flow.rate + flow.additive)

    def dcqcn(self, flow: Sender, parcel: Parcel) -> None:
        """Notification of DCQCN; the rest is done by timers."""
        if not parcel.is_marked or flow.acked >= flow.size:
            return
        flow.alpha_hit = flow.decrease_hit = True
        if not flow.has_timers:
            flow.has_timers, flow.alpha_hit, flow.alpha = True, False, 1.0
            flow.target = flow.rate
            self.at(self.now + 50_000, self.alpha_timer, flow)
            self.at(self.now + 50_001, self.decrease_timer, flow)

    def alpha_timer(self, flow: Sender) -> None:
        """Alpha falls, or rises where there was a notification."""
        if flow.acked < flow.size:
            flow.alpha = (1 - 1 / 256) * flow.alpha + 1 / 256 * flow.alpha_hit
            flow.alpha_hit = False
            self.at(self.now + 50_000, self.alpha_timer, flow)

    def decrease_timer(self, flow: Sender) -> None:
        """The rate falls where there was a notification."""
        if flow.acked >= flow.size:
            return
        self.at(self.now + 50_000, self.decrease_timer, flow)
        if flow.decrease_hit:
            if flow.stage:
                flow.target = flow.rate
            lower = int(flow.rate * (1 - flow.alpha / 2))
            flow.rate = max(int(flow.transport.min_rate_bps), lower)
            flow.stage, flow.decrease_hit = 0, False
            flow.increase += 1
            self.at(self.now + 55_000, self.increase_timer, flow, flow.increase)

    def increase_timer(self, flow: Sender, which: int) -> None:
        """The rate rises: recovery, additive, hyper."""
        if flow.acked >= flow.size or which != flow.increase:
            return
        self.at(self.now + 55_000, self.increase_timer, flow, which)
        late = flow.stage - flow.transport.rounds
        if late >= 0:
            flow.target += flow.hyper if late > 0 else flow.additive
            flow.target = min(flow.target, flow.full)
        flow.rate = flow.rate // 2 + flow.target // 2
        flow.stage += 1

    def hpcc(self, flow: Sender, parcel: Parcel) -> None:
        """Algorithm 1 of HPCC."""
        if flow.round == 0:
            flow.round, flow.seen = flow.sent, parcel.hops
            return
        is_round = flow.acked > flow.round
        if parcel.hops:
            self.hpcc_rate(flow, parcel, is_round=is_round)
        if is_round:
            flow.round = max(flow.round, flow.sent)

    def hpcc_rate(self, flow: Sender, parcel: Parcel, *, is_round: bool) -> None:
        """Equations 2 to 4 of HPCC."""
        most, most_ns = 0.0, 0
        full_window = flow.transport.window_bytes or max(
            int(flow.full / 8e9 * flow.base), flow.transport.mtu_bytes
        )
        for new, old in zip(parcel.hops, flow.seen, strict=True):
            passed = max(new[0] - old[0], 1)
            sent = (new[1] - old[1]) * 8 / (passed * 1e-9)
            used = sent / new[3]
            used += min(new[2], old[2]) * flow.full / new[3] / full_window
            if used > most:
                most, most_ns = used, passed
        flow.seen = parcel.hops
        most_ns = min(most_ns, flow.base)
        smooth = flow.used * (flow.base - most_ns) + most * most_ns
        flow.used = smooth / flow.base
        excess = flow.used / flow.transport.utilisation
        if excess >= 1 or flow.stage >= flow.transport.rounds:
            rate, stage = int(min(flow.current / excess, 4e18)), 0
        else:
            rate, stage = flow.current, flow.stage + 1
        rate = max(rate + flow.additive, int(flow.transport.min_rate_bps))
        rate = min(rate, flow.full)
        flow.avail += self.took(flow.last_size, rate)
        flow.avail -= self.took(flow.last_size, flow.rate)
        port = self.ports[flow.path[0]]
        if port.wake is not None and flow.avail < port.wake_time:
            self.wake_at(flow.path[0], max(flow.avail, self.now))
        flow.rate = rate
        if is_round:
            flow.current, flow.stage = rate, stage

    def timely(self, flow: Sender, parcel: Parcel) -> None:
        """Algorithm 1 of TIMELY."""
        if flow.acked <= flow.round:
            return
        rtt = self.now - parcel.sent_at
        low = round(flow.transport.low_s * 1e9)
        high = round(flow.transport.high_s * 1e9)
        if flow.round:
            flow.difference = 0.125 * flow.difference + 0.875 * (rtt - flow.last_rtt)
            gradient = flow.difference / 20_000
            if rtt < low or (rtt <= high and gradient <= 0):
                flow.rate += flow.additive if flow.stage < 5 else flow.hyper
                flow.rate = min(flow.rate, flow.full)
                flow.stage += 1
            else:
                factor = 1 - 0.8 * gradient
                if rtt > high:
                    factor = 1 - 0.8 * (1 - high / rtt)
                lower = int(flow.rate * max(factor, 0.0))
                flow.rate = max(int(flow.transport.min_rate_bps), lower)
                flow.stage = 0
        if flow.sent > flow.round:
            flow.round, flow.last_rtt = flow.sent, rtt
