"""The sender of a TCP flow: what it sends, and what an ACK or a time-out makes it do.

As ns-3.37, with SACK (RFC 6675), PRR (6937), time-outs (6298) and ECN (3168), but:

1. A duplicate ACK is one that newly sacks something. In CWR it starts no recovery, and
   in Loss it is ignored.
2. The first retransmission of a recovery is not bound by the window.
3. The timer is set anew at the first partial ACK of a recovery only.
4. Round trips are whole milliseconds, from time stamps; below one they are 1 us. Less
   than a segment is sent only if it is all that is left.
5. A SYN-ACK that comes again sets window and threshold back to what they were at first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    ACK,
    BBR,
    C_ALGORITHM,
    C_ALIVE,
    C_APP_SENT,
    C_CONG,
    C_CONGESTION,
    C_CWND,
    C_CWR_SEQ,
    C_DUPS,
    C_ECHO_SEQ,
    C_ECN,
    C_ECT,
    C_END,
    C_EVENTS,
    C_FIRST_PARTIAL,
    C_FLIGHT,
    C_FLOW,
    C_HIGH,
    C_HIGH_RX_ACK,
    C_KIND,
    C_LAST_ACKED,
    C_LAST_RTT,
    C_LOST,
    C_MIN_RTT,
    C_MSS,
    C_NXT,
    C_PACE_ORDER,
    C_PACE_RATE,
    C_PACING,
    C_PRR_OUT,
    C_RCV,
    C_RECOVER,
    C_RECOVERING,
    C_REMAINDER,
    C_RETRANS_ACKED,
    C_RTO,
    C_RWND,
    C_SENT_I,
    C_SSTHRESH,
    C_STATE,
    C_SYN_SAMPLE,
    C_TRANSPORT,
    C_TRIES,
    C_UNA,
    C_UNA_I,
    CA_CWR,
    CA_DISORDER,
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    CLOSED,
    CLOSING,
    CWR,
    ECE,
    ECN_CWR,
    ECN_ECE,
    ECN_IDLE,
    ECN_OFF,
    ECT,
    ESTABLISHED,
    F_RETRANSMITTED,
    FIN,
    FIN_WAIT_1,
    G_MAX_WINDOW,
    G_NOW,
    N_F,
    P_ACK,
    P_BLOCK,
    P_BLOCKS,
    P_FLAGS,
    P_LEN,
    P_SEQ,
    P_SIZE,
    PACE,
    RETRANS_BIT,
    SENDER_TIMER,
    SYN_RCVD,
    T_WINDOW,
    TIME_WAIT,
    cancel_timer,
    compiled,
    inlined,
    is_set,
    merged,
    order_for,
    push,
    segment_at,
    set_timer,
    take_packet,
)
from midhaul.network.packet.tcp.bbr import (
    MOST_RATE,
    bbr_control,
    bbr_recovered,
    bbr_restart,
    bbr_save,
    bbr_state_set,
)
from midhaul.network.packet.tcp.congestion import (
    enter_recovery_step,
    increase,
    recovery_step,
    segments_acked,
    state_set,
    threshold_after,
)
from midhaul.network.packet.tcp.ends import (
    HEADER_BYTES,
    TIME_OUT,
    close_end,
    emit,
    send_empty,
    timeout_of,
)
from midhaul.network.packet.tcp.links import transmission_ns
from midhaul.network.packet.tcp.rate import R_DELIVERED, rate_sample, rate_sent
from midhaul.network.packet.tcp.scoreboard import (
    all_lost,
    any_arrived_again,
    discard,
    has_arrived_again,
    in_flight,
    is_lost,
    length_of,
    mark_head_lost,
    new_segment,
    next_to_send,
    note_lost,
    note_sacked,
    resend_segment,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap

DUPLICATES = 3
MOST_RTO = 60_000_000_000
_32 = 0xFFFFFFFF


@inlined
def note_flight(m: Cells, c: int) -> int:
    """Count what is under way, and let the algorithms see that number from now on."""
    flight = in_flight(m, c)
    m[c + C_FLIGHT] = flight
    return flight


@compiled
def set_state(m: Cells, mf: FloatCells, c: int, state: int, delivered: int) -> None:
    """Let the sender be in another state, after its algorithm was told."""
    if m[c + C_CONGESTION] == BBR:
        bbr_state_set(m, mf, c, state, delivered)
    else:
        state_set(m, c, state)
    m[c + C_CONG] = state


@compiled
def threshold_now(m: Cells, mf: FloatCells, c: int, flight: int) -> None:
    """Set the threshold as the network is found congested."""
    if m[c + C_CONGESTION] == BBR:
        bbr_save(m, c)
    else:
        m[c + C_SSTHRESH] = threshold_after(m, mf, c, flight)


@inlined
def _is_paced(m: Cells, c: int) -> bool:
    """True once segments are spread over time."""
    first = m[m[c + C_TRANSPORT] + T_WINDOW] * m[c + C_MSS]
    return m[c + C_PACING] != 0 and m[c + C_HIGH] > first


@compiled
def _start_pacing(m: Cells, h: Heap, c: int, size: int) -> None:
    """Let the next segment wait as long as this one takes at the pacing rate."""
    order = order_for(m, PACE, c)
    m[c + C_PACE_ORDER] = order
    m[c + C_EVENTS] += 1
    push(h, m, m[G_NOW] + transmission_ns(size, m[c + C_PACE_RATE]), order)


@compiled
def update_pacing(m: Cells, c: int) -> None:
    """Set the pacing rate of a sender whose algorithm leaves it to its window."""
    if m[c + C_CONGESTION] == BBR or m[c + C_PACING] == 0:
        return
    factor = 2.0 if m[c + C_CWND] < m[c + C_SSTHRESH] // 2 else 1.2
    bits = (max(m[c + C_CWND], m[c + C_FLIGHT]) * 8) & _32
    seconds = m[c + C_LAST_RTT] / 1e9
    if seconds <= 0.0:
        m[c + C_PACE_RATE] = MOST_RATE
        return
    m[c + C_PACE_RATE] = min(int(bits * factor / seconds), MOST_RATE)


@compiled
def send_segment(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    i: int,
) -> int:
    """Send a segment, for the first time or again; how many bytes it has."""
    is_first = note_flight(m, c) == 0
    size = length_of(m, c, i)
    seq = 1 + i * m[c + C_MSS]
    is_again = i < m[c + C_SENT_I]
    at = resend_segment(m, c, i) if is_again else new_segment(m, c)
    if m[c + C_CONGESTION] == BBR:
        rate_sent(m, c + C_ALGORITHM, at, is_first)
    if m[c + C_PACING] != 0 and m[c + C_PACE_ORDER] == 0 and _is_paced(m, c):
        _start_pacing(m, h, c, size)
    flags = ACK
    if m[c + C_ECT] != 0:
        flags |= ECT
        owes = m[c + C_ECN] == ECN_ECE and m[c + C_ECHO_SEQ] > m[c + C_CWR_SEQ]
        if owes and not is_again:
            m[c + C_ECN] = ECN_CWR
            m[c + C_CWR_SEQ] = seq
            flags |= CWR
    if seq + size == m[c + C_END]:
        flags |= FIN
        if m[c + C_STATE] == ESTABLISHED:
            m[c + C_STATE] = FIN_WAIT_1
    if not is_set(m, c, SENDER_TIMER):
        m[c + C_KIND] = TIME_OUT
        set_timer(m, t, tm, c, SENDER_TIMER, m[G_NOW] + m[c + C_RTO])
    p = take_packet(m)
    m[p + P_SEQ] = seq
    m[p + P_ACK] = m[c + C_RCV]
    m[p + P_LEN] = size
    m[p + P_SIZE] = size + HEADER_BYTES
    m[p + P_BLOCKS] = 0
    m[c + C_HIGH] = max(m[c + C_HIGH], seq + size)
    emit(m, mf, h, f, p, c, 0, flags)
    if m[c + C_CONG] == CA_RECOVERY or m[c + C_CONG] == CA_CWR:
        m[c + C_PRR_OUT] = (m[c + C_PRR_OUT] + size) & _32
    if is_again:
        f[m[c + C_FLOW] * N_F + F_RETRANSMITTED] += 1
    return size


@compiled
def send_what_fits(  # noqa: PLR0911
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Send segments while the window has room for them."""
    if m[c + C_APP_SENT] == 0 or m[c + C_UNA] >= m[c + C_END] or m[c + C_ALIVE] == 0:
        return
    mss = m[c + C_MSS]
    while True:
        window = min(m[c + C_RWND], m[c + C_CWND])
        room = window - note_flight(m, c)
        if room <= 0:
            return
        if m[c + C_PACING] != 0 and m[c + C_PACE_ORDER] != 0 and _is_paced(m, c):
            return
        cong = m[c + C_CONG]
        if cong == CA_OPEN and m[c + C_STATE] == FIN_WAIT_1:
            return
        i = next_to_send(m, c, cong == CA_RECOVERY)
        if i < 0:
            return
        seq = 1 + i * mss
        if room < mss and m[c + C_END] - seq > room:
            return
        m[c + C_NXT] = seq
        if m[c + C_FLIGHT] == 0 and m[c + C_CONGESTION] == BBR:
            bbr_restart(m, mf, c)
        size = send_segment(m, mf, h, t, tm, f, c, i)
        m[c + C_NXT] += size
        if m[c + C_PACING] != 0 and m[c + C_PACE_ORDER] == 0 and _is_paced(m, c):
            _start_pacing(m, h, c, size)
            return


@merged
def _resend_first(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Send what is to be sent next, or the first segment, whatever the window is."""
    i = next_to_send(m, c, False)  # noqa: FBT003
    if i < 0:
        i = m[c + C_UNA_I]
    m[c + C_NXT] = 1 + i * m[c + C_MSS]
    send_segment(m, mf, h, t, tm, f, c, i)


# ---- acknowledgements ----------------------------------------------------------------


@merged
def _enter_cwr(m: Cells, mf: FloatCells, c: int, delivered: int) -> None:
    """The network has marked: shrink to the threshold over a round trip."""
    threshold_now(m, mf, c, note_flight(m, c))
    m[c + C_CONG] = CA_CWR
    m[c + C_RECOVER] = m[c + C_HIGH]
    if m[c + C_CONGESTION] != BBR:
        enter_recovery_step(m, c, m[c + C_HIGH] - m[c + C_UNA], delivered)


@merged
def _enter_recovery(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    delivered: int,
) -> None:
    """Something is lost: send the first of it again."""
    head = m[c + C_UNA_I]
    if not is_lost(m, c, 1 + head * m[c + C_MSS]):
        mark_head_lost(m, c)
    m[c + C_RECOVER] = m[c + C_HIGH]
    m[c + C_RECOVERING] = 1
    set_state(m, mf, c, CA_RECOVERY, delivered)
    threshold_now(m, mf, c, note_flight(m, c))
    if m[c + C_CONGESTION] != BBR:
        enter_recovery_step(m, c, m[c + C_HIGH] - m[c + C_UNA], delivered)
    _resend_first(m, mf, h, t, tm, f, c)


@merged
def _duplicate(
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    delivered: int,
) -> None:
    """An ACK has sacked something."""
    cong = m[c + C_CONG]
    if cong == CA_LOSS:
        return
    if cong != CA_RECOVERY:
        m[c + C_DUPS] += 1
    if cong == CA_OPEN:
        set_state(m, mf, c, CA_DISORDER, delivered)
        cong = CA_DISORDER
    if cong == CA_RECOVERY:
        if m[c + C_CONGESTION] != BBR:
            recovery_step(m, c, delivered)
    elif cong == CA_DISORDER:
        high = m[c + C_HIGH_RX_ACK]
        may = high >= m[c + C_RECOVER] or m[c + C_RECOVERING] == 0
        if (m[c + C_DUPS] == DUPLICATES and may) or is_lost(m, c, high + m[c + C_MSS]):
            _enter_recovery(m, mf, h, t, tm, f, c, delivered)


@compiled
def _acked(m: Cells, t: Heap, tm: Cells, c: int, ack: int, restarts: bool) -> None:  # noqa: FBT001
    """Something new was acknowledged: set the timer anew."""
    m[c + C_TRIES] = 6
    if m[c + C_STATE] != SYN_RCVD and restarts:
        m[c + C_RTO] = timeout_of(m, c, 0)
        m[c + C_KIND] = TIME_OUT
        set_timer(m, t, tm, c, SENDER_TIMER, m[G_NOW] + m[c + C_RTO])
    m[c + C_NXT] = max(m[c + C_NXT], ack)
    state = m[c + C_STATE]
    if m[c + C_UNA] >= m[c + C_END] and state not in (FIN_WAIT_1, CLOSING):
        cancel_timer(m, c, SENDER_TIMER)


@merged
def _open_or_leave(  # noqa: C901, PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    t: Heap,
    tm: Cells,
    c: int,
    ack: int,
    n: int,
    dups: int,
    is_dup: bool,  # noqa: FBT001
    old: int,
) -> None:
    """Something new was acknowledged in Open or Disorder, or recovery is over."""
    cong = m[c + C_CONG]
    has_recovered = False
    if cong == CA_OPEN:
        segments_acked(m, mf, c, n)
    elif cong == CA_DISORDER:
        if n >= dups:
            segments_acked(m, mf, c, n - dups)
        if not is_dup:
            set_state(m, mf, c, CA_OPEN, 0)
    elif cong == CA_RECOVERY:
        m[c + C_FIRST_PARTIAL] = 1
        n = (ack - old) // m[c + C_MSS]
        segments_acked(m, mf, c, n)
        if m[c + C_CONGESTION] == BBR:
            bbr_recovered(m, c)
        set_state(m, mf, c, CA_OPEN, 0)
        has_recovered = True
        m[c + C_DUPS] = 0
    elif cong == CA_LOSS:
        m[c + C_FIRST_PARTIAL] = 1
        n = (ack - m[c + C_RECOVER]) // m[c + C_MSS]
        segments_acked(m, mf, c, n)
        set_state(m, mf, c, CA_OPEN, 0)
    if ack >= m[c + C_RECOVER]:
        m[c + C_RECOVERING] = 0
    if has_recovered:
        _acked(m, t, tm, c, ack, True)  # noqa: FBT003
        m[c + C_CWND] = m[c + C_SSTHRESH]
    if m[c + C_CONG] == CA_OPEN:
        increase(m, mf, c, n)
        _acked(m, t, tm, c, ack, True)  # noqa: FBT003


@merged
def _take_ack(  # noqa: C901, PLR0912, PLR0913, PLR0917
    m: Cells,
    mf: FloatCells,
    h: Heap,
    t: Heap,
    tm: Cells,
    f: Cells,
    c: int,
    ack: int,
    is_dup: bool,  # noqa: FBT001
    delivered: int,
    old: int,
) -> None:
    """Let window and state follow an ACK whose segments are counted."""
    dups = m[c + C_DUPS]
    m[c + C_LAST_ACKED] = ack
    if is_dup:
        _duplicate(m, mf, h, t, tm, f, c, delivered)
    if ack == old:
        if ack == m[c + C_HIGH]:
            return
        if ack > m[c + C_HIGH]:
            m[c + C_NXT] = ack
        else:
            segments_acked(m, mf, c, 1)
        update_pacing(m, c)
        return
    mss = m[c + C_MSS]
    n = (ack - old) // mss
    m[c + C_REMAINDER] += ack - old - n * mss
    if m[c + C_REMAINDER] >= mss:
        n += 1
        m[c + C_REMAINDER] -= mss
    if not is_dup:
        m[c + C_DUPS] = 0
    cong = m[c + C_CONG]
    has_prr = m[c + C_CONGESTION] != BBR
    if cong == CA_RECOVERY and ack < m[c + C_RECOVER]:
        if has_prr and n >= 1:
            recovery_step(m, c, delivered)
        if not has_arrived_again(m, c, ack + mss):
            _resend_first(m, mf, h, t, tm, f, c)
        segments_acked(m, mf, c, 1)
        _acked(m, t, tm, c, ack, m[c + C_FIRST_PARTIAL] != 0)
        m[c + C_FIRST_PARTIAL] = 0
    elif cong == CA_LOSS and ack < m[c + C_RECOVER]:
        segments_acked(m, mf, c, n)
        increase(m, mf, c, n)
        _acked(m, t, tm, c, ack, True)  # noqa: FBT003
    elif cong == CA_CWR:
        segments_acked(m, mf, c, n)
        if has_prr and n >= 1:
            recovery_step(m, c, delivered)
        _acked(m, t, tm, c, ack, True)  # noqa: FBT003
    else:
        _open_or_leave(m, mf, t, tm, c, ack, n, dups, is_dup, old)
    update_pacing(m, c)


@merged
def _take_echo(m: Cells, mf: FloatCells, c: int, p: int, old: int, given: int) -> None:
    """Let the sender follow what an ACK says of marks."""
    ack = m[p + P_ACK]
    has_echo = m[p + P_FLAGS] & ECE != 0
    if ack > old and m[c + C_ECN] != ECN_OFF and has_echo:
        if m[c + C_ECHO_SEQ] < ack:
            m[c + C_ECHO_SEQ] = ack
            m[c + C_ECN] = ECN_ECE
            if m[c + C_CONG] != CA_CWR:
                _enter_cwr(m, mf, c, given)
    elif m[c + C_ECN] == ECN_ECE and not has_echo:
        m[c + C_ECN] = ECN_IDLE


@compiled
def receive_ack(  # noqa: C901
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
    r = c + C_ALGORITHM
    is_bbr = m[c + C_CONGESTION] == BBR
    lost_before, flight_before = m[c + C_LOST], m[c + C_FLIGHT]
    given_before = m[r + R_DELIVERED] if is_bbr else 0
    sacked = 0
    for i in range(m[p + P_BLOCKS]):
        at = p + P_BLOCK + 2 * i
        sacked += note_sacked(m, c, m[at], m[at + 1])
    if sacked > 0:
        note_lost(m, c)
    ack, old = m[p + P_ACK], m[c + C_UNA]
    if ack < old:
        return
    mss = m[c + C_MSS]
    if ack > old and ack < m[c + C_RECOVER] and m[c + C_CONG] == CA_RECOVERY:  # noqa: SIM102
        if any_arrived_again(m, c, ack, (ack - old) // mss):
            m[c + C_RETRANS_ACKED] = 1
    given = sacked + discard(m, c, ack)
    if is_bbr:
        given = m[r + R_DELIVERED] - given_before
    if m[c + C_CONG] == CA_CWR and ack > m[c + C_RECOVER]:
        m[c + C_CONG] = CA_OPEN
        if not is_bbr:
            m[c + C_CWND] = m[c + C_SSTHRESH]
    if m[c + C_ECT] != 0:
        _take_echo(m, mf, c, p, old, given)
    note_flight(m, c)
    _take_ack(m, mf, h, t, tm, f, c, ack, sacked > 0, given, old)
    m[c + C_RETRANS_ACKED] = 0
    if is_bbr:
        lost = abs(m[c + C_LOST] - lost_before)
        rate_sample(m, r, given, lost, flight_before, m[c + C_MIN_RTT])
        bbr_control(m, mf, c)
    m[G_MAX_WINDOW] = max(m[G_MAX_WINDOW], min(m[c + C_CWND], m[c + C_END]))
    send_what_fits(m, mf, h, t, tm, f, c)


# ---- time-outs -----------------------------------------------------------------------


@merged
def time_out(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int
) -> None:
    """Nothing was acknowledged for too long: begin again with one segment."""
    state = m[c + C_STATE]
    if state in (CLOSED, TIME_WAIT):
        return
    if m[c + C_UNA] >= m[c + C_END] or m[c + C_APP_SENT] == 0:
        if state in (FIN_WAIT_1, CLOSING):
            send_empty(m, mf, h, t, tm, f, c, 0, FIN)
        return
    if m[c + C_TRIES] == 0:
        close_end(m, f, c, 0, True)  # noqa: FBT003
        return
    m[c + C_TRIES] -= 1
    flight = note_flight(m, c)
    m[c + C_DUPS] = 0
    all_lost(m, c)
    m[c + C_SYN_SAMPLE] = 0
    m[c + C_RECOVER] = m[c + C_HIGH]
    m[c + C_RECOVERING] = 1
    m[c + C_RTO] = min(2 * m[c + C_RTO], MOST_RTO)
    head = m[segment_at(m, c, m[c + C_UNA_I])]
    if m[c + C_CONG] != CA_LOSS or head & RETRANS_BIT == 0:
        threshold_now(m, mf, c, flight)
    set_state(m, mf, c, CA_LOSS, 0)
    m[c + C_CWND] = m[c + C_MSS]
    m[c + C_PACE_ORDER] = 0
    note_flight(m, c)
    send_what_fits(m, mf, h, t, tm, f, c)
