"""A network problem as the fluid kernels want it: classes of flows with one route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.network.fluid.arrivals import Fate, Given, group_routes
from midhaul.network.fluid.graphs import RateChanges
from midhaul.network.ideal import framing, ideal_fct_ns, wire_bytes
from midhaul.network.problem import Routes, link_table
from midhaul.network.transports import RdmaTransport

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int32, Int64

    from midhaul.model import Topology
    from midhaul.network.problem import NetworkProblem

_BITS_PER_NS = 8e9  # bit/s of a byte per nanosecond
_FORK_HEADER_BYTES = 48
_MOST = 1e6  # bytes per nanosecond; what infinite rates are while they last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FluidLoad:
    """What the kernels are given, and what leads back to the problem.

    Attributes:
        given: flows, classes and links as arrays.
        changes: when links change their rates.
        links: ``(m,)`` link of the topology that each link of ``given`` is; those that
            bound single flows are at the end, and none.
        ideal_fct_ns: ``(n,)`` of each flow.
        start_ns: ``(n,)`` of each flow, -1 where it waits for others.
        n_waiting_for: ``(n,)`` how many flows it waits for; empty where none waits.
        ways: the different routes of flows, of each transport.
        way_of: ``(n,)`` which of these a flow takes.
    """

    given: Given
    changes: RateChanges
    links: Int64[np.ndarray, " m"]
    ideal_fct_ns: Int64[np.ndarray, " n"]
    start_ns: Int64[np.ndarray, " n"]
    n_waiting_for: Int64[np.ndarray, " n_or_0"]
    ways: Routes
    way_of: Int32[np.ndarray, " n"]

    def fate(self) -> Fate:
        """Nothing has happened yet."""
        n, n_waiting = len(self.start_ns), len(self.n_waiting_for)
        n_later = int(np.count_nonzero(self.n_waiting_for))
        return Fate(
            start_ns=self.start_ns.copy(),
            fct_ns=np.full(n, -1, np.int64),
            sent_ns=np.full(n, np.nan),
            ends_at=np.zeros(n),
            ending=np.zeros(n, np.int32),
            n_missing=self.n_waiting_for.astype(np.int32),
            ready_ns=np.zeros(n_waiting, np.int64),
            ready_keys=np.zeros(n_later, np.int64),
            ready_flows=np.zeros(n_later, np.int32),
            counters=np.zeros(4, np.int64),
            clock=np.zeros(1),
        )


def fluid_load(problem: NetworkProblem) -> FluidLoad:
    """Classes, rates and waits of a problem.

    ConfigError where a link that is used never carries anything.
    """
    flows = problem.flows
    rate_bps = link_table(problem.topology).rate_bps
    ways, way_of, kinds = _ways(problem)
    offsets, links, caps_bps = _bounds(problem, rate_bps, ways, kinds)
    classes, firsts = group_routes(offsets, links, np.zeros(len(kinds), np.int32))
    class_of = classes[way_of]
    route_offsets, route_links = _chosen(offsets, links, firsts)
    routes = route_links.astype(np.int64)
    is_cap = routes >= len(rate_bps)
    cap_rates = caps_bps[routes[is_cap] - len(rate_bps)]
    used = np.unique(routes[~is_cap])
    routes[~is_cap] = np.searchsorted(used, routes[~is_cap])
    routes[is_cap] = len(used) + np.arange(is_cap.sum())
    capacity = np.concatenate([rate_bps[used], cap_rates]) / _BITS_PER_NS
    capacity = np.minimum(capacity, _MOST)
    changes = _changes(problem.topology, used)
    _check_rates(problem.topology, used, capacity, changes)
    counts = np.bincount(class_of, minlength=len(firsts))
    wire = _wire_bytes(problem)
    ideal = ideal_fct_ns(problem)
    waits = flows.waits
    missing = np.diff(flows.after_offsets) if waits else np.zeros(0, np.int64)
    waiter_offsets, waiters = _waiters(problem) if waits else _NO_WAITERS
    is_free = missing == 0 if waits else np.ones(len(flows), np.bool_)
    given = Given(
        wire_bytes=wire,
        base_ns=_base_ns(ideal, wire, class_of, capacity, route_offsets, routes),
        class_of=class_of,
        slots=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        route_offsets=route_offsets,
        route_links=routes.astype(np.int32),
        capacity=capacity,
        is_per_flow=np.arange(len(capacity)) >= len(used),
        order=_in_order(flows.start_ns, is_free),
        delay_ns=flows.start_ns if waits else np.zeros(0, np.int64),
        waiter_offsets=waiter_offsets,
        waiters=waiters,
    )
    return FluidLoad(
        given=given,
        changes=changes,
        links=np.concatenate([used, np.full(int(is_cap.sum()), -1)]).astype(np.int64),
        ideal_fct_ns=ideal,
        start_ns=np.where(is_free, flows.start_ns, -1).astype(np.int64),
        n_waiting_for=missing.astype(np.int64),
        ways=ways,
        way_of=way_of,
    )


_NO_WAITERS = np.zeros(1, np.int64), np.zeros(0, np.int32)


def _ways(
    problem: NetworkProblem,
) -> tuple[Routes, Int32[np.ndarray, " n"], Int32[np.ndarray, " k"]]:
    """The different routes of each transport, whose a flow's is, and transports."""
    routes, transport = problem.routes, problem.flows.transport
    kinds = np.zeros(len(problem.flows), np.int32)
    if len(transport):
        kinds = transport.astype(np.int32)
    offsets, links = routes.offsets.astype(np.int64), routes.links.astype(np.int32)
    way_of, firsts = group_routes(offsets, links, kinds)
    way_offsets, way_links = _chosen(offsets, links, firsts)
    return Routes(offsets=way_offsets, links=way_links), way_of, kinds[firsts]


def _chosen(
    offsets: Int64[np.ndarray, " n1"],
    links: Int32[np.ndarray, " h"],
    chosen: Int32[np.ndarray, " k"],
) -> tuple[Int64[np.ndarray, " k1"], Int32[np.ndarray, " g"]]:
    """Some of many routes, as offsets and links."""
    lengths = (offsets[1:] - offsets[:-1])[chosen]
    found = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    within = np.arange(found[-1]) - np.repeat(found[:-1], lengths)
    return found, links[np.repeat(offsets[chosen], lengths) + within]


def _bounds(
    problem: NetworkProblem,
    rate_bps: Float64[np.ndarray, " m"],
    ways: Routes,
    kinds: Int32[np.ndarray, " k"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ways without links that never hold up; and rates that bound single flows.

    Such a rate is a further link at the end of a way, counted on from the links.
    """
    offsets, links = ways.offsets, ways.links
    is_slow = np.isfinite(rate_bps)
    is_slow[[i for i, x in enumerate(problem.topology.links) if x.rate_changes]] = True
    if not is_slow.all():
        kept = is_slow[links]
        offsets = np.concatenate([[0], np.cumsum(kept)])[offsets]
        links = links[kept]
    caps = np.array(
        [
            one.max_rate_bps if isinstance(one, RdmaTransport) else np.inf
            for one in problem.transports
        ]
    )
    # Where a link on the way is no faster than the card, the card bounds nothing.
    is_capped = caps[kinds] < _slowest(rate_bps, offsets, links)
    if is_capped.any():
        capped = np.flatnonzero(is_capped)
        links = np.insert(links, offsets[capped + 1], len(rate_bps) + kinds[capped])
        offsets = offsets + np.concatenate([[0], np.cumsum(is_capped)])
    return offsets.astype(np.int64), links.astype(np.int32), caps


def _slowest(
    rate_bps: Float64[np.ndarray, " m"], offsets: np.ndarray, links: np.ndarray
) -> Float64[np.ndarray, " k"]:
    """Rate of the slowest link on each way."""
    found = np.full(len(offsets) - 1, np.inf)
    has_links = offsets[1:] > offsets[:-1]
    if has_links.any():
        found[has_links] = np.minimum.reduceat(rate_bps[links], offsets[:-1][has_links])
    return found


def _wire_bytes(problem: NetworkProblem) -> Float64[np.ndarray, " n"]:
    """Payload and headers; those of m3 where a transport is as its fork."""
    wire = wire_bytes(problem.flows, problem.transports).astype(np.float64)
    transport = problem.flows.transport
    for number, one in enumerate(problem.transports):
        if isinstance(one, RdmaTransport) and one.as_fork:
            own = transport == number if len(transport) else np.s_[:]
            more = framing(one).header_bytes - _FORK_HEADER_BYTES
            wire[own] -= more * framing(one).n_packets(problem.flows.size_bytes[own])
    return wire


def _base_ns(
    ideal: Int64[np.ndarray, " n"],
    wire: Float64[np.ndarray, " n"],
    class_of: np.ndarray,
    capacity: Float64[np.ndarray, " m"],
    route_offsets: Int64[np.ndarray, " k1"],
    routes: np.ndarray,
) -> Float64[np.ndarray, " n"]:
    """What a flow takes alone beside the time that its slowest link sends.

    Packets take whole nanoseconds there, so it may be a little below 0.
    """
    slowest = np.full(len(route_offsets) - 1, np.inf)
    owners = np.repeat(np.arange(len(slowest)), np.diff(route_offsets))
    np.minimum.at(slowest, owners, capacity[routes])
    with np.errstate(divide="ignore"):
        alone = wire / slowest[class_of]
    return ideal - np.where(np.isfinite(alone), alone, ideal)


def _in_order(
    start_ns: Int64[np.ndarray, " n"], is_free: Bool[np.ndarray, " n"]
) -> np.ndarray:
    """Flows that wait for none, by their starts."""
    free = np.flatnonzero(is_free).astype(np.int32)
    starts = start_ns[free]
    if bool((starts[1:] < starts[:-1]).any()):
        free = free[np.argsort(starts, kind="stable")]
    return free


def _waiters(problem: NetworkProblem) -> tuple[np.ndarray, np.ndarray]:
    """Who waits for each flow."""
    flows = problem.flows
    who = np.repeat(np.arange(len(flows)), np.diff(flows.after_offsets))
    by_flow = np.argsort(flows.after, kind="stable")
    counts = np.bincount(flows.after, minlength=len(flows))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, who[by_flow].astype(np.int32)


def _changes(topology: Topology, used: np.ndarray) -> RateChanges:
    """All changes of rate of the links that are used, in order of time."""
    rows = [
        (round(time_s * 1e9), number, min(rate_bps / _BITS_PER_NS, _MOST))
        for number, link in enumerate(used.tolist())
        for time_s, rate_bps in topology.links[link].rate_changes
    ]
    rows.sort(key=lambda row: row[0])
    return RateChanges(
        time_ns=np.array([row[0] for row in rows], np.int64),
        link=np.array([row[1] for row in rows], np.int32),
        capacity=np.array([row[2] for row in rows], np.float64),
    )


def _check_rates(
    topology: Topology,
    used: np.ndarray,
    capacity: Float64[np.ndarray, " m"],
    changes: RateChanges,
) -> None:
    changing = set(changes.link.tolist())
    for number, link in enumerate(used.tolist()):
        rates = capacity[number], *changes.capacity[changes.link == number].tolist()
        if not min(rates) >= 0 or (rates[0] == 0 and number not in changing):
            name = topology.links[link].name
            found = topology.links[link].rate_bps
            message = f"a link on the way of flows must carry something, found {name} "
            message += f"with {found} bit/s"
            raise ConfigError(message, "give it a rate_bps, or choose other routes")
