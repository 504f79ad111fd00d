"""Links of the TCP simulator: queues, transmission, and what happens at equal times.

As in ns-3.37 with queues of a device of one packet: what waits for a link is one packet
in its device, and the rest in the queue discipline. When the device is emptied, at the
end of a transmission, the discipline is asked for the next packet by an event of its
own, after all that was scheduled before for that nanosecond. Lengths of queues, and so
drops and marks, do not count the packet in the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.tcp.arena import (
    ARRIVE,
    AT_HOST,
    C_FLOW,
    CE,
    CODEL,
    ECT,
    F_MARKED,
    FREE,
    G_HEAP,
    G_HOLE,
    G_NOW,
    G_ORDER,
    G_SEED,
    L_BUSY,
    L_BYTES,
    L_CHANGE,
    L_CHANGES_END,
    L_COUNT,
    L_DELAY,
    L_DEVICE,
    L_DROPS,
    L_FREE_O,
    L_FREE_T,
    L_HAS_ECN,
    L_HEAD,
    L_INDEX,
    L_JITTER,
    L_KIND,
    L_LAST,
    L_LOSS,
    L_MARKS,
    L_MAX_BYTES,
    L_MAX_N,
    L_MOST,
    L_N,
    L_PIPE_HEAD,
    L_PIPE_TAIL,
    L_RANDOM,
    L_RATE,
    L_RED_COUNT,
    L_RED_OLD,
    L_SENT,
    L_SIZE_A,
    L_SIZE_B,
    L_TAIL,
    L_TIME_A,
    L_TIME_B,
    L_WAITING,
    N_F,
    P_CONN,
    P_FLAGS,
    P_NEXT,
    P_O,
    P_QUEUED,
    P_SIZE,
    P_T,
    RED,
    WAKE,
    X_MARK_ALL,
    X_MARK_FROM,
    X_MARK_SHARE,
    compiled,
    drop_packet,
    entry,
    inlined,
    leave_host,
    merged,
    order_for,
    push,
)
from midhaul.network.packet.tcp.codel import codel_take, fair_add, fair_take
from midhaul.network.packet.tcp.random import mixed, uniform

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import Cells, FloatCells, Heap


@entry
def transmission_ns(size: int, rate: int) -> int:
    """How long so many bytes take at so many bit/s, as ns-3.37 rounds it.

    It divides to 64 binary places and rounds to the nearest ns after that, so that an
    exact half is below a half, unless 64 places hold the quotient.
    """
    if rate <= 0:
        return 0
    scaled = size * 8 * 1_000_000_000
    whole = scaled // rate
    rest = 2 * (scaled - whole * rate)
    if rest > rate:
        return whole + 1
    if rest < rate:
        return whole
    return whole + 1 if (rate & (rate - 1)) == 0 else whole


@inlined
def time_on(m: Cells, link: int, size: int) -> int:
    """``transmission_ns`` for a link; the two sizes it saw last are remembered."""
    if m[link + L_SIZE_A] == size:
        return m[link + L_TIME_A]
    if m[link + L_SIZE_B] == size:
        return m[link + L_TIME_B]
    m[link + L_SIZE_B] = m[link + L_SIZE_A]
    m[link + L_TIME_B] = m[link + L_TIME_A]
    m[link + L_SIZE_A] = size
    m[link + L_TIME_A] = transmission_ns(size, m[link + L_RATE])
    return m[link + L_TIME_A]


@compiled
def change_rate(m: Cells, link: int) -> None:
    """Let the link have the rate of now."""
    at = m[link + L_CHANGE]
    while at < m[link + L_CHANGES_END] and m[at] <= m[G_NOW]:
        m[link + L_RATE] = m[at + 1]
        m[link + L_SIZE_A] = -1
        m[link + L_SIZE_B] = -1
        at += 2
    m[link + L_CHANGE] = at


@inlined
def is_free(m: Cells, link: int) -> bool:
    """True when its last transmission had ended before what happens now."""
    end = m[link + L_FREE_T]
    return end < m[G_NOW] or (end == m[G_NOW] and m[link + L_FREE_O] < m[G_ORDER])


@merged
def _lose_or_delay(m: Cells, link: int, arrival: int) -> int:
    """When a packet arrives after all that chance does to it; -1: never."""
    key = np.uint64(m[G_SEED]) + (np.uint64(m[link + L_INDEX]) << np.uint64(40))
    key += np.uint64(m[link + L_COUNT])
    m[link + L_COUNT] += 1
    if m[link + L_LOSS] != 0 and mixed(key) >> np.uint64(1) < np.uint64(
        m[link + L_LOSS]
    ):
        return -1
    if m[link + L_JITTER] > 0:
        high = mixed(~key) >> np.uint64(32)
        more = (high * np.uint64(m[link + L_JITTER] + 1)) >> np.uint64(32)
        arrival = max(arrival + np.int64(more), m[link + L_LAST])
        m[link + L_LAST] = arrival
    return arrival


@compiled
def start_sending(m: Cells, h: Heap, link: int, p: int) -> None:
    """Begin to send a packet on a link that is free."""
    if m[link + L_CHANGE] < m[link + L_CHANGES_END]:
        change_rate(m, link)
    if m[p + P_FLAGS] & AT_HOST:
        leave_host(m, h, p)
    now = m[G_NOW]
    size = m[p + P_SIZE]
    takes = time_on(m, link, size)
    if m[link + L_KIND] >= CODEL:
        push(h, m, now, order_for(m, WAKE, link))
    m[link + L_FREE_T] = now + takes
    m[link + L_FREE_O] = order_for(m, FREE, link)
    m[link + L_SENT] += size
    m[link + L_BUSY] += takes
    arrival = now + takes + m[link + L_DELAY]
    if m[link + L_LOSS] != 0 or m[link + L_JITTER] > 0:
        arrival = _lose_or_delay(m, link, arrival)
        if arrival < 0:
            m[link + L_DROPS] += 1
            drop_packet(m, h, p)
            return
    order = order_for(m, ARRIVE, link)
    m[p + P_T] = arrival
    m[p + P_O] = order
    m[p + P_NEXT] = 0
    if m[link + L_PIPE_HEAD] == 0:
        m[link + L_PIPE_HEAD] = p
        m[link + L_PIPE_TAIL] = p
        push(h, m, arrival, order)
    else:
        m[m[link + L_PIPE_TAIL] + P_NEXT] = p
        m[link + L_PIPE_TAIL] = p


@inlined
def to_device(m: Cells, h: Heap, link: int, p: int) -> None:
    """Send a packet at once, or let it be the next when the link is free."""
    if is_free(m, link):
        start_sending(m, h, link, p)
    else:
        m[link + L_DEVICE] = p
        waiting = m[link + L_WAITING] + m[p + P_SIZE]
        m[link + L_WAITING] = waiting
        m[link + L_MOST] = max(m[link + L_MOST], waiting)
        push(h, m, m[link + L_FREE_T], m[link + L_FREE_O])


@compiled
def mark(m: Cells, f: Cells, link: int, p: int) -> bool:
    """Mark a packet, if it can be."""
    if m[p + P_FLAGS] & (ECT | CE) == 0:
        return False
    m[p + P_FLAGS] |= CE
    m[link + L_MARKS] += 1
    f[m[m[p + P_CONN] + C_FLOW] * N_F + F_MARKED] += 1
    return True


@merged
def _red_keeps(m: Cells, mf: FloatCells, f: Cells, link: int, p: int) -> bool:
    """Mark a packet as RED does with the length of now; False where it is dropped."""
    n = m[link + L_N]
    m[link + L_RED_COUNT] += 1
    if n < mf[link + X_MARK_FROM] or n <= 1:
        m[link + L_RED_OLD] = 0
        return True
    hits = False
    if n >= mf[link + X_MARK_ALL]:
        hits = True
    elif m[link + L_RED_OLD] == 0:
        m[link + L_RED_COUNT] = 1
        m[link + L_RED_OLD] = 1
    else:
        width = mf[link + X_MARK_ALL] - mf[link + X_MARK_FROM]
        share = (1.0 / width) * n + (-mf[link + X_MARK_FROM] / width)
        share *= mf[link + X_MARK_SHARE]
        share = min(share, 1.0)
        so_far = m[link + L_RED_COUNT] * share
        if so_far < 1.0:
            share = 0.0
        elif so_far < 2.0:  # noqa: PLR2004 - as RED counts
            share /= 2.0 - so_far
        else:
            share = 1.0
        share = min(share, 1.0)
        if uniform(m, link + L_RANDOM) <= share:
            m[link + L_RED_COUNT] = 0
            hits = True
    return not hits or (m[link + L_HAS_ECN] != 0 and mark(m, f, link, p))


@merged
def _add(m: Cells, mf: FloatCells, h: Heap, f: Cells, link: int, p: int) -> None:
    """Let a packet join the queue discipline, if that takes it."""
    kind = m[link + L_KIND]
    if kind == RED and not _red_keeps(m, mf, f, link, p):
        m[link + L_DROPS] += 1
        drop_packet(m, h, p)
        return
    size = m[p + P_SIZE] - 2
    if kind <= CODEL and (
        m[link + L_N] + 1 > m[link + L_MAX_N]
        or m[link + L_BYTES] + size > m[link + L_MAX_BYTES]
    ):
        m[link + L_DROPS] += 1
        drop_packet(m, h, p)
        return
    waiting = m[link + L_WAITING] + m[p + P_SIZE]
    m[link + L_WAITING] = waiting
    m[link + L_MOST] = max(m[link + L_MOST], waiting)
    m[p + P_QUEUED] = m[G_NOW]
    if kind > CODEL:
        fair_add(m, h, f, link, p)
        return
    m[p + P_NEXT] = 0
    if m[link + L_N] == 0:
        m[link + L_HEAD] = p
    else:
        m[m[link + L_TAIL] + P_NEXT] = p
    m[link + L_TAIL] = p
    m[link + L_N] += 1
    m[link + L_BYTES] += size


@inlined
def take_first(m: Cells, link: int) -> int:
    """The first packet of a FIFO queue that is not empty."""
    p = m[link + L_HEAD]
    m[link + L_HEAD] = m[p + P_NEXT]
    m[link + L_N] -= 1
    m[link + L_BYTES] -= m[p + P_SIZE] - 2
    m[link + L_WAITING] -= m[p + P_SIZE]
    return p


@compiled
def run_queue(m: Cells, h: Heap, f: Cells, link: int) -> None:
    """Let the queue discipline give packets to the device while that has room."""
    kind = m[link + L_KIND]
    if kind < CODEL:
        while m[link + L_N] > 0 and m[link + L_DEVICE] == 0:
            to_device(m, h, link, take_first(m, link))
        return
    while m[link + L_DEVICE] == 0:
        p = codel_take(m, h, f, link) if kind == CODEL else fair_take(m, h, f, link)
        if p == 0:
            return
        to_device(m, h, link, p)
        if m[link + L_N] == 0:
            return


@compiled
def send_on(m: Cells, mf: FloatCells, h: Heap, f: Cells, link: int, p: int) -> None:
    """Give a packet to a link."""
    if m[link + L_KIND] <= RED and m[link + L_N] == 0 and m[link + L_DEVICE] == 0:
        if m[link + L_KIND] == RED:
            m[link + L_RED_COUNT] += 1
            m[link + L_RED_OLD] = 0
        if m[link + L_MAX_N] > 0 and m[p + P_SIZE] - 2 <= m[link + L_MAX_BYTES]:
            to_device(m, h, link, p)
            return
    _add(m, mf, h, f, link, p)
    run_queue(m, h, f, link)


@inlined
def _is_quiet(m: Cells, h: Heap) -> bool:
    """True when nothing else happens at links in this nanosecond."""
    now = m[G_NOW]
    size = m[G_HEAP]
    if m[G_HOLE] == 0:
        return size == 0 or h[0] > now
    for i in range(1, min(size, 3)):  # noqa: SIM110 - for numba
        if h[2 * i] <= now:
            return False
    return True


@merged
def end_sending(m: Cells, h: Heap, f: Cells, link: int, next_other: int) -> None:
    """A transmission is over: send what is in the device, and ask for the next.

    ``next_other`` is when the next timer rings or flow begins.
    """
    p = m[link + L_DEVICE]
    if p == 0:
        return
    m[link + L_DEVICE] = 0
    m[link + L_WAITING] -= m[p + P_SIZE]
    if m[link + L_KIND] >= CODEL:
        start_sending(m, h, link, p)
        return
    if m[link + L_N] == 0:
        start_sending(m, h, link, p)
        return
    order = order_for(m, WAKE, link)
    start_sending(m, h, link, p)
    if next_other > m[G_NOW] and _is_quiet(m, h):
        m[G_ORDER] = order
        run_queue(m, h, f, link)
    else:
        push(h, m, m[G_NOW], order)
