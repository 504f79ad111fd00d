"""Networks: a gateway's links by the seed's names, and the replay of traces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.traces import Trace


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
