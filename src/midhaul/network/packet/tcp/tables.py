"""The arena of a TCP simulation, made from a network problem."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.network.packet.tcp import arena as a
from midhaul.network.packet.tcp.bbr import CYCLE
from midhaul.network.packet.tcp.codel import FIRST_ROOT, N_QUEUES
from midhaul.network.packet.tcp.random import stream_state
from midhaul.network.problem import link_table
from midhaul.network.transports import TcpTransport, framing

if TYPE_CHECKING:
    from midhaul.model import Link
    from midhaul.network.packet.tcp.arena import Cells
    from midhaul.network.problem import NetworkProblem

DEVICE_BYTES = 52
"""Bytes of headers that count into the MTU of a device, with a full segment."""
LEAST_MTU = 1500
ADDRESSES = 0x0A000100
"""10.0.1.0: two addresses for each path, as the program for ns-3 gives them."""
HASH_SEED = 0x8BADF00D
FIRST_PORT, N_PORTS = 1024, 60_000
BBR_STREAM, N_DRAWN = 4, 4096
ENDLESS = (1 << 62) - 1
_CODEL_SHIFT = 10
_CONGESTIONS = {
    "newreno": a.NEWRENO,
    "linux-reno": a.LINUX_RENO,
    "cubic": a.CUBIC,
    "dctcp": a.DCTCP,
    "bbr": a.BBR,
}
_KINDS = {"fifo": a.FIFO, "red": a.RED, "codel": a.CODEL, "fq_codel": a.FQ_CODEL}


def check_tcp(problem: NetworkProblem) -> None:
    """Refuse what the TCP simulator cannot do.

    Raises:
        ConfigError: a transport is not TCP, or has ECN with the ways of ns-3; a link
            has no way back for ACKs, a rate that is not above 0, or a queue that
            cannot work.
    """
    for transport in problem.transports:
        if not isinstance(transport, TcpTransport):
            message = "expected transports of TCP only, found one of RDMA"
            raise ConfigError(message, "simulate flows of RDMA apart")
        name = transport.congestion
        if transport.has_ecn and transport.stack != "linux" and name != "dctcp":
            message = f"the TCP simulator has ECN of {name} with the ways of Linux only"
            raise ConfigError(message, 'set stack = "linux", or leave has_ecn away')
    hops = np.diff(problem.routes.offsets)
    if len(hops) and int(hops.min()) < 1:
        message = (
            f"flow {int(hops.argmin())} goes over no link: it ends where it begins"
        )
        raise ConfigError(message, "leave such flows out")
    reverse = link_table(problem.topology).reverse
    used = set(problem.routes.links.tolist())
    for i, link in enumerate(problem.topology.links):
        rates = [link.rate_bps, *(rate for _, rate in link.rate_changes)]
        if min(rates) < 1:
            message = (
                f"the rate of link {link.name} must be at least 1 bit/s, found "
                f"{min(rates):g}"
            )
            raise ConfigError(message, "leave a link out that carries nothing")
        if reverse[i] < 0 and i in used:
            message = f"ACKs need a link back, link {link.name} has none"
            raise ConfigError(message, "give the topology a link the other way")
    _check_queues(problem)


def _check_queues(problem: NetworkProblem) -> None:
    """ConfigError where a queue holds no packet, or has thresholds that cannot be."""
    frames = [framing(transport) for transport in problem.transports]
    full = max(one.payload_bytes + one.header_bytes for one in frames)
    for link in problem.topology.links:
        queue, said, hint = link.queue, "", ""
        if queue.max_bytes is not None and queue.max_bytes < full:
            said = f"holds {queue.max_bytes:,} bytes, and a full packet has {full:,}"
            hint = f"set max_bytes to {full} or more"
        elif queue.discipline == "red":
            first, last = queue.mark_from, queue.mark_all_from
            hint = "set mark_from and mark_all_from to lengths in packets, such as 20"
            if last < first:
                said = f"marks from {first:g} packets on, and each from {last:g} on"
            elif not last > 0:
                said = "marks or drops each packet, as mark_all_from is 0"
            elif queue.max_packets is not None and queue.max_packets < first:
                said = (
                    f"holds {queue.max_packets:,} packets, and marks from {first:g} on"
                )
        if said:
            message = f"the queue of link {link.name} {said}"
            raise ConfigError(message, hint)


def path_indices(problem: NetworkProblem) -> tuple[Cells, list[tuple[int, ...]]]:
    """Which of the different paths each flow takes, and the links of these."""
    offsets, links = problem.routes.offsets, problem.routes.links
    known: dict[tuple[int, ...], int] = {}
    of_flow = np.empty(len(problem.flows), np.int64)
    for i in range(len(problem.flows)):
        path = tuple(links[offsets[i] : offsets[i + 1]].tolist())
        of_flow[i] = known.setdefault(path, len(known))
    return of_flow, list(known)


def rate_cell(rate_bps: float) -> int:
    """A rate in whole bit/s; 0 for one without bound."""
    return 0 if math.isinf(rate_bps) else round(rate_bps)


def mtu_of(problem: NetworkProblem) -> int:
    """Bytes that devices let pass, which FqCoDel takes for its quantum."""
    largest = max(t.segment_bytes for t in problem.transports)  # pyright: ignore[reportAttributeAccessIssue]
    return max(LEAST_MTU, largest + DEVICE_BYTES)


def loss_cell(share: float) -> int:
    """The 63-bit number that a random one has to be below for a packet to be lost."""
    return min(int(share * 2.0**63), (1 << 63) - 1)


# ---- addresses, for the queues of FqCoDel --------------------------------------------


def _rotated(x: int, n: int) -> int:
    return ((x << n) | (x >> (32 - n))) & 0xFFFFFFFF


def murmur3(data: bytes) -> int:
    """MurmurHash3 of 32 bits (Appleby, public domain), with the seed of ns-3."""
    value = HASH_SEED
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * 0xCC9E2D51 & 0xFFFFFFFF
        value ^= _rotated(k, 15) * 0x1B873593 & 0xFFFFFFFF
        value = (_rotated(value, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail := data[whole:]:
        k = int.from_bytes(tail, "little") * 0xCC9E2D51 & 0xFFFFFFFF
        value ^= _rotated(k, 15) * 0x1B873593 & 0xFFFFFFFF
    value ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value = (value ^ (value >> shift)) * factor & 0xFFFFFFFF
    return value ^ (value >> 16)


def queue_of(source: int, target: int, port: int) -> int:
    """The queue of FqCoDel that a flow has, by its addresses and its port at both."""
    five = source.to_bytes(4) + target.to_bytes(4) + b"\x06"
    five += 2 * port.to_bytes(2) + bytes(4)
    return murmur3(five) % N_QUEUES


# ---- the tables ----------------------------------------------------------------------


def _fill_link(m: Cells, at: int, link: Link, index: int) -> None:
    """Set the cells of a link that do not point at others."""
    mf = m.view(np.float64)
    queue = link.queue
    m[at + a.L_INDEX] = index
    m[at + a.L_RATE] = rate_cell(link.rate_bps)
    m[at + a.L_DELAY] = round(link.delay_s * 1e9)
    m[at + a.L_FREE_T] = -1
    m[at + a.L_KIND] = _KINDS[queue.discipline]
    packets, size = queue.max_packets, queue.max_bytes
    m[at + a.L_MAX_N] = ENDLESS if packets is None else packets
    m[at + a.L_MAX_BYTES] = ENDLESS if size is None else size
    m[at + a.L_HAS_ECN] = queue.has_ecn
    m[at + a.L_SIZE_A] = -1
    m[at + a.L_SIZE_B] = -1
    m[at + a.L_LOSS] = loss_cell(link.loss_share)
    m[at + a.L_JITTER] = round(link.jitter_s * 1e9)
    m[at + a.L_CODEL + a.D_ROOT] = FIRST_ROOT
    m[at + a.L_TARGET] = round(queue.target_s * 1e9) >> _CODEL_SHIFT
    m[at + a.L_INTERVAL] = round(queue.interval_s * 1e9) >> _CODEL_SHIFT
    mf[at + a.X_MARK_FROM] = queue.mark_from
    mf[at + a.X_MARK_ALL] = queue.mark_all_from
    mf[at + a.X_MARK_SHARE] = queue.mark_share
    if queue.discipline == "red" and queue.mark_from < queue.mark_all_from:
        m[at + a.L_RANDOM : at + a.L_RANDOM + 6] = stream_state(index)


def _fill_transport(m: Cells, at: int, transport: TcpTransport) -> None:
    m[at + a.T_CONGESTION] = _CONGESTIONS[transport.congestion]
    m[at + a.T_SEGMENT] = transport.segment_bytes
    m[at + a.T_WINDOW] = transport.initial_window
    m[at + a.T_MIN_RTO] = round(transport.min_timeout_s * 1e9)
    m[at + a.T_CONNECT] = round(transport.connect_timeout_s * 1e9)
    m[at + a.T_ACKS_EVERY] = transport.acks_every
    m[at + a.T_ACK_DELAY] = round(transport.ack_delay_s * 1e9)
    m[at + a.T_PACED] = transport.is_paced
    m[at + a.T_HYSTART] = transport.has_hystart
    m[at + a.T_LINGER] = round(transport.linger_s * 1e9)
    m[at + a.T_LINUX] = transport.stack == "linux"
    m[at + a.T_ECN] = transport.has_ecn or transport.congestion == "dctcp"


def _draws() -> list[int]:
    """The phases of ProbeBW that senders with BBR draw, one after the other."""
    state = np.array(stream_state(BBR_STREAM), np.int64)
    uniform = _plain_uniform(state)
    return [int((CYCLE - 2) * next(uniform)) for _ in range(N_DRAWN)]


def _plain_uniform(state: Cells):  # noqa: ANN202 - a generator of floats
    from midhaul.network.packet.tcp.random import uniform  # noqa: PLC0415

    draw = getattr(uniform, "py_func", uniform)
    plain = state.tolist()
    while True:
        yield draw(plain, 0)


def arena(problem: NetworkProblem) -> Cells:
    """All that kernels keep but flows, at the beginning."""
    links = problem.topology.links
    n_links, n_transports = len(links), len(problem.transports)
    n_changes = sum(2 * len(link.rate_changes) for link in links)
    has_bbr = any(getattr(t, "congestion", "") == "bbr" for t in problem.transports)
    n_fair = sum(link.queue.discipline == "fq_codel" for link in links)
    first_link = (a.N_G + 7) // 8 * 8
    first_transport = first_link + n_links * a.N_L
    first_change = first_transport + n_transports * a.N_T
    first_draw = first_change + n_changes
    first_fair = first_draw + (N_DRAWN if has_bbr else 1)
    end = (first_fair + n_fair * N_QUEUES + 7) // 8 * 8
    m = np.zeros(end + (1 << 16), np.int64)
    m[a.G_BUMP] = end
    m[a.G_N_LINKS], m[a.G_LINKS] = n_links, first_link
    m[a.G_TRANSPORTS] = first_transport
    m[a.G_SAMPLE_NS] = problem.sample_ns
    m[a.G_NEXT_SAMPLE] = problem.sample_ns or ENDLESS
    m[a.G_UNTIL] = ENDLESS if problem.until_ns is None else problem.until_ns
    m[a.G_SEED] = problem.seed
    m[a.G_QUANTUM] = mtu_of(problem)
    m[a.G_DRAWS], m[a.G_N_DRAWS] = first_draw, N_DRAWN if has_bbr else 1
    m[a.G_MIN_SEGMENT] = min(t.segment_bytes for t in problem.transports)  # pyright: ignore[reportAttributeAccessIssue]
    if has_bbr:
        m[first_draw : first_draw + N_DRAWN] = _draws()
    reverse = link_table(problem.topology).reverse
    change, fair = first_change, first_fair
    for i, link in enumerate(links):
        at = first_link + i * a.N_L
        _fill_link(m, at, link, i)
        m[at + a.L_REVERSE] = first_link + int(reverse[i]) * a.N_L
        m[at + a.L_CHANGE] = change
        for when, rate in link.rate_changes:
            m[change : change + 2] = round(when * 1e9), rate_cell(rate)
            change += 2
        m[at + a.L_CHANGES_END] = change
        if link.queue.discipline == "fq_codel":
            m[at + a.L_FAIR] = fair
            fair += N_QUEUES
    for i, transport in enumerate(problem.transports):
        assert isinstance(transport, TcpTransport)  # noqa: S101 - by check_tcp
        _fill_transport(m, first_transport + i * a.N_T, transport)
    return m


def flow_cells(problem: NetworkProblem, m: Cells) -> Cells:
    """The flows, their routes, who waits for them, and the order of their starts."""
    flows, routes = problem.flows, problem.routes
    n = len(flows)
    first_route = n * a.N_F
    first_dependent = first_route + len(routes.links)
    first_start = first_dependent + len(flows.after)
    f = np.zeros(first_start + n, np.int64)
    rows = f[:first_route].reshape(n, a.N_F)
    rows[:, a.F_SIZE] = flows.size_bytes
    rows[:, a.F_START] = flows.start_ns
    kind = flows.transport if len(flows.transport) else np.zeros(n, np.int64)
    rows[:, a.F_TRANSPORT] = m[a.G_TRANSPORTS] + kind * a.N_T
    rows[:, a.F_FIRST] = first_route + routes.offsets[:-1]
    rows[:, a.F_HOPS] = np.diff(routes.offsets)
    rows[:, a.F_BEGAN] = -1
    rows[:, a.F_FCT] = -1
    rows[list(problem.watched), a.F_FLAGS] = a.F_WATCHED
    f[first_route:first_dependent] = m[a.G_LINKS] + routes.links * np.int64(a.N_L)
    waits = np.zeros(n, bool)
    if flows.waits:
        counts = np.diff(flows.after_offsets)
        rows[:, a.F_WAITS] = counts
        waits = counts > 0
        waiting = np.repeat(np.arange(n), counts)
        order = np.argsort(flows.after, kind="stable")
        f[first_dependent:first_start] = waiting[order]
        n_dependents = np.bincount(flows.after, minlength=n)
        rows[:, a.F_N_DEPENDENTS] = n_dependents
        before = np.concatenate(([0], np.cumsum(n_dependents)[:-1]))
        rows[:, a.F_DEPENDENTS] = first_dependent + before
        m[a.G_MOST_DEPENDENTS] = int(n_dependents.max())
    starts = np.flatnonzero(~waits)
    starts = starts[np.argsort(flows.start_ns[starts], kind="stable")]
    f[first_start : first_start + len(starts)] = starts
    m[a.G_ORDER_ROWS], m[a.G_N_STARTS], m[a.G_N_FLOWS] = first_start, len(starts), n
    if any(link.queue.discipline == "fq_codel" for link in problem.topology.links):
        _fill_hashes(problem, rows)
    return f


def _fill_hashes(problem: NetworkProblem, rows: np.ndarray) -> None:
    """The queues of FqCoDel that flows and their ACKs have."""
    path_of, paths = path_indices(problem)
    used = [0] * len(paths)
    for i, path in enumerate(path_of.tolist()):
        port = FIRST_PORT + used[path] % N_PORTS
        used[path] += 1
        there = ADDRESSES + 2 * path
        rows[i, a.F_HASH] = queue_of(there + 1, there, port)
        rows[i, a.F_HASH_BACK] = queue_of(there, there + 1, port)
