"""Sampled paths: some paths of a network packet by packet, pooled to all of it.

The simulator ``paths``. Paths are drawn by the flows on them and cut out of the network
with all that crosses them (:mod:`midhaul.network.decomposition.paths`), each is
simulated alone, and flows on no sampled path are given the slowdown of one that is
(:mod:`midhaul.network.decomposition.pooling`). That is m3 (C. Li et al., SIGCOMM 2024)
with a simulator of packets in the place of its fluid simulation and its net.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, require
from midhaul.network.decomposition.part import inner_of, require_separable, with_inner
from midhaul.network.decomposition.paths import PathCuts, PathProblem, sample_paths
from midhaul.network.decomposition.pooling import N_PATHS, donors, stands_for
from midhaul.network.problem import busiest_links, fingerprint, link_table
from midhaul.network.simulator import UNFINISHED, FlowResults, LinkResults
from midhaul.network.slowdown import judged_flows
from midhaul.network.work import n_packets

if TYPE_CHECKING:
    from jaxtyping import Int64

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays, Simulation, Simulator

_VERSION = 1
_ONE_BY_ONE = "paths are simulated one by one"
_COLUMNS = (
    "n_bytes",
    "busy_ns",
    "n_dropped",
    "n_marked",
    "paused_ns",
    "max_queue_bytes",
)
_HOPS_BESIDE = 2
"""Links of a flow that is cut to a path, beside those of the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsSimulator:
    """Sampled paths alone, on a simulator that is handed over.

    Attributes:
        inner: simulates a path.
        n_paths: how many are drawn, with replacement.
    """

    name = "paths"
    is_part_by_part = True
    inner: Simulator
    n_paths: int = N_PATHS

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> PathsSimulation:
        """Begin, or go on from a state.

        Args:
            problem: what flows where.
            state: what :meth:`PathsSimulation.state` gave.

        Returns:
            The simulation, whose first path has not begun.

        Raises:
            ConfigError: flows wait for others, a link carries nothing, or the inner
                simulator cannot do it.
            DataError: the state is of another problem or version.
        """
        require_separable(problem, _ONE_BY_ONE)
        require("numba", "network")
        simulation = PathsSimulation(problem, self.inner, self.n_paths)
        if state is not None:
            simulation.restore(state)
        return simulation


class PathsSimulation:
    """Paths, one after the other; watched flows have no timeline here.

    Args:
        problem: what flows where.
        inner: simulates a path.
        n_paths: how many are drawn.
    """

    def __init__(self, problem: NetworkProblem, inner: Simulator, n_paths: int) -> None:
        from midhaul.network.ideal import ideal_fct_ns  # noqa: PLC0415  slow to import

        n, m = len(problem.flows), len(problem.topology.links)
        self._problem, self._inner, self._n_paths = problem, inner, n_paths
        self._ideal_ns = ideal_fct_ns(problem)
        self._cuts = PathCuts(problem)
        rng = np.random.default_rng([problem.seed, 71])
        self._paths = sample_paths(problem.routes, n_paths, rng)[0] if n else []
        self._work = _work_of(problem, self._paths)
        self._next = 0
        self._part: PathProblem | None = None
        self._simulation: Simulation | None = None
        self._path_of = np.full(n, -1, np.int64)
        self._fct_ns = np.full(n, UNFINISHED, np.int64)
        self._counts = np.zeros((2, n), np.int64)
        self._columns = np.zeros((len(_COLUMNS), m), np.int64)
        self._n_seen = np.zeros(m, np.int64)
        self._n_events = 0

    @property
    def share_done(self) -> float:
        """Share of the packets' hops on sampled paths that are simulated."""
        if self._next >= len(self._paths):
            return 1.0
        begun = self._simulation.share_done if self._simulation is not None else 0.0
        done = self._work[: self._next].sum() + begun * self._work[self._next]
        return float(done / self._work.sum())

    def advance(self, n_events: int) -> bool:
        """Work through events of the present path; True when no path is left."""
        if self._next >= len(self._paths):
            return True
        if self._part is None or self._simulation is None:
            self._part = self._cuts.of(self._paths[self._next])
            self._simulation = self._inner.begin(self._part.problem)
        if self._simulation.advance(n_events):
            self._take(self._part, self._simulation.results())
            self._part = self._simulation = None
            self._next += 1
        return self._next >= len(self._paths)

    def state(self) -> dict[str, np.ndarray] | None:
        """All that ``begin`` needs to go on; None where the inner one has no state."""
        found = {
            "path_of": self._path_of.copy(),
            "fct_ns": self._fct_ns.copy(),
            "counts": self._counts.copy(),
            "columns": self._columns.copy(),
            "n_seen": self._n_seen.copy(),
            "numbers": np.array([self._next, self._n_events], np.int64),
            "problem": self._identity(),
        }
        return with_inner(found, self._simulation)

    def restore(self, state: Arrays) -> None:
        """Go on from what :meth:`state` gave; a DataError if that is of another."""
        if not np.array_equal(state.get("problem", np.zeros(0)), self._identity()):
            message = "the state is of another problem, or of another version of paths"
            raise DataError(message, "simulate from the start")
        self._path_of[...] = state["path_of"]
        self._fct_ns[...] = state["fct_ns"]
        self._counts[...] = state["counts"]
        self._columns[...] = state["columns"]
        self._n_seen[...] = state["n_seen"]
        self._next, self._n_events = state["numbers"].tolist()
        inner = inner_of(state)
        if inner:
            self._part = self._cuts.of(self._paths[self._next])
            self._simulation = self._inner.begin(self._part.problem, inner)

    def results(self) -> FlowResults:
        """What is known so far; flows on no sampled path end when all are simulated."""
        problem, until_ns = self._problem, self._problem.until_ns
        start_ns, fct_ns = problem.flows.start_ns, self._fct_ns.copy()
        donor = np.arange(len(fct_ns))
        if self._next >= len(self._paths):
            donor = self._donors()
            drawn = donor != np.arange(len(donor))
            given = fct_ns[donor]
            slowdown = given / np.maximum(self._ideal_ns[donor], 1)
            drawn_ns = np.ceil(slowdown * self._ideal_ns).astype(np.int64)
            fct_ns = np.where(drawn & (given >= 0), drawn_ns, fct_ns)
        end_ns = int((start_ns + fct_ns)[fct_ns >= 0].max(initial=0))
        if until_ns is not None:
            fct_ns = np.where(start_ns + fct_ns > until_ns, UNFINISHED, fct_ns)
            end_ns = until_ns if (fct_ns < 0).any() else min(end_ns, until_ns)
        links = self._links()
        return FlowResults(
            start_ns=start_ns.copy(),
            fct_ns=fct_ns,
            ideal_fct_ns=self._ideal_ns,
            n_retransmitted=self._counts[0, donor],
            n_marked=self._counts[1, donor],
            busiest_link=busiest_links(problem.routes, links.busy_ns),
            links=links,
            timeline=None,
            n_events=self._n_events,
            end_ns=end_ns,
            problem=problem,
            drawn_from=donor,
        )

    def _take(self, part: PathProblem, found: FlowResults) -> None:
        """Keep what became of a path's own flows, and what its links did."""
        mine = part.is_foreground
        own = part.flow[mine]
        self._path_of[own] = self._next
        self._fct_ns[own] = found.fct_ns[mine]
        self._counts[0, own] = found.n_retransmitted[mine]
        self._counts[1, own] = found.n_marked[mine]
        path = list(self._paths[self._next])
        self._n_seen[path] += 1
        for row, name in zip(self._columns, _COLUMNS, strict=True):
            row[path] += getattr(found.links, name)[0 : 2 * len(path) : 2]
        self._n_events += found.n_events

    def _donors(self) -> Int64[np.ndarray, " n"]:
        """Whose slowdown each flow has."""
        flows, n = self._problem.flows, len(self._fct_ns)
        sampled = self._path_of >= 0
        n_own = np.bincount(self._path_of[sampled], minlength=len(self._paths))
        beside = stands_for(n_own, n, self._n_paths)
        ended = self._fct_ns != UNFINISHED
        gives = np.zeros(n, np.bool_)
        end_ns = self._problem.until_ns
        if end_ns is None:
            gives[:] = sampled
        else:  # late ones that ended were quick, so the start alone decides
            judged = judged_flows(flows.start_ns, self._fct_ns, self._ideal_ns, end_ns)
            gives[judged.flow] = sampled[judged.flow]
        ratio = self._fct_ns / np.maximum(self._ideal_ns, 1)
        return donors(
            flows.size_bytes,
            np.where(ended, ratio, np.inf),
            np.append(beside, 0.0)[self._path_of],
            gives,
            ~sampled,
            np.random.default_rng([self._problem.seed, 72]),
        )

    def _links(self) -> LinkResults:
        """Means over the paths that have a link; bytes only of one that none has."""
        from midhaul.network.ideal import wire_bytes  # noqa: PLC0415  slow to import

        problem, m = self._problem, len(self._n_seen)
        columns = self._columns // np.maximum(self._n_seen, 1)
        routes = problem.routes
        wire = wire_bytes(problem.flows, problem.transports)
        hops = np.repeat(wire.astype(np.float64), np.diff(routes.offsets))
        sent = np.bincount(routes.links, hops, minlength=m)
        busy_ns = 8e9 * sent / link_table(problem.topology).rate_bps
        unseen = self._n_seen == 0
        columns[0, unseen] = np.round(sent[unseen])
        columns[1, unseen] = np.round(busy_ns[unseen])
        return LinkResults(
            **dict(zip(_COLUMNS, columns, strict=True)),
            samples_ns=np.zeros(0, np.int64),
            samples_bytes=np.zeros((0, m), np.int64),
            is_simulated=~unseen,
        )

    def _identity(self) -> np.ndarray:
        said = f"paths {_VERSION} {self._n_paths} {self._inner.name} ".encode()
        return np.frombuffer(said + fingerprint(self._problem), np.uint8).copy()


def _work_of(problem: NetworkProblem, paths: list[tuple[int, ...]]) -> np.ndarray:
    """``(k,)`` packets times links that the simulation of each path has."""
    routes = problem.routes
    packets = np.repeat(n_packets(problem), np.diff(routes.offsets)).astype(np.float64)
    on_link = np.bincount(routes.links, packets, minlength=len(problem.topology.links))
    lengths = np.array([len(path) for path in paths], np.float64)
    on_path = np.array([on_link[list(path)].sum() for path in paths])
    return on_path * (1 + _HOPS_BESIDE / np.maximum(lengths, 1))
