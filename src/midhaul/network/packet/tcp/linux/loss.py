"""What a sender with the ways of Linux knows of its segments, and RACK.

RFC 2018 (SACK) and 8985 (RACK). Numbered differences from them:

1. A segment is lost when one that left after it has arrived, and a quarter of the least
   round trip has passed since, or 3 are sacked, or something was lost already.
2. A round trip is that of the oldest segment acknowledged; that of the newest goes to
   the algorithms. Of segments that were sent again it is that of the time stamp, in ms.
3. Left out: reordering, which no network here does, so that the window of RACK never
   grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    AGAIN_BIT,
    BBR,
    C_CONG,
    C_CONGESTION,
    C_END,
    C_LINUX,
    C_LOST,
    C_MSS,
    C_RECOVER,
    C_RETRANS,
    C_SACKED,
    C_SEGMENTS,
    C_SENT_I,
    C_TRIES,
    C_UNA,
    C_UNA_I,
    CA_RECOVERY,
    G_NOW,
    LOST_BIT,
    RETRANS_BIT,
    SACKED_BIT,
    U_DELIVERED,
    U_FIRST_T,
    U_LAST_T,
    U_LOST_EVER,
    U_MIN_RTT,
    U_NEWEST,
    U_RACK_I,
    U_RACK_MOVED,
    U_RACK_RTT,
    U_RACK_T,
    U_SACK_FIRST_T,
    U_SACK_LAST_T,
    U_SAW,
    U_SRTT,
    U_TIME_OUTS,
    compiled,
    inlined,
    merged,
    segment_at,
)
from midhaul.network.packet.tcp.ends import MS
from midhaul.network.packet.tcp.linux.bbr import rate_arrived
from midhaul.network.packet.tcp.linux.congestion import UNKNOWN, note_trip
from midhaul.network.packet.tcp.linux.timers import (
    REORDER,
    SOON,
    note_round_trip,
    set_wait,
)
from midhaul.network.packet.tcp.rate import (
    S_SENT,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, Heap

DUPLICATES = 3
RETRIES = 15
"""Time-outs in a row, after which a connection is given up."""
MOVED, SACKED, ORIGINAL, RESENT, SETS_TIMER, LOST_AGAIN, TWICE = 1, 2, 4, 8, 16, 32, 64
ECHO = 128
"""What was seen in an ACK."""


@inlined
def under_way(m: Cells, c: int) -> int:
    """Segments that are under way, as far as is known."""
    out = m[c + C_SENT_I] - m[c + C_UNA_I]
    return out - m[c + C_SACKED] - m[c + C_LOST] + m[c + C_RETRANS]


@compiled
def _arrived(m: Cells, c: int, at: int, i: int) -> None:
    """Let RACK know that a segment has arrived, and count it."""
    u = c + C_LINUX
    m[u + U_DELIVERED] += 1
    if m[c + C_CONGESTION] == BBR:
        rate_arrived(m, c, at, i)
    sent = m[at + S_SENT]
    trip = m[G_NOW] - sent
    if m[at] & AGAIN_BIT and trip < m[u + U_MIN_RTT]:
        return
    m[u + U_RACK_MOVED] = 1
    m[u + U_RACK_RTT] = trip
    newest = m[u + U_RACK_T]
    if sent > newest or (sent == newest and i > m[u + U_RACK_I]):
        m[u + U_RACK_T] = sent
        m[u + U_RACK_I] = i


@compiled
def take_block(m: Cells, c: int, first: int, last: int) -> None:
    """Take a block of a SACK in."""
    u, mss = c + C_LINUX, m[c + C_MSS]
    i = max((first - 1) // mss, m[c + C_UNA_I])
    end = min((last + mss - 2) // mss, m[c + C_SENT_I])
    while i < end:
        at = segment_at(m, c, i)
        flags = m[at]
        if flags & SACKED_BIT == 0:
            _arrived(m, c, at, i)
            m[u + U_SAW] |= SACKED
            if flags & AGAIN_BIT == 0:
                sent = m[at + S_SENT]
                m[u + U_SACK_FIRST_T] = min(m[u + U_SACK_FIRST_T], sent)
                m[u + U_SACK_LAST_T] = max(m[u + U_SACK_LAST_T], sent)
                if i < m[c + C_RECOVER]:
                    m[u + U_SAW] |= ORIGINAL
            if flags & LOST_BIT:
                m[c + C_LOST] -= 1
                if flags & RETRANS_BIT:
                    m[c + C_RETRANS] -= 1
                flags &= ~(LOST_BIT | RETRANS_BIT)
            m[at] = flags | SACKED_BIT
            m[c + C_SACKED] += 1
        i += 1


@merged
def forget_acked(m: Cells, c: int, ack: int) -> None:
    """Take in that all below a number is acknowledged."""
    u = c + C_LINUX
    end = m[c + C_SEGMENTS]
    if ack < m[c + C_END]:
        end = (ack - 1) // m[c + C_MSS]
    for i in range(m[c + C_UNA_I], end):
        at = segment_at(m, c, i)
        flags = m[at]
        m[u + U_SAW] |= SETS_TIMER
        if flags & RETRANS_BIT:
            m[c + C_RETRANS] -= 1
        if flags & LOST_BIT:
            m[c + C_LOST] -= 1
        if flags & AGAIN_BIT:
            m[u + U_SAW] |= RESENT
        elif flags & SACKED_BIT == 0:
            m[u + U_LAST_T] = m[at + S_SENT]
            m[u + U_FIRST_T] = min(m[u + U_FIRST_T], m[at + S_SENT])
            if i < m[c + C_RECOVER]:
                m[u + U_SAW] |= ORIGINAL
        if flags & SACKED_BIT:
            m[c + C_SACKED] -= 1
        else:
            _arrived(m, c, at, i)
    m[c + C_UNA] = ack
    m[c + C_UNA_I] = end
    m[u + U_SAW] |= MOVED
    m[u + U_TIME_OUTS] = 0
    m[c + C_TRIES] = RETRIES


@merged
def measure(m: Cells, c: int, echo: int) -> None:
    """Take the round trips of an ACK in."""
    u, now = c + C_LINUX, m[G_NOW]
    oldest = newest = -1
    if m[u + U_FIRST_T] != UNKNOWN and m[u + U_SAW] & RESENT == 0:
        oldest = now - m[u + U_FIRST_T]
        newest = now - m[u + U_LAST_T]
    of_sack = -1
    if m[u + U_SACK_FIRST_T] != UNKNOWN:
        of_sack = now - m[u + U_SACK_FIRST_T]
        newest = now - m[u + U_SACK_LAST_T]
        if oldest < 0:
            oldest = of_sack
    if oldest < 0 and m[u + U_SAW] & SETS_TIMER:
        oldest = newest = max(now // MS - echo, 1) * MS
    if oldest >= 0:
        m[u + U_MIN_RTT] = min(m[u + U_MIN_RTT], newest)
        note_round_trip(m, c, oldest)
        if m[u + U_SAW] & SETS_TIMER == 0 and m[c + C_UNA_I] < m[c + C_SENT_I]:
            head = m[segment_at(m, c, m[c + C_UNA_I]) + S_SENT]
            if of_sack > now - head:
                m[u + U_SAW] |= SETS_TIMER
    m[u + U_NEWEST] = newest
    if newest >= 0:
        note_trip(m, c, max(newest, 1))


@compiled
def lose(m: Cells, c: int, i: int) -> None:
    """Let a segment count as lost, the first time or again."""
    at = segment_at(m, c, i)
    flags = m[at]
    if flags & LOST_BIT == 0:
        m[at] = flags | LOST_BIT
        m[c + C_LOST] += 1
        m[c + C_LINUX + U_LOST_EVER] += 1
    elif flags & RETRANS_BIT:
        m[at] = flags & ~RETRANS_BIT
        m[c + C_RETRANS] -= 1
        m[c + C_LINUX + U_LOST_EVER] += 1
        m[c + C_LINUX + U_SAW] |= LOST_AGAIN


@compiled
def find_lost(m: Cells, t: Heap, tm: Cells, c: int) -> None:
    """Find what is lost by RACK, and set the timer where that is not sure yet."""
    u, now = c + C_LINUX, m[G_NOW]
    if m[u + U_RACK_MOVED] == 0:
        return
    m[u + U_RACK_MOVED] = 0
    patience = min(m[u + U_MIN_RTT] >> 2, m[u + U_SRTT])
    if m[c + C_CONG] >= CA_RECOVERY or m[c + C_SACKED] >= DUPLICATES:
        patience = 0
    newest, wait = m[u + U_RACK_T], 0
    for i in range(m[c + C_UNA_I], m[c + C_SENT_I]):
        at = segment_at(m, c, i)
        flags = m[at]
        if flags & SACKED_BIT or flags & (LOST_BIT | RETRANS_BIT) == LOST_BIT:
            continue
        sent = m[at + S_SENT]
        if sent > newest or (sent == newest and i >= m[u + U_RACK_I]):
            if flags & AGAIN_BIT == 0:
                break
            continue
        left = m[u + U_RACK_RTT] + patience - (now - sent)
        if left <= 0:
            lose(m, c, i)
        else:
            wait = max(wait, left)
    if wait > 0:
        set_wait(m, t, tm, c, REORDER, wait + SOON)
        m[u + U_SAW] &= ~SETS_TIMER
