"""A fluid uplink: what is demanded beyond its rate waits, and goes later.

With demand *d*, rate *c* and *b* bits waiting, over an interval of width *w*::

    b' = max(0, b + (d - c) w)

Nothing is dropped, and all analytics share the wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def carry(
    waiting_bits: float, demand_bps: float, rates_bps: Iterable[float], width_s: float
) -> tuple[float, float]:
    """What waits after some intervals of equal width.

    Args:
        waiting_bits: what waits at their begin.
        demand_bps: what is sent to the uplink all the time.
        rates_bps: what it carries in each interval.
        width_s: width of an interval.

    Returns:
        Bits that wait at the end, and the most that waited at any time.
    """
    most = waiting_bits
    for rate in rates_bps:
        waiting_bits = max(0.0, waiting_bits + (demand_bps - float(rate)) * width_s)
        most = max(most, waiting_bits)
    return waiting_bits, most
