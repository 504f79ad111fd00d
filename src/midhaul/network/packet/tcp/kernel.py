"""The loop over the events of the TCP simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.events import (
    HAS_HOLE,
    HEAP_SIZE,
    kind_of,
    object_of,
)
from midhaul.network.packet.tcp.arena import (
    ARRIVE,
    BEGIN,
    F_START,
    FREE,
    G_BUMP,
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
    G_ROWS,
    G_SAMPLE_NS,
    G_UNTIL,
    L_WAITING,
    N_F,
    N_L,
    ROW,
    WAKE,
    compiled,
    entry,
    inlined,
    merged,
    pointer,
    rings,
    settle,
)
from midhaul.network.packet.tcp.bbr import FOREVER
from midhaul.network.packet.tcp.connection import arrive, happen, ring_timer
from midhaul.network.packet.tcp.lifetime import begin_flow
from midhaul.network.packet.tcp.links import end_sending, run_queue

if TYPE_CHECKING:
    from midhaul.network.packet.tcp.arena import (
        Array,
        Cells,
        FloatArray,
        FloatCells,
        Heap,
    )

SPENT, DONE, NO_ROOM, NO_HEAP, NO_TIMERS, NO_ROWS, NO_SAMPLES = range(7)
"""Why the loop was left: events are spent, all is done, or an array is too short."""


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
