"""Links and switches of the RDMA kernel: queues, shared memory, PFC, ECN, telemetry.

A switch has one memory. With PFC (IEEE 802.1Qbb) each port by which packets come in has
a reserve, then a part of what is left of the memory (dynamic thresholds, Choudhury and
Hahne, IEEE/ACM ToN 6, 1998), then headroom for what comes in until a pause works. ECN
marks and telemetry are written when a packet leaves its queue, which is counted without
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.events import (
    compiled,
    draw,
    give_back,
    inlined,
    order_of,
    push,
    take,
)
from midhaul.network.packet.rdma import layout as at
from midhaul.network.packet.rdma.congestion import spread_ns, stamp

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.network.packet.rdma.layout import Tables

    Rows = Int64[np.ndarray, "n c"]
    Row = Int64[np.ndarray, " n"]


@inlined
def is_busy(links: Rows, meta: Row, link: int) -> bool:
    """Whether a link still sends; at its last moment, by the order of events."""
    until = links[link, at.BUSY_UNTIL]
    return until > meta[at.NOW] or (
        until == meta[at.NOW] and links[link, at.FREE_ORDER] > meta[at.ORDER]
    )


@inlined
def when_free(heap: Rows, meta: Row, links: Rows, link: int) -> None:
    """Have a link that sends looked at when it is free."""
    if not links[link, at.FREE_PENDING]:
        links[link, at.FREE_PENDING] = 1
        push(heap, meta, links[link, at.BUSY_UNTIL], links[link, at.FREE_ORDER])


@inlined
def append(packets: Rows, links: Rows, link: int, head: int, packet: int) -> None:
    """Put a packet at the end of a list of a link; its tail stands next to its head."""
    packets[packet, at.P_NEXT] = -1
    tail = links[link, head + 1]
    if links[link, head] < 0:
        links[link, head] = packet
    else:
        packets[tail, at.P_NEXT] = packet
    links[link, head + 1] = packet


@inlined
def transmit(  # noqa: PLR0913, PLR0917 - flat arrays
    heap: Rows,
    meta: Row,
    links: Rows,
    packets: Rows,
    free: Row,
    chance: np.ndarray,
    random: np.ndarray,
    link: int,
    packet: int,
) -> None:
    """Begin to send a packet on a link that is free."""
    size = packets[packet, at.P_SIZE]
    if links[link, at.LAST_SIZE] != size:
        links[link, at.LAST_SIZE] = size
        took = spread_ns(size, links[link, at.RATE], meta[at.AS_FORK])
        links[link, at.LAST_NS] = took
    took = links[link, at.LAST_NS]
    until = meta[at.NOW] + took
    links[link, at.BUSY_UNTIL] = until
    links[link, at.FREE_ORDER] = order_of(meta, at.FREE, link)
    links[link, at.SENT_BYTES] += size
    links[link, at.BUSY_NS] += took
    order = order_of(meta, at.ARRIVE, link)
    arrival = until + links[link, at.DELAY]
    if meta[at.HAS_CHANCE]:
        if (
            packets[packet, at.P_KIND] < at.PAUSE
            and chance[link, 0] > 0
            and draw(random) < chance[link, 0]
        ):
            links[link, at.N_DROPPED] += 1
            give_back(free, meta, packet)
            return
        if chance[link, 1] > 0:
            arrival += np.int64(draw(random) * chance[link, 1])
            arrival = max(arrival, links[link, at.LAST_ARRIVAL])
            links[link, at.LAST_ARRIVAL] = arrival
    packets[packet, at.P_TIME] = arrival
    packets[packet, at.P_ORDER] = order
    if links[link, at.PIPE_HEAD] < 0:
        push(heap, meta, arrival, order)
    append(packets, links, link, at.PIPE_HEAD, packet)


@compiled
def _send_frame(  # noqa: PLR0913, PLR0917 - flat arrays
    heap: Rows,
    meta: Row,
    links: Rows,
    packets: Rows,
    free: Row,
    chance: np.ndarray,
    random: np.ndarray,
    port: int,
    kind: int,
) -> None:
    """Tell who sends on a link to pause or to go on (PFC); the frame goes first."""
    back = links[port, at.REVERSE]
    packet = take(free, meta)
    packets[packet, at.P_KIND] = kind
    packets[packet, at.P_SIZE] = at.PFC_BYTES
    packets[packet, at.P_IN] = -1
    packets[packet, at.P_PLACE] = 0
    packets[packet, at.P_LAST] = 0
    links[port, at.IS_PAUSING] = np.int64(kind == at.PAUSE)
    if is_busy(links, meta, back):
        links[back, at.WAITING] += at.PFC_BYTES
        append(packets, links, back, at.URGENT_HEAD, packet)
        when_free(heap, meta, links, back)
        return
    transmit(heap, meta, links, packets, free, chance, random, back, packet)
    links[back, at.FREE_PENDING] = 0
    if links[back, at.QUEUE_HEAD] >= 0 or links[back, at.N_QPS] > 0:
        when_free(heap, meta, links, back)


@inlined
def _threshold(links: Rows, switches: Rows, port: int) -> int:
    """Bytes that a port may hold of what is shared now, before who sends is paused.

    Of unsigned 32 bits, so that a pool below 0 wraps as it does in the simulator behind
    HPCC; where its quirks are not wanted such a pool is refused before.
    """
    switch = links[port, at.SWITCH]
    pool = (switches[switch, at.W_POOL] - switches[switch, at.W_USED]) & 0xFFFFFFFF
    return pool >> links[port, at.SHIFT]


@inlined
def _admit(
    links: Rows, switches: Rows, meta: Row, port: int, link: int, size: int
) -> bool:
    """Find room in a switch for a packet that came in by a port; false where none is.

    Without PFC a queue may hold as much as is left.
    """
    switch = links[port, at.SWITCH]
    if not meta[at.HAS_PFC] and not meta[at.AS_FORK]:
        left = switches[switch, at.W_POOL] - switches[switch, at.W_USED]
        if size + links[link, at.EGRESS] > left:
            return False
        switches[switch, at.W_USED] += size
        return True
    held = links[port, at.INGRESS]
    threshold = _threshold(links, switches, port)
    if (
        size + links[port, at.IN_HEADROOM] > links[port, at.HEADROOM]
        and size + max(held - at.RESERVE_BYTES, 0) > threshold
    ):
        return False
    over = held + size - at.RESERVE_BYTES
    if over > threshold:
        links[port, at.IN_HEADROOM] += size
    else:
        links[port, at.INGRESS] = held + size
        if over > 0:
            switches[switch, at.W_USED] += min(size, over)
    return True


@inlined
def _release(links: Rows, switches: Rows, meta: Row, port: int, size: int) -> None:
    """Give the room of a packet back."""
    switch = links[port, at.SWITCH]
    if not meta[at.HAS_PFC] and not meta[at.AS_FORK]:
        switches[switch, at.W_USED] -= size
        return
    held = links[port, at.INGRESS]
    of_headroom = min(links[port, at.IN_HEADROOM], size)
    of_shared = min(size - of_headroom, max(held - at.RESERVE_BYTES, 0))
    links[port, at.IN_HEADROOM] -= of_headroom
    links[port, at.INGRESS] = held - (size - of_headroom)
    switches[switch, at.W_USED] -= of_shared


@inlined
def _should_pause(links: Rows, switches: Rows, port: int) -> bool:
    """Whether a port is so full that who sends to it must pause, and does not yet."""
    if links[port, at.IS_PAUSING]:
        return False
    shared = max(links[port, at.INGRESS] - at.RESERVE_BYTES, 0)
    return links[port, at.IN_HEADROOM] > 0 or shared >= _threshold(
        links, switches, port
    )


@inlined
def _should_resume(links: Rows, switches: Rows, port: int) -> bool:
    """Whether a port has emptied enough for a pause to end."""
    if not links[port, at.IS_PAUSING] or links[port, at.IN_HEADROOM] > 0:
        return False
    shared = max(links[port, at.INGRESS] - at.RESERVE_BYTES, 0)
    return shared == 0 or shared + at.RESUME_BYTES <= _threshold(links, switches, port)


@inlined
def leave(t: Tables, link: int, packet: int) -> None:
    """Take a packet out of the memory of a switch: marks, telemetry, end of a pause."""
    meta, links, packets = t.meta, t.links, t.packets
    port = packets[packet, at.P_IN]
    size = packets[packet, at.P_SIZE]
    transport = packets[packet, at.P_TRANSPORT]
    kind = packets[packet, at.P_KIND]
    if kind == at.DATA or not t.transports[transport, at.T_URGENT_ACK]:
        waiting = links[link, at.EGRESS] - size
        links[link, at.EGRESS] = waiting
        if waiting > t.ecn_min[transport, link] and kind == at.DATA:
            least, most = t.ecn_min[transport, link], t.ecn_max[transport, link]
            is_marked = waiting > most
            if not is_marked:
                share = t.transport_floats[transport, at.X_SHARE]
                share *= (waiting - least) / (most - least)
                is_marked = draw(t.random) < share
            if is_marked:
                packets[packet, at.P_MARKED] = 1
                links[link, at.N_MARKED] += 1
        if meta[at.HAS_BUFFER]:
            _release(links, t.switches, meta, port, size)
            if _should_resume(links, t.switches, port):
                _send_frame(
                    t.heap,
                    meta,
                    links,
                    packets,
                    t.free,
                    t.chance,
                    t.random,
                    port,
                    at.RESUME,
                )
    if kind == at.DATA and t.transports[transport, at.T_CONGESTION] == at.HPCC:
        stamp(
            packets,
            t.hops,
            packet,
            meta[at.NOW],
            links[link, at.SENT_BYTES],
            links[link, at.WAITING],
            links[link, at.RATE],
            meta[at.AS_FORK],
        )


@inlined
def forward(t: Tables, port: int, packet: int) -> int:
    """Queue a packet for its next link; that link, or -1 where it is dropped."""
    meta, links, packets = t.meta, t.links, t.packets
    kind = packets[packet, at.P_KIND]
    size = packets[packet, at.P_SIZE]
    if kind == at.DATA:
        place = packets[packet, at.P_PLACE] + 1
        link = t.route[place]
    else:
        place = packets[packet, at.P_PLACE] - 1
        link = t.back[place]
    packets[packet, at.P_PLACE] = place
    packets[packet, at.P_IN] = port
    transport = packets[packet, at.P_TRANSPORT]
    if kind != at.DATA and t.transports[transport, at.T_URGENT_ACK]:
        append(packets, links, link, at.URGENT_HEAD, packet)
    else:
        if meta[at.HAS_BUFFER]:
            if not _admit(links, t.switches, meta, port, link, size):
                links[link, at.N_DROPPED] += 1
                give_back(t.free, meta, packet)
                return -1
            if meta[at.HAS_PFC] and _should_pause(links, t.switches, port):
                _send_frame(
                    t.heap,
                    meta,
                    links,
                    packets,
                    t.free,
                    t.chance,
                    t.random,
                    port,
                    at.PAUSE,
                )
        links[link, at.EGRESS] += size
        append(packets, links, link, at.QUEUE_HEAD, packet)
    waiting = links[link, at.WAITING] + size
    links[link, at.WAITING] = waiting
    links[link, at.MAX_WAITING] = max(links[link, at.MAX_WAITING], waiting)
    return link
