"""Links, shaped on loopback: rate and delay in user space, measured before they count.

A link stands between two nodes as a port of the shaper's process
(:mod:`midhaul.testbed.links.shaper`). It is measured by sending real bytes through its
own clock towards a sink in this process, which sees both ends with one clock.

The *probe* sends real bytes through a link and sees both ends with one clock.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import NodeError
from midhaul.machine import children
from midhaul.machine.processes import prompt
from midhaul.model import Link

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_LOG = logging.getLogger(__name__)
_N_CALIBRATING = 15
_PROBE_S = 0.08
_LEAST_PROBE_BYTES = 4 << 10
_MOST_PROBE_BYTES = 4 << 20
_PING = b"midhaul!"
_N_PINGS = 7
_N_RATES = 3
_N_ATTEMPTS = 3
MAX_ERROR = 0.05
"""Relative error of rate or delay beyond which a link is not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMeasurement:
    """What a link was found to be.

    Attributes:
        link: as asked for.
        rate_bps: found; None where no rate was asked for.
        delay_s: found, one way.
    """

    link: Link
    rate_bps: float | None
    delay_s: float

    @property
    def error(self) -> float:
        """The larger relative error of rate and delay, of those asked for."""
        errors = [0.0]
        if self.rate_bps is not None:
            errors.append(abs(self.rate_bps / self.link.rate_bps - 1))
        if self.link.delay_s > 0:
            errors.append(abs(self.delay_s / self.link.delay_s - 1))
        return max(errors)

    def row(self) -> dict[str, Any]:
        """The measurement as a row of the table ``links``, without its block."""
        return {
            "link": self.link.name,
            "rate_bps": None if math.isinf(self.link.rate_bps) else self.link.rate_bps,
            "measured_rate_bps": self.rate_bps,
            "delay_s": self.link.delay_s,
            "measured_delay_s": self.delay_s,
            "error": self.error,
        }


def added_s(link: Link, source: socket.socket, target: socket.socket) -> float:
    """Seconds that the shaper takes beyond a delay; 0 where none is asked for."""
    if not link.delay_s:
        return 0.0
    pings = [_ping(source, target) for _ in range(_N_CALIBRATING)]
    asked_s = link.delay_s + 8 * len(_PING) / link.rate_bps
    return max(0.0, statistics.median(pings) - asked_s)


def measure(
    link: Link, source: socket.socket, target: socket.socket
) -> LinkMeasurement:
    """The best of a few measurements of one direction."""
    best: LinkMeasurement | None = None
    for _ in range(_N_ATTEMPTS):
        found = _once(link, source, target)
        if best is None or found.error < best.error:
            best = found
        if best.error <= MAX_ERROR:
            break
        _LOG.info("link %s is off by %.1f %%", link.name, 100 * found.error)
    return cast("LinkMeasurement", best)


def _once(link: Link, source: socket.socket, target: socket.socket) -> LinkMeasurement:
    ping_s = 8 * len(_PING) / link.rate_bps
    pings = [_ping(source, target) - ping_s for _ in range(_N_PINGS)]
    delay_s = max(0.0, statistics.median(pings))
    if math.isinf(link.rate_bps):
        return LinkMeasurement(link=link, rate_bps=None, delay_s=delay_s)
    wanted = int(link.rate_bps * _PROBE_S / 8)
    n_bytes = min(max(wanted, _LEAST_PROBE_BYTES), _MOST_PROBE_BYTES)
    times = [_send(source, target, n_bytes) - delay_s for _ in range(_N_RATES)]
    rate_bps = 8 * n_bytes / statistics.median(times)
    return LinkMeasurement(link=link, rate_bps=rate_bps, delay_s=delay_s)


def _ping(source: socket.socket, target: socket.socket) -> float:
    """Seconds that a few bytes take."""
    begin = time.perf_counter()
    source.sendall(_PING)
    _receive(target, len(_PING))
    return time.perf_counter() - begin


def _send(source: socket.socket, target: socket.socket, n_bytes: int) -> float:
    """Seconds from the first byte sent to the last byte received."""
    sender = threading.Thread(target=source.sendall, args=(bytes(n_bytes),))
    begin = time.perf_counter()
    sender.start()
    _receive(target, n_bytes)
    elapsed_s = time.perf_counter() - begin
    sender.join()
    return elapsed_s


def _receive(end: socket.socket, n_bytes: int) -> None:
    while n_bytes:
        chunk = end.recv(min(n_bytes, 1 << 20))
        if not chunk:
            message = "the shaper of the links broke off a connection"
            raise NodeError(message)
        n_bytes -= len(chunk)


_HOST = "127.0.0.1"
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Road:
    """Two nodes with a channel of the shaper between them."""

    up: Link
    down: Link


class Links:
    """All shaped links of a testbed; a context manager.

    Links that slow nothing down cost nothing: nothing stands between their nodes.

    Args:
        links: directed links; a direction that is not named is not slowed down.
        is_attached: false where the shaper lives on when this program has ended.

    Raises:
        NodeError: the shaper does not answer.
    """

    def __init__(self, links: Sequence[Link], *, is_attached: bool = True) -> None:
        self._links = {(link.source, link.target): link for link in links}
        self._is_attached = is_attached
        self._roads: list[_Road] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lines = b""
        self._lock = threading.Lock()
        self._calibrated: set[int] = set()

    def __enter__(self) -> Self:
        """The shaper is started with the first link that needs it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the shaper."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """The shaper's process; None as long as no link needs it."""
        return None if self._process is None else self._process.pid

    def connect(self, source: str, target: str, url: str) -> str:
        """The URL by which a source reaches a target.

        Args:
            source: name of the node that asks, or ``workload``.
            target: name of the node that answers.
            url: where the target listens.

        Returns:
            A URL of the shaper, or the one given when neither direction is slowed down.
        """
        up = self._links.get((source, target), Link(source=source, target=target))
        down = self._links.get((target, source), Link(source=target, target=source))
        if not (up.is_shaped or down.is_shaped):
            return url
        port = int(url.rsplit(":", 1)[1])
        with self._lock:
            said = self._order(do="add", port=port, up=_clock(up), down=_clock(down))
            self._roads.append(_Road(up=up, down=down))
        return f"http://{_HOST}:{said['port']}"

    def traffic(self) -> dict[str, tuple[int, int]]:
        """Bytes that each node has sent and received through links, by its name."""
        if not self._roads:
            return {}
        with self._lock:
            counts = cast("list[tuple[int, int]]", self._order(do="count")["bytes"])
        total: dict[str, tuple[int, int]] = {}
        for road, (up, down) in zip(self._roads, counts, strict=True):
            for node, sent, received in (
                (road.up.source, up, down),
                (road.up.target, down, up),
            ):
                before = total.get(node, (0, 0))
                total[node] = before[0] + sent, before[1] + received
        return total

    def measure(self) -> list[LinkMeasurement]:
        """Measure every direction that is slowed down, while nothing else runs.

        A direction that is off by more than
        :data:`~midhaul.testbed.links.links.MAX_ERROR` is measured again, up to three
        times in all, because another program may have held up the probe; the best of
        the three is reported.
        """
        if not self._roads:
            return []
        with self._lock, prompt():
            found: list[LinkMeasurement] = []
            for channel, road in enumerate(self._roads):
                near, far = self._ends(do="probe", channel=channel)
                with near, far:
                    if channel not in self._calibrated:
                        self._calibrate(channel, near, far)
                    if road.up.is_shaped:
                        found.append(measure(road.up, near, far))
                    if road.down.is_shaped:
                        found.append(measure(road.down, far, near))
        return found

    def stop(self, *, with_detached: bool = False) -> None:
        """End the shaper; doing it twice is harmless.

        Args:
            with_detached: whether it ends even if it was to live on.
        """
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None and (self._is_attached or with_detached):
            children.stop([self._process])
            self._process = None

    def _calibrate(self, channel: int, near: socket.socket, far: socket.socket) -> None:
        """Find what the shaper adds to delays, and have it let go that much earlier."""
        road = self._roads[channel]
        early_s = [added_s(road.up, near, far), added_s(road.down, far, near)]
        self._order(do="early", channel=channel, early_s=early_s)
        self._calibrated.add(channel)

    def _ends(self, **order: object) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection through the clocks that an order names."""
        with socket.create_server((_HOST, 0)) as sink:
            sink.settimeout(_TIMEOUT_S)
            said = self._order(port=sink.getsockname()[1], **order)
            near = socket.create_connection((_HOST, said["port"]), _TIMEOUT_S)
            far, _ = sink.accept()
        far.settimeout(_TIMEOUT_S)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return near, far

    def _order(self, **order: object) -> dict[str, Any]:
        """Have the shaper do something; starts it if need be."""
        if self._control is None:
            self._start()
        control = cast("socket.socket", self._control)
        try:
            control.sendall(json.dumps(order).encode() + b"\n")
            while b"\n" not in self._lines:
                chunk = control.recv(1 << 16)
                if not chunk:
                    raise ConnectionResetError
                self._lines += chunk
        except OSError as error:
            message = "the shaper of the links does not answer; it may have been killed"
            raise NodeError(message, "start the testbed again") from error
        line, _, self._lines = self._lines.partition(b"\n")
        said = cast("dict[str, Any]", json.loads(line))
        if "error" in said:
            message = f"the shaper of the links cannot {order['do']}: {said['error']}"
            raise NodeError(message)
        return said

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        tie = "attached" if self._is_attached else "detached"
        fd = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "midhaul.testbed.links.shaper", str(fd), tie],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if self._is_attached else subprocess.DEVNULL,
                pass_fds=(fd,),
                start_new_session=True,
            )
        ours.settimeout(_TIMEOUT_S)
        self._control = ours


def _clock(link: Link) -> tuple[float, float]:
    return link.rate_bps, link.delay_s
