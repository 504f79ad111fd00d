"""Drawn flows: by laws and a seed, scaled to the load of the busiest link.

Ends, sizes and paths are drawn first. What the flows put on each link is then known to
the byte, headers among it, and the time in which they all start follows from the load
that the busiest link shall have:

    horizon = max over links of (8 bytes / rate) / load

So the load is that of the flows at hand, not of the law that they were drawn of.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Flows, Tally
from midhaul.model.display import Shown
from midhaul.network.ideal import wire_bytes
from midhaul.network.problem import Routes, link_table
from midhaul.network.routing import ecmp
from midhaul.network.transports import RdmaTransport, Transport
from midhaul.network.workload.arrivals import FlowArrivals, PoissonArrivals
from midhaul.network.workload.matrices import TrafficMatrix, host_indices, uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float64, Int64

    from midhaul.model import Topology
    from midhaul.network.workload.sizes import SizeLaw

    Route = Callable[[Topology, Flows], Routes]

_ENDS, _SIZES, _STARTS = range(3)
"""What is drawn of its own generator, so that changing one law changes nothing else."""

_MOST_FLOWS = 100_000_000
_MOST_NS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LinkLoads(Shown):
    """What flows offer to the links of a topology while they start.

    Attributes:
        names: of the links, as tables show them.
        n_bytes: ``(m,)`` with headers, without acknowledgements.
        load: ``(m,)`` share of the time that the link needs for them.
        horizon_ns: the time.
    """

    names: tuple[str, ...]
    n_bytes: Int64[np.ndarray, " m"]
    load: Float64[np.ndarray, " m"]
    horizon_ns: int

    @property
    def busiest(self) -> int:
        """Index of the link with the highest load."""
        return int(np.argmax(self.load))

    @property
    def is_stable(self) -> bool:
        """True where every link can carry what it is offered."""
        return bool((self.load < 1).all())

    @property
    def tally(self) -> Tally:
        """Links whose queues never end while such flows come."""
        full = np.flatnonzero(self.load >= 1)
        return Tally(
            what="links are offered more than they carry, so that their queues never "
            "end while such flows come",
            n=len(full),
            of=len(self.load),
            max_share=0.0,
            advice="Lower the load below 1, or read it as what a burst of that length "
            "does.",
            places=tuple(
                f"{self.names[i]} {self.load[i]:.0%}" for i in full[:3].tolist()
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnFlows:
    """Flows, their ways, and what they are for the links.

    Attributes:
        flows: in the order of their starts.
        routes: the way of each.
        loads: of the links.
    """

    flows: Flows
    routes: Routes
    loads: LinkLoads


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLaw:
    """What flows are drawn of.

    Attributes:
        sizes: how large they are.
        arrivals: when they start.
        matrix: who sends to whom; None: every host to every other.
        load: of the busiest link, above 0; from 1 on queues never end, which
            :attr:`LinkLoads.tally` says.
        transport: whose headers count.
        label: name of the class of flows.
    """

    sizes: SizeLaw
    arrivals: FlowArrivals = field(default_factory=PoissonArrivals)
    matrix: TrafficMatrix | None = None
    load: float = 0.5
    transport: Transport = field(default_factory=RdmaTransport)
    label: str = "flows"

    def __post_init__(self) -> None:
        """Refuse a load that is none."""
        if not 0 < self.load <= 100:  # noqa: PLR2004  a slip: per cent
            message = f"load must be above 0 and at most 100, found {self.load:g}"
            raise ConfigError(message, "a load of 0.5 is half of what a link carries")


def draw_flows(
    topology: Topology,
    law: FlowLaw,
    n: int,
    *,
    seed: int = 0,
    route: Route | None = None,
) -> DrawnFlows:
    """Flows of a law, as many as asked for, with routes and loads.

    Args:
        topology: the nodes and links.
        law: what they are drawn of.
        n: how many, at least 1.
        seed: from which all chance follows; the same flows on any machine.
        route: which links they take; ECMP by hops with the same seed by default.

    Returns:
        The flows in the order of their starts, from 0.

    Raises:
        ConfigError: n is below 1, there is no path for a flow, a link has no rate, or
            no link on any path has a rate to speak of.
        DataError: the arrivals are a trace that ends too soon.
    """
    if not 1 <= n <= _MOST_FLOWS:
        message = f"expected 1 to {_MOST_FLOWS:,} flows, found {n:,}"
        raise ConfigError(message)
    matrix = law.matrix or uniform(host_indices(topology))
    source, target = matrix.draw(_generator(seed, _ENDS), n)
    flows = Flows(
        source=source,
        target=target,
        size_bytes=law.sizes.draw(_generator(seed, _SIZES), n),
        start_ns=np.zeros(n, np.int64),
        labels=(law.label,),
    )
    routes = route(topology, flows) if route else ecmp(topology, flows, seed=seed)
    needed_s = _seconds(topology, routes, wire_bytes(flows, [law.transport]))
    horizon_ns = round(float(needed_s.max(initial=0.0)) / law.load * 1e9)
    if not 0 < horizon_ns < _MOST_NS:
        message = (
            f"a load of {law.load:g} would need {horizon_ns} ns for {n:,} flows: the "
            "links are too fast, or too slow, to speak of a load"
        )
        raise ConfigError(message, "give at least one link on the way a real rate")
    starts = law.arrivals.draw(_generator(seed, _STARTS), n, horizon_ns)
    flows = replace(flows, start_ns=starts)
    loads = link_loads(topology, flows, routes, [law.transport], horizon_ns=horizon_ns)
    return DrawnFlows(flows=flows, routes=routes, loads=loads)


def link_loads(
    topology: Topology,
    flows: Flows,
    routes: Routes,
    transports: Sequence[Transport],
    *,
    horizon_ns: int | None = None,
) -> LinkLoads:
    """What flows offer to every link while they start.

    Args:
        topology: the nodes and links.
        flows: what is sent.
        routes: the way of each.
        transports: what ``flows.transport`` counts through.
        horizon_ns: the time over which they count; from 0 to the last start by default,
            which is too short where few flows start.

    Returns:
        Bytes and load of each link; infinite where the time is 0.

    Raises:
        ConfigError: flows wait for others, so that nobody knows when they start, and
            no time is given.
    """
    sizes = wire_bytes(flows, transports)
    if horizon_ns is None and flows.waits:
        message = "flows that wait for others have no known time over which they start"
        raise ConfigError(message, "give horizon_ns")
    if horizon_ns is None:
        horizon_ns = int(flows.start_ns.max(initial=0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        load = _seconds(topology, routes, sizes) * 1e9 / horizon_ns
    return LinkLoads(
        names=tuple(link.name for link in topology.links),
        n_bytes=_link_bytes(topology, routes, sizes),
        load=np.nan_to_num(load, nan=0.0, posinf=np.inf),
        horizon_ns=horizon_ns,
    )


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose,)))


def _link_bytes(
    topology: Topology, routes: Routes, sizes: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " m"]:
    """Bytes on each link; as float64 they are exact up to 2^53."""
    per_hop = np.repeat(sizes, np.diff(routes.offsets))
    n_bytes = np.bincount(routes.links, per_hop, minlength=len(topology.links))
    return n_bytes.astype(np.int64)


def _seconds(
    topology: Topology, routes: Routes, sizes: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " m"]:
    """Time that each link needs for what is sent over it."""
    return _link_bytes(topology, routes, sizes) * 8 / link_table(topology).rate_bps
