"""How much may be on its way at once: the pacer watches what is not acknowledged.

A rate is granted before anybody knows what the link will carry. Where it carries less,
messages that have left the pacer wait in the buffers of the kernel and of the link, in
the order in which they left: none of them can be dropped any more, and what is small
and new waits behind what is large and old. So beyond a time's worth of the granted rate
messages stay in their lanes until others are acknowledged, and the backlog is where it
can be seen.

This is a window as in V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988,
of a fixed time at a known rate: it is not probed for, as the plan says what the rate
is.
"""

from __future__ import annotations

import math


def has_room(n_bytes: int, uplink_bps: float, window_s: float | None) -> bool:
    """Whether one more message may leave.

    Args:
        n_bytes: on the wire, of all messages that are not acknowledged; one may always
            be on its way, however large.
        uplink_bps: what was granted together; infinite for no bound.
        window_s: time's worth of it that may be on its way, at least a round trip; None
            for no bound.
    """
    if not n_bytes or window_s is None or math.isinf(uplink_bps):
        return True
    return 8 * n_bytes < uplink_bps * window_s
