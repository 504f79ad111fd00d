"""Ends: the process that opens the connections of all flows, each in its namespace.

    python -m midhaul.network.judges.kernel.ends

It reads one line of JSON with the flows, says ``ready``, and waits for a line with
``begin``, ``probe`` or nothing more. A flow is a connection of its own: opened at its
start, written to as fast as the kernel takes it, and done when the last byte has come
to the other end. Each end of a flow is a line of JSON on the standard output.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from midhaul.machine.namespaces import inside
from midhaul.machine.processes import prompt

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = 5000
_PROBE_PORT = 5001
_ZEROS = memoryview(bytes(1 << 18))
_READ_BYTES = 1 << 18
_BACKLOG = 4096
_N_PROBES = 21
_PROBE_S = 2.0
_PAUSE_S = 0.01
_BUSY_S = 0.0005
_WATCH_S = 0.01
_INFO_BYTES = 232
_RETRANSMITTED, _WINDOW, _SEGMENT, _IN_FLIGHT, _ROUND_TRIP = 100, 80, 16, 24, 68
_PACING, _ACKED = 104, 120


@dataclass(slots=True)
class KernelFlow:
    """A flow, as a connection.

    Attributes:
        number: of the flow.
        namespace: of the node that sends.
        address: of the node that receives.
        size_bytes: to be sent.
        congestion: as the kernel calls it.
        start_ns: when it starts, from the beginning; of one that waits, how much later.
        after: flows that it waits for.
        is_watched: whether its window is looked at.
        left: bytes that are not written yet.
        missing: bytes that have not come yet.
        end: the socket that sends.
        is_over: whether it has ended or failed.
    """

    number: int
    namespace: str
    address: str
    size_bytes: int
    congestion: str
    start_ns: int
    after: list[int]
    is_watched: bool
    left: int = 0
    missing: int = 0
    end: socket.socket | None = None
    is_over: bool = False

    def __post_init__(self) -> None:
        """Nothing is sent yet."""
        self.left = self.missing = self.size_bytes


@dataclass(slots=True)
class Ends:
    """All connections.

    Attributes:
        flows: by their numbers.
        begin_ns: the moment that starts count from.
        selector: of all sockets.
        due: a heap of flows by their starts.
        waiters: who waits for each flow.
        n_missing: how many flows one waits for.
        by_port: flows by address and port of the end that sends.
        n_open: flows that have not ended.
    """

    flows: dict[int, KernelFlow]
    begin_ns: int = 0
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    due: list[tuple[int, int]] = field(default_factory=list)
    waiters: dict[int, list[int]] = field(default_factory=dict)
    n_missing: dict[int, int] = field(default_factory=dict)
    by_port: dict[tuple[str, int], KernelFlow] = field(default_factory=dict)
    n_open: int = 0

    def listen(self, nodes: dict[str, str]) -> None:
        """Listen in the namespaces that flows go to, by their addresses."""
        for address, namespace in nodes.items():
            with inside(namespace):
                server = socket.create_server((address, _PORT), backlog=_BACKLOG)
            server.setblocking(False)  # noqa: FBT003  its only argument
            self.selector.register(
                server, selectors.EVENT_READ, partial(self._accept, server)
            )

    def begin(self, begin_ns: int) -> None:
        """Let starts count from a moment."""
        self.begin_ns = begin_ns
        self.n_open = len(self.flows)
        for flow in self.flows.values():
            self.n_missing[flow.number] = len(flow.after)
            for other in flow.after:
                self.waiters.setdefault(other, []).append(flow.number)
            if not flow.after:
                heapq.heappush(self.due, (begin_ns + flow.start_ns, flow.number))

    def run(self, is_told_to_end: Callable[[], bool]) -> None:
        """Open connections when they are due, and serve them, until all have ended."""
        watched = [flow for flow in self.flows.values() if flow.is_watched]
        look_s = time.monotonic() if watched else float("inf")
        while self.n_open and not is_told_to_end():
            now_ns = time.monotonic_ns()
            while self.due and self.due[0][0] <= now_ns:
                start_ns, number = heapq.heappop(self.due)
                self._connect(self.flows[number], start_ns)
            if time.monotonic() >= look_s:
                self._look(watched)
                look_s += _WATCH_S
            wait_s = (self.due[0][0] - now_ns) / 1e9 if self.due else 1.0
            wait_s = min(wait_s, 1.0, look_s - time.monotonic())
            for key, _ in self.selector.select(max(wait_s, 0)):
                key.data()

    def _connect(self, flow: KernelFlow, start_ns: int) -> None:
        late_ns = time.monotonic_ns() - start_ns
        with inside(flow.namespace):
            end = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        end.setblocking(False)  # noqa: FBT003  its only argument
        congestion = flow.congestion.encode()
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)
        flow.end = end
        with contextlib.suppress(BlockingIOError):
            end.connect((flow.address, _PORT))
        self.by_port[end.getsockname()[:2]] = flow
        self.selector.register(end, selectors.EVENT_WRITE, partial(self._write, flow))
        start_ns -= self.begin_ns
        _say(what="start", flow=flow.number, start_ns=start_ns, late_ns=late_ns)

    def _write(self, flow: KernelFlow) -> None:
        end = flow.end
        if end is None:
            return
        try:
            while flow.left:
                n = end.send(_ZEROS[: min(flow.left, len(_ZEROS))])
                flow.left -= n
        except BlockingIOError:
            return
        except OSError as error:
            self.selector.unregister(end)
            self._fail(flow, str(error))
            return
        self.selector.unregister(end)
        end.shutdown(socket.SHUT_WR)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                end, (address, port) = server.accept()
                flow = self.by_port.pop((address, port))
                end.setblocking(False)  # noqa: FBT003  its only argument
                read = partial(self._read, flow, end)
                self.selector.register(end, selectors.EVENT_READ, read)

    def _read(self, flow: KernelFlow, end: socket.socket) -> None:
        try:
            n = len(end.recv(_READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            n = 0
        flow.missing -= n
        if flow.missing > 0 and n:
            return
        now_ns = time.monotonic_ns()
        self.selector.unregister(end)
        end.close()
        if flow.missing > 0:
            self._fail(flow, "the connection broke off")
        elif not flow.is_over:
            self._end(flow, now_ns)

    def _end(self, flow: KernelFlow, now_ns: int) -> None:
        """Say that a flow has ended, and let go who waited for it."""
        sender, flow.end, flow.is_over = flow.end, None, True
        self.n_open -= 1
        info = b""
        if sender is not None:
            info = _info(sender)
            sender.close()
        lost = _number(info, _RETRANSMITTED)
        end_ns = now_ns - self.begin_ns
        _say(what="end", flow=flow.number, end_ns=end_ns, n_retransmitted=lost)
        for waiter in self.waiters.get(flow.number, ()):
            self.n_missing[waiter] -= 1
            if self.n_missing[waiter] == 0:
                start_ns = now_ns + self.flows[waiter].start_ns
                heapq.heappush(self.due, (start_ns, waiter))

    def _fail(self, flow: KernelFlow, why: str) -> None:
        """Say that a flow will never end; those that wait for it never start."""
        if not flow.is_over:
            flow.is_over = True
            self.n_open -= 1
            _say(what="failed", flow=flow.number, why=why)

    def _look(self, watched: list[KernelFlow]) -> None:
        """Say what the kernel keeps of flows that are watched."""
        for flow in watched:
            if flow.end is None:
                continue
            info = _info(flow.end)
            segment = _number(info, _SEGMENT)
            _say(
                what="look",
                flow=flow.number,
                time_ns=time.monotonic_ns() - self.begin_ns,
                window_bytes=_number(info, _WINDOW) * segment,
                rate_bps=8 * _number(info, _PACING, "Q"),
                in_flight_bytes=_number(info, _IN_FLIGHT) * segment,
                acked_bytes=max(_number(info, _ACKED, "Q") - 1, 0),
            )


def _info(end: socket.socket) -> bytes:
    """What the kernel keeps of a connection, ``struct tcp_info``."""
    return end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)


def _number(info: bytes, at: int, kind: str = "I") -> int:
    size = struct.calcsize(kind)
    return struct.unpack_from(f"={kind}", info, at)[0] if len(info) >= at + size else 0


def probe(pairs: list[dict[str, str]]) -> list[list[float]]:
    """Round trips of SYN and SYN-ACK between ends, in seconds, one at a time.

    They are what the kernel measures: no process of ours answers, as none answers data.
    Meanwhile other packets go both ways, as processes that were idle wake up later.
    One that is lost is not counted.
    """
    return [_round_trips(**pair) for pair in pairs]


def _round_trips(
    source: str, source_address: str, target: str, target_address: str
) -> list[float]:
    with inside(source):
        near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(target):
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server = socket.create_server((target_address, _PROBE_PORT))
    found: list[float] = []
    is_over = threading.Event()
    with near, far, server:
        near.bind((source_address, _PROBE_PORT))
        far.bind((target_address, _PROBE_PORT))
        near.connect((target_address, _PROBE_PORT))
        far.connect((source_address, _PROBE_PORT))
        busy = threading.Thread(target=_keep_busy, args=((near, far), is_over))
        busy.start()
        try:
            for _ in range(_N_PROBES):
                trip_s = _round_trip(source, source_address, target_address, server)
                if trip_s > 0:
                    found.append(trip_s)
                time.sleep(_PAUSE_S)
        finally:
            is_over.set()
            busy.join()
    return found


def _keep_busy(ends: tuple[socket.socket, ...], is_over: threading.Event) -> None:
    """Send small packets that nobody reads, until that is over."""
    while not is_over.wait(_BUSY_S):
        for end in ends:
            with contextlib.suppress(OSError):  # what is full drops them
                end.send(b".")


def _round_trip(
    source: str, source_address: str, target_address: str, server: socket.socket
) -> float:
    """The round trip that the kernel saw a connection open in; 0 where it did not."""
    with inside(source):
        near = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Its end is one packet, and not an exchange of some.
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.settimeout(_PROBE_S)
    server.settimeout(_PROBE_S)
    trip_s = 0.0
    with near, contextlib.suppress(TimeoutError):
        near.bind((source_address, 0))
        near.connect((target_address, _PROBE_PORT))
        trip_s = _number(_info(near), _ROUND_TRIP) / 1e6
        server.accept()[0].close()
    return trip_s


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do what lines of the standard input say, until it ends."""
    given = json.loads(sys.stdin.buffer.readline() or b"{}")
    if not given:
        return
    ends = Ends(flows={one["number"]: KernelFlow(**one) for one in given["flows"]})
    ends.listen(given["nodes"])
    _say(what="ready")
    with prompt(), contextlib.suppress(KeyboardInterrupt):
        for line in iter(sys.stdin.buffer.readline, b""):
            order = json.loads(line)
            if order["do"] == "probe":
                trips = probe(order["pairs"])
                _say(what="probed", trips_s=trips)
            else:
                ends.begin(time.monotonic_ns())
                _serve(ends)
                return


def _serve(ends: Ends) -> None:
    """Serve all flows; the end of the standard input is the end of all."""
    is_over = False

    def end() -> None:
        nonlocal is_over
        is_over = not os.read(sys.stdin.fileno(), 1)

    ends.selector.register(sys.stdin.buffer, selectors.EVENT_READ, end)
    ends.run(lambda: is_over)
    _say(what="done")


if __name__ == "__main__":
    main()
