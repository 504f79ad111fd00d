"""A network problem: flows, their routes through a topology, and their transports."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32, Int64

    from midhaul.model import Flows, Topology
    from midhaul.network.transports import Transport


MOST_S = 10**9
"""Thirty years: nanoseconds of it are far from the end of 64 bits."""

_MOST_NS = MOST_S * 10**9 + 1
_MOST_SAMPLES = 1 << 27
_MOST_SEED = 1 << 63
MAX_DELAY_S = 1e6
"""A delay, jitter or start of a rate is below it, so that times fit into 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinkTable:
    """The directed links of a topology as arrays, for kernels.

    Attributes:
        source: ``(m,)`` index of the node that sends.
        target: ``(m,)`` index of the node that receives.
        rate_bps: ``(m,)`` bits per second.
        delay_ns: ``(m,)`` one way, to the nearest nanosecond.
        reverse: ``(m,)`` index of the link the other way, -1 where there is none.
    """

    source: Int32[np.ndarray, " m"]
    target: Int32[np.ndarray, " m"]
    rate_bps: Float64[np.ndarray, " m"]
    delay_ns: Int64[np.ndarray, " m"]
    reverse: Int32[np.ndarray, " m"]


def link_table(topology: Topology) -> LinkTable:
    """The links of a topology as arrays, in its order.

    Of several links between the same two nodes, the reverse of the i-th one is the i-th
    the other way. ConfigError if a link has a rate or a delay that cannot be.
    """
    _check_links(topology)
    index = {name: i for i, name in enumerate(topology.nodes)}
    source = np.array([index[link.source] for link in topology.links], np.int32)
    target = np.array([index[link.target] for link in topology.links], np.int32)
    between: dict[tuple[int, int], list[int]] = {}
    ends = list(zip(source.tolist(), target.tolist(), strict=True))
    for i, (a, b) in enumerate(ends):
        between.setdefault((a, b), []).append(i)
    reverse = np.full(len(ends), -1, np.int32)
    for (a, b), there in between.items():
        back = between.get((b, a), [])
        for one, other in zip(there, back, strict=False):
            reverse[one] = other
    return LinkTable(
        source=source,
        target=target,
        rate_bps=np.array([link.rate_bps for link in topology.links], np.float64),
        delay_ns=np.array(
            [round(link.delay_s * 1e9) for link in topology.links], np.int64
        ),
        reverse=reverse,
    )


def _check_links(topology: Topology) -> None:
    """Refuse what no arithmetic of simulators holds; ConfigError names the link."""
    for link in topology.links:
        rates = [link.rate_bps, *(rate for _, rate in link.rate_changes)]
        times = [link.delay_s, link.jitter_s, *(when for when, _ in link.rate_changes)]
        said, mend = "", "give it one within these bounds"
        if not link.rate_bps > 0 or not all(rate >= 0 for rate in rates):
            said = f"a rate of {min(rates):g} bit/s, expected more than 0"
            mend = "a link that carries nothing is left out"
        elif not all(0 <= one < MAX_DELAY_S for one in times):
            wrong = next(one for one in times if not 0 <= one < MAX_DELAY_S)
            said = f"a delay, a jitter or a change of its rate at {wrong:g} s, "
            said += f"expected 0 to {MAX_DELAY_S:,.0f} s"
        elif not 0 <= link.loss_share < 1:
            said = f"a loss_share of {link.loss_share:g}, expected 0 to less than 1"
        if said:
            message = f"link {link.name} has {said}"
            raise ConfigError(message, mend)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Routes(Shown):
    """The links that each flow's data take; what comes back takes their reverses.

    Attributes:
        offsets: ``(n + 1,)`` where in ``links`` those of a flow stand.
        links: ``(k,)`` indices of links, from the source to the target.
    """

    offsets: Int64[np.ndarray, " n1"]
    links: Int32[np.ndarray, " k"]

    def of(self, flow: int) -> Int32[np.ndarray, " h"]:
        """The links of one flow."""
        return self.links[self.offsets[flow] : self.offsets[flow + 1]]

    def _display(self) -> Display:
        """How many there are, and how long."""
        n = len(self.offsets) - 1
        mean = len(self.links) / n if n else 0.0
        return Display(text=f"{counted(n, 'route')} over {mean:.2f} links on average")


def busiest_links(
    routes: Routes, busy_ns: Int64[np.ndarray, " m"]
) -> Int32[np.ndarray, " n"]:
    """``(n,)`` of the links on each way the one that sent longest; -1 where none is."""
    offsets = routes.offsets
    found = np.full(len(offsets) - 1, -1, np.int32)
    has_links = offsets[1:] > offsets[:-1]
    if not has_links.any():
        return found
    busy = busy_ns[routes.links]
    firsts = offsets[:-1][has_links]
    most = np.maximum.reduceat(busy, firsts)
    is_most = busy == np.repeat(most, np.diff(offsets)[has_links])
    places = np.flatnonzero(is_most)
    found[has_links] = routes.links[places[np.searchsorted(places, firsts)]]
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkProblem:
    """What a simulator is given.

    Attributes:
        topology: the nodes and links.
        flows: what is sent.
        routes: the way of each flow.
        transports: what ``Flows.transport`` counts through.
        switch_buffer_bytes: memory of each switch that its ports share, for RDMA; 0: as
            much as is needed. Queues of TCP are bounded by ``LinkQueue``.
        seed: of all that is drawn while it is simulated.
        until_ns: when to stop; None: when every flow has ended.
        watched: indices of flows whose window, rate and queue are kept over time.
        sample_ns: how often queues are looked at; 0: never.

    Raises:
        ConfigError: a time or the seed is out of its bounds, a flow that is watched is
            none, or queues are looked at more often than can be kept.
    """

    topology: Topology
    flows: Flows
    routes: Routes
    transports: tuple[Transport, ...]
    switch_buffer_bytes: int = 0
    seed: int = 0
    until_ns: int | None = None
    watched: tuple[int, ...] = ()
    sample_ns: int = 0

    def __post_init__(self) -> None:
        """Refuse what no simulator can do."""
        for name, found in (("until", self.until_ns), ("sample", self.sample_ns)):
            if found is not None and not 0 <= found < _MOST_NS:
                message = (
                    f"{name}_s must be from 0 to {MOST_S:,.0f}, found {found / 1e9:g}"
                )
                raise ConfigError(message)
        if not -_MOST_SEED <= self.seed < _MOST_SEED:
            message = f"a seed has 64 bits, found {self.seed}"
            raise ConfigError(message, "take a smaller number")
        for flow in self.watched:
            if not 0 <= flow < len(self.flows):
                message = (
                    f"watched names flow {flow}, and there are {len(self.flows):,}"
                )
                raise ConfigError(message, "flows are numbered from 0")
        span_ns = self.until_ns
        if span_ns is None:
            span_ns = int(self.flows.start_ns.max(initial=0))
        n_samples = span_ns // self.sample_ns if self.sample_ns else 0
        if n_samples * len(self.topology.links) > _MOST_SAMPLES:
            message = (
                f"queues of {len(self.topology.links):,} links looked at every "
                f"{self.sample_ns / 1e9:g} s over {span_ns / 1e9:g} s are more than "
                "can be kept"
            )
            raise ConfigError(message, "raise sample_s, or set it to 0")


def fingerprint(problem: NetworkProblem) -> bytes:
    """What tells a problem from any other, to find the state of another one by.

    Arrays, topology and transports count; what only says when to stop does as well.
    """
    flows, routes, topology = problem.flows, problem.routes, problem.topology
    digest = hashlib.blake2b(digest_size=16)
    rest = (
        (topology.nodes, topology.links, topology.hosts),
        problem.transports,
        problem.switch_buffer_bytes,
        problem.seed,
        problem.until_ns,
        problem.watched,
        problem.sample_ns,
    )
    digest.update(repr(rest).encode())
    for values in (
        flows.source,
        flows.target,
        flows.size_bytes,
        flows.start_ns,
        flows.transport,
        flows.after_offsets,
        flows.after,
        routes.offsets,
        routes.links,
    ):
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.digest()
