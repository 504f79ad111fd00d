"""Measuring a shaped link: real bytes through it, both ends seen with one clock."""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import NodeError

if TYPE_CHECKING:
    import socket

    from midhaul.model import Link

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
