"""Link decomposition: each link alone on a packet simulator, delays added along paths.

Problem: most of the time of a simulation of a large network goes into what happens at
links that hardly know of each other.

Algorithm: K. Zhao, P. Goyal, M. Alizadeh and T. E. Anderson, "Scalable Tail Latency
Estimation for Data Center Networks" (Parsimon), NSDI 2023. For each directed link a
small network is made of the flows that take it: their senders, the link, their
receivers. A sender reaches the link over a link that is as fast as the first one of its
path, so that flows arrive no faster than they could, and over the delay of all links
before; behind it comes the delay of all links after it. What a flow takes there beyond
its ideal time is what the link costs it, and the cost of a path is the sum over its
links. It is blind to what links do to each other: bursts that an earlier link has
smoothed count again at later ones, so it tends to say too much.

Differences from the paper:

1. Each flow has its own delay at each link, which are added up. The paper keeps delays
   per packet as distributions by size and draws from these, link by link.
2. Any simulator of packets is taken, with its transports and queues; the paper has one
   of its own for DCTCP.
3. Links that are alike are not put together, and none is left out.
4. A flow has no timeline, as it is at every link by itself, and queues are not looked
   at over time.
5. Behind the link receivers are reached without bound. The links that acknowledgements
   come back over carry those of this link only; the paper takes their bytes off rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, require
from midhaul.network.decomposition.part import (
    UNBOUND_BPS,
    CutEnds,
    NetworkPart,
    inner_of,
    require_separable,
    with_inner,
)
from midhaul.network.problem import busiest_links, fingerprint, link_table
from midhaul.network.simulator import UNFINISHED, FlowResults, LinkResults

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.network.problem import NetworkProblem, Routes
    from midhaul.network.simulator import Arrays, Simulation, Simulator

_VERSION = 1
_COLUMNS = (
    "n_bytes",
    "busy_ns",
    "n_dropped",
    "n_marked",
    "paused_ns",
    "max_queue_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinksSimulator:
    """Every link alone, on a simulator that is handed over.

    Attributes:
        inner: simulates a link.
    """

    name = "links"
    is_part_by_part = True
    inner: Simulator

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> LinksSimulation:
        """Begin, or go on from a state.

        Args:
            problem: what flows where.
            state: what :meth:`LinksSimulation.state` gave.

        Returns:
            The simulation, whose first link has not begun.

        Raises:
            ConfigError: flows wait for others, a link carries nothing, or the inner
                simulator cannot do it.
            DataError: the state is of another problem or version.
        """
        require_separable(problem, "links are simulated one by one")
        require("numba", "network")
        from midhaul.network.ideal import ideal_fct_ns  # noqa: PLC0415  slow to import

        simulation = LinksSimulation(problem, self.inner, ideal_fct_ns(problem))
        if state is not None:
            simulation.restore(state)
        return simulation


class LinksSimulation:
    """Links, one after the other; watched flows have no timeline here.

    Args:
        problem: what flows where.
        inner: simulates a link.
        ideal_ns: ``(n,)`` ideal completion times.
    """

    def __init__(
        self,
        problem: NetworkProblem,
        inner: Simulator,
        ideal_ns: Int64[np.ndarray, " n"],
    ) -> None:
        n, m = len(problem.flows), len(problem.topology.links)
        self._problem, self._inner = problem, inner
        self._ideal_ns = ideal_ns
        self._table = link_table(problem.topology)
        self._on_link = _flows_on_links(problem.routes, m)
        delays = self._table.delay_ns[problem.routes.links]
        self._delays = np.concatenate([[0], np.cumsum(delays)])
        self._used = np.flatnonzero(np.diff(self._on_link[0]))
        self._next = 0
        self._simulation: Simulation | None = None
        self._delay_ns = np.zeros(n, np.int64)
        self._is_open = np.zeros(n, np.bool_)
        self._counts = np.zeros((2, n), np.int64)
        self._columns = np.zeros((len(_COLUMNS), m), np.int64)
        self._n_events = 0

    @property
    def share_done(self) -> float:
        """Share of the flows' hops that are simulated."""
        offsets = self._on_link[0]
        total = int(offsets[-1])
        if self._next >= len(self._used) or not total:
            return 1.0
        link = int(self._used[self._next])
        begun = self._simulation.share_done if self._simulation is not None else 0.0
        own = int(offsets[link + 1] - offsets[link])
        return (int(offsets[link]) + begun * own) / total

    def advance(self, n_events: int) -> bool:
        """Work through events of the present link; True when no link is left."""
        if self._next >= len(self._used):
            return True
        link = int(self._used[self._next])
        if self._simulation is None:
            self._simulation = self._inner.begin(self._link_problem(link))
        if self._simulation.advance(n_events):
            self._take(link, self._simulation.results())
            self._simulation = None
            self._next += 1
        return self._next >= len(self._used)

    def state(self) -> dict[str, np.ndarray] | None:
        """All that ``begin`` needs to go on; None where the inner one has no state."""
        found = {
            "delay_ns": self._delay_ns.copy(),
            "is_open": self._is_open.copy(),
            "counts": self._counts.copy(),
            "columns": self._columns.copy(),
            "numbers": np.array([self._next, self._n_events], np.int64),
            "problem": self._identity(),
        }
        return with_inner(found, self._simulation)

    def restore(self, state: Arrays) -> None:
        """Go on from what :meth:`state` gave; a DataError if that is of another."""
        if not np.array_equal(state.get("problem", np.zeros(0)), self._identity()):
            message = "the state is of another problem, or of another version of links"
            raise DataError(message, "simulate from the start")
        self._delay_ns[...] = state["delay_ns"]
        self._is_open[...] = state["is_open"]
        self._counts[...] = state["counts"]
        self._columns[...] = state["columns"]
        self._next, self._n_events = state["numbers"].tolist()
        inner = inner_of(state)
        if inner:
            problem = self._link_problem(int(self._used[self._next]))
            self._simulation = self._inner.begin(problem, inner)

    def results(self) -> FlowResults:
        """What is known so far; no flow has ended before all links are simulated."""
        problem = self._problem
        is_done = self._next >= len(self._used)
        start_ns = problem.flows.start_ns
        fct_ns = np.where(
            self._is_open | (not is_done), UNFINISHED, self._ideal_ns + self._delay_ns
        )
        end_ns = int((start_ns + fct_ns)[fct_ns >= 0].max(initial=0))
        if problem.until_ns is not None:
            fct_ns = np.where(start_ns + fct_ns > problem.until_ns, UNFINISHED, fct_ns)
            is_cut = bool((fct_ns < 0).any())
            end_ns = problem.until_ns if is_cut else min(end_ns, problem.until_ns)
        columns = dict(zip(_COLUMNS, self._columns.copy(), strict=True))
        return FlowResults(
            start_ns=start_ns.copy(),
            fct_ns=fct_ns.astype(np.int64),
            ideal_fct_ns=self._ideal_ns,
            n_retransmitted=self._counts[0].copy(),
            n_marked=self._counts[1].copy(),
            busiest_link=busiest_links(problem.routes, columns["busy_ns"]),
            links=LinkResults(
                **columns,
                samples_ns=np.zeros(0, np.int64),
                samples_bytes=np.zeros((0, len(problem.topology.links)), np.int64),
            ),
            timeline=None,
            n_events=self._n_events,
            end_ns=end_ns,
            problem=problem,
        )

    def _take(self, link: int, found: FlowResults) -> None:
        """Add what a link has cost its flows."""
        offsets, flows, _ = self._on_link
        own = flows[offsets[link] : offsets[link + 1]]
        is_open = found.fct_ns == UNFINISHED
        delay_ns = np.where(is_open, 0, found.fct_ns - found.ideal_fct_ns)
        np.add.at(self._delay_ns, own, np.maximum(delay_ns, 0))
        self._is_open[own] |= is_open
        self._counts[0, own] += found.n_retransmitted
        self._counts[1, own] += found.n_marked
        for row, name in zip(self._columns, _COLUMNS, strict=True):
            row[link] = getattr(found.links, name)[0]
        self._n_events += found.n_events

    def _link_problem(self, link: int) -> NetworkProblem:
        """A link with those who send over it and those they send to."""
        whole, table = self._problem, self._table
        offsets, flows, places = self._on_link
        chosen = np.s_[offsets[link] : offsets[link + 1]]
        part = NetworkPart(whole=whole, path=(link,))
        part.lay(table)
        own, place = flows[chosen], places[chosen]
        begins, ends = whole.routes.offsets[own], whole.routes.offsets[own + 1]
        delays, here = self._delays, begins + place
        first = CutEnds(
            is_cut=place > 0,
            node=np.zeros(len(own), np.int64),
            whose=whole.flows.source[own].astype(np.int64),
            delay_ns=delays[here] - delays[begins],
            rate_bps=table.rate_bps[whole.routes.links[begins]],
        )
        last = CutEnds(
            is_cut=here + 1 < ends,
            node=np.ones(len(own), np.int64),
            whose=whole.flows.target[own].astype(np.int64),
            delay_ns=delays[ends] - delays[here + 1],
            rate_bps=np.full(len(own), UNBOUND_BPS),
        )
        return part.problem(own, first, last)

    def _identity(self) -> np.ndarray:
        said = f"links {_VERSION} {self._inner.name} ".encode()
        return np.frombuffer(said + fingerprint(self._problem), np.uint8).copy()


def _flows_on_links(
    routes: Routes, n_links: int
) -> tuple[Int64[np.ndarray, " m1"], Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Where the flows of each link stand, these flows, and the link's place on each."""
    lengths = np.diff(routes.offsets)
    flow = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(routes.links)) - np.repeat(routes.offsets[:-1], lengths)
    order = np.argsort(routes.links, kind="stable")
    counts = np.bincount(routes.links, minlength=n_links)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, flow[order].astype(np.int64), place[order].astype(np.int64)
