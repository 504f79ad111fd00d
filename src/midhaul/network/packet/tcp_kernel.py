"""The loop over the events of the TCP simulator, and the states of its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.events import (
    HAS_HOLE,
    HEAP_SIZE,
    kind_of,
    object_of,
)
from midhaul.network.packet.tcp_arena import (
    ACK,
    ARRIVE,
    BACK,
    BBR,
    BEGIN,
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
    C_FIRST_PARTIAL,
    C_FLOW,
    C_HIGH,
    C_HIGH_RX_ACK,
    C_HIGH_SACK_I,
    C_HIGH_TX_ACK,
    C_KIND,
    C_LAST,
    C_MASK,
    C_MIN_RTT,
    C_MSS,
    C_NEXT,
    C_NXT,
    C_PACE_ORDER,
    C_PACE_RATE,
    C_PACING,
    C_PACKETS,
    C_RCV,
    C_RING,
    C_RWND,
    C_SEGMENTS,
    C_SEND_ORDER,
    C_SRTT,
    C_SSTHRESH,
    C_STATE,
    C_STRIDE,
    C_SYNS,
    C_TIMER,
    C_TRANSPORT,
    C_TRIES,
    C_UNA,
    C_WATCHED,
    CA_OPEN,
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    CONNECTED,
    CWR,
    DCTCP,
    DELAYED_ACK,
    ECE,
    ECN_CE,
    ECN_IDLE,
    ESTABLISHED,
    F_BEGAN,
    F_FIRST,
    F_FLAGS,
    F_HOPS,
    F_SIZE,
    F_START,
    F_TRANSPORT,
    F_WATCHED,
    FIN,
    FIN_WAIT_1,
    FIN_WAIT_2,
    FORK,
    FREE,
    G_BUMP,
    G_CONN_FREE,
    G_EVENTS,
    G_HEAP,
    G_HOLE,
    G_LINKS,
    G_MAX_WINDOW,
    G_MIN_SEGMENT,
    G_MOST_DEPENDENTS,
    G_N_FLOWS,
    G_N_LINKS,
    G_N_SAMPLES,
    G_N_STARTS,
    G_NEXT_FLOW,
    G_NEXT_SAMPLE,
    G_NOW,
    G_ORDER,
    G_ORDER_ROWS,
    G_OVER,
    G_PACKET_FREE,
    G_ROWS,
    G_SAMPLE_NS,
    G_UNTIL,
    L_PIPE_HEAD,
    L_REVERSE,
    L_WAITING,
    LISTEN,
    N_C,
    N_F,
    N_L,
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
    T_CONGESTION,
    T_PACED,
    T_SEGMENT,
    T_WINDOW,
    TIME_WAIT,
    WAKE,
    cancel_timer,
    compiled,
    drop_ring,
    entry,
    inlined,
    merged,
    order_for,
    pointer,
    push,
    rings,
    settle,
    take_cells,
    take_ring,
)
from midhaul.network.packet.tcp_bbr import FOREVER, MOST_RATE
from midhaul.network.packet.tcp_congestion import begin_congestion
from midhaul.network.packet.tcp_ends import (
    RESEND_FIN,
    RESEND_SYN,
    SYN_TRIES,
    close_end,
    note_mark,
    note_over,
    note_round_trip,
    reset_and_close,
    send_empty,
    send_reset,
    wait_and_close,
)
from midhaul.network.packet.tcp_links import end_sending, run_queue, send_on
from midhaul.network.packet.tcp_rate import R_APP_LIMITED, STRIDE
from midhaul.network.packet.tcp_receiver import (
    delayed_ack,
    receive_data,
    receive_fin,
)
from midhaul.network.packet.tcp_scoreboard import in_flight
from midhaul.network.packet.tcp_sender import (
    receive_ack,
    send_what_fits,
    set_state,
    time_out,
    update_pacing,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp_arena import (
        Array,
        Cells,
        FloatArray,
        FloatCells,
        Heap,
    )

FULL_WINDOW = 1 << 28
FIRST_WINDOW = 65535
"""What a receiver advertises: without a factor in SYN and SYN-ACK, and after that."""
FIRST_RTT = 1_000_000_000
RING = 16
_32 = 0xFFFFFFFF
_PLAIN = 0xFF & ~(ECE | CWR)
_FLAGS = 0xFF

SPENT, DONE, NO_ROOM, NO_HEAP, NO_TIMERS, NO_ROWS, NO_SAMPLES = range(7)
"""Why the loop was left: events are spent, all is done, or an array is too short."""


# ---- a connection begins and ends ----------------------------------------------------


@compiled
def begin_flow(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, flow: int
) -> None:
    """Open the connection of a flow."""
    c = m[G_CONN_FREE]
    if c != 0:
        m[G_CONN_FREE] = m[c + C_NEXT]
        for i in range(c, c + N_C):
            m[i] = 0
    else:
        c = take_cells(m, N_C)
    at = flow * N_F
    f[at + F_BEGAN] = m[G_NOW]
    transport = f[at + F_TRANSPORT]
    mss = m[transport + T_SEGMENT]
    m[c + C_FLOW] = flow
    m[c + C_FIRST] = f[at + F_FIRST]
    m[c + C_LAST] = f[at + F_FIRST] + f[at + F_HOPS] - 1
    m[c + C_TRANSPORT] = transport
    m[c + C_CONGESTION] = m[transport + T_CONGESTION]
    m[c + C_MSS] = mss
    m[c + C_END] = 1 + f[at + F_SIZE]
    m[c + C_SEGMENTS] = (f[at + F_SIZE] + mss - 1) // mss
    m[c + C_ECT] = 1 if m[transport + T_CONGESTION] == DCTCP else 0
    m[c + C_WATCHED] = 1 if f[at + F_FLAGS] & F_WATCHED else 0
    m[c + C_STRIDE] = STRIDE if m[transport + T_CONGESTION] == BBR else 1
    m[c + C_RING] = take_ring(m, c, RING)
    m[c + C_MASK] = RING - 1
    for end in range(2):
        m[c + C_ALIVE + end] = 1
        m[c + C_SRTT + end] = FIRST_RTT
        m[c + C_SYNS + end] = SYN_TRIES
    for i in range(5):
        m[c + C_TIMER + 4 * i] = -1
        m[c + C_TIMER + 4 * i + 2] = -1
    m[c + C_STATE + 1] = LISTEN
    m[c + C_TRIES] = SYN_TRIES
    m[c + C_RWND] = FIRST_WINDOW
    m[c + C_CWND] = m[transport + T_WINDOW] * mss
    m[c + C_SSTHRESH] = _32
    m[c + C_HIGH_SACK_I] = -1
    m[c + C_FIRST_PARTIAL] = 1
    m[c + C_MIN_RTT] = FOREVER
    m[c + C_PACING] = m[transport + T_PACED]
    m[c + C_PACE_RATE] = MOST_RATE
    begin_congestion(m, mf, c)
    m[G_MAX_WINDOW] = max(m[G_MAX_WINDOW], min(m[c + C_CWND], m[c + C_END]))
    m[c + C_STATE] = CLOSED
    send_empty(m, mf, h, t, tm, f, c, 0, SYN | (ECE | CWR if m[c + C_ECT] != 0 else 0))
    m[c + C_STATE] = SYN_SENT


@compiled
def leave_if_still(m: Cells, f: Cells, c: int) -> None:
    """Let a connection go at which nothing can happen any more."""
    if m[c + C_PACKETS] != 0 or m[c + C_EVENTS] != 0 or m[c + C_FLOW] < 0:
        return
    for i in range(5):
        if m[c + C_TIMER + 4 * i] >= 0:
            return
    note_over(m, f, m[c + C_FLOW])
    drop_ring(m, c)
    for i in range(5):
        m[c + C_TIMER + 4 * i + 2] = -1
        m[c + C_TIMER + 4 * i + 3] = -1
    m[c + C_FLOW] = -1
    m[c + C_NEXT] = m[G_CONN_FREE]
    m[G_CONN_FREE] = c


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
            receive_ack(m, mf, h, t, tm, f, c, p)
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
        receive_ack(m, mf, h, t, tm, f, c, p)
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
            receive_ack(m, mf, h, t, tm, f, c, p)
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
    if flags & ACK:
        note_round_trip(m, c, end, m[p + P_ACK], m[p + P_ECHO])
    if end != 0:
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
        send_empty(m, mf, h, t, tm, f, c, end, ACK)
        return
    if m[c + C_ECT] != 0:
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
            send_what_fits(m, mf, h, t, tm, f, c)
    elif m[c + C_PACE_ORDER] == order:
        m[c + C_PACE_ORDER] = 0
        send_what_fits(m, mf, h, t, tm, f, c)
    leave_if_still(m, f, c)


@compiled
def _sample(m: Cells, samples: Heap, n_samples: int, now: int) -> bool:
    """Note the queues at the times until now; False where there is no more room."""
    width = m[G_N_LINKS] + 1
    while m[G_NEXT_SAMPLE] <= now:
        n = m[G_N_SAMPLES]
        if n >= n_samples:
            return False
        samples[n * width] = m[G_NEXT_SAMPLE]
        for i in range(m[G_N_LINKS]):
            samples[n * width + 1 + i] = m[m[G_LINKS] + i * N_L + L_WAITING]
        m[G_N_SAMPLES] = n + 1
        m[G_NEXT_SAMPLE] += m[G_SAMPLE_NS]
    return True


@inlined
def _lacks(m: Cells, tm: Cells, end_of_room: int, n_h: int, n_t: int, n_r: int) -> int:
    """What is too short for another event; SPENT where nothing is."""
    if m[G_BUMP] > end_of_room:
        return NO_ROOM
    if m[G_HEAP] + 64 > n_h:
        return NO_HEAP
    if tm[HEAP_SIZE] + 64 + m[G_MOST_DEPENDENTS] > n_t:
        return NO_TIMERS
    return NO_ROWS if m[G_ROWS] >= n_r else SPENT


@merged
def _work(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - the loop
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    rows: Heap,
    samples: Heap,
    n_m: int,
    n_h: int,
    n_t: int,
    n_r: int,
    n_s: int,
    n_events: int,
) -> int:
    """Work through so many events; why it stopped."""
    window = -1
    end_of_room = 0
    for _ in range(n_events):
        if m[G_MAX_WINDOW] != window:
            window = m[G_MAX_WINDOW]
            most = 2 * (window // m[G_MIN_SEGMENT]) + 256
            end_of_room = n_m - 48 * most - 4096
        n_heap = settle(h, m) if m[G_HOLE] != 0 else m[G_HEAP]
        n_timers = settle(t, tm) if tm[HAS_HOLE] != 0 else tm[HEAP_SIZE]
        if m[G_OVER] >= m[G_N_FLOWS]:
            return DONE
        why = _lacks(m, tm, end_of_room, n_h, n_t, n_r)
        if why != SPENT:
            return why
        begins, flow = FOREVER, 0
        if m[G_NEXT_FLOW] < m[G_N_STARTS]:
            flow = f[m[G_ORDER_ROWS] + m[G_NEXT_FLOW]]
            begins = f[flow * N_F + F_START]
        at = h[0] if n_heap > 0 else FOREVER
        rings_at = t[0] if n_timers > 0 else FOREVER
        now = min(begins, min(at, rings_at))  # noqa: PLW3301 - for numba
        if now == FOREVER:
            return DONE
        if now > m[G_UNTIL]:
            m[G_NOW] = m[G_UNTIL]
            return DONE
        if now >= m[G_NEXT_SAMPLE] and not _sample(m, samples, n_s, now):
            return NO_SAMPLES
        m[G_NOW] = now
        m[G_EVENTS] += 1
        if begins == now:
            m[G_NEXT_FLOW] += 1
            m[G_ORDER] = 0
            begin_flow(m, mf, h, t, tm, f, flow)
        elif at < rings_at or (at == rings_at and h[1] < t[1]):
            order = h[1]
            kind, index = kind_of(order), object_of(order) << 3
            m[G_HOLE] = 1
            m[G_ORDER] = order
            if kind == ARRIVE:
                arrive(m, mf, h, t, tm, f, index, rows)
            elif kind == FREE:
                end_sending(m, h, f, index, min(begins, rings_at))
            elif kind == WAKE:
                run_queue(m, h, f, index)
            else:
                happen(m, mf, h, t, tm, f, kind, index, order)
        else:
            order = t[1]
            kind, index = kind_of(order), object_of(order) << 3
            tm[HAS_HOLE] = 1
            m[G_ORDER] = order
            if kind == BEGIN:
                begin_flow(m, mf, h, t, tm, f, index >> 3)
            elif rings(m, t, tm, index, kind, order):
                ring_timer(m, mf, h, t, tm, f, kind, index)
    return SPENT


@entry
def advance(  # noqa: PLR0913, PLR0917 - flat arrays
    m: Array,
    mf: FloatArray,
    h: Array,
    t: Array,
    tm: Array,
    f: Array,
    rows: Array,
    samples: Array,
    n_events: int,
) -> int:
    """Work through so many events; why it stopped."""
    n_rows, n_samples = len(rows) // ROW, len(samples) // (m[G_N_LINKS] + 1)
    return _work(
        pointer(m),
        pointer(mf),
        pointer(h),
        pointer(t),
        pointer(tm),
        pointer(f),
        pointer(rows),
        pointer(samples),
        len(m),
        len(h) // 2,
        len(t) // 2,
        n_rows,
        n_samples,
        n_events,
    )
