"""CoDel (RFC 8289) and FqCoDel (RFC 8290), as ns-3.37 has them.

Times are in units of 1024 ns. Numbered differences from the RFCs:

1. At least 1500 bytes have to wait besides the packet, whatever the link's MTU is.
2. Where the dropping state is entered again soon, it begins with the drops since the
   last time (as in Linux), not with the count less 2.
3. The square root is Newton's, a step for each drop, with 16 bits.
4. FqCoDel hashes addresses and ports by MurmurHash3 into 1024 queues; the quantum is
   the MTU; when it is full, up to 64 packets or half the bytes of the longest queue go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.tcp.arena import (
    BACK,
    C_FLOW,
    CE,
    D_COUNT,
    D_DROPPING,
    D_FIRST_ABOVE,
    D_LAST,
    D_NEXT,
    D_ROOT,
    ECT,
    F_HASH,
    F_HASH_BACK,
    F_MARKED,
    G_NOW,
    G_QUANTUM,
    L_BYTES,
    L_CODEL,
    L_DROPS,
    L_FAIR,
    L_FAIR_FIRST,
    L_FAIR_LAST,
    L_HAS_ECN,
    L_HEAD,
    L_INTERVAL,
    L_MARKS,
    L_MAX_N,
    L_N,
    L_NEW_HEAD,
    L_OLD_HEAD,
    L_TAIL,
    L_TARGET,
    L_WAITING,
    N_F,
    N_Q,
    P_CONN,
    P_FLAGS,
    P_NEXT,
    P_QUEUED,
    P_SIZE,
    Q_BYTES,
    Q_CODEL,
    Q_DEFICIT,
    Q_HEAD,
    Q_MADE,
    Q_N,
    Q_NEXT,
    Q_STATUS,
    Q_TAIL,
    compiled,
    drop_packet,
    inlined,
    merged,
    take_cells,
)

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, Heap

N_QUEUES = 1024
MIN_BYTES = 1500
BATCH = 64
FIRST_ROOT = 0xFFFF
"""One, as an inverse square root of 16 bits."""
_32 = 0xFFFFFFFF
INACTIVE, NEW, OLD = range(3)


@compiled
def _pop(m: Cells, link: int, q: int, head: int) -> int:
    """The first packet of a queue; 0 where it is empty.

    ``q`` is 0 for the only queue of a link, and ``head`` the cell of the first packet.
    """
    p = m[head]
    if p == 0:
        return 0
    m[head] = m[p + P_NEXT]
    size = m[p + P_SIZE] - 2
    m[link + L_N] -= 1
    m[link + L_BYTES] -= size
    m[link + L_WAITING] -= m[p + P_SIZE]
    if q != 0:
        m[q + Q_N] -= 1
        m[q + Q_BYTES] -= size
    elif m[head] == 0:
        m[link + L_TAIL] = 0
    return p


@inlined
def _root(root: int, count: int) -> int:
    """A step of Newton's method towards the inverse square root of the count."""
    half = np.uint64(32)
    inverse = np.uint64(root) << np.uint64(16)
    squared = (inverse * inverse) >> half
    value = (np.uint64(3) << half) - np.uint64(count) * squared
    value = ((value >> np.uint64(2)) * inverse) >> np.uint64(31)
    return int((value >> np.uint64(16)) & np.uint64(0xFFFF))


@inlined
def _next_drop(time: int, interval: int, root: int) -> int:
    """The time of the next drop, by the control law."""
    return (time + ((interval * (root << 16)) >> 32)) & _32


@compiled
def _may_drop(m: Cells, link: int, q: int, d: int, p: int) -> bool:
    """Whether packets have waited too long for an interval."""
    if p == 0:
        m[d + D_FIRST_ABOVE] = 0
        return False
    now = (m[G_NOW] >> 10) & _32
    waited = ((m[G_NOW] - m[p + P_QUEUED]) >> 10) & _32
    left = m[q + Q_BYTES] if q != 0 else m[link + L_BYTES]
    if waited < m[link + L_TARGET] or left < MIN_BYTES:
        m[d + D_FIRST_ABOVE] = 0
        return False
    if m[d + D_FIRST_ABOVE] == 0:
        m[d + D_FIRST_ABOVE] = (now + m[link + L_INTERVAL]) & _32
        return False
    return now > m[d + D_FIRST_ABOVE]


@compiled
def _mark_or_drop(m: Cells, h: Heap, f: Cells, link: int, p: int) -> bool:
    """Mark a packet, or drop it where it cannot be; True where it was marked."""
    if m[link + L_HAS_ECN] != 0 and m[p + P_FLAGS] & (ECT | CE) != 0:
        m[p + P_FLAGS] |= CE
        m[link + L_MARKS] += 1
        f[m[m[p + P_CONN] + C_FLOW] * N_F + F_MARKED] += 1
        return True
    m[link + L_DROPS] += 1
    drop_packet(m, h, p)
    return False


@compiled
def _take(m: Cells, h: Heap, f: Cells, link: int, q: int, d: int, head: int) -> int:
    """The next packet by CoDel, after those that it drops."""
    p = _pop(m, link, q, head)
    if p == 0:
        m[d + D_DROPPING] = 0
        return 0
    now = (m[G_NOW] >> 10) & _32
    interval = m[link + L_INTERVAL]
    may_drop = _may_drop(m, link, q, d, p)
    if m[d + D_DROPPING] != 0:
        if not may_drop:
            m[d + D_DROPPING] = 0
        while m[d + D_DROPPING] != 0 and now >= m[d + D_NEXT]:
            m[d + D_COUNT] += 1
            m[d + D_ROOT] = _root(m[d + D_ROOT], m[d + D_COUNT])
            if _mark_or_drop(m, h, f, link, p):
                m[d + D_NEXT] = _next_drop(now, interval, m[d + D_ROOT])
                return p
            p = _pop(m, link, q, head)
            if _may_drop(m, link, q, d, p):
                m[d + D_NEXT] = _next_drop(m[d + D_NEXT], interval, m[d + D_ROOT])
            else:
                m[d + D_DROPPING] = 0
    elif may_drop:
        if not _mark_or_drop(m, h, f, link, p):
            p = _pop(m, link, q, head)
            _may_drop(m, link, q, d, p)
        m[d + D_DROPPING] = 1
        more = m[d + D_COUNT] - m[d + D_LAST]
        if more > 1 and ((now - m[d + D_NEXT]) & _32) < 16 * interval:
            m[d + D_COUNT] = more
            m[d + D_ROOT] = _root(m[d + D_ROOT], more)
        else:
            m[d + D_COUNT] = 1
            m[d + D_ROOT] = FIRST_ROOT
        m[d + D_LAST] = m[d + D_COUNT]
        m[d + D_NEXT] = _next_drop(now, interval, m[d + D_ROOT])
    return p


@compiled
def codel_take(m: Cells, h: Heap, f: Cells, link: int) -> int:
    """The next packet of a link with one queue; 0 where none is left."""
    return _take(m, h, f, link, 0, link + L_CODEL, link + L_HEAD)


@merged
def _new_queue(m: Cells, link: int) -> int:
    """A queue of FqCoDel, at the end of those that were made."""
    q = take_cells(m, N_Q)
    m[q + Q_CODEL + D_ROOT] = FIRST_ROOT
    if m[link + L_FAIR_LAST] == 0:
        m[link + L_FAIR_FIRST] = q
    else:
        m[m[link + L_FAIR_LAST] + Q_MADE] = q
    m[link + L_FAIR_LAST] = q
    return q


@inlined
def _join(m: Cells, head: int, q: int) -> None:
    """Let a queue be the last of a list, whose tail stands after its head."""
    m[q + Q_NEXT] = 0
    if m[head] == 0:
        m[head] = q
    else:
        m[m[head + 1] + Q_NEXT] = q
    m[head + 1] = q


@inlined
def _leave(m: Cells, head: int) -> None:
    """Take the first queue out of a list."""
    m[head] = m[m[head] + Q_NEXT]


@merged
def _drop_longest(m: Cells, h: Heap, link: int) -> None:
    """Drop up to half of the queue that holds most bytes."""
    most, longest = 0, m[link + L_FAIR_FIRST]
    q = longest
    while q != 0:
        if m[q + Q_BYTES] > most:
            most, longest = m[q + Q_BYTES], q
        q = m[q + Q_MADE]
    dropped, n = 0, 0
    while True:
        p = _pop(m, link, longest, longest + Q_HEAD)
        dropped += m[p + P_SIZE] - 2
        m[link + L_DROPS] += 1
        drop_packet(m, h, p)
        n += 1
        if n >= BATCH or dropped >= most >> 1:
            return


@compiled
def fair_add(m: Cells, h: Heap, f: Cells, link: int, p: int) -> None:
    """Let a packet join the queue of its flow."""
    side = F_HASH_BACK if m[p + P_FLAGS] & BACK else F_HASH
    index = f[m[m[p + P_CONN] + C_FLOW] * N_F + side]
    place = m[link + L_FAIR] + index
    q = m[place]
    if q == 0:
        q = _new_queue(m, link)
        m[place] = q
    if m[q + Q_STATUS] == INACTIVE:
        m[q + Q_STATUS] = NEW
        m[q + Q_DEFICIT] = m[G_QUANTUM]
        _join(m, link + L_NEW_HEAD, q)
    if m[q + Q_N] + 1 > m[link + L_MAX_N]:
        m[link + L_WAITING] -= m[p + P_SIZE]
        m[link + L_DROPS] += 1
        drop_packet(m, h, p)
        return
    size = m[p + P_SIZE] - 2
    m[p + P_NEXT] = 0
    if m[q + Q_HEAD] == 0:
        m[q + Q_HEAD] = p
    else:
        m[m[q + Q_TAIL] + P_NEXT] = p
    m[q + Q_TAIL] = p
    m[q + Q_N] += 1
    m[q + Q_BYTES] += size
    m[link + L_N] += 1
    m[link + L_BYTES] += size
    if m[link + L_N] > m[link + L_MAX_N]:
        _drop_longest(m, h, link)


@compiled
def fair_take(m: Cells, h: Heap, f: Cells, link: int) -> int:
    """The next packet of a link with a queue for each flow; 0 where none is left."""
    new, old = link + L_NEW_HEAD, link + L_OLD_HEAD
    while True:
        q = 0
        while q == 0 and m[new] != 0:
            q = m[new]
            if m[q + Q_DEFICIT] <= 0:
                m[q + Q_DEFICIT] += m[G_QUANTUM]
                m[q + Q_STATUS] = OLD
                _leave(m, new)
                _join(m, old, q)
                q = 0
        while q == 0 and m[old] != 0:
            q = m[old]
            if m[q + Q_DEFICIT] <= 0:
                m[q + Q_DEFICIT] += m[G_QUANTUM]
                _leave(m, old)
                _join(m, old, q)
                q = 0
        if q == 0:
            return 0
        p = _take(m, h, f, link, q, q + Q_CODEL, q + Q_HEAD)
        if p != 0:
            m[q + Q_DEFICIT] -= m[p + P_SIZE] - 2
            return p
        if m[new] != 0:
            m[q + Q_STATUS] = OLD
            _leave(m, new)
            _join(m, old, q)
        else:
            m[q + Q_STATUS] = INACTIVE
            _leave(m, old)
