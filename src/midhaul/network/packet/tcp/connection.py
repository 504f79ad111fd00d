"""The connections of the TCP simulator: how they open, receive, close and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    ACK,
    BACK,
    BBR,
    C_ALGORITHM,
    C_ALIVE,
    C_APP_SENT,
    C_CONGESTION,
    C_CWND,
    C_DELAYED,
    C_ECHO,
    C_ECN,
    C_ECT,
    C_END,
    C_EVENTS,
    C_FIRST,
    C_FLOW,
    C_HIGH,
    C_HIGH_RX_ACK,
    C_HIGH_TX_ACK,
    C_KIND,
    C_LAST,
    C_LINUX,
    C_MSS,
    C_NXT,
    C_PACE_ORDER,
    C_PACE_RATE,
    C_PACING,
    C_PACKETS,
    C_RCV,
    C_RWND,
    C_SEND_ORDER,
    C_SSTHRESH,
    C_STATE,
    C_SYNS,
    C_TRANSPORT,
    C_UNA,
    C_WATCHED,
    CA_OPEN,
    CLOSE_WAIT,
    CLOSING,
    CONNECTED,
    CWR,
    DELAYED_ACK,
    ECE,
    ECN_CE,
    ECN_IDLE,
    ESTABLISHED,
    FIN,
    FIN_WAIT_1,
    FIN_WAIT_2,
    FORK,
    G_NOW,
    G_PACKET_FREE,
    G_ROWS,
    L_PIPE_HEAD,
    L_REVERSE,
    LISTEN,
    P_ACK,
    P_CONN,
    P_ECHO,
    P_FLAGS,
    P_HOP,
    P_LEN,
    P_NEXT,
    P_O,
    P_SEQ,
    P_STAMP,
    P_T,
    RECEIVER_TIMER,
    RECEIVER_WAIT,
    ROW,
    RST,
    SEND,
    SENDER_TIMER,
    SENDER_WAIT,
    SYN,
    SYN_RCVD,
    SYN_SENT,
    T_ACKS_EVERY,
    T_WINDOW,
    TIME_WAIT,
    U_IS_LINUX,
    U_SYN_T,
    U_TRIP,
    cancel_timer,
    compiled,
    merged,
    order_for,
    push,
)
from midhaul.network.packet.tcp.ends import (
    RESEND_FIN,
    RESEND_SYN,
    SYN_TRIES,
    close_end,
    note_mark,
    note_round_trip,
    reset_and_close,
    send_empty,
    send_reset,
    wait_and_close,
)
from midhaul.network.packet.tcp.lifetime import FIRST_WINDOW, leave_if_still
from midhaul.network.packet.tcp.links import send_on
from midhaul.network.packet.tcp.linux.acks import came_twice
from midhaul.network.packet.tcp.linux.sender import (
    open_linux,
    receive_linux,
    ring_linux,
    send_linux,
    under_way,
)
from midhaul.network.packet.tcp.rate import R_APP_LIMITED
from midhaul.network.packet.tcp.receiver import (
    delayed_ack,
    receive_data,
    receive_fin,
)
from midhaul.network.packet.tcp.scoreboard import in_flight
from midhaul.network.packet.tcp.sender import (
    receive_ack,
    send_what_fits,
    set_state,
    time_out,
    update_pacing,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import (
        Cells,
        FloatCells,
        Heap,
    )

FULL_WINDOW = 1 << 28
"""What a receiver advertises once the connection is open."""
_32 = 0xFFFFFFFF
_PLAIN = 0xFF & ~(ECE | CWR)
_FLAGS = 0xFF


# ---- a connection begins and ends ----------------------------------------------------


@merged
def _send_syn_ack(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    has_ecn = m[c + C_ECT] != 0
    send_empty(m, mf, h, t, tm, f, c, 1, SYN | ACK | (ECE if has_ecn else 0))
    if has_ecn:
        m[c + C_ECN + 1] = ECN_IDLE


@merged
def fork_receiver(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Answer a SYN."""
    m[c + C_RCV + 1] = 1
    m[c + C_STATE + 1] = SYN_RCVD
    m[c + C_SYNS + 1] = SYN_TRIES
    _send_syn_ack(m, mf, h, t, tm, f, c)


@merged
def hand_over(m: Cells, h: Heap, c: int) -> None:
    """The application gives all bytes to the sender, which sends 1 ns later."""
    if m[c + C_ALIVE] == 0:
        return
    m[c + C_APP_SENT] = 1
    if m[c + C_CONGESTION] == BBR and m[c + C_END] - 1 < m[c + C_MSS]:
        m[c + C_ALGORITHM + R_APP_LIMITED] = 1
    order = order_for(m, SEND, c)
    m[c + C_SEND_ORDER] = order
    m[c + C_EVENTS] += 1
    push(h, m, m[G_NOW] + 1, order)


@compiled
def take_ack(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    p: int,
) -> None:
    """Let a sender take an ACK in, in the ways of its stack."""
    if m[c + C_LINUX + U_IS_LINUX] != 0:
        receive_linux(m, mf, h, t, tm, f, c, p)
    else:
        receive_ack(m, mf, h, t, tm, f, c, p)


@compiled
def send_on_time(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Let a sender send what it may, in the ways of its stack."""
    if m[c + C_LINUX + U_IS_LINUX] != 0:
        send_linux(m, mf, h, t, tm, f, c)
    else:
        send_what_fits(m, mf, h, t, tm, f, c)


# ---- a packet arrives ----------------------------------------------------------------


@merged
def _is_out_of_range(m: Cells, c: int, end: int, seq: int, length: int) -> bool:
    """Whether an end has no use for data."""
    state, expected = m[c + C_STATE + end], m[c + C_RCV + end]
    if state == LISTEN or state in (SYN_SENT, SYN_RCVD):
        return False
    if state in (CLOSING, CLOSE_WAIT):
        return expected != seq
    return seq + length < expected


@merged
def _answered(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int, p: int
) -> None:
    """A sender that waits for a SYN-ACK receives something."""
    flags = m[p + P_FLAGS] & _FLAGS
    if flags & ACK and flags & SYN == 0:
        return
    if flags & SYN and m[p + P_ACK] == m[c + C_NXT] + 1:
        set_state(m, mf, c, CA_OPEN, 0)
        m[c + C_STATE] = ESTABLISHED
        cancel_timer(m, c, SENDER_TIMER)
        m[c + C_RCV] = m[p + P_SEQ] + 1
        m[c + C_NXT] += 1
        m[c + C_HIGH] = m[c + C_NXT]
        m[c + C_UNA] = m[c + C_NXT]
        if m[c + C_LINUX + U_IS_LINUX] != 0:
            open_linux(m, c)
        else:
            update_pacing(m, c)
        send_empty(m, mf, h, t, tm, f, c, 0, ACK)
        if m[c + C_ECT] != 0 and flags & (CWR | ECE) == ECE:
            m[c + C_ECN] = ECN_IDLE
        m[c + C_EVENTS] += 1
        push(h, m, m[G_NOW], order_for(m, CONNECTED, c))
        return
    if flags & RST == 0:
        reset_and_close(m, mf, h, t, tm, f, c, 0)
        return
    close_end(m, f, c, 0, False)  # noqa: FBT003


@merged
def _accepted(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int, p: int
) -> None:
    """A receiver that waits for the last ACK of the handshake receives something."""
    flags = m[p + P_FLAGS] & _PLAIN
    if flags == 0 or (flags == ACK and m[p + P_ACK] == m[c + C_NXT + 1] + 1):
        m[c + C_STATE + 1] = ESTABLISHED
        cancel_timer(m, c, RECEIVER_TIMER)
        m[c + C_NXT + 1] += 1
        m[c + C_DELAYED] = m[m[c + C_TRANSPORT] + T_ACKS_EVERY]
        u = c + C_LINUX
        m[u + U_TRIP] = m[G_NOW] - m[u + U_SYN_T + 1]
        if m[p + P_LEN] > 0:
            receive_data(m, mf, h, t, tm, f, c, p)
    elif flags == SYN:
        m[c + C_RCV + 1] = m[p + P_SEQ] + 1
        _send_syn_ack(m, mf, h, t, tm, f, c)
    elif flags == FIN | ACK:
        if m[p + P_SEQ] == m[c + C_RCV + 1]:
            cancel_timer(m, c, RECEIVER_TIMER)
            m[c + C_NXT + 1] += 1
            receive_fin(m, mf, h, t, tm, f, c, p)
    elif flags == RST:
        close_end(m, f, c, 1, False)  # noqa: FBT003
    else:
        reset_and_close(m, mf, h, t, tm, f, c, 1)


@merged
def _waits(  # noqa: C901, PLR0913, PLR0917
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
    """An end that has sent its FIN, or received the other's, receives something."""
    flags = m[p + P_FLAGS] & _PLAIN
    ack = m[p + P_ACK]
    if flags == ACK:
        if end == 0:
            take_ack(m, mf, h, t, tm, f, c, p)
            is_all = m[c + C_UNA] >= m[c + C_END] and ack == m[c + C_HIGH] + 1
            if m[c + C_STATE] == FIN_WAIT_1 and is_all:
                m[c + C_STATE] = FIN_WAIT_2
        elif ack > m[c + C_NXT + 1]:
            m[c + C_NXT + 1] = ack
            cancel_timer(m, c, RECEIVER_TIMER)
    elif flags & RST:
        close_end(m, f, c, end, False)  # noqa: FBT003
        return
    elif flags & SYN:
        return
    elif flags & FIN and end == 0:
        take_ack(m, mf, h, t, tm, f, c, p)
        m[c + C_RCV] = max(m[c + C_RCV], m[p + P_SEQ] + 1)
    state = m[c + C_STATE]
    if end != 0 or m[c + C_RCV] < 2:  # noqa: PLR2004 - 2 is beyond the FIN
        return
    if state == FIN_WAIT_1:
        m[c + C_STATE] = CLOSING
        if m[c + C_UNA] >= m[c + C_END] and ack == m[c + C_HIGH] + 1:
            wait_and_close(m, t, tm, c, 0)
    elif state == FIN_WAIT_2:
        wait_and_close(m, t, tm, c, 0)
    else:
        return
    send_empty(m, mf, h, t, tm, f, c, 0, ACK)


@merged
def _closes(  # noqa: PLR0913, PLR0917
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
    """An end that waits for the ACK of its FIN only receives something."""
    flags = m[p + P_FLAGS] & _FLAGS
    if flags == ACK:
        if m[p + P_SEQ] == m[c + C_RCV + end]:
            wait_and_close(m, t, tm, c, end)
        return
    if flags & RST:
        close_end(m, f, c, end, False)  # noqa: FBT003
    elif flags & FIN and flags & (ECE | CWR | SYN) == 0:
        send_empty(m, mf, h, t, tm, f, c, end, ACK)
        close_end(m, f, c, end, False)  # noqa: FBT003
    else:
        reset_and_close(m, mf, h, t, tm, f, c, end)


@merged
def _established(  # noqa: PLR0913, PLR0917
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
    """An end of an open connection receives something."""
    flags = m[p + P_FLAGS] & _PLAIN
    if flags == ACK:
        if end == 1:
            if m[p + P_LEN] > 0:
                receive_data(m, mf, h, t, tm, f, c, p)
        elif m[p + P_ACK] > m[c + C_HIGH]:
            send_empty(m, mf, h, t, tm, f, c, 0, ACK)
        elif m[p + P_ACK] >= m[c + C_UNA]:
            take_ack(m, mf, h, t, tm, f, c, p)
    elif flags & SYN:
        return
    elif flags & RST:
        close_end(m, f, c, end, False)  # noqa: FBT003
    elif end == 1:
        receive_fin(m, mf, h, t, tm, f, c, p)


@merged
def _note_header(m: Cells, c: int, end: int, p: int) -> None:
    """Take in what the header of a packet says of windows and times."""
    flags = m[p + P_FLAGS]
    seq = m[p + P_SEQ]
    if flags & (SYN | ACK) == 0:
        return
    if seq == m[c + C_RCV + end] and seq <= m[c + C_HIGH_TX_ACK + end]:
        m[c + C_ECHO + end] = m[p + P_STAMP]
    is_linux = m[c + C_LINUX + U_IS_LINUX] != 0
    if flags & ACK and (end != 0 or not is_linux):
        note_round_trip(m, c, end, m[p + P_ACK], m[p + P_ECHO])
    if end != 0 or is_linux:
        return
    if flags & SYN:
        m[c + C_RWND] = FIRST_WINDOW
        m[c + C_CWND] = m[m[c + C_TRANSPORT] + T_WINDOW] * m[c + C_MSS]
        m[c + C_SSTHRESH] = _32
        m[c + C_HIGH_RX_ACK] = m[p + P_ACK]
    else:
        m[c + C_RWND] = FULL_WINDOW
        m[c + C_HIGH_RX_ACK] = max(m[c + C_HIGH_RX_ACK], m[p + P_ACK])


@merged
def deliver(  # noqa: C901, PLR0912
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, p: int
) -> None:
    """Let the end that a packet is for receive it."""
    c, flags = m[p + P_CONN], m[p + P_FLAGS]
    end = 0 if flags & BACK else 1
    if m[c + C_ALIVE + end] == 0:
        if flags & RST == 0:
            send_reset(m, mf, h, f, c, end, p)
        return
    length = m[p + P_LEN]
    if length > 0 and _is_out_of_range(m, c, end, m[p + P_SEQ], length):
        if m[c + C_LINUX + U_IS_LINUX] != 0 and end == 1:
            came_twice(m, mf, h, t, tm, f, c)
        else:
            send_empty(m, mf, h, t, tm, f, c, end, ACK)
        return
    if m[c + C_ECT] != 0 and m[c + C_LINUX + U_IS_LINUX] == 0:
        note_mark(m, mf, h, t, tm, f, c, end, p)
    state = m[c + C_STATE + end]
    if state == ESTABLISHED and flags & CWR and flags & RST == 0:  # noqa: SIM102
        if m[c + C_ECN + end] != ECN_CE:
            m[c + C_ECN + end] = ECN_IDLE
    _note_header(m, c, end, p)
    if state == ESTABLISHED:
        _established(m, mf, h, t, tm, f, c, end, p)
    elif state == LISTEN:
        if flags & _PLAIN == SYN:
            m[c + C_EVENTS] += 1
            push(h, m, m[G_NOW], order_for(m, FORK, c))
    elif state == SYN_SENT:
        _answered(m, mf, h, t, tm, f, c, p)
    elif state == SYN_RCVD:
        _accepted(m, mf, h, t, tm, f, c, p)
    elif state == CLOSING:
        _closes(m, mf, h, t, tm, f, c, end, p)
    elif state != TIME_WAIT:
        _waits(m, mf, h, t, tm, f, c, end, p)


@compiled
def note_row(m: Cells, c: int, rows: Heap) -> None:
    """Note how a watched flow fares."""
    n = m[G_ROWS]
    m[G_ROWS] = n + 1
    at = n * ROW
    rows[at] = m[G_NOW]
    rows[at + 1] = m[c + C_FLOW]
    rows[at + 2] = m[c + C_CWND]
    is_paced = m[c + C_PACING] != 0
    rows[at + 3] = m[c + C_PACE_RATE] if is_paced else -1
    if m[c + C_LINUX + U_IS_LINUX] != 0:
        rows[at + 4] = under_way(m, c) * m[c + C_MSS]
    else:
        rows[at + 4] = in_flight(m, c)
    rows[at + 5] = max(min(m[c + C_UNA], m[c + C_END]) - 1, 0)


@merged
def arrive(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    link: int,
    rows: Heap,
) -> None:
    """The first packet under way on a link arrives."""
    p = m[link + L_PIPE_HEAD]
    following = m[p + P_NEXT]
    m[link + L_PIPE_HEAD] = following
    if following != 0:
        push(h, m, m[following + P_T], m[following + P_O])
    c, hop = m[p + P_CONN], m[p + P_HOP]
    if m[p + P_FLAGS] & BACK:
        if hop > m[c + C_FIRST]:
            m[p + P_HOP] = hop - 1
            send_on(m, mf, h, f, m[f[hop - 1] + L_REVERSE], p)
            leave_if_still(m, f, c)
            return
    elif hop < m[c + C_LAST]:
        m[p + P_HOP] = hop + 1
        send_on(m, mf, h, f, f[hop + 1], p)
        leave_if_still(m, f, c)
        return
    deliver(m, mf, h, t, tm, f, p)
    if m[c + C_WATCHED] != 0 and m[p + P_FLAGS] & BACK:
        note_row(m, c, rows)
    m[c + C_PACKETS] -= 1
    m[p + P_NEXT] = m[G_PACKET_FREE]
    m[G_PACKET_FREE] = p
    leave_if_still(m, f, c)


# ---- the loop ------------------------------------------------------------------------


@merged
def ring_timer(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    kind: int,
    c: int,
) -> None:
    """A timer rings."""
    if kind == DELAYED_ACK:
        delayed_ack(m, mf, h, t, tm, f, c)
    elif kind in (SENDER_WAIT, RECEIVER_WAIT):
        close_end(m, f, c, kind - SENDER_WAIT, False)  # noqa: FBT003
    else:
        end = 0 if kind == SENDER_TIMER else 1
        has_ecn = m[c + C_ECT] != 0
        what = m[c + C_KIND + end]
        if what == RESEND_SYN and end == 0:
            send_empty(m, mf, h, t, tm, f, c, 0, SYN | (ECE | CWR if has_ecn else 0))
        elif what == RESEND_SYN:
            send_empty(m, mf, h, t, tm, f, c, 1, SYN | ACK | (ECE if has_ecn else 0))
        elif what == RESEND_FIN:
            send_empty(m, mf, h, t, tm, f, c, end, FIN)
        elif m[c + C_LINUX + U_IS_LINUX] != 0:
            ring_linux(m, mf, h, t, tm, f, c)
        else:
            time_out(m, mf, h, t, tm, f, c)
    leave_if_still(m, f, c)


@merged
def happen(  # noqa: PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    kind: int,
    c: int,
    order: int,
) -> None:
    """Something that was put off happens at a connection."""
    m[c + C_EVENTS] -= 1
    if kind == FORK:
        fork_receiver(m, mf, h, t, tm, f, c)
    elif kind == CONNECTED:
        hand_over(m, h, c)
    elif kind == SEND:
        if m[c + C_SEND_ORDER] == order:
            m[c + C_SEND_ORDER] = 0
            send_on_time(m, mf, h, t, tm, f, c)
    elif m[c + C_PACE_ORDER] == order:
        m[c + C_PACE_ORDER] = 0
        send_on_time(m, mf, h, t, tm, f, c)
    leave_if_still(m, f, c)
