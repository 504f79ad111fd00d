"""When a receiver with the ways of Linux acknowledges: at once, or later.

RFC 1122 (4.2.3.2), 5681 (4.2), 2883 (DSACK). Numbered differences from them:

1. The first ACKs are sent at once: while the window grows, and then 16 more. 16 are
   again after a pause that is longer than a time-out or data that came twice. The
   window grows by two segments a segment, from half of a buffer of 1 MB to 5/8 of it;
   a smaller buffer, which Linux makes larger on the way, has more of such ACKs.
2. After that every second full segment is acknowledged, or a single one after the
   pause: 40 ms, and more where segments came more slowly. It is doubled each time that
   it was waited for, and counted in jiffies.
3. With data missing, the fourth ACK and later ones that have the same number wait for a
   twentieth of the round trip, a millisecond at most, and those in between are one.
4. Left out: an ACK more where the sender has set PSH; windows that close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    ACK,
    C_HELD,
    C_LINUX,
    C_MSS,
    C_RCV,
    C_TRANSPORT,
    DELAYED_ACK,
    DSACK,
    ECE,
    G_NOW,
    T_ACK_DELAY,
    T_ACKS_EVERY,
    T_MIN_RTO,
    U_ACK_NOW,
    U_ACKED,
    U_ACKS_HELD,
    U_ACKS_SEQ,
    U_ATO,
    U_DATA_T,
    U_ECHOES,
    U_GROWN,
    U_QUICK,
    U_TRIP,
    compiled,
    is_set,
    merged,
    set_timer,
)
from midhaul.network.packet.tcp.ends import send_empty
from midhaul.network.packet.tcp.linux.congestion import JIFFY

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap

QUICK = 16
GROWTH_BYTES = 1 << 17
MOST_PAUSE = 500_000_000
EAGER = 3
"""ACKs of one number that are sent at once while data are missing."""
MOST_HELD = 1_000_000
TWENTIETH = 20
FINE, COARSE = 63, 504
"""Jiffies from which on timers are rounded up to 8, and to 64."""


@compiled
def rings_at(now: int, wait: int) -> int:
    """When a timer rings that is set now: with the jiffy after the wait, or a later."""
    n = (wait + JIFFY - 1) // JIFFY
    step = 1
    if n >= FINE:
        step = 8 if n < COARSE else 64
    return ((now // JIFFY + n) // step + 1) * step * JIFFY


@compiled
def acknowledge(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    flags: int,
) -> None:
    """Send an ACK now."""
    u = c + C_LINUX
    m[u + U_ACKED] = m[c + C_RCV + 1]
    m[u + U_ACK_NOW] = 0
    if m[u + U_ECHOES] != 0:
        flags |= ECE
    if m[u + U_QUICK] > 0:
        m[u + U_QUICK] -= 1
        if m[u + U_QUICK] == 0:
            m[u + U_ATO] = m[m[c + C_TRANSPORT] + T_ACK_DELAY]
    send_empty(m, mf, h, t, tm, f, c, 1, ACK | flags)


@compiled
def came_twice(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Say that data came that had been there before."""
    m[c + C_LINUX + U_QUICK] = QUICK
    acknowledge(m, mf, h, t, tm, f, c, DSACK)


@merged
def _note_pace(m: Cells, c: int, expected: int) -> None:
    """Let the pause of ACKs follow the pace of data that come in order."""
    u, now = c + C_LINUX, m[G_NOW]
    least = m[m[c + C_TRANSPORT] + T_ACK_DELAY]
    gap, ato = now - m[u + U_DATA_T], m[u + U_ATO]
    m[u + U_DATA_T] = now
    if ato == 0:
        m[u + U_ACKED] = expected
        m[u + U_QUICK] = QUICK
        m[u + U_ATO] = least
        return
    trip = m[u + U_TRIP]
    rto = trip + max(2 * trip, m[m[c + C_TRANSPORT] + T_MIN_RTO])
    if gap <= least // 2:
        m[u + U_ATO] = ato // 2 + least // 2
    elif gap < ato:
        m[u + U_ATO] = min(ato // 2 + gap, rto)
    elif gap > rto:
        m[u + U_QUICK] = max(m[u + U_QUICK], QUICK)


@compiled
def acknowledge_data(  # noqa: PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    expected: int,
    length: int,
) -> None:
    """Acknowledge new data; ``expected`` is the number that was missing before."""
    u, now, rcv = c + C_LINUX, m[G_NOW], m[c + C_RCV + 1]
    transport = m[c + C_TRANSPORT]
    if rcv > expected:
        _note_pace(m, c, expected)
    if m[u + U_GROWN] + m[c + C_MSS] < GROWTH_BYTES:
        m[u + U_GROWN] += 2 * m[c + C_MSS]
        m[u + U_QUICK] |= 1
    has_hole = m[c + C_HELD] > 0
    is_filled = rcv > expected + length and not has_hole
    most = (m[transport + T_ACKS_EVERY] - 1) * m[c + C_MSS]
    is_due = m[u + U_QUICK] > 0 or m[u + U_ACK_NOW] != 0
    if rcv - m[u + U_ACKED] > most or is_due or is_filled:
        acknowledge(m, mf, h, t, tm, f, c, 0)
        return
    if not has_hole:
        if not is_set(m, c, DELAYED_ACK):
            pause = min(m[u + U_ATO], MOST_PAUSE)
            least = m[transport + T_ACK_DELAY]
            pause = min(pause, max(m[u + U_TRIP], least))
            set_timer(m, t, tm, c, DELAYED_ACK, rings_at(now, pause))
        return
    if m[u + U_ACKS_SEQ] != rcv:
        m[u + U_ACKS_SEQ] = rcv
        m[u + U_ACKS_HELD] = 0
    if m[u + U_ACKS_HELD] < EAGER:
        m[u + U_ACKS_HELD] += 1
        acknowledge(m, mf, h, t, tm, f, c, 0)
    elif not is_set(m, c, DELAYED_ACK):
        wait = min(MOST_HELD, m[u + U_TRIP] // TWENTIETH)
        set_timer(m, t, tm, c, DELAYED_ACK, now + wait)


@compiled
def acknowledge_late(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """An ACK has waited long enough."""
    if m[c + C_HELD] == 0:
        m[c + C_LINUX + U_ATO] *= 2
    acknowledge(m, mf, h, t, tm, f, c, 0)
