"""Skipping a steady state: rounds of a flow that is alone, leapt over to the same bits.

Where nobody else uses the links of a flow, there or back, and a round trip of it ends
in the state in which the one before ended, but for times and sequence numbers, then the
next ones will too: nothing is drawn, marked or lost. What there is of it (packets,
links, events) moves ahead by as many rounds as end before its last packets, and before
another flow starts on one of its links, which is known before. That is for DCTCP, and
for DCQCN before its first mark; smoothed measurements, as of HPCC, go on changing.

That a simulator of packets need not work through a state that is steady is from
Wormhole (NSDI 2026, arXiv 2602.10615), which skips for all that share links, where
rates hardly change. Here nothing at all may change, so that what comes out is what
working through each packet gives; only the number of events is another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.events import (
    compiled,
    inlined,
    kind_of,
    object_of,
    restore,
    settle,
)
from midhaul.network.packet.rdma import layout as at

if TYPE_CHECKING:
    from typing import Any

    from midhaul.network.packet.rdma.layout import Tables

    # Whole numbers of 64 bits, of which a checker would tell signed from unsigned ones.
    Digest = Any

_NOT_ALONE = 0
"""Digest of a flow with others on its links."""


@inlined
def _cable_of(t: Tables, place: int) -> int:
    """The one of the two links at a place of a route that stands for both."""
    return min(t.route[place], t.back[place])


@compiled
def enter(t: Tables, flow: int) -> None:
    """Note that a flow uses its links from now on."""
    for place in range(t.offsets[flow], t.offsets[flow + 1]):
        cable = _cable_of(t, place)
        t.links[cable, at.USERS] += 1
        t.links[cable, at.NEXT_USE] += 1


@compiled
def depart(t: Tables, flow: int) -> None:
    """Note that a flow no longer uses its links."""
    for place in range(t.offsets[flow], t.offsets[flow + 1]):
        t.links[_cable_of(t, place), at.USERS] -= 1


@inlined
def may_leap(t: Tables, slot: int) -> bool:
    """Whether a flow whose round has just ended may be in a steady state."""
    slots = t.slots
    sent = slots[slot, at.S_NXT]
    return (
        t.meta[at.CAN_LEAP] != 0
        and slots[slot, at.S_SIZE] - sent > 2 * (sent - slots[slot, at.S_UNA])
        and slots[slot, at.S_RATE] == slots[slot, at.S_MAX_RATE]
        and slots[slot, at.S_STATE] == 0
        and slots[slot, at.S_HIGH] == sent
        and not slots[slot, at.S_WATCHED]
    )


@inlined
def _mixed(digest: Digest, value: Digest) -> Digest:
    """A digest with another number in it."""
    mixed = np.uint64(digest) ^ np.uint64(value & at.NEVER)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


@compiled
def _with_list(t: Tables, slot: int, packet: int, digest: Digest) -> Digest:
    """A digest with the packets of a list in it."""
    packets, una, now = t.packets, t.slots[slot, at.S_UNA], t.meta[at.NOW]
    while packet >= 0:
        is_own = (
            packets[packet, at.P_KIND] <= at.ACK
            and packets[packet, at.P_SLOT] == slot
            and packets[packet, at.P_FLOW] == t.slots[slot, at.S_FLOW]
        )
        if not is_own or packets[packet, at.P_MARKED]:
            return np.uint64(_NOT_ALONE)
        for column in (at.P_TIME, at.P_SENT):
            digest = _mixed(digest, packets[packet, column] - now)
        digest = _mixed(digest, packets[packet, at.P_SEQ] - una)
        for column in (at.P_KIND, at.P_SIZE):
            digest = _mixed(digest, packets[packet, column])
        packet = packets[packet, at.P_NEXT]
    return digest


@compiled
def _with_link(t: Tables, slot: int, link: int, digest: Digest) -> Digest:
    """A digest with a link in it."""
    links, now = t.links, t.meta[at.NOW]
    n_own = np.int64(link == t.slots[slot, at.S_LINK])
    if links[link, at.N_QPS] != n_own or links[link, at.PAUSED]:
        return np.uint64(_NOT_ALONE)
    for head in (at.PIPE_HEAD, at.QUEUE_HEAD, at.URGENT_HEAD):
        digest = _with_list(t, slot, links[link, head], digest)
        if digest == _NOT_ALONE:
            return digest
        digest = _mixed(digest, head)
    until, wake = links[link, at.BUSY_UNTIL], links[link, at.WAKE_TIME]
    digest = _mixed(digest, max(until - now, -1))
    digest = _mixed(digest, np.int64(links[link, at.FREE_ORDER] > t.meta[at.ORDER]))
    digest = _mixed(digest, wake - now if wake < at.NEVER else -1)
    for column in (at.FREE_PENDING, at.LAST_SIZE, at.WAITING, at.EGRESS):
        digest = _mixed(digest, links[link, column])
    return digest


@compiled
def _digest(t: Tables, slot: int) -> Digest:
    """All that decides what becomes of a flow, relative to now."""
    slots, now = t.slots, t.meta[at.NOW]
    first = slots[slot, at.S_ROUTE]
    end = first + slots[slot, at.S_HOPS]
    for place in range(first, end):
        if t.links[_cable_of(t, place), at.USERS] != 1:
            return np.uint64(_NOT_ALONE)
    digest = np.uint64(1)
    for column in (at.S_NXT, at.S_ROUND, at.S_EXPECTED):
        digest = _mixed(digest, slots[slot, column] - slots[slot, at.S_UNA])
    digest = _mixed(digest, max(slots[slot, at.S_AVAIL] - now, -1))
    digest = _mixed(digest, slots[slot, at.S_PROGRESS] - now)
    for column in (at.S_WINDOW, at.S_RATE, at.S_BATCH, at.S_LAST_SIZE):
        digest = _mixed(digest, slots[slot, column])
    digest = _mixed(digest, t.marked[slots[slot, at.S_FLOW]])
    for place in range(first, end):
        for link in (t.route[place], t.back[place]):
            digest = _with_link(t, slot, link, digest)
            if digest == _NOT_ALONE:
                return digest
    return digest


@compiled
def leap(t: Tables, slot: int) -> None:
    """Leap over rounds of a flow, where it is alone and the last two were alike."""
    meta, slots = t.meta, t.slots
    now, una = meta[at.NOW], slots[slot, at.S_UNA]
    digest = np.int64(_digest(t, slot))
    is_alike = digest != _NOT_ALONE and digest == slots[slot, at.S_DIGEST]
    took = now - slots[slot, at.S_DIGEST_AT]
    n_bytes = una - slots[slot, at.S_DIGEST_UNA]
    slots[slot, at.S_DIGEST] = digest
    slots[slot, at.S_DIGEST_AT] = now
    slots[slot, at.S_DIGEST_UNA] = una
    if not is_alike:
        return
    kind, first = slots[slot, at.S_TRANSPORT], slots[slot, at.S_ROUTE]
    end = first + slots[slot, at.S_HOPS]
    until = meta[at.UNTIL]
    for place in range(first, end):
        until = min(until, t.uses[t.links[_cable_of(t, place), at.NEXT_USE]] - 1)
    mtu = t.transports[kind, at.T_MTU]
    n = (slots[slot, at.S_SIZE] - slots[slot, at.S_NXT] - mtu) // n_bytes
    n = min(n, (until - now) // took)
    if n < 1:
        return
    later, further = n * took, n * n_bytes
    n_packets = further // mtu
    size = mtu + t.transports[kind, at.T_HEADER]
    for place in range(first, end):
        _move_link(t, t.route[place], later, further, n_packets * size, n_packets)
        size_back = t.transports[kind, at.T_ACK]
        _move_link(t, t.back[place], later, further, n_packets * size_back, n_packets)
    _move_events(t, later)
    for place in range(first, end):
        t.links[t.route[place], at.MOVES] = 0
        t.links[t.back[place], at.MOVES] = 0
    for column in (at.S_NXT, at.S_UNA, at.S_EXPECTED, at.S_HIGH, at.S_ROUND):
        slots[slot, column] += further
    slots[slot, at.S_AVAIL] += later
    slots[slot, at.S_PROGRESS] += later
    slots[slot, at.S_DIGEST] = _NOT_ALONE
    meta[at.DONE_BYTES] += further
    if t.transports[kind, at.T_CONGESTION] == at.DCTCP:
        gain, alpha = t.transport_floats[kind, at.X_GAIN], t.floats[slot, at.F_ALPHA]
        for _ in range(n):  # as often as ``dctcp`` would, for the same bits
            alpha = (1 - gain) * alpha
        t.floats[slot, at.F_ALPHA] = alpha


@compiled
def _move_link(
    t: Tables, link: int, later: int, further: int, n_bytes: int, n_packets: int
) -> None:
    """Move a link and what is on it ahead; it has sent so much meanwhile."""
    links, packets = t.links, t.packets
    for head in (at.PIPE_HEAD, at.QUEUE_HEAD, at.URGENT_HEAD):
        packet = links[link, head]
        while packet >= 0:
            packets[packet, at.P_TIME] += later
            packets[packet, at.P_SENT] += later
            packets[packet, at.P_SEQ] += further
            packet = packets[packet, at.P_NEXT]
    links[link, at.BUSY_UNTIL] += later
    if links[link, at.WAKE_TIME] < at.NEVER:
        links[link, at.WAKE_TIME] += later
    links[link, at.SENT_BYTES] += n_bytes
    links[link, at.BUSY_NS] += n_packets * links[link, at.LAST_NS]
    links[link, at.MOVES] = 1


@compiled
def _move_events(t: Tables, later: int) -> None:
    """Move the events of links that move ahead."""
    heap = t.heap
    n = settle(heap, t.meta)
    for entry in range(n):
        order = heap[2 * entry + 1]
        is_of_link = kind_of(order) <= at.WAKE
        if is_of_link and t.links[object_of(order), at.MOVES]:
            heap[2 * entry] += later
    restore(heap, n)
