"""Relay: the process that carries packets between namespaces, each as late as its link.

    python -m midhaul.network.judges.kernel.relay

It reads one line of JSON, makes the tunnel devices that are listed there and says
``ready``. A packet that the kernel's shaper lets out of one device goes into the other
after the delay of the link, and after the time that its own bits take: a token bucket
lets a packet go when it may begin, a link hands it over when it has ended. In the end,
when its standard input is closed, it says how late packets were by its own fault.

``{"early_ns": [...]}`` on a further line lets packets of each device go that much
earlier, to make up for the time that the relay itself takes; it answers ``ready``.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import sys
import time
from array import array
from dataclasses import dataclass, field

from midhaul.machine.namespaces import open_tunnel
from midhaul.machine.processes import prompt

_LARGEST = 1 << 16
_AT_ONCE = 32  # packets of a device before others have their turn
_MOST_KEPT = 1 << 20  # values of lateness


@dataclass(slots=True)
class Direction:
    """One direction of a link: a device, and where its packets go.

    Attributes:
        source: descriptor of the device that the packets come out of.
        target: descriptor of the device that they go into.
        delay_ns: of propagation.
        ns_per_byte: of the link; 0 where it has no rate.
        overhead_bytes: what a packet has on the link beside its IP packet.
        early_ns: how much earlier packets are let go.
        last_ns: when the one before was let go; packets stay in order.
    """

    source: int
    target: int
    delay_ns: int
    ns_per_byte: float
    overhead_bytes: int
    early_ns: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Relay:
    """All packets that are under way.

    Attributes:
        directions: by the descriptor that packets come out of.
        waiting: a heap: when a packet is due, in which order it came, where it goes.
        late_ns: by how much packets were let go late.
        n_packets: let go.
        n_lost: that the kernel did not take.
    """

    directions: dict[int, Direction]
    waiting: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    late_ns: array[int] = field(default_factory=lambda: array("q"))
    n_packets: int = 0
    n_lost: int = 0

    def take(self, descriptor: int) -> None:
        """Take in what a device has for us."""
        way = self.directions[descriptor]
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(descriptor, _LARGEST)
            except BlockingIOError:
                return
            n_bytes = len(packet) + way.overhead_bytes
            took_ns = way.delay_ns + int(n_bytes * way.ns_per_byte) - way.early_ns
            due_ns = max(time.monotonic_ns() + took_ns, way.last_ns)
            way.last_ns = due_ns
            self.n_packets += 1
            heapq.heappush(self.waiting, (due_ns, self.n_packets, way.target, packet))

    def let_go(self) -> float | None:
        """Let go what is due; seconds until the next is, None where none waits."""
        waiting = self.waiting
        while waiting:
            now_ns = time.monotonic_ns()
            if waiting[0][0] > now_ns:
                return (waiting[0][0] - now_ns) / 1e9
            due_ns, _, target, packet = heapq.heappop(waiting)
            try:
                os.write(target, packet)
            except OSError:
                self.n_lost += 1
            if len(self.late_ns) < _MOST_KEPT:
                self.late_ns.append(now_ns - due_ns)
        return None

    def said(self) -> dict[str, object]:
        """How late packets were."""
        late = sorted(self.late_ns)
        at = (
            {q: late[int(q * (len(late) - 1))] for q in (0.5, 0.99, 1.0)}
            if late
            else {}
        )
        return {
            "n_packets": self.n_packets,
            "n_lost": self.n_lost,
            "late_ns": {str(q): value for q, value in at.items()},
        }


def main() -> None:
    """Make devices, carry packets until the standard input ends, say how it went."""
    text = bytearray()
    while not text.endswith(b"\n"):
        piece = os.read(0, _LARGEST)
        if not piece:
            return
        text += piece
    links = json.loads(text)["links"]
    descriptors = [open_tunnel(link["namespace"], link["device"]) for link in links]
    ways = [
        Direction(
            source=descriptor,
            target=descriptors[link["peer"]],
            delay_ns=link["delay_ns"],
            ns_per_byte=link["ns_per_byte"],
            overhead_bytes=link["overhead_bytes"],
        )
        for descriptor, link in zip(descriptors, links, strict=True)
    ]
    relay = Relay(directions={way.source: way for way in ways})
    _say(json.dumps({"what": "ready"}))
    with prompt(), contextlib.suppress(KeyboardInterrupt):
        _carry(relay, ways)
    _say(json.dumps(relay.said()))


def _carry(relay: Relay, ways: list[Direction]) -> None:
    ends = [0, *relay.directions]
    text = b""
    while True:
        left_s = relay.let_go()
        ready, _, _ = select.select(ends, [], [], left_s)
        for end in ready:
            if end:
                relay.take(end)
                continue
            piece = os.read(0, _LARGEST)
            if not piece:
                return
            text += piece
            if text.endswith(b"\n"):
                for way, early_ns in zip(
                    ways, json.loads(text)["early_ns"], strict=True
                ):
                    way.early_ns = early_ns
                text = b""
                _say(json.dumps({"what": "ready"}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
