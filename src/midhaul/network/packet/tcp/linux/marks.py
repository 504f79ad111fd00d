"""ECN with the ways of Linux: which marks a receiver echoes, and when.

RFC 3168 (ECN) and 8257 (DCTCP). Numbered differences from them:

1. After the first mark that it echoes, a receiver of RFC 3168 acknowledges two segments
   at once, as it does after one that cannot be marked where others could.
2. A segment that says that the window has shrunk (CWR) is acknowledged at once.
3. A receiver of DCTCP sends an ACK for what came before a change of marks only where
   one waits for its time, and acknowledges what made the change at once.
4. Marks of SYN, SYN-ACK and ACKs, which DCTCP lets be marked, are not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    C_CONGESTION,
    C_ECT,
    C_LINUX,
    C_RCV,
    C_TRANSPORT,
    CE,
    CWR,
    DCTCP,
    DELAYED_ACK,
    ECT,
    P_FLAGS,
    T_ACK_DELAY,
    U_ACK_NOW,
    U_ATO,
    U_ECHOES,
    U_MARK_RCV,
    U_QUICK,
    U_SAW_ECT,
    U_WAS_MARKED,
    compiled,
    is_set,
    merged,
)
from midhaul.network.packet.tcp.linux.acks import acknowledge

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap

QUICK_AFTER_MARK = 2


@merged
def _acknowledge_soon(m: Cells, c: int) -> None:
    """Let the next two ACKs be sent at once."""
    u = c + C_LINUX
    m[u + U_QUICK] = max(m[u + U_QUICK], QUICK_AFTER_MARK)
    m[u + U_ATO] = m[m[c + C_TRANSPORT] + T_ACK_DELAY]


@compiled
def take_mark(
    m: Cells, mf: FloatCells, h: Heap, t: Heap, tm: Cells, f: Cells, c: int, p: int
) -> None:
    """Take in whether a segment of new data is marked; it is counted as received."""
    u, flags = c + C_LINUX, m[p + P_FLAGS]
    if m[c + C_ECT] == 0:
        return
    if flags & CWR:
        m[u + U_ECHOES] = 0
        m[u + U_ACK_NOW] = 1
    if flags & (CE | ECT) == 0:
        if m[u + U_SAW_ECT] != 0:
            _acknowledge_soon(m, c)
        return
    m[u + U_SAW_ECT] = 1
    is_marked = 1 if flags & CE else 0
    if m[c + C_CONGESTION] != DCTCP:
        if is_marked != 0 and m[u + U_ECHOES] == 0:
            _acknowledge_soon(m, c)
            m[u + U_ECHOES] = 1
        return
    if is_marked != m[u + U_WAS_MARKED]:
        if is_set(m, c, DELAYED_ACK):
            now = m[c + C_RCV + 1]
            m[u + U_ECHOES] = m[u + U_WAS_MARKED]
            m[c + C_RCV + 1] = m[u + U_MARK_RCV]
            acknowledge(m, mf, h, t, tm, f, c, 0)
            m[c + C_RCV + 1] = now
        m[u + U_ACK_NOW] = 1
    m[u + U_MARK_RCV] = m[c + C_RCV + 1]
    m[u + U_WAS_MARKED] = m[u + U_ECHOES] = is_marked
