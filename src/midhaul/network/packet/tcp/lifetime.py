"""How connections of the TCP simulator begin, and when they are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    BBR,
    C_ALIVE,
    C_CONGESTION,
    C_CWND,
    C_ECT,
    C_END,
    C_EVENTS,
    C_FIRST,
    C_FIRST_PARTIAL,
    C_FLOW,
    C_HIGH_SACK_I,
    C_LAST,
    C_LINUX,
    C_MASK,
    C_MIN_RTT,
    C_MSS,
    C_NEXT,
    C_PACE_RATE,
    C_PACING,
    C_PACKETS,
    C_RING,
    C_RWND,
    C_SEGMENTS,
    C_SRTT,
    C_SSTHRESH,
    C_STATE,
    C_STRIDE,
    C_SYNS,
    C_TIMER,
    C_TRANSPORT,
    C_TRIES,
    C_WATCHED,
    CLOSED,
    CWR,
    DCTCP,
    ECE,
    ECT_ALL,
    ECT_NEW,
    F_BEGAN,
    F_FIRST,
    F_FLAGS,
    F_HOPS,
    F_SIZE,
    F_TRANSPORT,
    F_WATCHED,
    G_CONN_FREE,
    G_MAX_WINDOW,
    G_NOW,
    LISTEN,
    N_C,
    N_F,
    SYN,
    SYN_SENT,
    T_CONGESTION,
    T_ECN,
    T_LINUX,
    T_PACED,
    T_SEGMENT,
    T_WINDOW,
    U_IS_LINUX,
    compiled,
    drop_ring,
    take_cells,
    take_ring,
)
from midhaul.network.packet.tcp.bbr import FOREVER, MOST_RATE
from midhaul.network.packet.tcp.congestion import begin_congestion
from midhaul.network.packet.tcp.ends import (
    SYN_TRIES,
    note_over,
    send_empty,
)
from midhaul.network.packet.tcp.rate import STRIDE

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import (
        Cells,
        FloatCells,
        Heap,
    )

FIRST_WINDOW = 65535
"""What a receiver advertises in SYN and SYN-ACK, which have no factor."""
FIRST_RTT = 1_000_000_000
RING = 16
_32 = 0xFFFFFFFF


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
    m[c + C_ECT] = ECT_ALL if m[transport + T_CONGESTION] == DCTCP else ECT_NEW
    m[c + C_ECT] *= m[transport + T_ECN]
    m[c + C_WATCHED] = 1 if f[at + F_FLAGS] & F_WATCHED else 0
    is_linux = m[transport + T_LINUX] != 0
    m[c + C_LINUX + U_IS_LINUX] = 1 if is_linux else 0
    is_timed = is_linux or m[transport + T_CONGESTION] == BBR
    m[c + C_STRIDE] = STRIDE if is_timed else 1
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
