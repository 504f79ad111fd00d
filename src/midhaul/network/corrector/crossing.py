"""What flows of a path meet there: fluid rates, bursts at each link, slow starts.

None of it is a simulation of packets. A corrector is told three views of a path that
cost microseconds a flow, of which each is right where the others are wrong:

1. Max-min fair rates, as :mod:`midhaul.network.fluid` has them: long flows.
2. What waits at each link if nothing holds senders back: what of each flow may leave
   at once (its window, or all of it) arrives at the rate of its sender, and the link
   works it off. It is a queue of liquids with bursts (D. Anick, D. Mitra, M. M. Sondhi:
   "Stochastic Theory of a Data-Handling System with Multiple Sources", Bell System
   Technical Journal 61, 1982), followed through exactly for the flows at hand.
3. What a flow loses alone by its window, or by slow start, in round trips in which it
   sends nothing.
"""
# pyright: reportArgumentType=false, reportReturnType=false
# An element of an array is a number, which its type does not say.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.network.fluid.arrivals import DONE, Fate, Given
from midhaul.network.fluid.paths import advance_paths, path_state
from midhaul.network.ideal import train_ns
from midhaul.network.packet.events import compiled
from midhaul.network.transports import RdmaTransport, framing

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.network.decomposition.crossed import CrossedPath
    from midhaul.network.transports import Transport

N_PROBES = 192
"""Moments at which it is looked at what waits: starts of flows, evenly among them."""

MOST_RATES = 6
"""Rates of senders that are told apart by the fluid; more of them are rounded."""

BURST, WHOLE = 0, 1
"""What of a flow comes at once: what its window lets pass, or all of it."""

_PER_NS = 8e9  # bit/s of a byte per nanosecond
_AT_ONCE = 50.0  # a sender so many times faster than the link has sent at once
_ENDLESS = 1e15  # bytes
_ALL = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crossing:
    """What ``n`` flows meet on ``h`` links, seen at ``p`` moments.

    Attributes:
        ideal_ns: ``(n,)`` what each takes alone, windows aside.
        fluid: ``(n,)`` slowdowns by max-min fair rates.
        lone: ``(n,)`` slowdowns alone, by window and slow start.
        waits_ns: ``(2, n)`` what each finds waiting on its way, of bursts and of whole
            flows.
        most_active: ``(n,)`` flows on the fullest of its links when it starts.
        probe_ns: ``(2, h, p)`` what waits at each link.
        probe_active: ``(h, p)`` flows on each link.
        wire_bytes: ``(n,)`` with headers.
        horizon_ns: from the first start to the last.
        round_trip_ns: of the whole path, with a full packet and its answer.
    """

    ideal_ns: Float64[np.ndarray, " n"]
    fluid: Float64[np.ndarray, " n"]
    lone: Float64[np.ndarray, " n"]
    waits_ns: Float64[np.ndarray, "2 n"]
    most_active: Float64[np.ndarray, " n"]
    probe_ns: Float64[np.ndarray, "2 h p"]
    probe_active: Float64[np.ndarray, "h p"]
    wire_bytes: Float64[np.ndarray, " n"]
    horizon_ns: float
    round_trip_ns: float


def crossing_of(path: CrossedPath) -> Crossing:
    """Look at a path in the three ways.

    Args:
        path: the path and the flows on it.

    Returns:
        What they meet.

    Raises:
        ConfigError: a link of the path carries nothing.
    """
    rates = np.array([link.rate_bps for link in path.links]) / _PER_NS
    if not (rates > 0).all() or any(link.rate_changes for link in path.links):
        message = "a path's links carry more than 0 bit/s at all times, "
        raise ConfigError(
            message
            + f"{path.links[0].name} … {path.links[-1].name} has one that does not",
            "simulate such a network by packets",
        )
    rates = np.minimum(rates, 1e6)
    n, h = len(path), len(rates)
    wire = np.zeros(n)
    caps = path.own_bps / _PER_NS
    for i, transport in enumerate(path.transports):
        own = path.transport == i
        wire[own] = framing(transport).wire_bytes(path.size_bytes[own])
        if isinstance(transport, RdmaTransport):
            caps[own] = np.minimum(caps[own], transport.max_rate_bps / _PER_NS)
    ideal = _ideal_ns(path)
    sent, slowest = _fluid(path, rates, caps, wire)
    fluid = 1.0 + np.maximum(sent - wire / slowest, 0.0) / ideal
    round_trip = _round_trip_ns(path)
    lone, burst = _lone(path, wire, slowest, ideal, round_trip)
    order = np.argsort(path.start_ns, kind="stable")
    moments = path.start_ns[order[np.linspace(0, n - 1, min(n, N_PROBES)).astype(int)]]
    probes = np.zeros((2, h, N_PROBES))
    active = np.zeros((h, N_PROBES))
    waits = np.zeros((2, n))
    most_active = np.zeros(n)
    upstream = np.full(n, np.inf)
    for i in range(h):
        mine = order[(path.enters[order] <= i) & (path.leaves[order] > i)]
        on = path.start_ns[mine].astype(np.float64)
        came = np.minimum(caps[mine], upstream[mine])
        for kind, amount in ((BURST, burst), (WHOLE, wire)):
            at_once = came > _AT_ONCE * rates[i]
            speed = np.where(at_once, 0.0, np.minimum(came, _ENDLESS))
            jump = np.where(at_once, amount[mine], 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                off = on + np.where(at_once, 0.0, amount[mine] / speed)
            by_end = np.argsort(off)
            _queue(
                on,
                off[by_end],
                speed,
                speed[by_end],
                jump,
                rates[i],
                moments.astype(np.float64),
                waits[kind],
                mine,
                probes[kind, i],
            )
        ends = np.sort(on + sent[mine])
        _count(on, ends, moments.astype(np.float64), most_active, mine, active[i])
        upstream[mine] = np.minimum(upstream[mine], rates[i])
    k = len(moments)
    return Crossing(
        ideal_ns=ideal,
        fluid=fluid,
        lone=lone,
        waits_ns=waits,
        most_active=most_active,
        probe_ns=probes[:, :, :k],
        probe_active=active[:, :k],
        wire_bytes=wire,
        horizon_ns=float(path.start_ns[order[-1]] - path.start_ns[order[0]]) + 1.0,
        round_trip_ns=round_trip,
    )


def _ideal_ns(path: CrossedPath) -> Float64[np.ndarray, " n"]:
    """What each takes alone; outside of the path only delays count."""
    h = len(path.links)
    both = (*path.links, *path.back)
    rates = np.array([link.rate_bps for link in both])
    delays = np.array([round(link.delay_s * 1e9) for link in both], np.int64)
    reverse = np.concatenate([np.arange(h) + h, np.arange(h)]).astype(np.int32)
    lengths = path.leaves - path.enters
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    hop = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    links = (np.repeat(path.enters, lengths) + hop).astype(np.int32)
    ideal = np.zeros(len(path), np.int64)
    for i, transport in enumerate(path.transports):
        own = np.flatnonzero(path.transport == i)
        train_ns(
            own,
            path.size_bytes,
            offsets,
            links,
            rates,
            delays,
            reverse,
            transport,
            ideal,
        )
        ways = 1 if isinstance(transport, RdmaTransport) else 3
        ideal[own] += ways * path.outer_ns[own]
    return np.maximum(ideal.astype(np.float64), 1.0)


def _round_trip_ns(path: CrossedPath) -> float:
    """There with a full packet, back with an answer of 60 bytes."""
    packets = framing(path.transports[0])
    full = packets.payload_bytes + packets.header_bytes
    there = sum(link.delay_s * 1e9 + 8e9 * full / link.rate_bps for link in path.links)
    return float(there + sum(x.delay_s * 1e9 + 480e9 / x.rate_bps for x in path.back))


def _fluid(
    path: CrossedPath,
    rates: Float64[np.ndarray, " h"],
    caps: Float64[np.ndarray, " n"],
    wire: Float64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """How long each flow is sent max-min fairly, and the slowest rate on its way."""
    n, h = len(path), len(rates)
    # The slowest link from each to each.
    from_to = np.full((h, h + 1), np.inf)
    for i in range(h):
        from_to[i, i + 1 :] = np.minimum.accumulate(rates[i:])
    slowest = from_to[path.enters, path.leaves]
    is_capped = caps < slowest
    found = np.where(is_capped, caps, 0.0)
    levels = np.unique(found)
    if len(levels) > MOST_RATES:
        found = np.where(
            is_capped, 2.0 ** (np.rint(4 * np.log2(np.maximum(found, 1e-12))) / 4), 0.0
        )
        levels = np.unique(found)
    level = np.searchsorted(levels, found)
    keys = (path.enters * (h + 1) + path.leaves) * len(levels) + level
    classes, class_of = np.unique(keys, return_inverse=True)
    pair, of_level = np.divmod(classes, len(levels))
    enters, leaves = np.divmod(pair, h + 1)
    has_cap = levels[of_level] > 0
    cap_index = np.cumsum(has_cap) - 1
    routes: list[np.ndarray] = []
    for k in range(len(classes)):
        way = np.arange(enters[k], leaves[k])
        routes.append(np.append(way, h + cap_index[k]) if has_cap[k] else way)
    capacity = np.concatenate([rates, levels[of_level[has_cap]]])
    start = path.start_ns
    counts = np.bincount(class_of, minlength=len(classes))
    given = Given(
        wire_bytes=wire,
        base_ns=np.zeros(n),
        class_of=class_of.astype(np.int32),
        slots=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        route_offsets=np.cumsum([0, *map(len, routes)]).astype(np.int64),
        route_links=np.concatenate(routes).astype(np.int32),
        capacity=capacity,
        is_per_flow=np.arange(len(capacity)) >= h,
        order=np.argsort(start, kind="stable").astype(np.int32),
        delay_ns=np.zeros(0, np.int64),
        waiter_offsets=np.zeros(1, np.int64),
        waiters=np.zeros(0, np.int32),
    )
    fate = Fate(
        start_ns=start.copy(),
        fct_ns=np.full(n, -1, np.int64),
        sent_ns=np.full(n, np.nan),
        ends_at=np.zeros(n),
        ending=np.zeros(n, np.int32),
        n_missing=np.zeros(0, np.int32),
        ready_ns=np.zeros(0, np.int64),
        ready_keys=np.zeros(0, np.int64),
        ready_flows=np.zeros(0, np.int32),
        counters=np.zeros(4, np.int64),
        clock=np.zeros(1),
    )
    state = path_state(given)
    while advance_paths(given, fate, state, _ALL, _ALL) != DONE:
        pass
    return fate.sent_ns, np.minimum(slowest, np.where(is_capped, found, np.inf))


def _lone(
    path: CrossedPath,
    wire: Float64[np.ndarray, " n"],
    slowest: Float64[np.ndarray, " n"],
    ideal: Float64[np.ndarray, " n"],
    round_trip_ns: float,
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Slowdowns alone, and what may leave at once."""
    lost, burst = np.zeros(len(path)), wire.copy()
    trip = (
        round_trip_ns * (path.leaves - path.enters) / len(path.links)
        + 2 * path.outer_ns
    )
    for i, transport in enumerate(path.transports):
        own = path.transport == i
        window, growth = first_window(transport)
        if not np.isfinite(window):
            continue
        lost[own] = _lost_ns(
            wire[own], slowest[own] * trip[own], slowest[own], window, growth
        )
        burst[own] = np.minimum(burst[own], window)
    return 1.0 + lost / ideal, burst


def first_window(transport: Transport) -> tuple[float, float]:
    """Bytes that may be under way at first, and how they grow in a round trip."""
    packets = framing(transport)
    full = packets.payload_bytes + packets.header_bytes
    if isinstance(transport, RdmaTransport):
        share = full / packets.payload_bytes
        return (
            transport.window_bytes * share if transport.window_bytes else np.inf
        ), 1.0
    growth = 2.0
    if transport.congestion == "newreno" and transport.stack == "ns3":
        growth = 1 + 1 / max(transport.acks_every, 1)
    return float(transport.initial_window * full), growth


def _lost_ns(
    wire: Float64[np.ndarray, " k"],
    pipe: Float64[np.ndarray, " k"],
    rate: Float64[np.ndarray, " k"],
    window: float,
    growth: float,
) -> Float64[np.ndarray, " k"]:
    """Time in which a flow alone may not send, round trip by round trip."""
    if growth == 1:
        rounds = np.maximum(np.ceil(wire / window) - 1, 0.0)
        return rounds * np.maximum(pipe - window, 0.0) / rate
    lost, left = np.zeros(len(wire)), wire - window
    while True:
        is_idle = (left > 0) & (window < pipe)
        if not is_idle.any():
            return lost
        lost += np.where(is_idle, (pipe - window) / rate, 0.0)
        window *= growth
        left = np.where(is_idle, left - window, left)


@compiled
def _queue(  # noqa: PLR0913, PLR0917  flat arrays
    on: Float64[np.ndarray, " k"],
    off: Float64[np.ndarray, " k"],
    speed: Float64[np.ndarray, " k"],
    speed_off: Float64[np.ndarray, " k"],
    jump: Float64[np.ndarray, " k"],
    capacity: float,
    moments: Float64[np.ndarray, " p"],
    waits: Float64[np.ndarray, " n"],
    flows: Int64[np.ndarray, " k"],
    seen: Float64[np.ndarray, " p"],
) -> None:
    """Add to ``waits`` what each flow finds; note in ``seen`` what waits at moments."""
    n, n_seen = len(on), len(moments)
    started, ended, probe = 0, 0, 0
    now, waiting, rate = 0.0, 0.0, 0.0
    while started < n or probe < n_seen:
        next_on = on[started] if started < n else np.inf
        next_off = off[ended] if ended < started else np.inf
        next_probe = moments[probe] if probe < n_seen else np.inf
        time = min(next_on, next_off, next_probe)
        waiting = max(waiting + (rate - capacity) * (time - now), 0.0)
        now = time
        if next_off <= time:
            rate -= speed_off[ended]
            ended += 1
            if ended == started:
                rate = 0.0
        elif next_probe <= time:
            seen[probe] = waiting / capacity
            probe += 1
        else:
            waits[flows[started]] += waiting / capacity
            waiting += jump[started]
            rate += speed[started]
            started += 1


@compiled
def _count(
    on: Float64[np.ndarray, " k"],
    ends: Float64[np.ndarray, " k"],
    moments: Float64[np.ndarray, " p"],
    most: Float64[np.ndarray, " n"],
    flows: Int64[np.ndarray, " k"],
    seen: Float64[np.ndarray, " p"],
) -> None:
    """How many others are there when each flow starts, and at moments."""
    n, ended = len(on), 0
    for i in range(n):
        while ended < i and ends[ended] <= on[i]:
            ended += 1
        most[flows[i]] = max(most[flows[i]], i - ended)
    started, ended = 0, 0
    for probe in range(len(moments)):
        while started < n and on[started] < moments[probe]:
            started += 1
        while ended < started and ends[ended] <= moments[probe]:
            ended += 1
        seen[probe] = started - ended
