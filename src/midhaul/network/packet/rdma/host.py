"""Cards of the RDMA kernel: whose turn it is, and go-back-N senders and receivers.

A card has a list of flows that take turns. A receiver answers each packet it takes;
one that comes too early is answered with the number of the one that is missing, and the
sender goes back to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.events import (
    compiled,
    give_back,
    inlined,
    order_of,
    push,
    take,
)
from midhaul.network.packet.rdma import layout as at
from midhaul.network.packet.rdma.congestion import (
    dcqcn_marked,
    dcqcn_timers,
    dctcp,
    hpcc,
    set_rate,
    spread_ns,
    timely,
)
from midhaul.network.packet.rdma.leap import depart, enter, may_leap
from midhaul.network.packet.rdma.switch import append

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.network.packet.rdma.layout import Tables

    Rows = Int64[np.ndarray, "n c"]
    Row = Int64[np.ndarray, " n"]

NACK_NS = 500_000
"""How long a receiver waits before it asks for the same packet again."""


@inlined
def _note(meta: Row, timeline: Rows, slots: Rows, slot: int) -> None:
    """Write a row of the timeline of a watched flow."""
    row = meta[at.N_ROWS]
    meta[at.N_ROWS] = row + 1
    timeline[row, 0] = meta[at.NOW]
    timeline[row, 1] = slots[slot, at.S_FLOW]
    timeline[row, 2] = slots[slot, at.S_WINDOW]
    timeline[row, 3] = slots[slot, at.S_RATE]
    timeline[row, 4] = slots[slot, at.S_NXT] - slots[slot, at.S_UNA]
    timeline[row, 5] = slots[slot, at.S_UNA]


@compiled
def begin(t: Tables, flow: int) -> int:
    """Let a flow start: a slot, and a turn at its card; the link that it leaves by."""
    meta, slots, links = t.meta, t.slots, t.links
    slot = take(t.free_slots, t.slot_meta)
    first = t.offsets[flow]
    link = t.route[first]
    kind = t.transport[flow]
    for column in range(at.SLOT_COLUMNS):
        slots[slot, column] = 0
    rate = links[link, at.RATE]
    full = min(rate, t.transports[kind, at.T_MAX_RATE])
    start = rate if meta[at.AS_FORK] else full
    slots[slot, at.S_FLOW] = flow
    slots[slot, at.S_SIZE] = t.size[flow]
    slots[slot, at.S_AVAIL] = meta[at.NOW]
    slots[slot, at.S_PROGRESS] = meta[at.NOW]
    slots[slot, at.S_ROUTE] = first
    slots[slot, at.S_HOPS] = t.offsets[flow + 1] - first
    slots[slot, at.S_TRANSPORT] = kind
    slots[slot, at.S_LINK] = link
    slots[slot, at.S_WATCHED] = t.watched[flow]
    slots[slot, at.S_MAX_RATE] = full
    slots[slot, at.S_NIC_RATE] = start
    slots[slot, at.S_CURRENT] = start
    slots[slot, at.S_TARGET] = start
    for column in (at.S_ALPHA_AT, at.S_DECREASE_AT, at.S_INCREASE_AT, at.S_TIMER):
        slots[slot, column] = at.NEVER
    t.floats[slot, at.F_ALPHA] = 1.0
    t.floats[slot, at.F_DIFFERENCE] = 0.0
    t.floats[slot, at.F_UTILISATION] = 1.0
    _tune(t, flow, slot, kind, full)
    set_rate(slots, slot, full)
    t.started[flow] = meta[at.NOW]
    if meta[at.CAN_LEAP]:
        enter(t, flow)
    t.nics[links[link, at.NIC], links[link, at.N_QPS]] = slot
    links[link, at.N_QPS] += 1
    meta[at.N_ACTIVE] += 1
    if meta[at.SWEEP_NS] > 0 and not meta[at.SWEEPING]:
        meta[at.SWEEPING] = 1
        meta[at.N_CLOCKS] += 1
        order = order_of(meta, at.CLOCK, at.SWEEP)
        push(t.heap, meta, meta[at.NOW] + meta[at.SWEEP_NS], order)
    if slots[slot, at.S_WATCHED]:
        _note(meta, t.timeline, slots, slot)
    return link


@compiled
def _tune(t: Tables, flow: int, slot: int, kind: int, full: int) -> None:
    """Set the round trip, window and increases of a flow, given or usual."""
    slots = t.slots
    base = t.transports[kind, at.T_BASE_RTT]
    if base == 0:
        base = _round_trip(t, flow, kind)
    slots[slot, at.S_BASE_RTT] = base
    congestion = t.transports[kind, at.T_CONGESTION]
    window = t.transports[kind, at.T_WINDOW]
    if window == 0 and congestion == at.HPCC:
        window = max(np.int64(full / 8e9 * base), t.transports[kind, at.T_MTU])
    slots[slot, at.S_WIN] = window
    additive = t.transports[kind, at.T_ADDITIVE]
    if additive == 0:
        additive = _usual_increase(congestion, full, base, t.transports[kind, at.T_MTU])
    slots[slot, at.S_ADDITIVE] = additive
    hyper = t.transports[kind, at.T_HYPER]
    if hyper == 0:
        hyper = additive * (5 if congestion == at.TIMELY else 10)
    slots[slot, at.S_HYPER] = hyper


@compiled
def _usual_increase(congestion: int, full: int, base: int, mtu: int) -> int:
    """Additive increase where none is given."""
    if congestion == at.DCTCP:
        return max(int(mtu * 8e9 / base), 1)
    if congestion == at.DCQCN:
        return max(full // 5000, 1)
    if congestion == at.HPCC:
        return max(full // 2500, 1)
    return max(full // 1000, 1)


@compiled
def _round_trip(t: Tables, flow: int, kind: int) -> int:
    """Time of a full packet to the target and of its acknowledgement back."""
    size = t.transports[kind, at.T_MTU] + t.transports[kind, at.T_HEADER]
    total = 0
    for place in range(t.offsets[flow], t.offsets[flow + 1]):
        there, back = t.route[place], t.back[place]
        total += t.links[there, at.DELAY] + t.links[back, at.DELAY]
        total += spread_ns(size, t.links[there, at.RATE], 0)
        total += spread_ns(t.transports[kind, at.T_ACK], t.links[back, at.RATE], 0)
    return max(total, 1)


@inlined
def receive(t: Tables, packet: int) -> int:
    """Take a data packet at its target, and turn it into what is answered.

    The link by which the answer leaves, or -1 where there is none.
    """
    meta, packets, slots = t.meta, t.packets, t.slots
    now = meta[at.NOW]
    slot = packets[packet, at.P_SLOT]
    flow = packets[packet, at.P_FLOW]
    if slots[slot, at.S_FLOW] != flow:
        give_back(t.free, meta, packet)
        return -1
    is_marked = packets[packet, at.P_MARKED]
    if is_marked:
        t.marked[flow] += 1
    expected = slots[slot, at.S_EXPECTED]
    sequence = packets[packet, at.P_SEQ]
    kind = at.ACK
    if sequence == expected:
        expected += packets[packet, at.P_PAYLOAD]
        slots[slot, at.S_EXPECTED] = expected
        meta[at.DONE_BYTES] += packets[packet, at.P_PAYLOAD]
        if expected == slots[slot, at.S_SIZE]:
            _deliver(t, flow)
    elif sequence > expected:
        if now < slots[slot, at.S_NACK_AT] and slots[slot, at.S_NACKED] == expected:
            give_back(t.free, meta, packet)
            return -1
        slots[slot, at.S_NACK_AT] = now + NACK_NS
        slots[slot, at.S_NACKED] = expected
        kind = at.NACK
    elif meta[at.AS_FORK]:
        give_back(t.free, meta, packet)
        return -1
    transport = packets[packet, at.P_TRANSPORT]
    size = t.transports[transport, at.T_ACK]
    place = packets[packet, at.P_LAST]
    link = t.back[place]
    packets[packet, at.P_KIND] = kind
    packets[packet, at.P_SEQ] = expected
    packets[packet, at.P_SIZE] = size
    packets[packet, at.P_LAST] = slots[slot, at.S_ROUTE]
    packets[packet, at.P_PLACE] = place
    packets[packet, at.P_IN] = -1
    t.links[link, at.WAITING] += size
    if t.transports[transport, at.T_URGENT_ACK]:
        append(packets, t.links, link, at.URGENT_HEAD, packet)
    else:
        append(packets, t.links, link, at.QUEUE_HEAD, packet)
    return link


@compiled
def _deliver(t: Tables, flow: int) -> None:
    """Note that all of a flow has arrived, and start what waited for it."""
    meta = t.meta
    t.fct[flow] = meta[at.NOW] - t.started[flow]
    meta[at.N_DONE] += 1
    for place in range(t.follow_offsets[flow], t.follow_offsets[flow + 1]):
        later = t.follow[place]
        t.pending[later] -= 1
        if t.pending[later] == 0:
            order = order_of(meta, at.BEGIN, later)
            push(t.heap, meta, meta[at.NOW] + t.start_ns[later], order)


@inlined
def _react(t: Tables, slot: int, packet: int, acked: int) -> None:
    """Let the congestion control of a flow see an acknowledgement."""
    meta, packets, slots, floats = t.meta, t.packets, t.slots, t.floats
    now = meta[at.NOW]
    congestion = t.transports[slots[slot, at.S_TRANSPORT], at.T_CONGESTION]
    kinds, shares = t.transports, t.transport_floats
    is_marked = packets[packet, at.P_MARKED]
    if congestion == at.DCTCP:
        is_round = dctcp(slots, floats, kinds, shares, slot, acked, is_marked)
        if is_round and may_leap(t, slot):
            meta[at.LEAPING] = slot
    elif congestion == at.DCQCN:
        if slots[slot, at.S_TIMER] <= now:
            dcqcn_timers(slots, floats, kinds, shares, slot, now)
        if is_marked and slots[slot, at.S_UNA] < slots[slot, at.S_SIZE]:
            dcqcn_marked(slots, floats, slot, now)
        if acked > slots[slot, at.S_ROUND]:
            slots[slot, at.S_ROUND] = slots[slot, at.S_NXT]
            if slots[slot, at.S_TIMER] == at.NEVER and may_leap(t, slot):
                meta[at.LEAPING] = slot
    elif congestion == at.HPCC:
        has_changed = hpcc(
            slots,
            floats,
            kinds,
            shares,
            packets,
            t.hops,
            t.seen,
            slot,
            packet,
            acked,
            meta[at.AS_FORK],
        )
        if has_changed:
            _wake_earlier(t, slots[slot, at.S_LINK], slots[slot, at.S_AVAIL])
    else:
        timely(slots, floats, kinds, packets, slot, packet, acked, now)


@inlined
def acknowledge(t: Tables, packet: int) -> int:
    """Take an acknowledgement at the sender; the link by which it may send, or -1."""
    meta, packets, slots = t.meta, t.packets, t.slots
    now = meta[at.NOW]
    slot = packets[packet, at.P_SLOT]
    is_stale = (
        slots[slot, at.S_FLOW] != packets[packet, at.P_FLOW]
        or slots[slot, at.S_UNA] >= slots[slot, at.S_SIZE]
    )
    if is_stale:
        give_back(t.free, meta, packet)
        return -1
    acked = packets[packet, at.P_SEQ]
    if acked > slots[slot, at.S_UNA]:
        slots[slot, at.S_UNA] = acked
        slots[slot, at.S_PROGRESS] = now
        slots[slot, at.S_NXT] = max(slots[slot, at.S_NXT], acked)
        if acked >= slots[slot, at.S_SIZE]:
            meta[at.N_ACTIVE] -= 1
            if meta[at.CAN_LEAP]:
                depart(t, slots[slot, at.S_FLOW])
    if packets[packet, at.P_KIND] == at.NACK:
        slots[slot, at.S_NXT] = slots[slot, at.S_UNA]
    link = slots[slot, at.S_LINK]
    _react(t, slot, packet, acked)
    if slots[slot, at.S_WATCHED]:
        _note(meta, t.timeline, slots, slot)
    give_back(t.free, meta, packet)
    return link


@inlined
def wake_at(heap: Rows, meta: Row, links: Rows, link: int, time: int) -> None:
    """Have a card looked at again when a flow may send."""
    order = order_of(meta, at.WAKE, link)
    links[link, at.WAKE_TIME] = time
    links[link, at.WAKE_ORDER] = order
    push(heap, meta, time, order)


@inlined
def _wake_earlier(t: Tables, link: int, avail: int) -> None:
    """Look at a card earlier, where a flow may send before what was waited for."""
    if avail < t.links[link, at.WAKE_TIME] < at.NEVER:
        wake_at(t.heap, t.meta, t.links, link, max(avail, t.meta[at.NOW]))


@inlined
def next_turn(t: Tables, link: int) -> int:  # noqa: C901, PLR0912, PLR0915 - one scan
    """The slot whose turn it is at a card, or -1; those that are done leave the list.

    Round robin from behind the last one served. Slots leave only where the turn passed
    one that is done, and the place of the last one is not moved by that (as in the
    simulator behind HPCC, whose order of packets depends on it).
    """
    meta, links, slots = t.meta, t.links, t.slots
    now = meta[at.NOW]
    n = links[link, at.N_QPS]
    nic = links[link, at.NIC]
    is_paused = links[link, at.PAUSED]
    turn = links[link, at.LAST_QP] + 1
    while turn >= n:  # as % n, which divides
        turn -= n
    chosen, done = np.int64(-1), n
    soonest = at.NEVER
    for _ in range(n):
        slot = t.nics[nic, turn]
        if slots[slot, at.S_TIMER] <= now:
            dcqcn_timers(slots, t.floats, t.transports, t.transport_floats, slot, now)
        sent, acked = slots[slot, at.S_NXT], slots[slot, at.S_UNA]
        window = slots[slot, at.S_WINDOW]
        can_send = (
            not is_paused
            and sent < slots[slot, at.S_SIZE]
            and (window == 0 or sent - acked < window)
        )
        if can_send:
            avail = slots[slot, at.S_AVAIL]
            if avail <= now:
                chosen = turn
                break
            soonest = min(soonest, avail)
        elif acked >= slots[slot, at.S_SIZE]:
            done = min(done, turn)
        turn += 1
        if turn == n:
            turn = 0
    if done < n:
        kept = done
        for place in range(done, n):
            slot = t.nics[nic, place]
            if slots[slot, at.S_UNA] >= slots[slot, at.S_SIZE]:
                slots[slot, at.S_FLOW] = -1
                give_back(t.free_slots, t.slot_meta, slot)
            else:
                if place == chosen:
                    chosen = kept
                t.nics[nic, kept] = slot
                kept += 1
        n = kept
        links[link, at.N_QPS] = n
    if chosen >= 0:
        links[link, at.LAST_QP] = chosen
        return t.nics[nic, chosen]
    if links[link, at.WAKE_TIME] == at.NEVER:
        if meta[at.AS_FORK]:
            soonest = at.NEVER
            for place in range(n):
                slot = t.nics[nic, place]
                if slots[slot, at.S_NXT] < slots[slot, at.S_SIZE]:
                    soonest = min(soonest, slots[slot, at.S_AVAIL])
        if now < soonest < at.NEVER:
            wake_at(t.heap, meta, links, link, soonest)
    return -1


@inlined
def next_packet(t: Tables, slot: int) -> int:
    """The next packet of a flow, as its card makes it."""
    meta, slots, packets = t.meta, t.slots, t.packets
    packet = take(t.free, meta)
    kind = slots[slot, at.S_TRANSPORT]
    sequence = slots[slot, at.S_NXT]
    flow = slots[slot, at.S_FLOW]
    payload = min(t.transports[kind, at.T_MTU], slots[slot, at.S_SIZE] - sequence)
    size = payload + t.transports[kind, at.T_HEADER]
    route = slots[slot, at.S_ROUTE]
    packets[packet, at.P_SIZE] = size
    packets[packet, at.P_KIND] = at.DATA
    packets[packet, at.P_PLACE] = route
    packets[packet, at.P_LAST] = route + slots[slot, at.S_HOPS] - 1
    packets[packet, at.P_SLOT] = slot
    packets[packet, at.P_FLOW] = flow
    packets[packet, at.P_SEQ] = sequence
    packets[packet, at.P_IN] = -1
    packets[packet, at.P_SENT] = meta[at.NOW]
    packets[packet, at.P_MARKED] = 0
    packets[packet, at.P_HOPS] = 0
    packets[packet, at.P_PAYLOAD] = payload
    packets[packet, at.P_TRANSPORT] = kind
    if sequence == slots[slot, at.S_UNA]:
        slots[slot, at.S_PROGRESS] = meta[at.NOW]
    if sequence < slots[slot, at.S_HIGH]:
        t.repeated[flow] += 1
    slots[slot, at.S_NXT] = sequence + payload
    slots[slot, at.S_HIGH] = max(slots[slot, at.S_HIGH], sequence + payload)
    rate = slots[slot, at.S_RATE]
    if slots[slot, at.S_LAST_SIZE] != size or slots[slot, at.S_PACED_RATE] != rate:
        slots[slot, at.S_LAST_SIZE] = size
        slots[slot, at.S_PACED_RATE] = rate
        slots[slot, at.S_PACED_NS] = spread_ns(size, rate, meta[at.AS_FORK])
    slots[slot, at.S_AVAIL] = meta[at.NOW] + slots[slot, at.S_PACED_NS]
    return packet
