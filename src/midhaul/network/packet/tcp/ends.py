"""What both ends of a TCP connection do: packets without data, round trips, closing.

As ns-3.37's sockets; ``end`` is 0 for the sender of a flow and 1 for its receiver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    ACK,
    BACK,
    C_ALIVE,
    C_BLOCK,
    C_BLOCKS,
    C_CE_SEQ,
    C_CE_STATE,
    C_DELAYED,
    C_ECHO,
    C_ECN,
    C_ECT,
    C_FIRST,
    C_FLOW,
    C_HIGH_TX_ACK,
    C_HISTORY,
    C_KIND,
    C_LAST,
    C_LAST_RTT,
    C_LINUX,
    C_MIN_RTT,
    C_MSS,
    C_NXT,
    C_PACE_ORDER,
    C_PACKETS,
    C_PRIOR,
    C_PRIOR_SET,
    C_RCV,
    C_RESERVED,
    C_RTO,
    C_RTT_N,
    C_SEND_ORDER,
    C_SENT_I,
    C_SRTT,
    C_STATE,
    C_SYN_SAMPLE,
    C_SYNS,
    C_TRANSPORT,
    C_VAR,
    CE,
    CLOSED,
    CLOSING,
    DELAYED_ACK,
    DSACK,
    ECE,
    ECN_CE,
    ECN_IDLE,
    ECN_OFF,
    ECN_SENDING,
    ECT,
    ECT_ALL,
    F_FLAGS,
    F_OVER,
    FIN,
    FIN_WAIT_1,
    G_NOW,
    G_OVER,
    HISTORY_BIT,
    L_REVERSE,
    LAST_ACK,
    LISTEN,
    N_F,
    P_ACK,
    P_BLOCK,
    P_BLOCKS,
    P_CONN,
    P_ECHO,
    P_FLAGS,
    P_HOP,
    P_LEN,
    P_SEQ,
    P_SIZE,
    P_STAMP,
    RECEIVER_TIMER,
    RECEIVER_WAIT,
    RST,
    SENDER_TIMER,
    SENDER_WAIT,
    SYN,
    SYN_RCVD,
    T_CONNECT,
    T_LINGER,
    T_MIN_RTO,
    TIME_WAIT,
    U_IS_LINUX,
    U_SYN_T,
    cancel_timer,
    compiled,
    inlined,
    is_set,
    merged,
    segment_at,
    set_timer,
    take_packet,
)
from midhaul.network.packet.tcp.links import send_on
from midhaul.network.packet.tcp.scoreboard import length_of

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap

HEADER_BYTES = 54
"""PPP 2, IP 20, TCP 20 and the option of time stamps 12."""
SYN_BYTES, RST_BYTES, BLOCK_BYTES = 58, 42, 8
LINUX_SYN_BYTES, LINUX_BLOCKS_BYTES = 62, 4
"""A SYN of Linux says its MSS, and pads each option; so does an ACK with blocks."""
LINEAR_TRIES = 4
"""Times that Linux sends a SYN again before it waits for longer and longer."""
MOST_BLOCKS = 3
"""Blocks that an option of SACK has room for beside time stamps."""
SYN_TRIES = 6
GRANULARITY = 1_000_000
MS = 1_000_000
RESEND_SYN, TIME_OUT, RESEND_FIN = range(3)
"""What a timer of retransmission does when it rings."""


@inlined
def emit(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    f: Cells,
    p: int,
    c: int,
    end: int,
    flags: int,
) -> None:
    """Send a packet whose sequence numbers and size are set, from an end."""
    m[p + P_CONN] = c
    m[p + P_STAMP] = m[G_NOW] // MS
    m[p + P_ECHO] = m[c + C_ECHO + end]
    m[c + C_PACKETS] += 1
    if end == 0:
        hop = m[c + C_FIRST]
        link = f[hop]
    else:
        flags |= BACK
        hop = m[c + C_LAST]
        link = m[f[hop] + L_REVERSE]
    m[p + P_FLAGS] = flags
    m[p + P_HOP] = hop
    send_on(m, mf, h, f, link, p)


@compiled
def timeout_of(m: Cells, c: int, end: int) -> int:
    """The retransmission time-out that the round trips call for."""
    wait = m[c + C_SRTT + end] + max(GRANULARITY, 4 * m[c + C_VAR + end])
    return max(wait, m[m[c + C_TRANSPORT] + T_MIN_RTO])


@compiled
def note_over(m: Cells, f: Cells, flow: int) -> None:
    """Count a flow as one that nothing more is waited for."""
    at = flow * N_F + F_FLAGS
    if f[at] & F_OVER == 0:
        f[at] |= F_OVER
        m[G_OVER] += 1


@compiled
def cancel_timers(m: Cells, c: int, end: int) -> None:
    """Let nothing ring at an end."""
    if end == 0:
        cancel_timer(m, c, SENDER_TIMER)
        cancel_timer(m, c, SENDER_WAIT)
        m[c + C_PACE_ORDER] = 0
        m[c + C_SEND_ORDER] = 0
    else:
        cancel_timer(m, c, RECEIVER_TIMER)
        cancel_timer(m, c, RECEIVER_WAIT)
        cancel_timer(m, c, DELAYED_ACK)


@compiled
def close_end(m: Cells, f: Cells, c: int, end: int, failed: bool) -> None:  # noqa: FBT001
    """Let an end be no more."""
    cancel_timers(m, c, end)
    if end == 1 and m[c + C_STATE + 1] == SYN_RCVD:
        m[c + C_STATE + 1] = LISTEN
        return
    m[c + C_STATE + end] = CLOSED
    m[c + C_ALIVE + end] = 0
    if failed and end == 0:
        note_over(m, f, m[c + C_FLOW])


@compiled
def wait_and_close(m: Cells, t: Heap, tm: Cells, c: int, end: int) -> None:
    """Both sides have closed: linger for a while."""
    m[c + C_STATE + end] = TIME_WAIT
    cancel_timers(m, c, end)
    kind = SENDER_WAIT if end == 0 else RECEIVER_WAIT
    set_timer(m, t, tm, c, kind, m[G_NOW] + m[m[c + C_TRANSPORT] + T_LINGER])


@merged
def _add_blocks(m: Cells, c: int, p: int) -> int:
    """Put blocks of held data on a packet; the bytes they take."""
    n = min(m[c + C_BLOCKS], MOST_BLOCKS)
    m[p + P_BLOCKS] = n
    for i in range(2 * n):
        m[p + P_BLOCK + i] = m[c + C_BLOCK + i]
    return n * BLOCK_BYTES


@merged
def _note_try(m: Cells, c: int, end: int, is_linux: bool) -> None:  # noqa: FBT001
    """Count a SYN, and set for how long its answer is waited for."""
    left = m[c + C_SYNS + end]
    tries = SYN_TRIES - left
    if is_linux:
        m[c + C_LINUX + U_SYN_T + end] = m[G_NOW]
        if end == 0:
            tries = max(tries - LINEAR_TRIES, 0)
    m[c + C_RTO + end] = m[m[c + C_TRANSPORT] + T_CONNECT] << tries
    m[c + C_SYNS + end] = left - 1
    if left == SYN_TRIES:
        m[c + C_SYN_SAMPLE + end] = 1


@compiled
def send_empty(  # noqa: C901, PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    end: int,
    flags: int,
) -> None:
    """Send a packet without data."""
    if m[c + C_ALIVE + end] == 0:
        return
    state = m[c + C_STATE + end]
    seq = m[c + C_NXT + end]
    if flags & FIN:
        flags |= ACK
    elif state in (FIN_WAIT_1, LAST_ACK, CLOSING):
        seq += 1
    m[c + C_RTO + end] = timeout_of(m, c, end)
    size = HEADER_BYTES
    is_linux = m[c + C_LINUX + U_IS_LINUX] != 0
    if flags & SYN:
        size = LINUX_SYN_BYTES if is_linux else SYN_BYTES
        if m[c + C_SYNS + end] == 0:
            close_end(m, f, c, end, True)  # noqa: FBT003
            return
        _note_try(m, c, end, is_linux)
    p = take_packet(m)
    m[p + P_SEQ] = seq
    ack = m[c + C_RCV + end]
    m[p + P_ACK] = ack
    m[p + P_LEN] = 0
    m[p + P_BLOCKS] = 0
    if flags & ACK:
        if end == 1:
            cancel_timer(m, c, DELAYED_ACK)
            m[c + C_DELAYED] = 0
            if m[c + C_BLOCKS] > 0:
                size += _add_blocks(m, c, p)
            if flags & DSACK:
                size += BLOCK_BYTES
            if is_linux and (m[c + C_BLOCKS] > 0 or flags & DSACK):
                size += LINUX_BLOCKS_BYTES
        m[c + C_HIGH_TX_ACK + end] = max(m[c + C_HIGH_TX_ACK + end], ack)
    m[p + P_SIZE] = size
    emit(m, mf, h, f, p, c, end, flags | (ECT if m[c + C_ECT] == ECT_ALL else 0))
    kind = SENDER_TIMER if end == 0 else RECEIVER_TIMER
    if flags & (SYN | FIN) and not is_set(m, c, kind):
        m[c + C_KIND + end] = RESEND_SYN if flags & SYN else RESEND_FIN
        set_timer(m, t, tm, c, kind, m[G_NOW] + m[c + C_RTO + end])


@merged
def send_reset(
    m: Cells, mf: FloatCells, h: Heap, f: Cells, c: int, end: int, received: int
) -> None:
    """Answer a packet that no socket is there for."""
    flags = RST
    p = take_packet(m)
    m[p + P_SEQ] = m[received + P_ACK]
    m[p + P_ACK] = 0
    if m[received + P_FLAGS] & ACK == 0:
        flags |= ACK
        m[p + P_SEQ] = 0
        m[p + P_ACK] = m[received + P_SEQ] + 1
    m[p + P_LEN] = 0
    m[p + P_BLOCKS] = 0
    m[p + P_SIZE] = RST_BYTES
    emit(m, mf, h, f, p, c, end, flags)


@merged
def reset_and_close(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    end: int,
) -> None:
    """Send a reset from a socket that is there, and let it be no more."""
    send_empty(m, mf, h, t, tm, f, c, end, RST)
    close_end(m, f, c, end, True)  # noqa: FBT003


@compiled
def note_round_trip(m: Cells, c: int, end: int, ack: int, echo: int) -> None:
    """Take a sample of the round trip, if the packet gives one."""
    is_sample = False
    if m[c + C_SYN_SAMPLE + end] != 0:
        is_sample = True
        m[c + C_SYN_SAMPLE + end] = 0
    if end == 0:
        i, sent = m[c + C_HISTORY], m[c + C_SENT_I]
        is_front = not is_sample
        while i < sent and 1 + i * m[c + C_MSS] + length_of(m, c, i) <= ack:
            if is_front:
                is_sample = m[segment_at(m, c, i)] & HISTORY_BIT != 0
                is_front = False
            i += 1
        m[c + C_HISTORY] = i
    if not is_sample:
        return
    measured = (m[G_NOW] // MS - echo) * MS
    if measured <= 0:
        measured = 1000
    srtt, var = m[c + C_SRTT + end], m[c + C_VAR + end]
    if m[c + C_RTT_N + end] == 0:
        srtt, var = measured, measured // 2
    else:
        delta = measured - srtt
        srtt = ((srtt << 3) + delta) >> 3
        var = ((var << 2) + abs(delta) - var) >> 2
    m[c + C_RTT_N + end] += 1
    m[c + C_SRTT + end] = srtt
    m[c + C_VAR + end] = var
    m[c + C_RTO + end] = timeout_of(m, c, end)
    if end == 0:
        m[c + C_LAST_RTT] = srtt
        m[c + C_MIN_RTT] = min(m[c + C_MIN_RTT], srtt)


@merged
def _marks_change(  # noqa: PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    end: int,
    begins: bool,  # noqa: FBT001
) -> None:
    """Send an ACK that is due for packets before a change, and note the change."""
    was = m[c + C_CE_STATE + end] != 0
    if end == 1:
        if was != begins and m[c + C_RESERVED] != 0 and m[c + C_PRIOR_SET] != 0:
            now = m[c + C_RCV + 1]
            m[c + C_RCV + 1] = m[c + C_PRIOR]
            send_empty(m, mf, h, t, tm, f, c, 1, ACK if begins else ACK | ECE)
            m[c + C_RCV + 1] = now
        m[c + C_PRIOR_SET] = 1
        m[c + C_PRIOR] = m[c + C_RCV + 1]
    m[c + C_CE_STATE + end] = 1 if begins else 0


# ---- marks, for DCTCP ----------------------------------------------------------------


@merged
def note_mark(  # noqa: PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    end: int,
    p: int,
) -> None:
    """Take in whether a packet is marked, and acknowledge apart what was before."""
    is_marked = m[p + P_FLAGS] & CE != 0
    if is_marked and m[c + C_CE_SEQ + end] < m[p + P_SEQ]:
        m[c + C_CE_SEQ + end] = m[p + P_SEQ]
        m[c + C_ECN + end] = ECN_CE
        _marks_change(m, mf, h, t, tm, f, c, end, True)  # noqa: FBT003
        m[c + C_ECN + end] = ECN_CE
    elif m[c + C_ECN + end] != ECN_OFF and m[p + P_FLAGS] & (CE | ECT) != 0:
        _marks_change(m, mf, h, t, tm, f, c, end, False)  # noqa: FBT003
        if m[c + C_ECN + end] in (ECN_CE, ECN_SENDING):
            m[c + C_ECN + end] = ECN_IDLE


@inlined
def echo_flag(m: Cells, c: int) -> int:
    """ECE where the receiver owes an echo, which it has then given."""
    if m[c + C_ECN + 1] in (ECN_CE, ECN_SENDING):
        return ECE
    return 0
