"""What the kernels of TCP keep, as cells of one array: links, packets, connections.

An object is the index of its first cell in the arena ``m``, and its columns are the
constants of this module: ``m[c + C_UNA]`` is what connection ``c`` has had
acknowledged. 0 stands for none, as the first cells hold what is counted. ``mf`` is the
same memory as floats. Flows and routes, of which there may be millions, have an array
``f`` of their own.

The arena is never made larger while a kernel runs: packets, connections, their rings of
segments and the queues of FqCoDel are cut from its unused end and reused from lists of
free ones. Before each event the kernel makes sure that the end has more room than one
event can use (``G_MARGIN``), and returns to Python otherwise.

Events stand in two heaps of ``events``: ``h`` for what happens at links, ``t`` for
timers, most of which never ring. A timer has at most one entry that counts; when that
is early, as the timer was set anew, it goes back into the heap with the order of its
last setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.network.packet.events import CODE_BITS, KIND_BITS
from midhaul.network.packet.events import push as push  # noqa: PLC0414
from midhaul.network.packet.events import settle as settle  # noqa: PLC0414
from midhaul.network.packet.tcp.compile import compiled as compiled  # noqa: PLC0414
from midhaul.network.packet.tcp.compile import entry as entry  # noqa: PLC0414
from midhaul.network.packet.tcp.compile import inlined as inlined  # noqa: PLC0414
from midhaul.network.packet.tcp.compile import merged as merged  # noqa: PLC0414
from midhaul.network.packet.tcp.compile import pointer as pointer  # noqa: PLC0414

if TYPE_CHECKING:
    # Flat arrays of int64 and float64; the first three are pointers once compiled. What
    # a kernel reads from one is a number, which no type of arrays says.
    Cells = FloatCells = Heap = Array = FloatArray = Any

# ---- what is counted; the first four cells are those of ``events`` -------------------
(
    G_HEAP,
    G_HOLE,
    G_SEQUENCE,
    _G_FREE,
    G_NOW,
    G_ORDER,
    G_BUMP,
    G_LIMIT,
    G_PACKET_FREE,
    G_CONN_FREE,
    G_NEXT_FLOW,
    G_N_FLOWS,
    G_OVER,
    G_EVENTS,
    G_MAX_WINDOW,
    G_MIN_SEGMENT,
    G_N_LINKS,
    G_LINKS,
    G_TRANSPORTS,
    G_SAMPLE_NS,
    G_NEXT_SAMPLE,
    G_N_SAMPLES,
    G_ROWS,
    G_UNTIL,
    G_SEED,
    G_N_WATCHED,
    G_N_STARTS,
    G_ORDER_ROWS,
    G_QUANTUM,
    G_MOST_DEPENDENTS,
    G_DRAWS,
    G_N_DRAWS,
    G_STATUS,
    G_RING_FREE,
) = range(34)
N_G = G_RING_FREE + 40

# ---- a directed link -----------------------------------------------------------------
(
    L_INDEX,
    L_RATE,
    L_DELAY,
    L_REVERSE,
    L_FREE_T,
    L_FREE_O,
    L_DEVICE,
    L_HEAD,
    L_TAIL,
    L_N,
    L_BYTES,
    L_PIPE_HEAD,
    L_PIPE_TAIL,
    L_KIND,
    L_MAX_N,
    L_MAX_BYTES,
    L_HAS_ECN,
    L_SENT,
    L_BUSY,
    L_DROPS,
    L_MARKS,
    L_WAITING,
    L_MOST,
    L_SIZE_A,
    L_TIME_A,
    L_SIZE_B,
    L_TIME_B,
    L_COUNT,
    L_LOSS,
    L_JITTER,
    L_LAST,
    L_CHANGE,
    L_CHANGES_END,
    L_RED_COUNT,
    L_RED_OLD,
    L_CODEL,
    _L_CODEL_1,
    _L_CODEL_2,
    _L_CODEL_3,
    _L_CODEL_4,
    _L_CODEL_5,
    L_TARGET,
    L_INTERVAL,
    L_FAIR,
    L_NEW_HEAD,
    L_NEW_TAIL,
    L_OLD_HEAD,
    L_OLD_TAIL,
    L_FAIR_FIRST,
    L_FAIR_LAST,
    X_MARK_FROM,
    X_MARK_ALL,
    X_MARK_SHARE,
    L_RANDOM,
) = range(54)
N_L = 64
"""A multiple of 8, as objects of events are."""

# ---- the state of CoDel: in L_CODEL of a link, or in a queue of FqCoDel --------------
D_COUNT, D_LAST, D_DROPPING, D_ROOT, D_FIRST_ABOVE, D_NEXT = range(6)
# ---- a queue of FqCoDel --------------------------------------------------------------
(Q_NEXT, Q_STATUS, Q_DEFICIT, Q_HEAD, Q_TAIL, Q_N, Q_BYTES, Q_MADE, Q_CODEL) = range(9)
N_Q = Q_CODEL + 6

FIFO, RED, CODEL, FQ_CODEL = range(4)

# ---- a packet ------------------------------------------------------------------------
(
    P_NEXT,
    P_CONN,
    P_FLAGS,
    P_SEQ,
    P_ACK,
    P_LEN,
    P_SIZE,
    P_HOP,
    P_T,
    P_O,
    P_STAMP,
    P_ECHO,
    P_BLOCKS,
    P_QUEUED,
    P_BLOCK,
) = range(15)
N_P = P_BLOCK + 6

FIN, SYN, RST, ACK, ECE, CWR = 1, 2, 4, 16, 64, 128
ECT, CE, BACK, DSACK, AT_HOST = 256, 512, 1024, 2048, 4096
"""BACK is the way from the receiver to the sender; DSACK says that data came twice;
AT_HOST that its host has not sent it yet, and counts it (with the ways of Linux)."""

# ---- a connection: what both ends share, the sender (0), the receiver (1) ------------
(
    C_NEXT,
    C_FLOW,
    C_FIRST,
    C_LAST,
    C_TRANSPORT,
    C_MSS,
    C_END,
    C_PACKETS,
    C_EVENTS,
    C_CONGESTION,
    C_ECT,
    C_WATCHED,
    C_RING,
    C_MASK,
    C_STRIDE,
    # both ends: column + end
    C_STATE,
    _C_STATE_1,
    C_ALIVE,
    _C_ALIVE_1,
    C_NXT,
    _C_NXT_1,
    C_RTO,
    _C_RTO_1,
    C_SRTT,
    _C_SRTT_1,
    C_VAR,
    _C_VAR_1,
    C_RTT_N,
    _C_RTT_N_1,
    C_SYNS,
    _C_SYNS_1,
    C_ECHO,
    _C_ECHO_1,
    C_HIGH_TX_ACK,
    _C_HIGH_TX_ACK_1,
    C_RCV,
    _C_RCV_1,
    C_ECN,
    _C_ECN_1,
    C_CE_SEQ,
    _C_CE_SEQ_1,
    C_CE_STATE,
    _C_CE_STATE_1,
    C_SYN_SAMPLE,
    _C_SYN_SAMPLE_1,
    C_KIND,
    _C_KIND_1,
    C_HIGH,
    _C_HIGH_1,
    # the sender
    C_UNA,
    C_UNA_I,
    C_SENT_I,
    C_SEGMENTS,
    C_CWND,
    C_SSTHRESH,
    C_RWND,
    C_CONG,
    C_DUPS,
    C_RECOVER,
    C_RECOVERING,
    C_FIRST_PARTIAL,
    C_PRR_DELIVERED,
    C_PRR_OUT,
    C_PRR_FLIGHT,
    C_RETRANS_ACKED,
    C_REMAINDER,
    C_SACKED,
    C_LOST,
    C_RETRANS,
    C_HIGH_SACK,
    C_HIGH_SACK_I,
    C_FLIGHT,
    C_LAST_ACKED,
    C_HISTORY,
    C_LAST_RTT,
    C_MIN_RTT,
    C_HIGH_RX_ACK,
    C_TRIES,
    C_ECHO_SEQ,
    C_CWR_SEQ,
    C_CLOSING,
    C_APP_SENT,
    C_PACING,
    C_PACE_ORDER,
    C_PACE_RATE,
    C_SEND_ORDER,
    C_COUNT,
    C_ALPHA_TOTAL,
    C_ALPHA_MARKED,
    C_ALPHA_NEXT,
    C_ALPHA_SET,
    X_ALPHA,
    # the receiver
    C_FIN_SEQ,
    C_BLOCKS,
    C_DELAYED,
    C_RECEIVED,
    C_RESERVED,
    C_HELD,
    C_PRIOR,
    C_PRIOR_SET,
) = range(100)
C_BLOCK = C_PRIOR_SET + 1
C_TIMER = C_BLOCK + 10
"""Five blocks at most while one is merged; then five timers of four cells."""
C_ALGORITHM = C_TIMER + 20
"""What Cubic or BBR keep."""
C_LINUX = C_ALGORITHM + 64
"""What is kept with the ways of Linux only; windows and counts there are segments."""
(
    U_IS_LINUX,
    U_WINDOW,
    U_THRESHOLD,
    U_SRTT,
    U_DEVIATION,
    U_DEVIATION_MOST,
    U_VAR,
    U_VAR_I,
    U_RTO,
    U_MIN_RTT,
    U_RACK_T,
    U_RACK_I,
    U_RACK_RTT,
    U_RACK_MOVED,
    U_PROBE_I,
    U_PROBE_AGAIN,
    U_PRIOR,
    U_PRIOR_THRESHOLD,
    U_HAS_FRTO,
    U_TIME_OUTS,
    U_IS_LIMITED,
    U_MOST_OUT,
    U_USAGE_I,
    U_LOST_EVER,
    U_NEXT_T,
    # its own host: what waits there, and whether it waits for that
    U_AT_HOST,
    U_IS_HELD,
    # marks: whether the next segment says that the window shrinks
    U_SAYS_CWR,
    # of the ACK that is taken in
    U_SAW,
    U_DELIVERED,
    U_FIRST_T,
    U_LAST_T,
    U_SACK_FIRST_T,
    U_SACK_LAST_T,
    U_NEWEST,
    # of both ends: when the SYN or SYN-ACK left
    U_SYN_T,
    _U_SYN_T_1,
    # the receiver
    U_QUICK,
    U_ATO,
    U_DATA_T,
    U_ACKED,
    U_ACKS_HELD,
    U_ACKS_SEQ,
    U_TRIP,
    U_GROWN,
    U_ECHOES,
    U_ACK_NOW,
    U_SAW_ECT,
    U_WAS_MARKED,
    U_MARK_RCV,
) = range(50)
N_C = C_LINUX + 56

CLOSED, LISTEN, SYN_SENT, SYN_RCVD, ESTABLISHED = range(5)
CLOSE_WAIT, LAST_ACK, FIN_WAIT_1, FIN_WAIT_2, CLOSING, TIME_WAIT = range(5, 11)
CA_OPEN, CA_DISORDER, CA_CWR, CA_RECOVERY, CA_LOSS = range(5)
ECN_OFF, ECN_IDLE, ECN_CE, ECN_SENDING, ECN_ECE, ECN_CWR = range(6)
NEWRENO, LINUX_RENO, CUBIC, DCTCP, BBR = range(5)
ECT_ALL, ECT_NEW = 1, 2
"""Which packets can be marked: all (DCTCP), or data that are new (RFC 3168)."""

SACKED_BIT, LOST_BIT, RETRANS_BIT, HELD_BIT, HISTORY_BIT, AGAIN_BIT = 1, 2, 4, 8, 16, 32
"""Flags of a segment, in the first cell of its place in the ring."""

# ---- a transport ---------------------------------------------------------------------
(
    T_CONGESTION,
    T_SEGMENT,
    T_WINDOW,
    T_MIN_RTO,
    T_CONNECT,
    T_ACKS_EVERY,
    T_ACK_DELAY,
    T_PACED,
    T_HYSTART,
    T_LINGER,
    T_LINUX,
    T_ECN,
) = range(12)
N_T = 12

# ---- a flow, in ``f`` ----------------------------------------------------------------
(
    F_SIZE,
    F_START,
    F_TRANSPORT,
    F_FIRST,
    F_HOPS,
    F_WAITS,
    F_DEPENDENTS,
    F_N_DEPENDENTS,
    F_BEGAN,
    F_FCT,
    F_RETRANSMITTED,
    F_MARKED,
    F_HASH,
    F_HASH_BACK,
    F_FLAGS,
) = range(15)
N_F = 15
F_WATCHED, F_OVER = 1, 2

# ---- kinds of events -----------------------------------------------------------------
ARRIVE, FREE, WAKE, FORK, CONNECTED, SEND, PACE = range(7)
SENDER_TIMER, RECEIVER_TIMER, DELAYED_ACK, SENDER_WAIT, RECEIVER_WAIT, BEGIN = range(6)

BUFFER_BYTES = 832
"""What Linux counts for a segment beside its payload (6.18, as it says of a socket)."""

ROW = 6
"""Cells of a row of a timeline: time, flow, window, rate, in flight, acknowledged."""


@inlined
def order_for(m: Cells, kind: int, index: int) -> int:
    """Reserve the next place in the order of events, for this kind and object.

    Objects are at multiples of 8, of which an order keeps the quotient.
    """
    sequence = m[G_SEQUENCE]
    m[G_SEQUENCE] = sequence + 1
    return (sequence << CODE_BITS) | ((index >> 3) << KIND_BITS) | kind


@compiled
def take_cells(m: Cells, n: int) -> int:
    """The first of ``n`` new cells of the arena, all 0, at a multiple of 8."""
    at = (m[G_BUMP] + 7) & ~7
    m[G_BUMP] = at + n
    for i in range(at, at + n):
        m[i] = 0
    return at


@inlined
def take_packet(m: Cells) -> int:
    """A packet that nobody uses."""
    p = m[G_PACKET_FREE]
    if p != 0:
        m[G_PACKET_FREE] = m[p + P_NEXT]
        return p
    p = m[G_BUMP]
    m[G_BUMP] = p + N_P
    return p


@compiled
def leave_host(m: Cells, h: Heap, p: int) -> None:
    """Let a segment be no longer at its sender's host, which may wait for that."""
    c = m[p + P_CONN]
    u = c + C_LINUX
    m[p + P_FLAGS] &= ~AT_HOST
    m[u + U_AT_HOST] -= m[p + P_LEN] + BUFFER_BYTES
    if m[u + U_IS_HELD] != 0:
        m[u + U_IS_HELD] = 0
        if m[c + C_ALIVE] != 0 and m[c + C_SEND_ORDER] == 0:
            order = order_for(m, SEND, c)
            m[c + C_SEND_ORDER] = order
            m[c + C_EVENTS] += 1
            push(h, m, m[G_NOW], order)


@inlined
def drop_packet(m: Cells, h: Heap, p: int) -> None:
    """Forget a packet, and that it was under way."""
    if m[p + P_FLAGS] & AT_HOST:
        leave_host(m, h, p)
    m[m[p + P_CONN] + C_PACKETS] -= 1
    m[p + P_NEXT] = m[G_PACKET_FREE]
    m[G_PACKET_FREE] = p


@compiled
def take_ring(m: Cells, c: int, places: int) -> int:
    """A ring with room for so many segments, a power of 2; not cleared."""
    cells = places * m[c + C_STRIDE]
    size_class = 0
    while (1 << size_class) < cells:
        size_class += 1
    head = G_RING_FREE + size_class
    at = m[head]
    if at != 0:
        m[head] = m[at]
        return at
    at = m[G_BUMP]
    m[G_BUMP] = at + (1 << size_class)
    return at


@compiled
def drop_ring(m: Cells, c: int) -> None:
    """Give the ring of a connection back."""
    cells = (m[c + C_MASK] + 1) * m[c + C_STRIDE]
    size_class = 0
    while (1 << size_class) < cells:
        size_class += 1
    at = m[c + C_RING]
    m[at] = m[G_RING_FREE + size_class]
    m[G_RING_FREE + size_class] = at


@compiled
def widen_ring(m: Cells, c: int) -> None:
    """Double the ring of a connection."""
    old, mask, stride = m[c + C_RING], m[c + C_MASK], m[c + C_STRIDE]
    new = take_ring(m, c, 2 * (mask + 1))
    new_mask = 2 * mask + 1
    for i in range(m[c + C_UNA_I], m[c + C_SENT_I]):
        a = old + (i & mask) * stride
        b = new + (i & new_mask) * stride
        for k in range(stride):
            m[b + k] = m[a + k]
    drop_ring(m, c)
    m[c + C_RING] = new
    m[c + C_MASK] = new_mask


@inlined
def segment_at(m: Cells, c: int, i: int) -> int:
    """Where the flags of a segment stand."""
    return m[c + C_RING] + (i & m[c + C_MASK]) * m[c + C_STRIDE]


@compiled
def set_timer(m: Cells, t: Heap, tm: Cells, c: int, kind: int, when: int) -> None:
    """Let a timer of a connection ring at this time, and at no other."""
    at = c + C_TIMER + 4 * kind
    order = order_for(m, kind, c)
    m[at] = when
    m[at + 1] = order
    if m[at + 2] < 0 or when < m[at + 2]:
        m[at + 2] = when
        m[at + 3] = order
        push(t, tm, when, order)


@inlined
def cancel_timer(m: Cells, c: int, kind: int) -> None:
    """Let a timer not ring."""
    m[c + C_TIMER + 4 * kind] = -1


@inlined
def is_set(m: Cells, c: int, kind: int) -> bool:
    """True while a timer is going to ring."""
    return m[c + C_TIMER + 4 * kind] >= 0


@compiled
def rings(m: Cells, t: Heap, tm: Cells, c: int, kind: int, order: int) -> bool:
    """Whether this entry of the heap is when the timer rings; sets it back if so."""
    at = c + C_TIMER + 4 * kind
    if m[at + 3] != order or m[at + 2] < 0:
        return False
    m[at + 2] = -1
    if m[at] < 0:
        return False
    if m[at + 1] == order:
        m[at] = -1
        return True
    m[at + 2] = m[at]
    m[at + 3] = m[at + 1]
    push(t, tm, m[at], m[at + 1])
    return False
