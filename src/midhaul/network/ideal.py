"""Ideal FCT: what each flow takes alone on its path.

With nothing in its way a flow is a train of packets that is stored and forwarded by
each node. The last bit arrives when the slowest stair of packets and links is climbed,

    propagation + max over j of [F_1 + … + F_j + (n - 2) max(F_1 … F_j) + S_j + … + S_h]

with ``F_i`` the time that link ``i`` needs for a full packet, ``S_i`` for the last one,
``n >= 2`` packets and ``h`` links: the first packet is stored and forwarded up to link
``j``, the rest comes at the pace of the slowest link so far, the last packet goes on
alone. Windows and slow start are no part of it. Differences between transports:

1. RDMA: the data alone. Headers are 48 B, and 42 B of INT (HPCC) or 8 B of time stamps
   (TIMELY) more. Where its card is slower than the first link, packets leave at the
   pace of the card.
2. RDMA as the simulator behind HPCC and m3 reckons it (``as_fork``): the first packet
   on each link, then the rest of the payload and of the headers at the bottleneck, each
   term cut to whole nanoseconds, with 48 B of headers whatever the transport adds.
3. TCP: SYN there and SYN-ACK back come first, and the ACK that ends the handshake
   leaves ahead of the data, which may wait for it on each link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

from midhaul.errors import ConfigError
from midhaul.network.problem import LinkTable, link_table
from midhaul.network.transports import (
    RDMA_HEADER_BYTES,
    SYN_BYTES,
    RdmaTransport,
    framing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float64, Int32, Int64

    from midhaul.model import Flows, Topology
    from midhaul.network.problem import NetworkProblem, Routes
    from midhaul.network.transports import Transport

Function = TypeVar("Function", bound="Callable[..., Any]")

# Without _nrt=False references to each slice of a route are counted.
_njit: Any = njit
_compiled = _njit(cache=True, _nrt=False, error_model="numpy")


def _kernel(function: Function) -> Function:
    """Compile a function on arrays."""
    return _compiled(function)


def wire_bytes(
    flows: Flows, transports: Sequence[Transport]
) -> Int64[np.ndarray, " n"]:
    """``(n,)`` bytes of each flow on a link, with headers, nothing sent twice."""
    sizes = np.zeros(len(flows), np.int64)
    for i, transport in enumerate(transports):
        own = _of_transport(flows, i)
        sizes[own] = framing(transport).wire_bytes(flows.size_bytes[own])
    return sizes


def ideal_fct_ns(problem: NetworkProblem) -> Int64[np.ndarray, " n"]:
    """What each flow of a problem takes alone on its path.

    Args:
        problem: topology, flows, routes and transports.

    Returns:
        ``(n,)`` nanoseconds from the start of a flow to its last byte at the target.

    Raises:
        ConfigError: a TCP flow goes over a link that has no link back.
    """
    return ideal_fct_of(
        problem.topology, problem.flows, problem.routes, problem.transports
    )


def ideal_fct_of(
    topology: Topology,
    flows: Flows,
    routes: Routes,
    transports: Sequence[Transport],
) -> Int64[np.ndarray, " n"]:
    """The same of the parts of a problem."""
    table = link_table(topology)
    ideal = np.zeros(len(flows), np.int64)
    for i, transport in enumerate(transports):
        own = np.flatnonzero(_of_transport(flows, i))
        if not len(own):
            continue
        packets = framing(transport)
        is_rdma = isinstance(transport, RdmaTransport)
        if is_rdma and transport.as_fork:
            _fork(
                own,
                flows.size_bytes,
                routes.offsets,
                routes.links,
                table.rate_bps,
                table.delay_ns,
                packets.payload_bytes,
                ideal,
            )
            continue
        if not is_rdma:
            _check_reverse(topology, table, routes, own)
        train_ns(
            own,
            flows.size_bytes,
            routes.offsets,
            routes.links,
            table.rate_bps,
            table.delay_ns,
            table.reverse,
            transport,
            ideal,
        )
    return ideal


def train_ns(  # noqa: PLR0913, PLR0917  flat arrays
    own: Int64[np.ndarray, " k"],
    size_bytes: Int64[np.ndarray, " n"],
    offsets: Int64[np.ndarray, " n1"],
    links: Int32[np.ndarray, " h"],
    rate_bps: Float64[np.ndarray, " m"],
    delay_ns: Int64[np.ndarray, " m"],
    reverse: Int32[np.ndarray, " m"],
    transport: Transport,
    ideal: Int64[np.ndarray, " n"],
) -> None:
    """Fill in what flows ``own`` of a transport take, on links given as arrays."""
    packets = framing(transport)
    is_rdma = isinstance(transport, RdmaTransport)
    _train(
        own,
        size_bytes,
        offsets,
        links,
        rate_bps,
        delay_ns,
        reverse,
        packets.payload_bytes,
        packets.header_bytes,
        0 if is_rdma else SYN_BYTES,
        transport.max_rate_bps if is_rdma else np.inf,
        ideal,
    )


def _of_transport(flows: Flows, i: int) -> np.ndarray:
    """``(n,)`` true for the flows of the i-th transport."""
    if len(flows.transport):
        return flows.transport == i
    return np.full(len(flows), i == 0)


def _check_reverse(
    topology: Topology, table: LinkTable, routes: Routes, own: Int64[np.ndarray, " k"]
) -> None:
    """ACKs need a link back for each link of the way."""
    if not len(table.reverse) or int(table.reverse.min()) >= 0:
        return
    is_own = np.zeros(len(routes.offsets) - 1, np.bool_)
    is_own[own] = True
    used = routes.links[np.repeat(is_own, np.diff(routes.offsets))]
    lone = used[table.reverse[used] < 0]
    if len(lone):
        link = topology.links[int(lone[0])]
        message = f"TCP needs a link back for {link.name}, which has none"
        raise ConfigError(message, "add the link, or send by RDMA")


@_kernel
def time_ns(n_bytes: int, rate_bps: float) -> int:
    """Time that a link needs for bytes, to the nearest nanosecond."""
    return int(np.floor(8e9 * n_bytes / rate_bps + 0.5))


@_kernel
def _train(  # noqa: PLR0913, PLR0917  flat arrays
    own: Int64[np.ndarray, " k"],
    size_bytes: Int64[np.ndarray, " n"],
    offsets: Int64[np.ndarray, " n1"],
    links: Int32[np.ndarray, " h"],
    rate_bps: Float64[np.ndarray, " m"],
    delay_ns: Int64[np.ndarray, " m"],
    reverse: Int32[np.ndarray, " m"],
    payload: int,
    header: int,
    syn: int,
    pace_bps: float,
    ideal: Int64[np.ndarray, " n"],
) -> None:
    """The slowest stair of packets and links, behind a handshake where ``syn`` > 0.

    The ACK of the handshake is a packet of its own at the head of the train, which the
    data may meet on each link.
    """
    full = payload + header
    for k in range(len(own)):
        flow = int(own[k])
        way = links[offsets[flow] : offsets[flow + 1]]
        n = (size_bytes[flow] + payload - 1) // payload
        last = size_bytes[flow] - (n - 1) * payload + header
        total = np.int64(0)
        for i in range(len(way)):
            link = int(way[i])
            total += delay_ns[link]
            if syn:
                back = int(reverse[link])
                total += time_ns(syn, rate_bps[link]) + delay_ns[link]
                total += time_ns(syn, rate_bps[back]) + delay_ns[back]
        if not syn:
            ideal[flow] = total + _stair(way, rate_bps, n, full, last, pace_bps)
            continue
        longest = np.int64(0)
        ahead = np.int64(0)
        for i in range(len(way)):
            ahead += time_ns(header, rate_bps[int(way[i])])
            left = max(ahead, 1) if i == 0 else ahead
            climbed = _stair(way[i:], rate_bps, n, full, last, pace_bps)
            longest = max(longest, left + climbed)
        ideal[flow] = total + longest


@_kernel
def _stair(
    way: Int32[np.ndarray, " h"],
    rate_bps: Float64[np.ndarray, " m"],
    n: int,
    full: int,
    last: int,
    pace_bps: float,
) -> int:
    """Time for n packets over links, the last one smaller, none of it propagation."""
    rest = 0
    for i in range(len(way)):
        rest += time_ns(last, rate_bps[int(way[i])])
    if n == 1:
        return rest
    slowest = time_ns(full, pace_bps)
    # The last packet alone, behind the pace of the card.
    longest = (n - 1) * slowest + rest
    climbed = 0
    for i in range(len(way)):
        took = time_ns(full, rate_bps[int(way[i])])
        climbed += took
        slowest = max(slowest, took)
        longest = max(longest, climbed + (n - 2) * slowest + rest)
        rest -= time_ns(last, rate_bps[int(way[i])])
    return longest


@_kernel
def _fork(
    own: Int64[np.ndarray, " k"],
    size_bytes: Int64[np.ndarray, " n"],
    offsets: Int64[np.ndarray, " n1"],
    links: Int32[np.ndarray, " h"],
    rate_bps: Float64[np.ndarray, " m"],
    delay_ns: Int64[np.ndarray, " m"],
    payload: int,
    ideal: Int64[np.ndarray, " n"],
) -> None:
    """The first packet on each link, then the rest at the bottleneck, terms cut."""
    header = RDMA_HEADER_BYTES
    for k in range(len(own)):
        flow = int(own[k])
        n = (size_bytes[flow] + payload - 1) // payload
        first = min(size_bytes[flow], payload)
        total = np.int64(0)
        slowest = np.inf
        for i in range(offsets[flow], offsets[flow + 1]):
            link = int(links[i])
            slowest = min(slowest, rate_bps[link])
            total += delay_ns[link]
            total += np.int64(8e9 * (first + header) / rate_bps[link])
        total += np.int64(8e9 * (size_bytes[flow] - first) / slowest)
        total += (n - 1) * np.int64(8e9 * header / slowest)
        ideal[flow] = total
