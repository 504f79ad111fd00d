"""The receiver of a TCP flow: what it holds, acknowledges and closes.

As ns-3.37's sockets and receive buffer; the application reads at once, and closes with
the last byte. Numbered differences from RFC 2018 and 9293:

1. Four blocks are kept, the newest first; the oldest goes where there are more.
2. Each packet out of order, and each that fills a hole, is acknowledged at once.
3. A FIN out of order makes a receiver that waits for the last ACK of the handshake drop
   its segment.
4. Where the last byte is not in the segment with the FIN, the receiver is left in
   CLOSE-WAIT after its own FIN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    ACK,
    BEGIN,
    C_BLOCK,
    C_BLOCKS,
    C_DELAYED,
    C_ECN,
    C_END,
    C_FIN_SEQ,
    C_FLOW,
    C_HELD,
    C_LINUX,
    C_MSS,
    C_RCV,
    C_RECEIVED,
    C_RESERVED,
    C_SENT_I,
    C_STATE,
    C_TRANSPORT,
    CLOSE_WAIT,
    CLOSING,
    DELAYED_ACK,
    ECN_SENDING,
    F_BEGAN,
    F_DEPENDENTS,
    F_FCT,
    F_N_DEPENDENTS,
    F_START,
    F_WAITS,
    FIN,
    FIN_WAIT_1,
    G_NOW,
    HELD_BIT,
    N_F,
    P_FLAGS,
    P_LEN,
    P_SEQ,
    T_ACK_DELAY,
    T_ACKS_EVERY,
    U_IS_LINUX,
    compiled,
    inlined,
    is_set,
    merged,
    order_for,
    push,
    segment_at,
    set_timer,
)
from midhaul.network.packet.tcp.ends import echo_flag, note_over, send_empty
from midhaul.network.packet.tcp.linux.acks import (
    acknowledge_data,
    acknowledge_late,
    came_twice,
)
from midhaul.network.packet.tcp.linux.marks import take_mark
from midhaul.network.packet.tcp.scoreboard import length_of

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap

KEPT_BLOCKS = 4


@merged
def _note_block(m: Cells, c: int, first: int, last: int) -> None:
    """Let a block be the newest, merged with those that touch it."""
    b = c + C_BLOCK
    n = m[c + C_BLOCKS]
    for i in range(2 * n - 1, -1, -1):
        m[b + 2 + i] = m[b + i]
    n += 1
    m[b], m[b + 1] = first, last
    i = 1
    while i < n:
        low, high = m[b + 2 * i], m[b + 2 * i + 1]
        if m[b] == high or m[b + 1] == low:
            m[b], m[b + 1] = min(m[b], low), max(m[b + 1], high)
            for k in range(2 * i, 2 * (n - 1)):
                m[b + k] = m[b + k + 2]
            n -= 1
            i = 1
        else:
            i += 1
    m[c + C_BLOCKS] = min(n, KEPT_BLOCKS)


@merged
def _clear_blocks(m: Cells, c: int, seq: int) -> None:
    """Forget blocks that end at or before a sequence number."""
    b = c + C_BLOCK
    n = 0
    for i in range(m[c + C_BLOCKS]):
        if m[b + 2 * i + 1] > seq:
            m[b + 2 * n], m[b + 2 * n + 1] = m[b + 2 * i], m[b + 2 * i + 1]
            n += 1
    m[c + C_BLOCKS] = n


@merged
def _hold(m: Cells, c: int, seq: int, length: int) -> bool:
    """Keep a segment; False where it was there before."""
    expected = m[c + C_RCV + 1]
    if seq < expected:
        return False
    i = (seq - 1) // m[c + C_MSS]
    at = segment_at(m, c, i)
    if seq > expected:
        if m[at] & HELD_BIT:
            return False
        m[at] |= HELD_BIT
        m[c + C_HELD] += 1
        _note_block(m, c, seq, seq + length)
        return True
    expected += length
    i += 1
    if m[c + C_HELD] > 0:
        while i < m[c + C_SENT_I] and m[segment_at(m, c, i)] & HELD_BIT:
            expected += length_of(m, c, i)
            m[c + C_HELD] -= 1
            i += 1
        _clear_blocks(m, c, expected)
    if m[c + C_FIN_SEQ] == expected:
        expected += 1
    m[c + C_RCV + 1] = expected
    return True


@compiled
def _complete(m: Cells, t: Heap, tm: Cells, f: Cells, flow: int) -> None:
    """The last byte of a flow has arrived: begin those that waited for it."""
    at = flow * N_F
    f[at + F_FCT] = m[G_NOW] - f[at + F_BEGAN]
    first = f[at + F_DEPENDENTS]
    for i in range(first, first + f[at + F_N_DEPENDENTS]):
        other = f[i] * N_F
        f[other + F_WAITS] -= 1
        if f[other + F_WAITS] == 0:
            order = order_for(m, BEGIN, f[i] << 3)
            push(t, tm, m[G_NOW] + f[other + F_START], order)
    note_over(m, f, flow)


@merged
def _acknowledge(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Send an ACK, with the echo of a mark if one is owed."""
    echo = echo_flag(m, c)
    send_empty(m, mf, h, t, tm, f, c, 1, ACK | echo)
    if echo != 0:
        m[c + C_ECN + 1] = ECN_SENDING


@merged
def _close_after_last(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """The application closes as it has read all."""
    send_empty(m, mf, h, t, tm, f, c, 1, FIN)
    m[c + C_STATE + 1] = FIN_WAIT_1


@inlined
def is_finished(m: Cells, c: int) -> bool:
    """True when all up to the FIN has arrived."""
    return m[c + C_FIN_SEQ] != 0 and m[c + C_FIN_SEQ] < m[c + C_RCV + 1]


@compiled
def receive_data(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    p: int,
) -> None:
    """Take data in and acknowledge it, now or later."""
    expected, length = m[c + C_RCV + 1], m[p + P_LEN]
    is_linux = m[c + C_LINUX + U_IS_LINUX] != 0
    if not _hold(m, c, m[p + P_SEQ], length):
        if is_linux:
            came_twice(m, mf, h, t, tm, f, c)
        else:
            _acknowledge(m, mf, h, t, tm, f, c)
        return
    now_expected = m[c + C_RCV + 1]
    has_fin = m[p + P_FLAGS] & FIN != 0
    if now_expected > expected:
        if now_expected >= m[c + C_END] and m[c + C_RECEIVED] == 0:
            m[c + C_RECEIVED] = 1
            _complete(m, t, tm, f, m[c + C_FLOW])
            _close_after_last(m, mf, h, t, tm, f, c)
        if is_finished(m, c) and not has_fin:
            m[c + C_STATE + 1] = CLOSE_WAIT
            send_empty(m, mf, h, t, tm, f, c, 1, ACK)
            return
    if is_linux:
        take_mark(m, mf, h, t, tm, f, c, p)
        acknowledge_data(m, mf, h, t, tm, f, c, expected, length)
        return
    if m[c + C_HELD] > 0 or now_expected > expected + length:
        m[c + C_RESERVED] = 0
        _acknowledge(m, mf, h, t, tm, f, c)
        return
    m[c + C_DELAYED] += 1
    transport = m[c + C_TRANSPORT]
    if m[c + C_DELAYED] >= m[transport + T_ACKS_EVERY]:
        m[c + C_RESERVED] = 0
        _acknowledge(m, mf, h, t, tm, f, c)
        return
    m[c + C_RESERVED] = 1
    if not is_set(m, c, DELAYED_ACK):
        when = m[G_NOW] + m[transport + T_ACK_DELAY]
        set_timer(m, t, tm, c, DELAYED_ACK, when)


@merged
def receive_fin(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    p: int,
) -> None:
    """Take a segment with a FIN in."""
    seq, length = m[p + P_SEQ], m[p + P_LEN]
    if seq < m[c + C_RCV + 1]:
        return
    fin = seq + length
    m[c + C_FIN_SEQ] = fin
    if m[c + C_RCV + 1] == fin:
        m[c + C_RCV + 1] += 1
    if length > 0:
        receive_data(m, mf, h, t, tm, f, c, p)
    if not is_finished(m, c):
        return
    if m[c + C_STATE + 1] == FIN_WAIT_1:
        m[c + C_STATE + 1] = CLOSING
        return
    m[c + C_STATE + 1] = CLOSE_WAIT
    send_empty(m, mf, h, t, tm, f, c, 1, ACK)


@merged
def delayed_ack(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """An ACK has waited long enough."""
    if m[c + C_LINUX + U_IS_LINUX] != 0:
        acknowledge_late(m, mf, h, t, tm, f, c)
        return
    m[c + C_DELAYED] = 0
    m[c + C_RESERVED] = 1
    _acknowledge(m, mf, h, t, tm, f, c)
