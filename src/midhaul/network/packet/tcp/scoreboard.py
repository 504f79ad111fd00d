"""What a TCP sender knows of its segments: acknowledged, sacked, lost, sent again.

As ns-3.37's send buffer. All segments but the last are full, as the whole flow is given
to the socket at once and its buffer holds it; so a segment is its index, and its flags
stand in the ring of the connection. Numbered differences from RFC 6675:

1. A segment is lost when three above it are sacked, counted down from the highest one
   that was sacked last; there is no rule for bytes.
2. That highest mark moves down by one where the segment just below it is sacked later.
3. A segment stays lost when it is sent again, and counts as under way besides.
4. There is no rescue retransmission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    BBR,
    C_ALGORITHM,
    C_CONGESTION,
    C_END,
    C_HIGH,
    C_HIGH_SACK,
    C_HIGH_SACK_I,
    C_HISTORY,
    C_LOST,
    C_MASK,
    C_MSS,
    C_RETRANS,
    C_RWND,
    C_SACKED,
    C_SEGMENTS,
    C_SENT_I,
    C_UNA,
    C_UNA_I,
    HISTORY_BIT,
    LOST_BIT,
    RETRANS_BIT,
    SACKED_BIT,
    compiled,
    inlined,
    segment_at,
    widen_ring,
)
from midhaul.network.packet.tcp.rate import is_delivered, rate_delivered

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells

ENOUGH = 3
"""Sacked segments above one that make it lost."""


@inlined
def length_of(m: Cells, c: int, i: int) -> int:
    """Bytes of a segment."""
    mss = m[c + C_MSS]
    if i + 1 < m[c + C_SEGMENTS]:
        return mss
    return m[c + C_END] - 1 - i * mss


@inlined
def in_flight(m: Cells, c: int) -> int:
    """Bytes that are under way, as far as is known."""
    sent = m[c + C_HIGH] - m[c + C_UNA]
    if sent < 0:
        return 0
    return sent - m[c + C_SACKED] - m[c + C_LOST] + m[c + C_RETRANS]


@compiled
def new_segment(m: Cells, c: int) -> int:
    """Let the next segment count as sent; where its flags are."""
    i = m[c + C_SENT_I]
    if i - m[c + C_UNA_I] > m[c + C_MASK]:
        widen_ring(m, c)
    m[c + C_SENT_I] = i + 1
    at = segment_at(m, c, i)
    m[at] = HISTORY_BIT
    return at


@compiled
def resend_segment(m: Cells, c: int, i: int) -> int:
    """Let a segment count as sent again; where its flags are."""
    at = segment_at(m, c, i)
    if m[at] & RETRANS_BIT == 0:
        m[at] |= RETRANS_BIT
        m[c + C_RETRANS] += length_of(m, c, i)
    m[at] &= ~HISTORY_BIT
    return at


@compiled
def note_sacked(m: Cells, c: int, first: int, last: int) -> int:
    """Take a block of a SACK in; how many bytes it newly covers."""
    mss = m[c + C_MSS]
    i = max((first - 1 + mss - 1) // mss, m[c + C_UNA_I])
    end = min((last - 1 + mss - 1) // mss, m[c + C_SENT_I])
    sacked = 0
    while i < end:
        at = segment_at(m, c, i)
        if m[at] & SACKED_BIT == 0:
            size = length_of(m, c, i)
            if m[at] & LOST_BIT:
                m[at] &= ~LOST_BIT
                m[c + C_LOST] -= size
            m[at] |= SACKED_BIT
            m[c + C_SACKED] += size
            sacked += size
            begin = 1 + i * mss
            if m[c + C_HIGH_SACK_I] < 0 or m[c + C_HIGH_SACK] <= begin + size:
                m[c + C_HIGH_SACK_I] = i
                m[c + C_HIGH_SACK] = begin
            if m[c + C_CONGESTION] == BBR:
                rate_delivered(m, c + C_ALGORITHM, at, size)
        i += 1
    return sacked


@compiled
def note_lost(m: Cells, c: int) -> None:
    """Find the segments that are lost by now."""
    above = 0
    i = m[c + C_HIGH_SACK_I]
    head = m[c + C_UNA_I]
    if i < 0:
        return
    while i > head:
        at = segment_at(m, c, i)
        if m[at] & SACKED_BIT:
            above += 1
        elif above >= ENOUGH and m[at] & LOST_BIT == 0:
            m[at] |= LOST_BIT
            m[c + C_LOST] += length_of(m, c, i)
        i -= 1
    if above >= ENOUGH:
        at = segment_at(m, c, head)
        if m[at] & LOST_BIT == 0:
            m[at] |= LOST_BIT
            m[c + C_LOST] += length_of(m, c, head)


@compiled
def mark_head_lost(m: Cells, c: int) -> None:
    """Let the first segment count as lost and not sent again."""
    head = m[c + C_UNA_I]
    if head >= m[c + C_SENT_I]:
        return
    at = segment_at(m, c, head)
    size = length_of(m, c, head)
    if m[at] & SACKED_BIT:
        m[at] &= ~SACKED_BIT
        m[c + C_SACKED] -= size
    if m[at] & RETRANS_BIT:
        m[at] &= ~RETRANS_BIT
        m[c + C_RETRANS] -= size
    if m[at] & LOST_BIT == 0:
        m[at] |= LOST_BIT
        m[c + C_LOST] += size


@compiled
def is_lost(m: Cells, c: int, seq: int) -> bool:
    """Whether the first segment from here on that is lost or sacked is lost."""
    if seq >= m[c + C_HIGH_SACK]:
        return False
    mss = m[c + C_MSS]
    i = max((seq - 1 + mss - 1) // mss, m[c + C_UNA_I])
    while i < m[c + C_SENT_I]:
        flags = m[segment_at(m, c, i)]
        if flags & LOST_BIT:
            return True
        if flags & SACKED_BIT:
            return False
        i += 1
    return False


@compiled
def has_arrived_again(m: Cells, c: int, end: int) -> bool:
    """Whether a segment ends here that was sent again and is not sacked."""
    i = (end - 2) // m[c + C_MSS]
    if i < m[c + C_UNA_I] or i >= m[c + C_SENT_I]:
        return False
    if 1 + i * m[c + C_MSS] + length_of(m, c, i) != end:
        return False
    return m[segment_at(m, c, i)] & (SACKED_BIT | RETRANS_BIT) == RETRANS_BIT


@compiled
def any_arrived_again(m: Cells, c: int, ack: int, n: int) -> bool:
    """Whether one of the last ``n`` segments below ``ack`` was sent again."""
    for k in range(n):  # noqa: SIM110 - for numba
        if has_arrived_again(m, c, ack - k * m[c + C_MSS]):
            return True
    return False


@compiled
def discard(m: Cells, c: int, ack: int) -> int:
    """Forget what is acknowledged; how many bytes of it were not sacked before."""
    una = m[c + C_UNA]
    if una >= ack:
        return 0
    before = m[c + C_UNA_I]
    data_end = m[c + C_END]
    after = m[c + C_SEGMENTS] if ack >= data_end else (ack - 1) // m[c + C_MSS]
    delivered = min(ack, data_end) - una
    is_bbr = m[c + C_CONGESTION] == BBR
    if m[c + C_SACKED] + m[c + C_LOST] + m[c + C_RETRANS] != 0 or is_bbr:
        delivered = 0
        for i in range(before, after):
            at = segment_at(m, c, i)
            flags = m[at]
            size = length_of(m, c, i)
            if flags & SACKED_BIT:
                m[c + C_SACKED] -= size
            else:
                delivered += size
            if flags & RETRANS_BIT:
                m[c + C_RETRANS] -= size
            if flags & LOST_BIT:
                m[c + C_LOST] -= size
            if is_bbr and not is_delivered(m, at):
                rate_delivered(m, c + C_ALGORITHM, at, size)
    m[c + C_UNA] = ack
    m[c + C_UNA_I] = after
    if m[c + C_HIGH_SACK] <= ack:
        m[c + C_HIGH_SACK] = 0
        m[c + C_HIGH_SACK_I] = -1
    return delivered


@compiled
def next_to_send(m: Cells, c: int, is_recovery: bool) -> int:  # noqa: FBT001
    """The segment that is to be sent next; -1 where there is none."""
    other = -1
    sent = m[c + C_SENT_I]
    if m[c + C_LOST] != 0 or (is_recovery and sent >= m[c + C_SEGMENTS]):
        for i in range(m[c + C_UNA_I], sent):
            flags = m[segment_at(m, c, i)]
            if flags & (RETRANS_BIT | SACKED_BIT) == 0:
                if flags & LOST_BIT:
                    return i
                if is_recovery and other < 0:
                    other = i
    if sent < m[c + C_SEGMENTS]:
        return sent if m[c + C_HIGH] - m[c + C_UNA] <= m[c + C_RWND] else -1
    return other


@compiled
def all_lost(m: Cells, c: int) -> None:
    """Let all that is not sacked count as lost and not sent again; no history."""
    m[c + C_RETRANS] = 0
    lost = 0
    for i in range(m[c + C_UNA_I], m[c + C_SENT_I]):
        at = segment_at(m, c, i)
        flags = m[at] & ~(RETRANS_BIT | HISTORY_BIT)
        if flags & SACKED_BIT == 0:
            flags |= LOST_BIT
            lost += length_of(m, c, i)
        m[at] = flags
    m[c + C_LOST] = lost
    m[c + C_HISTORY] = m[c + C_SENT_I]
