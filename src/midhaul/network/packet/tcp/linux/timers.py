"""Round trips and the one timer of a sender with the ways of Linux.

RFC 6298 (time-outs) and 8985 (probes of the tail). Numbered differences from them:

1. The deviation falls by 1/32 of what a round trip is below the mean by more than it.
   The time-out adds the largest of four deviations in the last round trip, and falls
   towards it by a quarter each round trip; at least the least time-out is added.
2. Timers are counted in jiffies, and long ones are rounded up.
3. A probe waits for two round trips and 2 ms, or the least time-out where a single
   segment is under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    C_CONG,
    C_KIND,
    C_LINUX,
    C_SENT_I,
    C_TRANSPORT,
    C_UNA_I,
    CA_OPEN,
    G_NOW,
    SENDER_TIMER,
    T_MIN_RTO,
    U_DEVIATION,
    U_DEVIATION_MOST,
    U_RTO,
    U_SRTT,
    U_VAR,
    U_VAR_I,
    cancel_timer,
    compiled,
    inlined,
    segment_at,
    set_timer,
)
from midhaul.network.packet.tcp.ends import (
    TIME_OUT,
)
from midhaul.network.packet.tcp.linux.acks import (
    rings_at,
)
from midhaul.network.packet.tcp.rate import (
    S_SENT,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, Heap

PROBE, REORDER = TIME_OUT + 2, TIME_OUT + 3
"""What the timer of a sender is set for, beside a time-out."""
SOON = 2_000_000
MOST_RTO = 120_000_000_000


@compiled
def note_round_trip(m: Cells, c: int, sample: int) -> None:
    """Let mean, deviation and time-out follow a round trip."""
    u = c + C_LINUX
    least = m[m[c + C_TRANSPORT] + T_MIN_RTO]
    if m[u + U_SRTT] == 0:
        m[u + U_SRTT] = sample
        m[u + U_DEVIATION] = 2 * sample
        m[u + U_VAR] = max(2 * sample, least)
        m[u + U_DEVIATION_MOST] = m[u + U_VAR]
        m[u + U_VAR_I] = m[c + C_SENT_I]
    else:
        error = sample - m[u + U_SRTT]
        m[u + U_SRTT] += error >> 3
        more = abs(error) - (m[u + U_DEVIATION] >> 2)
        m[u + U_DEVIATION] += more >> 3 if error < 0 and more > 0 else more
        most = max(m[u + U_DEVIATION_MOST], m[u + U_DEVIATION])
        var = max(m[u + U_VAR], most)
        if m[c + C_UNA_I] > m[u + U_VAR_I]:
            var -= (var - most) >> 2
            m[u + U_VAR_I] = m[c + C_SENT_I]
            most = least
        m[u + U_VAR] = var
        m[u + U_DEVIATION_MOST] = most
    m[u + U_RTO] = min(m[u + U_SRTT] + m[u + U_VAR], MOST_RTO)


@compiled
def set_wait(m: Cells, t: Heap, tm: Cells, c: int, kind: int, wait: int) -> None:
    """Let the timer ring after so long, for this."""
    m[c + C_KIND] = kind
    set_timer(m, t, tm, c, SENDER_TIMER, rings_at(m[G_NOW], wait))


@inlined
def left_of_rto(m: Cells, c: int) -> int:
    """Time until the first segment has been under way for a time-out."""
    sent = m[segment_at(m, c, m[c + C_UNA_I]) + S_SENT]
    return sent + m[c + C_LINUX + U_RTO] - m[G_NOW]


@compiled
def wait_for_ack(m: Cells, t: Heap, tm: Cells, c: int) -> None:
    """Set the timer for a time-out, or let it not ring where nothing is under way."""
    if m[c + C_UNA_I] >= m[c + C_SENT_I]:
        cancel_timer(m, c, SENDER_TIMER)
        m[c + C_KIND] = TIME_OUT
        return
    wait = m[c + C_LINUX + U_RTO]
    if m[c + C_KIND] != TIME_OUT:
        wait = max(left_of_rto(m, c), 1)
    set_wait(m, t, tm, c, TIME_OUT, wait)


@compiled
def probe_later(m: Cells, t: Heap, tm: Cells, c: int, left: int) -> bool:
    """Set the timer for a probe of the tail, if one may be sent."""
    u = c + C_LINUX
    n = m[c + C_SENT_I] - m[c + C_UNA_I]
    if n == 0 or m[c + C_CONG] != CA_OPEN:
        return False
    wait = 2 * m[u + U_SRTT]
    wait += m[m[c + C_TRANSPORT] + T_MIN_RTO] if n == 1 else SOON
    if left > 0:
        wait = min(wait, left)
    set_wait(m, t, tm, c, PROBE, wait)
    return True
