"""Congestion control of RDMA senders: DCTCP with a window, DCQCN, HPCC, TIMELY.

- DCTCP: Alizadeh et al., SIGCOMM 2010, as a rate with a window in proportion to it.
- DCQCN: Zhu et al., SIGCOMM 2015, section 5 and figure 7.
- HPCC: Li et al., SIGCOMM 2019, algorithm 1.
- TIMELY: Mittal et al., SIGCOMM 2015, algorithm 1.

Rates are whole bits per second, rounded down, as they are in the simulator behind HPCC.
What differs from the papers is numbered in ``docs/explanation/network-rdma.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.packet.events import compiled, inlined
from midhaul.network.packet.rdma.layout import (
    F_ALPHA,
    F_DIFFERENCE,
    F_UTILISATION,
    HOP_COLUMNS,
    NEVER,
    P_HOPS,
    P_SENT,
    S_ADDITIVE,
    S_ALPHA_AT,
    S_ALPHA_HIT,
    S_AVAIL,
    S_BASE_RTT,
    S_BATCH,
    S_COUNT,
    S_CURRENT,
    S_DECREASE_AT,
    S_DECREASE_HIT,
    S_HYPER,
    S_INCREASE_AT,
    S_LAST_SIZE,
    S_MARK,
    S_MAX_RATE,
    S_NIC_RATE,
    S_NXT,
    S_RATE,
    S_ROUND,
    S_STATE,
    S_TARGET,
    S_TIMER,
    S_TRANSPORT,
    S_WIN,
    S_WINDOW,
    T_HIGH,
    T_LOW,
    T_MIN_RATE,
    T_MTU,
    T_ROUNDS,
    X_GAIN,
    X_UTILISATION,
)

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    Rows = Int64[np.ndarray, "n c"]
    Floats = Float64[np.ndarray, "n c"]

ALPHA_NS, DECREASE_NS, INCREASE_NS = 50_000, 50_000, 55_000
"""DCQCN: how often alpha falls, the rate may fall, and the rate rises."""

TIMELY_WEIGHT, TIMELY_BETA, TIMELY_RTT_NS, TIMELY_SLOW = 0.875, 0.8, 20_000, 5
"""TIMELY: weight of the newest difference, of a decrease, the least round trip, and
the increases after which it rises faster."""

MOST_HOPS = 5
"""HPCC: hops for which a header of the simulator behind it has room."""

_TIME, _BYTES, _QUEUE = (1 << 24) - 1, (1 << 20) - 1, (1 << 17) - 1
_BYTE_UNIT, _QUEUE_UNIT = 128, 80
_HUGE = 4e18


@inlined
def spread_ns(n_bytes: int, rate: int, as_fork: int) -> int:
    """Time of so many bytes at a rate: to the nearest, or as an ns-3.17 cuts it off."""
    if as_fork:
        return (8_000_000_000 * n_bytes - 1) // rate
    return (8_000_000_000 * n_bytes + (rate >> 1)) // rate


@inlined
def set_rate(slots: Rows, slot: int, rate: int) -> None:
    """Give a flow another rate, and a window in proportion."""
    slots[slot, S_RATE] = rate
    window = slots[slot, S_WIN]
    if window > 0:
        full = slots[slot, S_MAX_RATE]
        if rate != full:
            window = max(window * rate // full, 1)
        slots[slot, S_WINDOW] = window


@inlined
def dctcp(
    slots: Rows,
    floats: Floats,
    transports: Rows,
    shares: Floats,
    slot: int,
    acked: int,
    is_marked: int,
) -> bool:
    """React to an acknowledgement: alpha each round trip, one decrease in it.

    True where a round trip has ended.
    """
    kind = slots[slot, S_TRANSPORT]
    sent = slots[slot, S_NXT]
    slots[slot, S_COUNT] += is_marked
    is_round = acked > slots[slot, S_ROUND]
    if is_round:
        if slots[slot, S_ROUND] == 0:
            slots[slot, S_BATCH] = sent // transports[kind, T_MTU] + 1
        else:
            share = min(1.0, slots[slot, S_COUNT] / slots[slot, S_BATCH])
            gain = shares[kind, X_GAIN]
            floats[slot, F_ALPHA] = (1 - gain) * floats[slot, F_ALPHA] + gain * share
            slots[slot, S_COUNT] = 0
            slots[slot, S_BATCH] = (sent - acked) // transports[kind, T_MTU] + 1
        slots[slot, S_ROUND] = sent
    if slots[slot, S_STATE] == 1 and acked > slots[slot, S_MARK]:
        slots[slot, S_STATE] = 0
    if slots[slot, S_STATE] == 0:
        rate = slots[slot, S_RATE]
        if is_marked:
            lower = np.int64(rate * (1 - floats[slot, F_ALPHA] / 2))
            set_rate(slots, slot, max(transports[kind, T_MIN_RATE], lower))
            slots[slot, S_STATE] = 1
            slots[slot, S_MARK] = sent
        elif is_round and rate < slots[slot, S_MAX_RATE]:
            higher = rate + slots[slot, S_ADDITIVE]
            set_rate(slots, slot, min(slots[slot, S_MAX_RATE], higher))
    return is_round


@inlined
def dcqcn_marked(slots: Rows, floats: Floats, slot: int, now: int) -> None:
    """React to a notification of congestion; timers begin with the first one."""
    slots[slot, S_ALPHA_HIT] = 1
    slots[slot, S_DECREASE_HIT] = 1
    if slots[slot, S_ALPHA_AT] == NEVER:
        floats[slot, F_ALPHA] = 1.0
        slots[slot, S_ALPHA_HIT] = 0
        slots[slot, S_ALPHA_AT] = now + ALPHA_NS
        slots[slot, S_DECREASE_AT] = now + DECREASE_NS + 1
        slots[slot, S_TARGET] = slots[slot, S_RATE]
        slots[slot, S_TIMER] = now + ALPHA_NS


@compiled
def dcqcn_timers(
    slots: Rows, floats: Floats, transports: Rows, shares: Floats, slot: int, now: int
) -> None:
    """Do what the timers of a flow were due to do until now, in their order.

    Nothing else changes between them, so that they need no events: whoever looks at the
    rate of a flow first makes up for them.
    """
    kind = slots[slot, S_TRANSPORT]
    gain = shares[kind, X_GAIN]
    rate = slots[slot, S_RATE]
    while True:
        alpha_at = slots[slot, S_ALPHA_AT]
        decrease_at = slots[slot, S_DECREASE_AT]
        increase_at = slots[slot, S_INCREASE_AT]
        first = min(alpha_at, decrease_at, increase_at)
        if first > now:
            slots[slot, S_TIMER] = first
            break
        if increase_at == first:
            slots[slot, S_INCREASE_AT] = first + INCREASE_NS
            stage = slots[slot, S_STATE]
            target = slots[slot, S_TARGET]
            if stage >= transports[kind, T_ROUNDS]:
                is_late = stage > transports[kind, T_ROUNDS]
                target += slots[slot, S_HYPER if is_late else S_ADDITIVE]
                target = min(target, slots[slot, S_NIC_RATE])
                slots[slot, S_TARGET] = target
            rate = (rate >> 1) + (target >> 1)
            slots[slot, S_STATE] = stage + 1
        elif alpha_at == first:
            slots[slot, S_ALPHA_AT] = first + ALPHA_NS
            alpha = (1 - gain) * floats[slot, F_ALPHA]
            floats[slot, F_ALPHA] = alpha + gain * slots[slot, S_ALPHA_HIT]
            slots[slot, S_ALPHA_HIT] = 0
        else:
            slots[slot, S_DECREASE_AT] = first + DECREASE_NS
            if slots[slot, S_DECREASE_HIT]:
                if slots[slot, S_STATE] != 0:
                    slots[slot, S_TARGET] = rate
                lower = np.int64(rate * (1 - floats[slot, F_ALPHA] / 2))
                rate = max(transports[kind, T_MIN_RATE], lower)
                slots[slot, S_STATE] = 0
                slots[slot, S_DECREASE_HIT] = 0
                slots[slot, S_INCREASE_AT] = first + INCREASE_NS
    if rate != slots[slot, S_RATE]:
        set_rate(slots, slot, rate)


@inlined
def stamp(
    packets: Rows,
    hops: Rows,
    packet: int,
    now: int,
    n_bytes: int,
    waiting: int,
    rate: int,
    as_fork: int,
) -> None:
    """Write into a packet what a switch knows of the link that it leaves by (INT)."""
    at = packets[packet, P_HOPS]
    packets[packet, P_HOPS] = at + 1
    if as_fork:
        if at >= MOST_HOPS:
            return
        now &= _TIME
        n_bytes = (n_bytes // _BYTE_UNIT) & _BYTES
        waiting = (waiting // _QUEUE_UNIT) & _QUEUE
    at *= HOP_COLUMNS
    hops[packet, at] = now
    hops[packet, at + 1] = n_bytes
    hops[packet, at + 2] = waiting
    hops[packet, at + 3] = rate


@compiled
def _busiest(
    hops: Rows, seen: Rows, slots: Rows, packet: int, slot: int, n_hops: int
) -> tuple[float, int]:
    """Highest utilisation of a hop since the last telemetry, and the time since.

    Equation 2 of HPCC: what was sent over the rate, and what waits over what fits a
    round trip. What was seen is replaced.
    """
    most, most_ns = 0.0, 0
    full, window = slots[slot, S_MAX_RATE], slots[slot, S_WIN]
    for hop in range(n_hops):
        at = hop * HOP_COLUMNS
        passed = max(hops[packet, at] - seen[slot, at], 1)
        rate = hops[packet, at + 3]
        sent = (hops[packet, at + 1] - seen[slot, at + 1]) * 8 / (passed * 1e-9)
        queue = float(min(hops[packet, at + 2], seen[slot, at + 2]))
        used = sent / rate + queue * full / rate / window
        if used > most:
            most, most_ns = used, passed
        for column in range(HOP_COLUMNS):
            seen[slot, at + column] = hops[packet, at + column]
    return most, most_ns


@compiled
def _busiest_as_fork(
    hops: Rows, seen: Rows, slots: Rows, packet: int, slot: int, n_hops: int
) -> tuple[float, int]:
    """As ``_busiest``, with counters that wrap and queues in units of 80 bytes."""
    most, most_ns = 0.0, 0
    full, window = slots[slot, S_MAX_RATE], slots[slot, S_WIN]
    for hop in range(n_hops):
        at = hop * HOP_COLUMNS
        passed = (hops[packet, at] - seen[slot, at]) & _TIME
        n_units = (hops[packet, at + 1] - seen[slot, at + 1]) & _BYTES
        rate = hops[packet, at + 3]
        sent = n_units * _BYTE_UNIT * 8 / (passed * 1e-9)
        queue = min(hops[packet, at + 2], seen[slot, at + 2]) * _QUEUE_UNIT
        used = sent / rate + float(queue) * full / rate / window
        if used > most:
            most, most_ns = used, passed
        for column in range(HOP_COLUMNS):
            seen[slot, at + column] = hops[packet, at + column]
    return most, most_ns


@compiled
def hpcc(  # noqa: PLR0913, PLR0917 - flat arrays
    slots: Rows,
    floats: Floats,
    transports: Rows,
    shares: Floats,
    packets: Rows,
    hops: Rows,
    seen: Rows,
    slot: int,
    packet: int,
    acked: int,
    as_fork: int,
) -> bool:
    """React to an acknowledgement with telemetry; true where the pace has changed."""
    kind = slots[slot, S_TRANSPORT]
    sent = slots[slot, S_NXT]
    n_hops = packets[packet, P_HOPS]
    has_room = n_hops > 0 and not (as_fork and n_hops > MOST_HOPS)
    is_round = acked > slots[slot, S_ROUND]
    if slots[slot, S_ROUND] == 0:
        slots[slot, S_ROUND] = sent
        if has_room:
            for column in range(n_hops * HOP_COLUMNS):
                seen[slot, column] = hops[packet, column]
        return False
    if has_room:
        if as_fork:
            used, passed = _busiest_as_fork(hops, seen, slots, packet, slot, n_hops)
        else:
            used, passed = _busiest(hops, seen, slots, packet, slot, n_hops)
        base = slots[slot, S_BASE_RTT]
        passed = min(passed, base)
        smooth = floats[slot, F_UTILISATION] * (base - passed) + used * passed
        floats[slot, F_UTILISATION] = smooth / float(base)
        excess = floats[slot, F_UTILISATION] / shares[kind, X_UTILISATION]
        current = slots[slot, S_CURRENT]
        stage = slots[slot, S_STATE] + 1
        if excess >= 1 or stage > transports[kind, T_ROUNDS]:
            current = np.int64(min(current / excess, _HUGE))
            stage = 0
        rate = max(current + slots[slot, S_ADDITIVE], transports[kind, T_MIN_RATE])
        rate = min(rate, slots[slot, S_MAX_RATE])
        last = slots[slot, S_LAST_SIZE]
        slots[slot, S_AVAIL] += spread_ns(last, rate, as_fork)
        slots[slot, S_AVAIL] -= spread_ns(last, slots[slot, S_RATE], as_fork)
        set_rate(slots, slot, rate)
        if is_round:
            slots[slot, S_CURRENT] = rate
            slots[slot, S_STATE] = stage
    if is_round and sent > slots[slot, S_ROUND]:
        slots[slot, S_ROUND] = sent
    return has_room


@inlined
def timely(
    slots: Rows,
    floats: Floats,
    transports: Rows,
    packets: Rows,
    slot: int,
    packet: int,
    acked: int,
    now: int,
) -> None:
    """React to an acknowledgement once a round trip: its time, and how that changes."""
    before = slots[slot, S_ROUND]
    if acked <= before:
        return
    kind = slots[slot, S_TRANSPORT]
    sent = slots[slot, S_NXT]
    rtt = now - packets[packet, P_SENT]
    if before != 0:
        difference = (1 - TIMELY_WEIGHT) * floats[slot, F_DIFFERENCE]
        difference += TIMELY_WEIGHT * (rtt - slots[slot, S_MARK])
        floats[slot, F_DIFFERENCE] = difference
        gradient = difference / TIMELY_RTT_NS
        current = slots[slot, S_CURRENT]
        high = transports[kind, T_HIGH]
        factor = 1.0
        if rtt >= transports[kind, T_LOW]:
            if rtt > high:
                factor = 1 - TIMELY_BETA * (1 - float(high) / rtt)
            elif gradient > 0:
                factor = max(1 - TIMELY_BETA * gradient, 0.0)
        is_rise = rtt < transports[kind, T_LOW] or (rtt <= high and gradient <= 0)
        if is_rise:
            is_slow = slots[slot, S_STATE] < TIMELY_SLOW
            current += slots[slot, S_ADDITIVE if is_slow else S_HYPER]
            current = min(current, slots[slot, S_MAX_RATE])
            slots[slot, S_STATE] += 1
        else:
            current = max(transports[kind, T_MIN_RATE], np.int64(current * factor))
            slots[slot, S_STATE] = 0
        slots[slot, S_CURRENT] = current
        set_rate(slots, slot, current)
    if sent > before:
        slots[slot, S_ROUND] = sent
        slots[slot, S_MARK] = rtt
