"""Networks: a gateway's links by the seed's names, and traces of real uplinks.

*Traces* of real links say what rate one had in each second, and are replayed.

A Mahimahi trace has one whole number per line, a time in milliseconds at which the link
could carry one packet of 1,504 bytes. The last one is also the length of the trace,
which then starts again.

R. Netravali et al., "Mahimahi: Accurate Record-and-Replay for HTTP", USENIX ATC 2015.

Differences from the paper:

1. Packets are counted per interval of a second, and the interval has the mean rate of
   its packets: within a second the link is smooth.
2. A packet that could not be used is not lost for good: a rate is what a link offers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul import documents
from midhaul.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float64

PACKET_BYTES = 1504
"""What each line of a trace stands for."""

_MAX_DIGITS = 15
_HINT = "a trace has one whole number per line, milliseconds, not falling"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """The rate of a link over time; it starts again when it has ended.

    Attributes:
        name: what tables and charts call it.
        times_s: ``(n,)`` begin of each interval, from 0.
        rates_bps: ``(n,)`` its mean rate, bit/s.
        length_s: when it starts again.
    """

    name: str
    times_s: Float64[np.ndarray, " n"]
    rates_bps: Float64[np.ndarray, " n"]
    length_s: float

    @property
    def mean_bps(self) -> float:
        """Mean rate over its whole length."""
        widths_s = np.diff(np.append(self.times_s, self.length_s))
        return float((self.rates_bps * widths_s).sum() / self.length_s)

    def rate_at(self, t_s: float) -> float:
        """The rate in bit/s at a time of at least 0, from the trace's begin."""
        if not (math.isfinite(t_s) and t_s >= 0):
            message = f"trace {self.name}: expected a time of at least 0 s, found {t_s}"
            raise DataError(message)
        within = math.fmod(t_s, self.length_s)
        index = int(np.searchsorted(self.times_s, within, side="right")) - 1
        return float(self.rates_bps[index])


def read_mahimahi(file: Path, *, interval_s: float = 1.0) -> Trace:
    """Read a Mahimahi trace (``*.up``, ``*.down``): one rising time in ms per line.

    A DataError says that the file cannot be read, is empty, has a line that is no whole
    number of at least 0, a time below the one before, or ends at 0.
    """
    try:
        text = documents.read_text(file, max_bytes=documents.MAX_TEXT_BYTES)
        lines = text.split("\n")
    except (OSError, ValueError) as error:
        message = f"trace {file} cannot be read: {error}"
        raise DataError(message) from error
    stamps = np.asarray(_stamps(lines, file), np.float64) / 1000
    length_s = float(stamps[-1])
    n = max(1, math.ceil(length_s / interval_s - 1e-9))
    # A packet at the end of an interval belongs to that interval, not to the next.
    owners = np.ceil(stamps / interval_s - 1e-9).astype(np.int64) - 1
    packets = np.bincount(np.clip(owners, 0, n - 1), minlength=n)
    times_s = np.arange(n) * interval_s
    widths_s = np.diff(np.append(times_s, length_s))
    return Trace(
        name=file.stem,
        times_s=times_s,
        rates_bps=packets * (8.0 * PACKET_BYTES) / widths_s,
        length_s=length_s,
    )


def _stamps(lines: list[str], file: Path) -> list[int]:
    stamps: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            message = f"{file}:{number}: expected milliseconds, found {text[:40]!r}"
            raise DataError(message, _HINT)
        stamp = int(text)
        if stamps and stamp < stamps[-1]:
            message = f"{file}:{number}: expected at least {stamps[-1]}, found {stamp}"
            raise DataError(message, _HINT)
        stamps.append(stamp)
    if not stamps or stamps[-1] == 0:
        found = "none" if not stamps else "0 only"
        message = f"{file}: expected at least one time above 0, found {found}"
        raise DataError(message, _HINT)
    return stamps


def replay(
    trace: Trace,
    set_rate: Callable[[float], None],
    *,
    duration_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
    interval_s: float = 1.0,
) -> int:
    """Give a link the rates of a trace, one per interval, from now on.

    Times are absolute: a step that is late does not make the next one later, and steps
    whose time has passed are left out.

    Args:
        trace: what to replay; it loops.
        set_rate: called with bit/s at the begin of each interval.
        duration_s: how long.
        clock: seconds on any monotonic clock.
        sleep: waits for so many seconds; a ``threading.Event().wait`` ends the replay
            early when it returns true.
        interval_s: how often the rate is set.

    Returns:
        How often the rate was set.
    """
    begin_s = clock()
    n_set = 0
    step = 0
    while step * interval_s < duration_s:
        set_rate(trace.rate_at(step * interval_s))
        n_set += 1
        step = max(step + 1, int((clock() - begin_s) / interval_s))
        until_s = begin_s + min(step * interval_s, duration_s)
        if sleep(max(0.0, until_s - clock())) is True:
            break
    return n_set


_MBPS = {
    "optical": (100.0, 5.0),
    "optical50": (50.0, 5.0),
    "up10": (100.0, 10.0),
    "up75": (100.0, 7.5),
    "up25": (100.0, 2.5),
    "4G": (22.67, 16.97),
    "3G": (9.6, 2.9),
}
"""Down and up, in Mbit/s, of IoT-System-Server's ``run.sh``."""

NETWORKS = tuple(_MBPS)
"""Names of the networks."""

_FINEST_S = 1.0
"""Width of the intervals in which a changing uplink is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The links of a gateway.

    Attributes:
        name: what tables and charts call it.
        downlink_bps: rate of its pulls, above 0.
        uplink_bps: rate of its uploads; with a trace, its mean rate.
        trace: how the uplink changes; None where it does not.

    Raises:
        DataError: a rate is negative, infinite or NaN, or the downlink is 0.
    """

    name: str
    downlink_bps: float
    uplink_bps: float
    trace: Trace | None = None

    def __post_init__(self) -> None:
        """Check the rates."""
        for name in ("downlink_bps", "uplink_bps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                message = (
                    f"network {self.name}: expected {name} of at least 0 bit/s, found "
                    f"{value}"
                )
                raise DataError(message)
        if self.downlink_bps == 0:
            message = f"network {self.name}: nothing can be pulled at 0 bit/s"
            raise DataError(message)

    def uplink_rates(self, begin_s: float, end_s: float) -> tuple[np.ndarray, float]:
        """The uplink in bit/s in intervals of about a second; their width in s.

        It is one interval where the uplink does not change.
        """
        if self.trace is None:
            return np.array([self.uplink_bps]), end_s - begin_s
        n = max(1, math.ceil((end_s - begin_s) / _FINEST_S - 1e-9))
        width_s = (end_s - begin_s) / n
        times = begin_s + width_s * np.arange(n)
        return np.array([self.trace.rate_at(float(t)) for t in times]), width_s

    def mean_uplink_bps(self, begin_s: float, end_s: float) -> float:
        """Mean of the uplink over some time."""
        return float(self.uplink_rates(begin_s, end_s)[0].mean())


def network_named(name: str) -> Network:
    """The network of that name; a ConfigError where there is none."""
    if name not in _MBPS:
        message = f"expected the name of a network, found {name!r}"
        raise ConfigError(message, f"one of {', '.join(NETWORKS)}")
    down, up = _MBPS[name]
    return Network(name=name, downlink_bps=down * 1e6, uplink_bps=up * 1e6)
