"""Event loop of RDMA on flat arrays.

Each event ends with at most one link that may send, which is served in one place. Only
the packet that arrives first of those on a link is in the heap, and a link that becomes
free is in it only if something waits for that; its place among events of the same time
is reserved when it begins to send, so that their order is that of a simulator that
schedules everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.packet.events import (
    HAS_HOLE,
    HEAP_SIZE,
    N_FREE,
    compiled,
    give_back,
    inlined,
    kind_of,
    object_of,
    order_of,
    push,
    settle,
)
from midhaul.network.packet.rdma import layout as at
from midhaul.network.packet.rdma.host import (
    acknowledge,
    begin,
    next_packet,
    next_turn,
    receive,
    wake_at,
)
from midhaul.network.packet.rdma.leap import leap
from midhaul.network.packet.rdma.switch import (
    forward,
    is_busy,
    leave,
    transmit,
    when_free,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

    from midhaul.network.packet.rdma.layout import Tables

    Rows = Int64[np.ndarray, "n c"]
    Row = Int64[np.ndarray, " n"]


@inlined
def _serve(t: Tables, link: int) -> None:
    """Let a link that is free send what comes first: urgent, then queued, then new."""
    meta, links, packets = t.meta, t.links, t.packets
    packet = links[link, at.URGENT_HEAD]
    if packet >= 0:
        links[link, at.URGENT_HEAD] = packets[packet, at.P_NEXT]
    elif not links[link, at.PAUSED]:
        packet = links[link, at.QUEUE_HEAD]
        if packet >= 0:
            links[link, at.QUEUE_HEAD] = packets[packet, at.P_NEXT]
    if packet >= 0:
        links[link, at.WAITING] -= packets[packet, at.P_SIZE]
        if packets[packet, at.P_IN] >= 0:
            leave(t, link, packet)
    elif links[link, at.N_QPS] > 0:
        slot = next_turn(t, link)
        if slot >= 0:
            packet = next_packet(t, slot)
    if packet >= 0:
        transmit(t.heap, meta, links, packets, t.free, t.chance, t.random, link, packet)
        links[link, at.FREE_PENDING] = 0
        has_more = (
            links[link, at.N_QPS] > 0
            or links[link, at.QUEUE_HEAD] >= 0
            or links[link, at.URGENT_HEAD] >= 0
        )
        if has_more:
            when_free(t.heap, meta, links, link)


@inlined
def _arrive(t: Tables, link: int) -> int:
    """Take the first packet off a link; the link that may send for it, or -1."""
    meta, links, packets = t.meta, t.links, t.packets
    packet = links[link, at.PIPE_HEAD]
    following = packets[packet, at.P_NEXT]
    links[link, at.PIPE_HEAD] = following
    if following >= 0:
        push(
            t.heap,
            meta,
            packets[following, at.P_TIME],
            packets[following, at.P_ORDER],
        )
    kind = packets[packet, at.P_KIND]
    if kind >= at.PAUSE:
        give_back(t.free, meta, packet)
        told = links[link, at.REVERSE]
        if kind == at.PAUSE:
            links[told, at.PAUSED] = 1
            links[told, at.PAUSED_SINCE] = meta[at.NOW]
            return -1
        links[told, at.PAUSED] = 0
        links[told, at.PAUSED_NS] += meta[at.NOW] - links[told, at.PAUSED_SINCE]
        return told
    if packets[packet, at.P_PLACE] != packets[packet, at.P_LAST]:
        return forward(t, link, packet)
    if kind == at.DATA:
        return receive(t, packet)
    return acknowledge(t, packet)


@compiled
def _sweep(t: Tables) -> None:
    """Go back to the first packet not acknowledged, where that took too long."""
    meta, slots, links = t.meta, t.slots, t.links
    now = meta[at.NOW]
    for slot in range(len(slots)):
        timeout = t.transports[slots[slot, at.S_TRANSPORT], at.T_TIMEOUT]
        if (
            slots[slot, at.S_FLOW] < 0
            or timeout == 0
            or slots[slot, at.S_UNA] >= slots[slot, at.S_NXT]
            or now - slots[slot, at.S_PROGRESS] < timeout
        ):
            continue
        slots[slot, at.S_NXT] = slots[slot, at.S_UNA]
        slots[slot, at.S_PROGRESS] = now
        link = slots[slot, at.S_LINK]
        if is_busy(links, meta, link):
            when_free(t.heap, meta, links, link)
        elif links[link, at.WAKE_TIME] > now:
            wake_at(t.heap, meta, links, link, now)


@compiled
def _tick(t: Tables, what: int, is_alive: bool) -> None:  # noqa: FBT001 - of a kernel
    """Do what happens by the clock, and again later while anything else happens."""
    meta = t.meta
    meta[at.N_CLOCKS] -= 1
    if what == at.SWEEP:
        if meta[at.N_ACTIVE] == 0:
            meta[at.SWEEPING] = 0
            return
        _sweep(t)
        meta[at.N_CLOCKS] += 1
        order = order_of(meta, at.CLOCK, at.SWEEP)
        push(t.heap, meta, meta[at.NOW] + meta[at.SWEEP_NS], order)
        return
    if not is_alive:
        return
    if what == at.SAMPLE:
        row = meta[at.N_SAMPLES]
        meta[at.N_SAMPLES] = row + 1
        t.samples_ns[row] = meta[at.NOW]
        for link in range(len(t.links)):
            t.samples[row, link] = t.links[link, at.WAITING]
        later = meta[at.NOW] + meta[at.SAMPLE_NS]
    else:
        place = meta[at.NEXT_CHANGE]
        link = t.changes[place, 1]
        t.links[link, at.RATE] = t.changes[place, 2]
        t.links[link, at.LAST_SIZE] = -1
        meta[at.NEXT_CHANGE] = place + 1
        if place + 1 == len(t.changes):
            return
        later = t.changes[place + 1, 0]
    meta[at.N_CLOCKS] += 1
    push(t.heap, meta, later, order_of(meta, at.CLOCK, what))


@inlined
def _shortage(t: Tables, kind: int, order: int) -> int:
    """What must be made larger before this event, or MORE where all is large enough."""
    meta = t.meta
    short = at.MORE
    if meta[N_FREE] < at.PACKET_MARGIN:
        short = at.SHORT_PACKETS
    elif 2 * (meta[HEAP_SIZE] + meta[at.HEAP_MARGIN]) > len(t.heap):
        short = at.SHORT_HEAP
    elif meta[at.N_ROWS] + 2 > len(t.timeline):
        short = at.SHORT_TIMELINE
    elif kind == at.BEGIN:
        link = t.route[t.offsets[object_of(order)]]
        if t.slot_meta[N_FREE] == 0:
            short = at.SHORT_SLOTS
        elif t.links[link, at.N_QPS] == t.nics.shape[1]:
            short = at.SHORT_NICS
    elif kind == at.CLOCK and meta[at.N_SAMPLES] == len(t.samples):
        short = at.SHORT_SAMPLES
    return short


@compiled
def _announce(t: Tables) -> None:
    """Schedule the start of the next flow, and of this one behind what is due now.

    In the simulator behind HPCC a flow is installed, initialised and started in three
    events of the same time.
    """
    meta = t.meta
    place = meta[at.NEXT]
    meta[at.NEXT] = place + 1
    kind = at.INSTALL if meta[at.AS_FORK] else at.BEGIN
    push(t.heap, meta, meta[at.NOW], order_of(meta, kind, t.order[place]))
    if place + 1 < len(t.order):
        later = t.start_ns[t.order[place + 1]]
        push(t.heap, meta, later, order_of(meta, at.NEXT_FLOW, 0))


@compiled
def run(t: Tables, n_events: int) -> int:  # noqa: C901, PLR0912 - the loop
    """Work through events: DONE at the end, MORE after so many, or what is short."""
    heap, meta, links = t.heap, t.meta, t.links
    left = n_events
    while True:
        n = settle(heap, meta)
        if n == 0:
            return at.DONE
        now, order = heap[0], heap[1]
        if now > meta[at.UNTIL]:
            return at.DONE
        kind = kind_of(order)
        short = _shortage(t, kind, order)
        if short != at.MORE or left == 0:
            return short
        left -= 1
        meta[HAS_HOLE] = 1
        meta[at.NOW] = now
        meta[at.ORDER] = order
        meta[at.N_EVENTS] += 1
        which = object_of(order)
        link = -1
        if kind == at.ARRIVE:
            link = _arrive(t, which)
        elif kind == at.FREE:
            links[which, at.FREE_PENDING] = 0
            link = which
        elif kind == at.WAKE:
            if links[which, at.WAKE_ORDER] == order:
                links[which, at.WAKE_TIME] = at.NEVER
                link = which
        elif kind == at.BEGIN:
            link = begin(t, which)
        elif kind == at.CLOCK:
            _tick(t, which, n > meta[at.N_CLOCKS] or meta[at.SWEEPING] > 0)
        elif kind == at.NEXT_FLOW:
            _announce(t)
        else:
            push(heap, meta, now, order_of(meta, at.BEGIN, which))
        if kind != at.CLOCK:
            meta[at.END] = now
        if link >= 0:
            if is_busy(links, meta, link):
                when_free(heap, meta, links, link)
            else:
                _serve(t, link)
        if meta[at.LEAPING] >= 0:
            leap(t, meta[at.LEAPING])
            meta[at.LEAPING] = -1
