"""Tables of the RDMA kernel: which column holds what, and the tuple of all of them.

Each kind of object has one table of int64 with a row for each. Rows of links are the
topology's; packets and flows under way have rows that are used again (``events.take``).
Columns that one event touches together stand together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from midhaul.network.packet.events import N_META

Table = Any
"""An array; what kernels do with its elements is beyond a type checker."""

# Kinds of events, the lower bits of their order.
ARRIVE, FREE, WAKE, NEXT_FLOW, BEGIN, CLOCK, INSTALL = 0, 1, 2, 3, 4, 5, 6

# Objects of CLOCK.
SWEEP, SAMPLE, CHANGE = 0, 1, 2

# Kinds of packets.
DATA, ACK, NACK, PAUSE, RESUME = 0, 1, 2, 3, 4

# Congestion control.
DCTCP, DCQCN, HPCC, TIMELY = 0, 1, 2, 3

# What ``run`` returns.
DONE, MORE, SHORT_PACKETS, SHORT_SLOTS, SHORT_HEAP, SHORT_NICS = 0, 1, 2, 3, 4, 5
SHORT_SAMPLES, SHORT_TIMELINE = 6, 7

NEVER = np.iinfo(np.int64).max

# meta: what is counted.
NOW = N_META
ORDER = N_META + 1
END = N_META + 2
UNTIL = N_META + 3
AS_FORK = N_META + 4
HAS_BUFFER = N_META + 5
HAS_PFC = N_META + 6
NEXT = N_META + 7
N_ACTIVE = N_META + 8
N_CLOCKS = N_META + 9
SWEEP_NS = N_META + 10
SWEEPING = N_META + 11
SAMPLE_NS = N_META + 12
N_SAMPLES = N_META + 13
N_ROWS = N_META + 14
N_EVENTS = N_META + 15
NEXT_CHANGE = N_META + 16
HEAP_MARGIN = N_META + 17
DONE_BYTES = N_META + 18
N_DONE = N_META + 19
HAS_CHANCE = N_META + 20
CAN_LEAP = N_META + 21
LEAPING = N_META + 22
META_SIZE = N_META + 23

PACKET_MARGIN = 4
"""Packets that one event can need."""

# links: what every packet touches first.
BUSY_UNTIL, FREE_ORDER, FREE_PENDING = 0, 1, 2
PIPE_HEAD, PIPE_TAIL = 3, 4
URGENT_HEAD, URGENT_TAIL = 5, 6
QUEUE_HEAD, QUEUE_TAIL = 7, 8
WAITING, EGRESS, MAX_WAITING = 9, 10, 11
LAST_SIZE, LAST_NS, RATE, DELAY = 12, 13, 14, 15
SENT_BYTES, BUSY_NS = 16, 17
N_QPS, NIC, LAST_QP = 18, 19, 20
PAUSED, PAUSED_SINCE, PAUSED_NS = 21, 22, 23
N_DROPPED, N_MARKED = 24, 25
REVERSE, SWITCH = 26, 27
INGRESS, IN_HEADROOM, IS_PAUSING, HEADROOM, SHIFT = 28, 29, 30, 31, 32
WAKE_TIME, WAKE_ORDER = 33, 34
LAST_ARRIVAL = 35
USERS, NEXT_USE, MOVES = 36, 37, 38
LINK_COLUMNS = 40

# packets.
P_NEXT, P_TIME, P_ORDER, P_SIZE, P_KIND, P_PLACE, P_LAST = 0, 1, 2, 3, 4, 5, 6
P_SLOT, P_FLOW, P_SEQ, P_IN, P_SENT, P_MARKED, P_HOPS = 7, 8, 9, 10, 11, 12, 13
P_PAYLOAD, P_TRANSPORT = 14, 15
PACKET_COLUMNS = 16

# slots: flows under way. The first line of the cache is what the card looks at.
S_NXT, S_UNA, S_SIZE, S_AVAIL, S_WINDOW, S_TIMER, S_FLOW, S_RATE = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
)
S_MAX_RATE, S_WIN, S_ROUTE, S_HOPS, S_TRANSPORT, S_LINK = 8, 9, 10, 11, 12, 13
S_HIGH, S_LAST_SIZE, S_PROGRESS, S_WATCHED = 14, 15, 16, 17
S_EXPECTED, S_NACK_AT, S_NACKED = 18, 19, 20
S_ROUND, S_STATE, S_MARK, S_COUNT, S_BATCH, S_CURRENT = 21, 22, 23, 24, 25, 26
S_ALPHA_AT, S_DECREASE_AT, S_INCREASE_AT, S_TARGET = 27, 28, 29, 30
S_ALPHA_HIT, S_DECREASE_HIT, S_NIC_RATE, S_BASE_RTT = 31, 32, 33, 34
S_ADDITIVE, S_HYPER = 35, 36
S_DIGEST, S_DIGEST_AT, S_DIGEST_UNA = 37, 38, 39
S_PACED_RATE, S_PACED_NS = 40, 41
SLOT_COLUMNS = 48

# floats of slots.
F_ALPHA, F_DIFFERENCE, F_UTILISATION = 0, 1, 2
FLOAT_COLUMNS = 3

# whole numbers of a transport.
T_CONGESTION, T_MTU, T_HEADER, T_ACK, T_URGENT_ACK, T_MIN_RATE = 0, 1, 2, 3, 4, 5
T_ROUNDS, T_LOW, T_HIGH, T_TIMEOUT, T_MAX_RATE, T_WINDOW = 6, 7, 8, 9, 10, 11
T_BASE_RTT, T_ADDITIVE, T_HYPER = 12, 13, 14
TRANSPORT_COLUMNS = 15

# floats of a transport.
X_GAIN, X_UTILISATION, X_SHARE = 0, 1, 2
X_COLUMNS = 3

# telemetry of a hop: time, bytes sent, bytes waiting, rate of the link.
HOP_COLUMNS = 4

# switches.
W_POOL, W_USED = 0, 1
SWITCH_COLUMNS = 2

# rows of the timeline.
TIMELINE_COLUMNS = 6

PFC_BYTES = 43
RESERVE_BYTES = 4 * 1024
RESUME_BYTES = 3 * 1024
"""Below the threshold by which a pause ends."""


class Tables(NamedTuple):
    """All that the kernel reads and writes; what is fixed stands last.

    Attributes:
        heap: of events.
        meta: what is counted.
        links: a row each.
        packets: a row each.
        hops: of each packet, what switches wrote into it (hpcc).
        free: rows of packets that are free.
        slots: flows under way, a row each.
        floats: of slots.
        seen: of each slot, the telemetry that it saw last (hpcc).
        slot_meta: as ``meta``, of free slots.
        free_slots: rows of slots that are free.
        nics: of each link at which flows start, the slots in the order of its turns.
        switches: a row each.
        random: state of the random numbers.
        fct: of each flow, -1 while it has not ended.
        started: of each flow, when it started.
        repeated: of each flow, packets sent again.
        marked: of each flow, packets marked.
        pending: of each flow, others that it still waits for.
        samples_ns: when queues were looked at.
        samples: what waited then at each link.
        timeline: time, flow, window, rate, bytes under way, bytes acknowledged.
        order: flows by their start.
        start_ns: of each flow.
        size: of each flow.
        transport: of each flow.
        watched: of each flow, whether it is in the timeline.
        offsets: of each flow, where its links stand in ``route``.
        route: links of flows.
        back: their reverses.
        follow_offsets: of each flow, where in ``follow`` those stand that wait for it.
        follow: flows that wait for another.
        transports: whole numbers of a transport, a row each.
        transport_floats: floats of a transport.
        ecn_min: of each transport and link, queue from which packets are marked.
        ecn_max: queue from which all are.
        chance: of each link, share lost and most jitter.
        changes: time, link and rate of each change of a rate.
        uses: of each link, when flows start that use it or its reverse, then NEVER.
    """

    heap: Table
    meta: Table
    links: Table
    packets: Table
    hops: Table
    free: Table
    slots: Table
    floats: Table
    seen: Table
    slot_meta: Table
    free_slots: Table
    nics: Table
    switches: Table
    random: Table
    fct: Table
    started: Table
    repeated: Table
    marked: Table
    pending: Table
    samples_ns: Table
    samples: Table
    timeline: Table
    order: Table
    start_ns: Table
    size: Table
    transport: Table
    watched: Table
    offsets: Table
    route: Table
    back: Table
    follow_offsets: Table
    follow: Table
    transports: Table
    transport_floats: Table
    ecn_min: Table
    ecn_max: Table
    chance: Table
    changes: Table
    uses: Table


STATE_FIELDS = Tables._fields[: Tables._fields.index("order")]
"""What changes while a simulation runs, and is its state."""
