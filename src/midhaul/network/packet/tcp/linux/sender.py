"""The sender of a TCP flow with the ways of Linux: what ACKs and timers make it do.

Windows and counts are segments. What ``timers``, ``loss``, ``recovery`` and
``congestion`` do differently from RFCs is numbered there; here:

1. The window does not grow while it is not what bounds the sender (RFC 7661 has a
   finer rule).
2. The pace of BBR, and of others where it is asked for, is the sender's own: a segment
   goes when the one before has had its time, of which half is waived after a delay.
3. A sender that has nothing under way and finds its host's queue full tries again
   after a time-out, then each half second.
4. Left out: thin streams, windows of receivers and buffers of sockets, which never
   bound a sender here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    ACK,
    AGAIN_BIT,
    AT_HOST,
    BBR,
    BUFFER_BYTES,
    C_ALIVE,
    C_APP_SENT,
    C_CONG,
    C_CONGESTION,
    C_COUNT,
    C_CWND,
    C_ECT,
    C_END,
    C_EVENTS,
    C_FLOW,
    C_HIGH,
    C_KIND,
    C_LINUX,
    C_LOST,
    C_MSS,
    C_NXT,
    C_PACE_ORDER,
    C_PACE_RATE,
    C_PACING,
    C_PRR_OUT,
    C_RCV,
    C_RECOVER,
    C_RETRANS,
    C_SEGMENTS,
    C_SENT_I,
    C_STATE,
    C_TRANSPORT,
    C_TRIES,
    C_UNA,
    C_UNA_I,
    CA_DISORDER,
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    CLOSED,
    CWR,
    DCTCP,
    DSACK,
    ECE,
    ECT,
    ECT_ALL,
    ESTABLISHED,
    F_RETRANSMITTED,
    FIN,
    FIN_WAIT_1,
    G_MAX_WINDOW,
    G_NOW,
    LOST_BIT,
    N_F,
    P_ACK,
    P_BLOCK,
    P_BLOCKS,
    P_ECHO,
    P_FLAGS,
    P_LEN,
    P_SEQ,
    P_SIZE,
    PACE,
    RETRANS_BIT,
    SACKED_BIT,
    T_WINDOW,
    TIME_WAIT,
    U_AT_HOST,
    U_DELIVERED,
    U_FIRST_T,
    U_HAS_FRTO,
    U_IS_LIMITED,
    U_LOST_EVER,
    U_MIN_RTT,
    U_MOST_OUT,
    U_NEXT_T,
    U_PRIOR,
    U_PRIOR_THRESHOLD,
    U_PROBE_AGAIN,
    U_PROBE_I,
    U_RACK_I,
    U_RACK_MOVED,
    U_RACK_RTT,
    U_RACK_T,
    U_RTO,
    U_SACK_FIRST_T,
    U_SACK_LAST_T,
    U_SAW,
    U_SAYS_CWR,
    U_SRTT,
    U_SYN_T,
    U_THRESHOLD,
    U_TIME_OUTS,
    U_USAGE_I,
    U_WINDOW,
    compiled,
    inlined,
    merged,
    order_for,
    push,
    segment_at,
    take_packet,
)
from midhaul.network.packet.tcp.ends import (
    HEADER_BYTES,
    TIME_OUT,
    close_end,
    emit,
)
from midhaul.network.packet.tcp.linux.bbr import begin_ack, control, rate_left
from midhaul.network.packet.tcp.linux.congestion import (
    NO_THRESHOLD,
    UNKNOWN,
    forget,
    grow,
    shrunk,
)
from midhaul.network.packet.tcp.linux.dctcp import follow_marks, halved
from midhaul.network.packet.tcp.linux.loss import (
    ECHO,
    MOVED,
    RETRIES,
    SACKED,
    SETS_TIMER,
    TWICE,
    find_lost,
    forget_acked,
    lose,
    measure,
    take_block,
    under_way,
)
from midhaul.network.packet.tcp.linux.recovery import (
    LOST_ONES,
    NEW_ONES,
    NOTHING,
    alert,
    is_shrinking,
    probe_answered,
    recover,
    reduce,
    shrink_for_mark,
)
from midhaul.network.packet.tcp.linux.small_queues import is_held_back, is_refused
from midhaul.network.packet.tcp.linux.timers import (
    MOST_RTO,
    PROBE,
    REORDER,
    left_of_rto,
    note_round_trip,
    probe_later,
    set_wait,
    wait_for_ack,
)
from midhaul.network.packet.tcp.rate import (
    S_SENT,
)
from midhaul.network.packet.tcp.scoreboard import (
    length_of,
    new_segment,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap

REFUSED, AGAIN_NS = REORDER + 1, 500_000_000
"""What the timer is set for where the host's queue was full; the wait after that."""
UNPACED = 10
"""Segments that are sent before pacing begins."""


@inlined
def show(m: Cells, c: int) -> None:
    """Let the window be seen in bytes, and the pace follow it where BBR sets none."""
    u = c + C_LINUX
    window = m[u + U_WINDOW]
    m[c + C_CWND] = window * m[c + C_MSS]
    if m[c + C_CONGESTION] != BBR:
        tenths = 20 if window < m[u + U_THRESHOLD] // 2 else 12
        bits = max(window, m[c + C_SENT_I] - m[c + C_UNA_I]) * m[c + C_MSS] * 8
        m[c + C_PACE_RATE] = bits * tenths * 100_000_000 // m[u + U_SRTT]
    m[G_MAX_WINDOW] = max(m[G_MAX_WINDOW], min(m[c + C_CWND], m[c + C_END]))


@compiled
def open_linux(m: Cells, c: int) -> None:
    """Begin to send: the handshake has given the first round trip."""
    u, now = c + C_LINUX, m[G_NOW]
    trip = max(now - m[u + U_SYN_T], 1)
    note_round_trip(m, c, trip)
    m[u + U_MIN_RTT] = trip
    m[u + U_RACK_T] = m[u + U_SYN_T]
    m[u + U_RACK_I] = -1
    m[u + U_RACK_RTT] = trip
    m[u + U_WINDOW] = m[m[c + C_TRANSPORT] + T_WINDOW]
    m[u + U_THRESHOLD] = NO_THRESHOLD
    m[u + U_PROBE_I] = -1
    m[c + C_TRIES] = RETRIES
    m[c + C_KIND] = TIME_OUT
    forget(m, c)
    show(m, c)


@compiled
def _transmit(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    f: Cells,
    c: int,
    i: int,
) -> None:
    """Send a segment, for the first time or again."""
    u, now = c + C_LINUX, m[G_NOW]
    size = length_of(m, c, i)
    flags = ACK | AT_HOST
    if m[c + C_ECT] == ECT_ALL or (m[c + C_ECT] != 0 and i >= m[c + C_SENT_I]):
        flags |= ECT
    if m[u + U_SAYS_CWR] != 0 and i >= m[c + C_SENT_I]:
        m[u + U_SAYS_CWR] = 0
        flags |= CWR
    seq = 1 + i * m[c + C_MSS]
    is_first = m[c + C_SENT_I] == m[c + C_UNA_I]
    if i < m[c + C_SENT_I]:
        at = segment_at(m, c, i)
        m[at] |= AGAIN_BIT
        f[m[c + C_FLOW] * N_F + F_RETRANSMITTED] += 1
    else:
        at = new_segment(m, c)
    m[at + S_SENT] = now
    if m[c + C_CONGESTION] == BBR:
        rate_left(m, c, at, is_first)
    if m[c + C_PACING] != 0 and m[c + C_SENT_I] >= UNPACED:
        takes = size * 8_000_000_000 // max(m[c + C_PACE_RATE], 1)
        m[u + U_NEXT_T] = now + takes - min(takes // 2, now - m[u + U_NEXT_T])
    if seq + size == m[c + C_END]:
        flags |= FIN
        if m[c + C_STATE] == ESTABLISHED:
            m[c + C_STATE] = FIN_WAIT_1
    p = take_packet(m)
    m[p + P_SEQ] = seq
    m[p + P_ACK] = m[c + C_RCV]
    m[p + P_LEN] = size
    m[p + P_SIZE] = size + HEADER_BYTES
    m[p + P_BLOCKS] = 0
    m[c + C_HIGH] = max(m[c + C_HIGH], seq + size)
    m[c + C_NXT] = m[c + C_HIGH]
    m[u + U_AT_HOST] += size + BUFFER_BYTES
    emit(m, mf, h, f, p, c, 0, flags)


@inlined
def _has_to_wait(m: Cells, h: Heap, c: int) -> bool:
    """Whether the pace does not let a segment go yet; it is woken when it does."""
    when = m[c + C_LINUX + U_NEXT_T]
    if m[c + C_PACING] == 0 or when <= m[G_NOW]:
        return False
    if m[c + C_PACE_ORDER] == 0:
        order = order_for(m, PACE, c)
        m[c + C_PACE_ORDER] = order
        m[c + C_EVENTS] += 1
        push(h, m, when, order)
    return True


@merged
def _note_usage(m: Cells, c: int) -> None:
    """Keep whether the window bounds the sender, or how much is under way at most."""
    u = c + C_LINUX
    out = m[c + C_SENT_I] - m[c + C_UNA_I]
    limits = under_way(m, c) >= m[u + U_WINDOW]
    is_more = m[u + U_IS_LIMITED] == 0 and out > m[u + U_MOST_OUT]
    if m[c + C_UNA_I] >= m[u + U_USAGE_I] or limits or is_more:
        m[u + U_IS_LIMITED] = 1 if limits else 0
        m[u + U_MOST_OUT] = out
        m[u + U_USAGE_I] = m[c + C_SENT_I]


@compiled
def send_new(  # noqa: C901, PLR0912
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    is_probe: bool,  # noqa: FBT001
) -> int:
    """Send new segments while the window has room, or one to probe; how many."""
    u = c + C_LINUX
    sent = 0
    is_open = m[c + C_APP_SENT] != 0 and m[c + C_ALIVE] != 0
    if not is_open or m[c + C_SENT_I] >= m[c + C_SEGMENTS]:
        return 0
    while m[c + C_SENT_I] < m[c + C_SEGMENTS]:
        if _has_to_wait(m, h, c):
            break
        if under_way(m, c) >= m[u + U_WINDOW] and not is_probe:
            break
        size = length_of(m, c, m[c + C_SENT_I])
        if is_held_back(m, c, size, 0):
            break
        if is_refused(m, f, c, size):
            shrink_for_mark(m, c)
            if m[c + C_SENT_I] == m[c + C_UNA_I]:
                set_wait(m, t, tm, c, REFUSED, m[u + U_RTO])
            break
        is_first = m[c + C_SENT_I] == m[c + C_UNA_I]
        _transmit(m, mf, h, f, c, m[c + C_SENT_I])
        sent += 1
        if is_first or m[c + C_KIND] == PROBE:
            wait_for_ack(m, t, tm, c)
        if is_probe:
            break
    if sent > 0 or under_way(m, c) >= m[u + U_WINDOW]:
        _note_usage(m, c)
    if sent > 0:
        if is_shrinking(m, c):
            m[c + C_PRR_OUT] += sent
        if not is_probe:
            probe_later(m, t, tm, c, left_of_rto(m, c))
    return sent


@compiled
def _send_lost(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Send again what is lost while the window has room."""
    u = c + C_LINUX
    sets_timer = False
    head = m[c + C_UNA_I]
    for i in range(head, m[c + C_SENT_I]):
        if _has_to_wait(m, h, c) or under_way(m, c) >= m[u + U_WINDOW]:
            break
        if m[c + C_RETRANS] >= m[c + C_LOST]:
            break
        at = segment_at(m, c, i)
        if m[at] & (LOST_BIT | SACKED_BIT | RETRANS_BIT) != LOST_BIT:
            continue
        size = length_of(m, c, i)
        if is_held_back(m, c, size, 1):
            break
        if is_refused(m, f, c, size):
            shrink_for_mark(m, c)
            break
        m[at] |= RETRANS_BIT
        m[c + C_RETRANS] += 1
        _transmit(m, mf, h, f, c, i)
        if is_shrinking(m, c):
            m[c + C_PRR_OUT] += 1
        if i == head:
            sets_timer = m[c + C_KIND] != REORDER
    if sets_timer:
        set_wait(m, t, tm, c, TIME_OUT, m[u + U_RTO])


@compiled
def send_linux(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Send what is lost and what is new, as the pace and the window let go."""
    if m[c + C_LOST] > m[c + C_RETRANS]:
        _send_lost(m, mf, h, t, tm, f, c)
    send_new(m, mf, h, t, tm, f, c, False)  # noqa: FBT003


@merged
def _follow(m: Cells, c: int, lost: int) -> None:
    """Let the algorithm set the window after an ACK."""
    u = c + C_LINUX
    if m[c + C_CONGESTION] == BBR:
        control(m, c, under_way(m, c), lost)
    elif is_shrinking(m, c):
        reduce(m, c, m[u + U_DELIVERED], lost)
    elif m[u + U_SAW] & MOVED:
        grow(m, c, m[u + U_DELIVERED])


@compiled
def receive_linux(  # noqa: C901
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    p: int,
) -> None:
    """Take an ACK in, and send what it makes room for."""
    u, ack = c + C_LINUX, m[p + P_ACK]
    if ack < m[c + C_UNA]:
        return
    m[u + U_SAW] = TWICE if m[p + P_FLAGS] & DSACK else 0
    if m[p + P_FLAGS] & ECE and m[c + C_ECT] != 0:
        m[u + U_SAW] |= ECHO
    m[u + U_DELIVERED] = 0
    m[u + U_FIRST_T] = m[u + U_SACK_FIRST_T] = UNKNOWN
    m[u + U_SACK_LAST_T] = -1
    lost_before = m[u + U_LOST_EVER]
    if m[c + C_CONGESTION] == BBR:
        begin_ack(m, c, under_way(m, c))
    for i in range(m[p + P_BLOCKS]):
        at = p + P_BLOCK + 2 * i
        take_block(m, c, m[at], m[at + 1])
    if ack > m[c + C_UNA]:
        forget_acked(m, c, ack)
    if m[c + C_CONGESTION] == DCTCP:
        follow_marks(m, c, m[u + U_SAW] & ECHO != 0)
    measure(m, c, m[p + P_ECHO])
    if m[u + U_PROBE_I] >= 0:
        probe_answered(m, c)
    then = NOTHING
    odd = m[u + U_SAW] & (SACKED | TWICE | MOVED | ECHO)
    if m[c + C_CONG] != CA_OPEN or odd != MOVED:
        then = alert(m, t, tm, c)
    if m[u + U_SAW] & SETS_TIMER and not probe_later(m, t, tm, c, m[u + U_RTO]):
        wait_for_ack(m, t, tm, c)
    _follow(m, c, m[u + U_LOST_EVER] - lost_before)
    show(m, c)
    if then == NEW_ONES:
        send_new(m, mf, h, t, tm, f, c, False)  # noqa: FBT003
        if m[c + C_SENT_I] <= m[c + C_RECOVER]:
            m[u + U_HAS_FRTO] = 0
            then = LOST_ONES
    if then == LOST_ONES:
        _send_lost(m, mf, h, t, tm, f, c)
    send_new(m, mf, h, t, tm, f, c, False)  # noqa: FBT003


@merged
def _probe(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Probe the tail: send something new, or the last segment again."""
    u = c + C_LINUX
    if m[u + U_PROBE_I] < 0:
        again = m[c + C_SENT_I] >= m[c + C_SEGMENTS]
        if again:
            _transmit(m, mf, h, f, c, m[c + C_SENT_I] - 1)
        if again or send_new(m, mf, h, t, tm, f, c, True) > 0:  # noqa: FBT003
            m[u + U_PROBE_AGAIN] = 1 if again else 0
            m[u + U_PROBE_I] = m[c + C_SENT_I]
            m[c + C_KIND] = TIME_OUT
    wait_for_ack(m, t, tm, c)


@merged
def _time_out(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Nothing was acknowledged for too long: begin again with one segment."""
    u, now = c + C_LINUX, m[G_NOW]
    cong, head = m[c + C_CONG], m[c + C_UNA_I]
    for i in range(head, m[c + C_SENT_I]):
        at = segment_at(m, c, i)
        is_old = now - m[at + S_SENT] >= m[u + U_RACK_RTT]
        if m[at] & SACKED_BIT == 0 and (i == head or is_old):
            lose(m, c, i)
    again = cong == CA_LOSS and m[u + U_TIME_OUTS] == 0
    if cong <= CA_DISORDER or m[c + C_RECOVER] <= head or again:
        window, threshold = m[u + U_WINDOW], m[u + U_THRESHOLD]
        m[u + U_PRIOR] = window
        if not is_shrinking(m, c):
            threshold = max(threshold, (window >> 1) + (window >> 2))
        m[u + U_PRIOR_THRESHOLD] = threshold
        m[u + U_THRESHOLD] = shrunk(m, c)
        if m[c + C_CONGESTION] == DCTCP:
            m[u + U_THRESHOLD] = halved(m, c)
    m[u + U_WINDOW] = under_way(m, c) + 1
    m[c + C_COUNT] = 0
    m[c + C_CONG] = CA_LOSS
    forget(m, c)
    m[c + C_RECOVER] = m[c + C_SENT_I]
    m[u + U_PROBE_I] = -1
    m[u + U_SAYS_CWR] = 1 if m[c + C_ECT] != 0 else 0
    m[u + U_HAS_FRTO] = 1 if cong < CA_RECOVERY or m[u + U_TIME_OUTS] > 0 else 0
    m[u + U_TIME_OUTS] += 1
    at = segment_at(m, c, head)
    if m[at] & RETRANS_BIT == 0:
        m[at] |= RETRANS_BIT
        m[c + C_RETRANS] += 1
    _transmit(m, mf, h, f, c, head)
    m[u + U_RTO] = min(2 * m[u + U_RTO], MOST_RTO)
    set_wait(m, t, tm, c, TIME_OUT, m[u + U_RTO])


@merged
def _try_again(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """The host's queue was full: see whether it still is."""
    m[c + C_KIND] = TIME_OUT
    send_new(m, mf, h, t, tm, f, c, False)  # noqa: FBT003
    if m[c + C_KIND] == REFUSED:
        set_wait(m, t, tm, c, REFUSED, AGAIN_NS)


@compiled
def ring_linux(  # noqa: C901
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """The timer of a sender rings."""
    u, kind = c + C_LINUX, m[c + C_KIND]
    if m[c + C_STATE] in (CLOSED, TIME_WAIT):
        return
    if m[c + C_UNA_I] >= m[c + C_SENT_I]:
        if kind == REFUSED:
            _try_again(m, mf, h, t, tm, f, c)
        return
    if kind == PROBE:
        _probe(m, mf, h, t, tm, f, c)
    elif kind == REORDER:
        m[u + U_SAW] = 0
        before, lost_before = under_way(m, c), m[u + U_LOST_EVER]
        m[u + U_RACK_MOVED] = 1
        find_lost(m, t, tm, c)
        if under_way(m, c) != before:
            if m[c + C_CONG] != CA_RECOVERY:
                recover(m, c)
                if m[c + C_CONGESTION] != BBR:
                    reduce(m, c, 1, m[u + U_LOST_EVER] - lost_before)
            _send_lost(m, mf, h, t, tm, f, c)
        if m[c + C_KIND] != TIME_OUT:
            wait_for_ack(m, t, tm, c)
    elif m[c + C_TRIES] == 0:
        close_end(m, f, c, 0, True)  # noqa: FBT003
        return
    else:
        m[c + C_TRIES] -= 1
        _time_out(m, mf, h, t, tm, f, c)
    show(m, c)
