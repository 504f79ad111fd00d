"""Recovery with the ways of Linux: how the window shrinks, and when that is over.

RFC 6937 (PRR), 8985 (the answer to a probe) and 5682 (F-RTO). Numbered differences:

1. PRR sends what was delivered and one more where nothing more is found lost, below the
   threshold; it begins from the window, not from what is under way.
2. Left out: undoing by DSACK and by time stamps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.tcp.arena import (
    BBR,
    C_CONG,
    C_CONGESTION,
    C_COUNT,
    C_ECT,
    C_LINUX,
    C_LOST,
    C_PRR_DELIVERED,
    C_PRR_FLIGHT,
    C_PRR_OUT,
    C_RECOVER,
    C_RETRANS,
    C_SACKED,
    C_SEGMENTS,
    C_SENT_I,
    C_UNA_I,
    CA_CWR,
    CA_DISORDER,
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    DCTCP,
    LOST_BIT,
    U_HAS_FRTO,
    U_PRIOR,
    U_PRIOR_THRESHOLD,
    U_PROBE_AGAIN,
    U_PROBE_I,
    U_RACK_MOVED,
    U_SAW,
    U_SAYS_CWR,
    U_THRESHOLD,
    U_WINDOW,
    compiled,
    inlined,
    merged,
    segment_at,
)
from midhaul.network.packet.tcp.linux.bbr import note_undo
from midhaul.network.packet.tcp.linux.congestion import (
    shrunk,
)
from midhaul.network.packet.tcp.linux.dctcp import halved
from midhaul.network.packet.tcp.linux.loss import (
    ECHO,
    LOST_AGAIN,
    MOVED,
    ORIGINAL,
    SACKED,
    TWICE,
    find_lost,
    under_way,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, Heap

NOTHING, LOST_ONES, NEW_ONES = range(3)
"""What is to be sent after an ACK beside what the window has room for."""


@inlined
def is_shrinking(m: Cells, c: int) -> bool:
    """Whether PRR leads the window."""
    return m[c + C_CONG] in (CA_CWR, CA_RECOVERY)


@compiled
def _keep_open(m: Cells, c: int) -> None:
    """Be in Open, or in Disorder where something is missing."""
    is_odd = m[c + C_SACKED] + m[c + C_LOST] + m[c + C_RETRANS] != 0
    state = CA_DISORDER if is_odd else CA_OPEN
    if m[c + C_CONG] != state:
        m[c + C_CONG] = state
        m[c + C_RECOVER] = m[c + C_SENT_I]


@compiled
def _begin_shrinking(m: Cells, c: int) -> None:
    """Something was lost: let PRR lead the window to the threshold."""
    u = c + C_LINUX
    m[c + C_RECOVER] = m[c + C_SENT_I]
    m[u + U_PROBE_I] = -1
    m[c + C_COUNT] = 0
    m[c + C_PRR_FLIGHT] = m[u + U_WINDOW]
    m[c + C_PRR_DELIVERED] = 0
    m[c + C_PRR_OUT] = 0
    m[u + U_THRESHOLD] = shrunk(m, c)
    m[u + U_SAYS_CWR] = 1 if m[c + C_ECT] != 0 else 0


@compiled
def shrink_for_mark(m: Cells, c: int) -> None:
    """Something was marked, or found its host full: once a window, let it shrink."""
    if m[c + C_CONG] < CA_CWR:
        _begin_shrinking(m, c)
        m[c + C_CONG] = CA_CWR


@compiled
def recover(m: Cells, c: int) -> None:
    """Enter recovery."""
    if not is_shrinking(m, c):
        _begin_shrinking(m, c)
    if m[c + C_CONGESTION] == DCTCP and m[c + C_CONG] != CA_RECOVERY:
        m[c + C_LINUX + U_THRESHOLD] = halved(m, c)
    m[c + C_CONG] = CA_RECOVERY


@compiled
def reduce(m: Cells, c: int, delivered: int, lost: int) -> None:
    """Let the window follow what was delivered: PRR."""
    u = c + C_LINUX
    if delivered <= 0:
        return
    flight, threshold = under_way(m, c), m[u + U_THRESHOLD]
    m[c + C_PRR_DELIVERED] += delivered
    total, out = m[c + C_PRR_DELIVERED], m[c + C_PRR_OUT]
    if flight > threshold:
        prior = m[c + C_PRR_FLIGHT]
        more = (threshold * total + prior - 1) // prior - out
    else:
        more = max(total - out, delivered)
        if m[u + U_SAW] & MOVED and lost == 0:
            more += 1
        more = min(more, threshold - flight)
    m[u + U_WINDOW] = flight + max(more, 0 if out > 0 else 1)


@compiled
def _undo(m: Cells, c: int) -> None:
    """The time-out was too early: nothing of it counts."""
    u = c + C_LINUX
    for i in range(m[c + C_UNA_I], m[c + C_SENT_I]):
        m[segment_at(m, c, i)] &= ~LOST_BIT
    m[c + C_LOST] = 0
    if m[c + C_CONGESTION] == BBR:
        note_undo(m, c)
    else:
        m[u + U_WINDOW] = max(m[u + U_WINDOW], m[u + U_PRIOR])
    m[u + U_THRESHOLD] = max(m[u + U_THRESHOLD], m[u + U_PRIOR_THRESHOLD])
    m[u + U_RACK_MOVED] = 1
    m[c + C_CONG] = CA_OPEN


@merged
def _after_time_out(m: Cells, c: int) -> int:
    """An ACK in Loss: what is to be sent."""
    u = c + C_LINUX
    saw, recovered = m[u + U_SAW], m[c + C_UNA_I] >= m[c + C_RECOVER]
    if m[u + U_HAS_FRTO] != 0:
        if saw & ORIGINAL:
            _undo(m, c)
            return NOTHING
        if m[c + C_SENT_I] > m[c + C_RECOVER]:
            if saw & SACKED or saw & MOVED == 0:
                m[u + U_HAS_FRTO] = 0
        elif saw & MOVED and not recovered:
            m[c + C_RECOVER] = m[c + C_SENT_I]
            if m[c + C_SENT_I] < m[c + C_SEGMENTS]:
                return NEW_ONES
            m[u + U_HAS_FRTO] = 0
    if recovered:
        m[c + C_CONG] = CA_OPEN
        return NOTHING
    return LOST_ONES


@merged
def alert(m: Cells, t: Heap, tm: Cells, c: int) -> int:
    """Find losses and the new state; what is to be sent beside new segments."""
    u = c + C_LINUX
    cong = m[c + C_CONG]
    # shrinking for a mark ends with what was sent after it, which says so
    beyond = 1 if cong == CA_CWR else 0
    if is_shrinking(m, c) and m[c + C_UNA_I] >= m[c + C_RECOVER] + beyond:
        if m[c + C_CONGESTION] != BBR:
            m[u + U_WINDOW] = m[u + U_THRESHOLD]
        cong = m[c + C_CONG] = CA_OPEN
    if cong == CA_RECOVERY:
        find_lost(m, t, tm, c)
        return LOST_ONES
    then = NOTHING
    if cong == CA_LOSS:
        then = _after_time_out(m, c)
        cong = m[c + C_CONG]
        find_lost(m, t, tm, c)
        if cong != CA_OPEN and m[u + U_SAW] & LOST_AGAIN == 0:
            return then
    else:
        find_lost(m, t, tm, c)
    if m[c + C_LOST] == 0:
        if m[u + U_SAW] & ECHO:
            shrink_for_mark(m, c)
        if m[c + C_CONG] != CA_CWR:
            _keep_open(m, c)
        return then
    recover(m, c)
    return LOST_ONES


@merged
def probe_answered(m: Cells, c: int) -> None:
    """Take in what an ACK says of a probe of the tail."""
    u = c + C_LINUX
    if m[c + C_UNA_I] < m[u + U_PROBE_I]:
        return
    saw = m[u + U_SAW]
    if m[u + U_PROBE_AGAIN] == 0 or saw & TWICE:
        m[u + U_PROBE_I] = -1
    elif m[c + C_UNA_I] > m[u + U_PROBE_I]:
        _begin_shrinking(m, c)
        if m[c + C_CONGESTION] != BBR:
            m[u + U_WINDOW] = m[u + U_THRESHOLD]
        _keep_open(m, c)
    elif saw & (MOVED | SACKED) == 0:
        m[u + U_PROBE_I] = -1
