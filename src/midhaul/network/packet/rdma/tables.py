"""A network problem as the tables of the RDMA kernel, or a refusal in words.

Memory of a switch: each port by which packets come in has a reserve and headroom, and
what is left is the pool that all share. Headroom must hold what comes in from when a
pause is decided until it works: what is under way on the link, what is sent while the
frame waits behind a full packet, is sent itself and travels, and a full packet at each
end.
"""

from __future__ import annotations

from math import ceil, inf, isfinite
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.network.ideal import framing
from midhaul.network.packet.events import (
    MOST_OBJECTS,
    N_FREE,
    chance_of,
    empty_heap,
    order_of,
    push,
)
from midhaul.network.packet.rdma import layout as at
from midhaul.network.problem import link_table
from midhaul.network.transports import RdmaTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.network.problem import LinkTable, NetworkProblem

N_PACKETS, N_SLOTS, N_TURNS, N_ROWS = 4096, 256, 16, 1024
"""Rows that there are at first; they become more when they are short."""

ACK_BYTES, TELEMETRY_ACK_BYTES = 60, 88
FASTEST = 1 << 60
"""Bits per second of a link that takes no time."""

_CODES = {"dctcp": at.DCTCP, "dcqcn": at.DCQCN, "hpcc": at.HPCC, "timely": at.TIMELY}
_GAINS = {"dctcp": 1 / 16, "dcqcn": 1 / 256, "hpcc": 0.0, "timely": 0.0}
_SHIFT = 3

SWEEPS = 8
"""How often during a time-out it is looked for those that are over."""


def rdma_transports(problem: NetworkProblem) -> tuple[RdmaTransport, ...]:
    """The transports of a problem, all RDMA and of one mind; ConfigError otherwise."""
    found: list[RdmaTransport] = []
    for transport in problem.transports:
        if not isinstance(transport, RdmaTransport):
            message = "expected RDMA transports only, found one of TCP among them"
            raise ConfigError(message, "simulate the two families one after the other")
        found.append(transport)
    for name in ("has_pfc", "as_fork"):
        if len({getattr(transport, name) for transport in found}) > 1:
            message = f"expected one value of {name} for all transports, found two"
            raise ConfigError(message, "it is a property of the switches as well")
    if not found:
        message = "expected at least one transport, found none"
        raise ConfigError(message)
    return tuple(found)


def check_flows(problem: NetworkProblem, links: LinkTable) -> None:
    """ConfigError where a flow or a link cannot be simulated."""
    flows, routes, topology = problem.flows, problem.routes, problem.topology
    if max(len(flows), len(topology.links)) >= MOST_OBJECTS:
        message = f"expected fewer than {MOST_OBJECTS:,} flows and links"
        raise ConfigError(message, "simulate them in parts")
    hops = np.diff(routes.offsets)
    if len(hops) != len(flows) or bool((hops < 1).any()):
        at_flow = int((hops < 1).argmax()) if len(hops) == len(flows) else len(hops)
        message = f"expected a route of at least one link, flow {at_flow} has none"
        raise ConfigError(message, "source and target must differ and be connected")
    used = np.unique(routes.links)
    for link in used.tolist():
        name = topology.links[link].name
        if links.reverse[link] < 0:
            message = f"expected a link the other way for what is answered, {name}"
            raise ConfigError(
                message + " has none", "add the link back to the topology"
            )
    for i, link in enumerate(topology.links):
        rates = (link.rate_bps, *(rate for _, rate in link.rate_changes))
        if min(rates) < 1:
            message = (
                f"expected rates of at least 1 bit/s, {link.name} has {min(rates)}"
            )
            raise ConfigError(message, "leave a link out that carries nothing")
        if not 0 <= link.loss_share < 1:
            message = f"expected loss_share from [0, 1), {topology.links[i].name} has "
            raise ConfigError(message + f"{link.loss_share}")
    used = np.unique(flows.transport)
    if len(used) and not 0 <= int(used[0]) <= int(used[-1]) < len(problem.transports):
        message = f"expected transports 0 to {len(problem.transports) - 1} of flows"
        raise ConfigError(message + f", found {int(used[0])} to {int(used[-1])}")


def _check_timeouts(
    problem: NetworkProblem, transports: Sequence[RdmaTransport], links: LinkTable
) -> None:
    """ConfigError where a time-out is over before an answer can be there."""
    flows, routes = problem.flows, problem.routes
    both = links.delay_ns + links.delay_ns[links.reverse]
    round_trip = np.add.reduceat(both[routes.links], routes.offsets[:-1])
    for i, transport in enumerate(transports):
        if transport.timeout_s is None:
            continue
        is_short = round_trip >= transport.timeout_s * 1e9
        if len(flows.transport):
            is_short &= flows.transport == i
        if is_short.any():
            flow = int(is_short.argmax())
            took = int(round_trip[flow])
            message = (
                f"expected timeout_s above round trips, found {transport.timeout_s}"
            )
            message += f", and the round trip of flow {flow} takes {took:,} ns at least"
            raise ConfigError(message, "set timeout_s to some round trips")


def _whole(rate_bps: float) -> int:
    """A rate in whole bits per second."""
    return int(min(rate_bps, FASTEST))


def _link_rows(problem: NetworkProblem, links: LinkTable) -> np.ndarray:
    """A row for each link, with nothing on it yet."""
    rows = np.zeros((len(links.rate_bps), at.LINK_COLUMNS), np.int64)
    for column in (
        *(at.PIPE_HEAD, at.PIPE_TAIL, at.URGENT_HEAD, at.URGENT_TAIL),
        *(at.QUEUE_HEAD, at.QUEUE_TAIL, at.BUSY_UNTIL, at.LAST_SIZE, at.SWITCH, at.NIC),
    ):
        rows[:, column] = -1
    rows[:, at.WAKE_TIME] = at.NEVER
    rows[:, at.RATE] = [_whole(rate) for rate in links.rate_bps.tolist()]
    rows[:, at.DELAY] = links.delay_ns
    rows[:, at.REVERSE] = links.reverse
    first = np.unique(problem.routes.links[problem.routes.offsets[:-1]])
    rows[first, at.NIC] = np.arange(len(first))
    return rows


def _transport_rows(
    transports: Sequence[RdmaTransport],
) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers and floats of each transport."""
    rows = np.zeros((len(transports), at.TRANSPORT_COLUMNS), np.int64)
    floats = np.zeros((len(transports), at.X_COLUMNS))
    for row, x, transport in zip(rows, floats, transports, strict=True):
        name = transport.congestion
        row[at.T_CONGESTION] = _CODES[name]
        row[at.T_MTU] = transport.mtu_bytes
        row[at.T_HEADER] = framing(transport).header_bytes
        row[at.T_ACK] = TELEMETRY_ACK_BYTES if name == "hpcc" else ACK_BYTES
        row[at.T_URGENT_ACK] = name in ("dctcp", "timely")
        row[at.T_MIN_RATE] = _whole(transport.min_rate_bps)
        row[at.T_MAX_RATE] = _whole(transport.max_rate_bps)
        row[at.T_ROUNDS] = transport.rounds
        row[at.T_LOW] = round(transport.low_s * 1e9)
        row[at.T_HIGH] = round(transport.high_s * 1e9)
        row[at.T_TIMEOUT] = round((transport.timeout_s or 0.0) * 1e9)
        row[at.T_WINDOW] = transport.window_bytes
        row[at.T_BASE_RTT] = round(transport.base_rtt_s * 1e9)
        row[at.T_ADDITIVE] = _whole(transport.additive_bps)
        row[at.T_HYPER] = _whole(transport.hyper_bps)
        x[at.X_GAIN] = _GAINS[name]
        x[at.X_UTILISATION] = transport.utilisation
        x[at.X_SHARE] = transport.ecn_share
    return rows, floats


def _thresholds(
    transports: Sequence[RdmaTransport], links: LinkTable
) -> tuple[np.ndarray, np.ndarray]:
    """Queues of each link from which packets of each transport are marked."""
    shape = (len(transports), len(links.rate_bps))
    least = np.full(shape, at.NEVER, np.int64)
    most = np.full(shape, at.NEVER, np.int64)
    is_finite = np.isfinite(links.rate_bps)
    for i, transport in enumerate(transports):
        if transport.congestion not in ("dctcp", "dcqcn"):
            continue
        scale = np.ones(shape[1])
        if transport.ecn_rate_bps > 0:
            scale = links.rate_bps / transport.ecn_rate_bps
        upper = transport.ecn_max_bytes
        if transport.congestion == "dctcp":
            upper = transport.ecn_min_bytes
        for table, value in ((least, transport.ecn_min_bytes), (most, upper)):
            scaled = np.minimum(value * scale[is_finite], 1e18).astype(np.int64)
            if transport.as_fork:
                scaled = scaled // 1000 * 1000
            table[i, is_finite] = scaled
    return least, most


def _headroom(
    transports: Sequence[RdmaTransport], links: LinkTable, port: int, *, is_fork: bool
) -> float:
    """Bytes that come in at a port from when a pause is decided until it works."""
    back = int(links.reverse[port])
    rate, back_rate = float(links.rate_bps[port]), float(links.rate_bps[back])
    if is_fork:
        return int(_whole(rate) * int(links.delay_ns[port]) // 8 // 1_000_000_000 * 3)
    if not isfinite(rate):
        return inf
    full = max(framing(t).header_bytes + t.mtu_bytes for t in transports)
    waits_s = (full + at.PFC_BYTES) * 8 / back_rate
    travels_s = float(links.delay_ns[back] + links.delay_ns[port]) / 1e9
    return ceil(rate / 8 * (waits_s + travels_s)) + 2 * full


def _fill_switches(
    problem: NetworkProblem,
    transports: Sequence[RdmaTransport],
    links: LinkTable,
    rows: np.ndarray,
) -> np.ndarray:
    """Give each port its headroom and threshold; a row for each switch.

    ConfigError where PFC could not hold: headroom and reserves take all the memory.
    """
    routes = problem.routes
    is_last = np.zeros(len(routes.links), bool)
    is_last[routes.offsets[1:] - 1] = True
    nodes = np.unique(links.target[routes.links[~is_last]])
    switches = np.zeros((max(len(nodes), 1), at.SWITCH_COLUMNS), np.int64)
    if not problem.switch_buffer_bytes:
        return switches
    is_fork, has_pfc = transports[0].as_fork, transports[0].has_pfc
    first = routes.links[routes.offsets[:-1]]
    nic_rate = float(links.rate_bps[first].min())
    full = max(framing(t).header_bytes + t.mtu_bytes for t in transports)
    for i, node in enumerate(nodes.tolist()):
        ports = np.flatnonzero((links.target == node) & (links.reverse >= 0)).tolist()
        taken, most_shift = 0.0, 0
        for port in ports:
            headroom = _headroom(transports, links, port, is_fork=is_fork)
            shift, rate = _SHIFT, float(links.rate_bps[port])
            while rate > nic_rate and shift > 0:
                shift, rate = shift - 1, rate / 2
            rows[port, at.SWITCH] = i
            rows[port, at.SHIFT] = shift
            if isfinite(headroom):
                rows[port, at.HEADROOM] = headroom
            taken += headroom + at.RESERVE_BYTES
            most_shift = max(most_shift, shift)
        if not (has_pfc or is_fork):
            taken, most_shift = 0.0, 0
        needed = taken + (full << most_shift)
        if problem.switch_buffer_bytes < needed and not is_fork:
            name = problem.topology.nodes[node]
            raise _too_small(problem, name, len(ports), taken, needed)
        switches[i, at.W_POOL] = problem.switch_buffer_bytes - int(taken)
    return switches


def _too_small(
    problem: NetworkProblem, name: str, n_ports: int, taken: float, needed: float
) -> ConfigError:
    """What to say of a switch whose memory cannot hold what PFC promises."""
    found = problem.switch_buffer_bytes
    if not isfinite(needed):
        message = f"switch {name} has a port of infinite rate, which no headroom holds"
        return ConfigError(message, "give its links rates, or set has_pfc to false")
    least = ceil(needed)
    message = f"switch {name} needs at least {least:,} bytes of memory, found {found:,}"
    if taken > 0:
        message += (
            f": headroom and reserves of its {n_ports} ports take {ceil(taken):,}, and "
            "the thresholds at which it pauses others would "
            + ("wrap below 0" if found < taken else "not hold a packet")
        )
    hint = f"set switch_buffer_bytes to {least} or more, or has_pfc to false"
    return ConfigError(message, hint)


def _fork_starts(start_ns: np.ndarray) -> np.ndarray:
    """Starts as an ns-3.17 makes them of seconds in decimals: cut off after the ns."""
    starts = start_ns.tolist()
    cut = np.array(starts, np.int64)
    for i, start in enumerate(starts):
        above, below = (start / 1e9).as_integer_ratio()
        cut[i] = above * 1_000_000_000 // below
    return cut


def _changes(problem: NetworkProblem) -> np.ndarray:
    """Time, link and rate of each change of a rate, by time."""
    found = [
        (round(time_s * 1e9), i, _whole(rate))
        for i, link in enumerate(problem.topology.links)
        for time_s, rate in link.rate_changes
    ]
    return np.array(sorted(found), np.int64).reshape(-1, 3)


def _uses(
    problem: NetworkProblem, links: LinkTable, rows: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """When flows start that use a link or its reverse, of the lower link of both.

    Each link's rows end with NEVER; where they begin is noted in the rows of links.
    """
    routes, m = problem.routes, len(rows)
    cable = np.minimum(routes.links, links.reverse[routes.links])
    starts = np.repeat(start, np.diff(routes.offsets))
    by = np.lexsort((starts, cable))
    ends = np.cumsum(np.bincount(cable, minlength=m) + 1)
    rows[1:, at.NEXT_USE] = ends[:-1]
    uses = np.full(len(cable) + m, at.NEVER, np.int64)
    uses[np.arange(len(cable)) + cable[by]] = starts[by]
    return uses


def _followers(problem: NetworkProblem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each flow how many it waits for, and which wait for it (offsets, flows)."""
    flows = problem.flows
    n = len(flows)
    if not flows.waits:
        return np.zeros(n, np.int64), np.zeros(n + 1, np.int64), np.zeros(0, np.int64)
    pending = np.diff(flows.after_offsets).astype(np.int64)
    waiting = np.repeat(np.arange(n), pending)
    order = np.argsort(flows.after, kind="stable")
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(flows.after, minlength=n), out=offsets[1:])
    return pending, offsets, waiting[order].astype(np.int64)


def build(problem: NetworkProblem) -> at.Tables:
    """The tables at the start of a simulation; ConfigError for what it cannot do."""
    transports = rdma_transports(problem)
    links = link_table(problem.topology)
    check_flows(problem, links)
    if len(problem.flows):
        _check_timeouts(problem, transports, links)
    flows, routes = problem.flows, problem.routes
    n, m, is_fork = len(flows), len(problem.topology.links), transports[0].as_fork
    rows = _link_rows(problem, links)
    switches = _fill_switches(problem, transports, links, rows)
    transport_rows, transport_floats = _transport_rows(transports)
    ecn_min, ecn_max = _thresholds(transports, links)
    pending, follow_offsets, follow = _followers(problem)
    start = np.array(flows.start_ns, np.int64)
    if is_fork:
        start = _fork_starts(start)
    free_now = np.flatnonzero(pending == 0)
    order = free_now[np.argsort(start[free_now], kind="stable")].astype(np.int64)
    longest = int(np.diff(routes.offsets).max(initial=1))
    has_telemetry = any(t.congestion == "hpcc" for t in transports)
    n_seen = (1 if not has_telemetry else longest) * at.HOP_COLUMNS
    watched = np.zeros(n, np.int8)
    watched[list(problem.watched)] = 1
    transport = np.array(flows.transport, np.int64) if len(flows.transport) else None
    n_samples = 256 if problem.sample_ns else 1
    tables = at.Tables(
        heap=empty_heap(4 * m + n - len(order) + 256),
        meta=np.zeros(at.META_SIZE, np.int64),
        links=rows,
        packets=np.zeros((N_PACKETS, at.PACKET_COLUMNS), np.int64),
        hops=np.zeros((N_PACKETS if has_telemetry else 1, n_seen), np.int64),
        free=np.arange(N_PACKETS - 1, -1, -1, dtype=np.int64),
        slots=no_slots(N_SLOTS),
        floats=np.zeros((N_SLOTS, at.FLOAT_COLUMNS)),
        seen=np.zeros((N_SLOTS if has_telemetry else 1, n_seen), np.int64),
        slot_meta=np.zeros(at.META_SIZE, np.int64),
        free_slots=np.arange(N_SLOTS - 1, -1, -1, dtype=np.int64),
        nics=np.zeros((max(int(rows[:, at.NIC].max()) + 1, 1), N_TURNS), np.int64),
        switches=switches,
        random=chance_of(problem.seed),
        fct=np.full(n, -1, np.int64),
        started=np.where(pending == 0, start, -1),
        repeated=np.zeros(n, np.int64),
        marked=np.zeros(n, np.int64),
        pending=pending,
        samples_ns=np.zeros(n_samples, np.int64),
        samples=np.zeros((n_samples, m if problem.sample_ns else 1), np.int64),
        timeline=np.zeros(
            (N_ROWS if len(problem.watched) else 2, at.TIMELINE_COLUMNS), np.int64
        ),
        order=order,
        start_ns=start,
        size=np.array(flows.size_bytes, np.int64),
        transport=np.zeros(n, np.int64) if transport is None else transport,
        watched=watched,
        offsets=np.array(routes.offsets, np.int64),
        route=np.array(routes.links, np.int32),
        back=links.reverse[routes.links].astype(np.int32),
        follow_offsets=follow_offsets,
        follow=follow,
        transports=transport_rows,
        transport_floats=transport_floats,
        ecn_min=ecn_min,
        ecn_max=ecn_max,
        chance=np.array(
            [(k.loss_share, k.jitter_s * 1e9) for k in problem.topology.links]
        ).reshape(-1, 2),
        changes=_changes(problem),
        uses=_uses(problem, links, rows, start),
    )
    _start(problem, tables, transports)
    return tables


def no_slots(n: int) -> np.ndarray:
    """Slots of which none is taken."""
    slots = np.zeros((n, at.SLOT_COLUMNS), np.int64)
    slots[:, at.S_FLOW] = -1
    return slots


_CROWD = 500
"""Flows to a link, from which on rounds are not skipped."""


def _can_leap(problem: NetworkProblem, t: at.Tables) -> bool:
    """Whether rounds of a flow that is alone may be skipped.

    Not where what others do can change it, where it can be seen between two rounds, or
    where it is not known when others start. Where very many flows share few links they
    are hardly ever alone, and to look whether they are costs a twelfth of the time.
    """
    meta = t.meta
    if len(problem.flows) > _CROWD * len(t.links):
        return False
    has_other = meta[at.AS_FORK] or meta[at.HAS_BUFFER] or meta[at.HAS_CHANCE]
    return not (has_other or problem.sample_ns or len(t.changes) or len(t.follow))


def _start(
    problem: NetworkProblem, t: at.Tables, transports: Sequence[RdmaTransport]
) -> None:
    """Set what is counted, and schedule what happens first."""
    meta = t.meta
    meta[N_FREE] = N_PACKETS
    t.slot_meta[N_FREE] = N_SLOTS
    meta[at.UNTIL] = at.NEVER if problem.until_ns is None else problem.until_ns
    meta[at.AS_FORK] = transports[0].as_fork
    meta[at.HAS_BUFFER] = problem.switch_buffer_bytes > 0
    meta[at.HAS_PFC] = transports[0].has_pfc
    meta[at.HAS_CHANCE] = bool(t.chance.any())
    meta[at.HEAP_MARGIN] = 2 * len(t.links) + 16
    meta[at.SAMPLE_NS] = problem.sample_ns
    meta[at.LEAPING] = -1
    meta[at.CAN_LEAP] = _can_leap(problem, t)
    timeouts = t.transports[:, at.T_TIMEOUT]
    if bool((timeouts > 0).any()):
        meta[at.SWEEP_NS] = max(int(timeouts[timeouts > 0].min()) // SWEEPS, 1)
    if len(t.order):
        first = int(t.start_ns[t.order[0]])
        push(t.heap, meta, first, order_of(meta, at.NEXT_FLOW, 0))
        if problem.sample_ns:
            _schedule_clock(t, first, at.SAMPLE)
    if len(t.changes):
        _schedule_clock(t, int(t.changes[0, 0]), at.CHANGE)


def _schedule_clock(t: at.Tables, time: int, what: int) -> None:
    """Schedule what happens by the clock for the first time."""
    t.meta[at.N_CLOCKS] += 1
    order = order_of(t.meta, at.CLOCK, what)
    push(t.heap, t.meta, time, order)
