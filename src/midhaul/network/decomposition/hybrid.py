"""Hybrid: some windows of time packet by packet, fluid elsewhere, corrected by these.

The simulator ``hybrid``. Problem: the fluid tells cheaply and for every flow how rates
are shared, and nothing of queues, windows and losses; packets tell all of it and cost
more than ten times as much. What of the second does the whole need?

1. The fluid is simulated for all flows.
2. Time is cut into windows in which equally many flows start, and a few are drawn: half
   of the chance is the same for each, half goes by the slow flows that the fluid has in
   them (systematic sampling in proportion to size; W. G. Madow: "On the Theory of
   Systematic Sampling, II", Annals of Mathematical Statistics 20, 1949).
3. Each is simulated packet by packet, with the whole network. What the fluid has under
   way when it begins is sent from there on, with what it has left; some flows before it
   and behind it are simulated and not judged.
4. A flow of a window has its own completion time. Any other one has its fluid slowdown
   times the ratio of packets to fluid of a flow of a window, its *donor*, which is of
   the same class of size, of the same way where windows have many of it, and has nearly
   the same fluid slowdown: one of its neighbours, each as likely as its window was
   unlikely (a hot deck; R. R. Andridge, R. J. A.
   Little: "A Review of Hot Deck Imputation for Survey Non-response", International
   Statistical Review 78, 2010).

Windows hold ten thousand flows or more together, whatever their share is. They have to
be long beside most flows, and beside what senders remember: the more
flows there are, the better it is, and the cheaper beside packets. Of a flow that
outlasts its window only shorter ones tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, require
from midhaul.network.decomposition.part import inner_of, require_separable, with_inner
from midhaul.network.problem import Routes, busiest_links, fingerprint, link_table
from midhaul.network.simulator import UNFINISHED, FlowResults, LinkResults
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.transports import TcpTransport
from midhaul.network.work import packet_hops

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays, Simulation, Simulator

WINDOW_SHARE = 0.05
"""Of the flows that start in windows of packets, unless told otherwise."""

N_WINDOWS = 40
FEWEST_FLOWS = 10_000
"""Of windows together, whatever their share is: of fewer a p99 is mostly chance."""

_VERSION = 1
_LEAD, _BEHIND = 0.25, 0.1
"""Of the length of a window: what is simulated before and behind it, not judged."""

_ENDED = 0.9
"""Share of the flows of a window that the fluid has ended when arrivals stop."""

_TAIL = 0.97
"""The percentile of fluid slowdowns from which a flow counts as slow."""

_NEIGHBOURS = 15
_FEWEST = 10
_FEWEST_OF_WAY = 30
"""Known flows of a way and class from which others of it have donors among these."""

_MOST_SHARE = 1 / 3
"""Of the flows in windows; where more are needed, all is one window."""

_TIMEOUTS = 5
"""A window lasts so many of TCP's least time-outs, or longer."""

_QUANTUM = 50_000
"""Events between two looks at whether all flows of a window have ended."""

_FLUID_WORK = 0.2
"""Share of the work that the fluid is, about."""

_COUNTED = ("n_dropped", "n_marked", "paused_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSimulator:
    """Windows of packets in a fluid.

    Attributes:
        inner: simulates a window.
        fluid: simulates the whole.
        share: of the flows that start in windows.
        n_windows: that time is cut into; of TCP's there may be fewer.
        fewest_flows: that start in windows at least; where these are more than a third
            of all, there is one window of everything.
    """

    name = "hybrid"
    is_part_by_part = True
    inner: Simulator
    fluid: Simulator
    share: float = WINDOW_SHARE
    n_windows: int = N_WINDOWS
    fewest_flows: int = FEWEST_FLOWS

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> HybridSimulation:
        """Begin, or go on from a state.

        Args:
            problem: what flows where.
            state: what :meth:`HybridSimulation.state` gave.

        Returns:
            The simulation, whose fluid has not begun.

        Raises:
            ConfigError: flows wait for others, a link carries nothing, or one of the
                simulators cannot do it.
            DataError: the state is of another problem or version.
        """
        require_separable(problem, "windows are cut out of time")
        require("numba", "network")
        simulation = HybridSimulation(problem, self)
        if state is not None:
            simulation.restore(state)
        return simulation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeWindow:
    """A window of time of a network.

    Attributes:
        problem: the flows of it, with those before, behind and under way.
        flow: ``(k,)`` which flow of the whole each is, or the rest of.
        is_judged: ``(k,)`` true for those that start in the window and that the fluid
            ends before the last flow behind it starts, if there are more.
    """

    problem: NetworkProblem
    flow: Int64[np.ndarray, " k"]
    is_judged: Bool[np.ndarray, " k"]


class HybridSimulation:
    """The fluid, then one window after the other; watched flows have no timeline here.

    Args:
        problem: what flows where.
        how: the simulator.
    """

    def __init__(self, problem: NetworkProblem, how: HybridSimulator) -> None:
        n, m = len(problem.flows), len(problem.topology.links)
        self._problem, self._how = problem, how
        plain = replace(problem, until_ns=None, watched=(), sample_ns=0)
        self._fluid = how.fluid.begin(plain)
        self._whole: FlowResults | None = None
        self._windows: list[tuple[int, int]] = []
        self._chances = np.zeros(0)
        self._work = np.zeros(0)
        self._next = 0
        self._window: TimeWindow | None = None
        self._simulation: Simulation | None = None
        self._fct_ns = np.full(n, UNFINISHED, np.int64)
        self._stands_for = np.zeros(n)
        self._counts = np.zeros((2, n), np.int64)
        self._columns = np.zeros((len(_COUNTED) + 2, m), np.int64)
        self._n_events = 0

    @property
    def share_done(self) -> float:
        """Share of the work that is done, about."""
        if self._whole is None:
            return _FLUID_WORK * self._fluid.share_done
        if self._next >= len(self._windows):
            return 1.0
        begun = self._simulation.share_done if self._simulation is not None else 0.0
        done = self._work[: self._next].sum() + begun * self._work[self._next]
        share = float(done / max(self._work.sum(), 1))
        return _FLUID_WORK + (1 - _FLUID_WORK) * share

    def advance(self, n_events: int) -> bool:
        """Work through events of the fluid or of a window; True when none is left."""
        if self._whole is None:
            if not self._fluid.advance(n_events):
                return False
            self._choose(self._fluid.results())
            return not self._windows
        for _ in range(-(-n_events // _QUANTUM)):
            if self._next >= len(self._windows):
                break
            self._step()
        return self._next >= len(self._windows)

    def _choose(self, whole: FlowResults) -> None:
        """Draw the windows, now that the fluid is known."""
        self._whole = whole
        problem, how = self._problem, self._how
        if not len(problem.flows):
            return
        order = np.argsort(problem.flows.start_ns, kind="stable")
        share = max(how.share, how.fewest_flows / len(order))
        n_windows = min(how.n_windows, most_windows(problem))
        if how.share <= _MOST_SHARE < share:
            n_windows = 1
        edges = np.linspace(0, len(order), n_windows + 1).astype(np.int64)
        edges = np.unique(edges)
        slow = whole.slowdown[order] > np.quantile(whole.slowdown, _TAIL)
        rng = np.random.default_rng([problem.seed, 74])
        n_slow = np.add.reduceat(slow, edges[:-1]) / np.diff(edges)
        chosen, self._chances = drawn_windows(n_slow, share, rng)
        starts = problem.flows.start_ns[order]
        self._windows = [
            (int(starts[edges[w]]), int(starts[edges[w + 1] - 1])) for w in chosen
        ]
        hops = packet_hops(problem)[order]
        self._work = np.array([hops[edges[w] : edges[w + 1]].sum() for w in chosen])

    def _step(self) -> None:
        """Work through a quantum of the present window."""
        if self._window is None or self._simulation is None:
            assert self._whole is not None  # noqa: S101  windows are drawn from it
            begin_ns, end_ns = self._windows[self._next]
            self._window = time_window(self._problem, self._whole, begin_ns, end_ns)
            self._simulation = self._how.inner.begin(self._window.problem)
        is_done = self._simulation.advance(_QUANTUM)
        found = self._simulation.results()
        judged = self._window.is_judged
        if is_done or bool((found.fct_ns[judged] != UNFINISHED).all()):
            self._take(self._window, found)
            self._window = self._simulation = None
            self._next += 1

    def _take(self, window: TimeWindow, found: FlowResults) -> None:
        """Keep what became of a window's flows, and what links did meanwhile."""
        own = window.flow[window.is_judged]
        self._fct_ns[own] = found.fct_ns[window.is_judged]
        self._stands_for[own] = 1 / self._chances[self._next]
        self._counts[0, own] = found.n_retransmitted[window.is_judged]
        self._counts[1, own] = found.n_marked[window.is_judged]
        for place, name in enumerate(_COUNTED):
            self._columns[place] += getattr(found.links, name)
        self._columns[-2] += found.links.n_bytes
        self._columns[-1] = np.maximum(self._columns[-1], found.links.max_queue_bytes)
        self._n_events += found.n_events

    def state(self) -> dict[str, np.ndarray] | None:
        """All that ``begin`` needs to go on; None where a window has no state.

        The fluid is simulated again, which takes little beside windows.
        """
        found = {
            "fct_ns": self._fct_ns.copy(),
            "stands_for": self._stands_for.copy(),
            "counts": self._counts.copy(),
            "columns": self._columns.copy(),
            "numbers": np.array(
                [self._whole is not None, self._next, self._n_events], np.int64
            ),
            "problem": self._identity(),
        }
        return with_inner(found, self._simulation)

    def restore(self, state: Arrays) -> None:
        """Go on from what :meth:`state` gave; a DataError if that is of another."""
        if not np.array_equal(state.get("problem", np.zeros(0)), self._identity()):
            message = "the state is of another problem, or of another version of hybrid"
            raise DataError(message, "simulate from the start")
        has_fluid, self._next, self._n_events = state["numbers"].tolist()
        self._fct_ns[...] = state["fct_ns"]
        self._stands_for[...] = state["stands_for"]
        self._counts[...] = state["counts"]
        self._columns[...] = state["columns"]
        if not has_fluid:
            return
        while not self._fluid.advance(1 << 40):
            pass
        self._choose(self._fluid.results())
        inner = inner_of(state)
        if inner and self._whole is not None:
            begin_ns, end_ns = self._windows[self._next]
            self._window = time_window(self._problem, self._whole, begin_ns, end_ns)
            self._simulation = self._how.inner.begin(self._window.problem, inner)

    def results(self) -> FlowResults:
        """What is known so far; flows of no window end when all are simulated."""
        problem, until_ns = self._problem, self._problem.until_ns
        start_ns, fct_ns = problem.flows.start_ns, self._fct_ns.copy()
        whole = self._whole or self._fluid.results()
        ideal_ns, donor = whole.ideal_fct_ns, np.arange(len(fct_ns))
        if self._whole is not None and self._next >= len(self._windows):
            from midhaul.network.fluid.arrivals import group_routes  # noqa: PLC0415

            rng = np.random.default_rng([problem.seed, 75])
            routes = problem.routes
            none = np.zeros(len(fct_ns), np.int32)
            is_known = fct_ns != UNFINISHED
            donor = nearest_donors(
                size_class(problem.flows.size_bytes),
                group_routes(routes.offsets, routes.links, none)[0],
                whole.slowdown,
                self._stands_for,
                rng,
            )
            ratio = fct_ns[donor] / np.maximum(whole.fct_ns[donor], 1)
            drawn_ns = np.ceil(whole.fct_ns * np.where(is_known[donor], ratio, 1.0))
            drawn_ns = np.maximum(drawn_ns.astype(np.int64), ideal_ns)
            fct_ns = np.where(is_known, fct_ns, drawn_ns)
        end_ns = int((start_ns + fct_ns)[fct_ns >= 0].max(initial=0))
        if until_ns is not None:
            fct_ns = np.where(start_ns + fct_ns > until_ns, UNFINISHED, fct_ns)
            end_ns = until_ns if (fct_ns < 0).any() else min(end_ns, until_ns)
        links = self._links()
        return FlowResults(
            start_ns=start_ns.copy(),
            fct_ns=fct_ns,
            ideal_fct_ns=ideal_ns,
            n_retransmitted=self._counts[0, donor],
            n_marked=self._counts[1, donor],
            busiest_link=busiest_links(problem.routes, links.busy_ns),
            links=links,
            timeline=None,
            n_events=whole.n_events + self._n_events,
            end_ns=end_ns,
            problem=problem,
            drawn_from=donor,
        )

    def _links(self) -> LinkResults:
        """Bytes of all flows; what windows count, in proportion to their bytes."""
        from midhaul.network.ideal import wire_bytes  # noqa: PLC0415  slow to import

        problem, m = self._problem, self._columns.shape[1]
        routes = problem.routes
        wire = wire_bytes(problem.flows, problem.transports)
        hops = np.repeat(wire.astype(np.float64), np.diff(routes.offsets))
        sent = np.bincount(routes.links, hops, minlength=m)
        seen = self._columns[-2]
        factor = sent / np.maximum(seen, 1)
        counted = {
            name: np.rint(row * factor).astype(np.int64)
            for name, row in zip(_COUNTED, self._columns, strict=False)
        }
        return LinkResults(
            n_bytes=np.rint(sent).astype(np.int64),
            busy_ns=np.rint(8e9 * sent / link_table(problem.topology).rate_bps).astype(
                np.int64
            ),
            **counted,
            max_queue_bytes=self._columns[-1].copy(),
            samples_ns=np.zeros(0, np.int64),
            samples_bytes=np.zeros((0, m), np.int64),
            is_simulated=seen > 0,
        )

    def _identity(self) -> np.ndarray:
        how = self._how
        said = f"hybrid {_VERSION} {how.share} {how.n_windows} {how.fewest_flows} "
        said += f"{how.inner.name} "
        said += f"{how.fluid.name} "
        return np.frombuffer(
            said.encode() + fingerprint(self._problem), np.uint8
        ).copy()


def most_windows(problem: NetworkProblem) -> int:
    """How many windows there can be that are long beside what TCP remembers."""
    timeouts_s = [
        one.min_timeout_s for one in problem.transports if isinstance(one, TcpTransport)
    ]
    start_ns = problem.flows.start_ns
    span_s = float(start_ns.max() - start_ns.min()) / 1e9
    return max(1, int(span_s / (_TIMEOUTS * max(timeouts_s, default=1e-12))))


def drawn_windows(
    slow: Float64[np.ndarray, " w"], share: float, rng: np.random.Generator
) -> tuple[list[int], Float64[np.ndarray, " c"]]:
    """Which windows are simulated, given how many flows are slow, and their chances."""
    n = len(slow)
    if share >= 1:
        return list(range(n)), np.ones(n)
    chance = np.full(n, 1 / n)
    if slow.sum() > 0:
        chance = (chance + slow / slow.sum()) / 2
    order = rng.permutation(n)
    n_drawn = max(1, math.ceil(share * n - 1e-9))
    points = (rng.random() + np.arange(n_drawn)) / n_drawn
    at = np.searchsorted(np.cumsum(chance[order]), points, side="right")
    chosen = np.unique(order[np.minimum(at, n - 1)])
    return chosen.tolist(), np.minimum(n_drawn * chance[chosen], 1.0)


def time_window(
    problem: NetworkProblem, whole: FlowResults, begin_ns: int, end_ns: int
) -> TimeWindow:
    """A window of time, with what the fluid has under way when it begins.

    Args:
        problem: the whole.
        whole: the fluid of it.
        begin_ns: start of its first flow.
        end_ns: start of its last flow.

    Returns:
        The window, whose flows stand in the order of the whole.
    """
    flows, starts_ns = problem.flows, problem.flows.start_ns.copy()
    size_bytes, ends_ns = flows.size_bytes.copy(), starts_ns + whole.fct_ns
    length_ns = end_ns - begin_ns
    is_own = (starts_ns >= begin_ns) & (starts_ns <= end_ns)
    most_ns = np.quantile(ends_ns[is_own], _ENDED, method="higher")
    last_ns = max(end_ns + int(_BEHIND * length_ns), int(most_ns))
    first_ns = max(begin_ns - int(_LEAD * length_ns), 0)
    is_there = (starts_ns >= first_ns) & (starts_ns <= last_ns)
    rest = np.flatnonzero((starts_ns < first_ns) & (ends_ns > first_ns))
    # One after the other, as all of them at once would be a burst that never was.
    share = (np.arange(len(rest)) + 0.5) / max(len(rest), 1)
    joins_ns = first_ns + (share * (begin_ns - first_ns)).astype(np.int64)
    left = (ends_ns[rest] - joins_ns) / np.maximum(whole.fct_ns[rest], 1)
    rest, joins_ns, left = rest[left > 0], joins_ns[left > 0], left[left > 0]
    is_there[rest] = True
    starts_ns[rest] = joins_ns
    size_bytes[rest] = np.maximum((size_bytes[rest] * left).astype(np.int64), 1)
    flow = np.flatnonzero(is_there)
    offsets, lengths = problem.routes.offsets, np.diff(problem.routes.offsets)
    return TimeWindow(
        problem=replace(
            problem,
            flows=replace(
                flows.take(flow), start_ns=starts_ns[flow], size_bytes=size_bytes[flow]
            ),
            routes=Routes(
                offsets=np.concatenate([[0], np.cumsum(lengths[flow])]).astype(
                    offsets.dtype
                ),
                links=problem.routes.links[np.repeat(is_there, lengths)],
            ),
            until_ns=None,
            watched=(),
            sample_ns=0,
        ),
        flow=flow,
        is_judged=(is_own & ((ends_ns <= last_ns) | (flows.start_ns.max() <= last_ns)))[
            flow
        ],
    )


def nearest_donors(
    classes: Int64[np.ndarray, " n"],
    ways: Int64[np.ndarray, " n"],
    fluid: Float64[np.ndarray, " n"],
    stands_for: Float64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " n"]:
    """A flow that is known for each that is not: of its class, nearly as slow in fluid.

    Args:
        classes: of size.
        ways: the way of each; of many flows of one way and class their own tell.
        fluid: slowdowns of all flows.
        stands_for: how many flows each that is known stands for, which is how likely
            it is among its neighbours; 0: it is not known.
        rng: draws among neighbours.

    Returns:
        Indices of flows. A class with few of them takes the nearest one that has more;
        where nothing is known every flow has itself.
    """
    found, is_known = np.arange(len(classes)), stands_for > 0
    is_left = ~is_known
    key = ways.astype(np.int64) * len(SIZE_CLASSES) + classes
    order = np.argsort(key, kind="stable")
    able = np.flatnonzero(np.bincount(key[is_known]) >= _FEWEST_OF_WAY)
    edges = np.searchsorted(key[order], np.stack([able, able + 1]))
    for first, last in edges.T.tolist():
        alike = order[first:last]
        mine, pool = alike[~is_known[alike]], alike[is_known[alike]]
        found[mine] = _neighbours(pool, mine, fluid, stands_for, rng)
        is_left[mine] = False
    pools = [
        np.flatnonzero(is_known & (classes == c)) for c in range(len(SIZE_CLASSES))
    ]
    most = max(map(len, pools))
    able = [c for c, pool in enumerate(pools) if len(pool) >= min(_FEWEST, most)]
    for c in range(len(SIZE_CLASSES)):
        mine = np.flatnonzero(is_left & (classes == c))
        if len(mine) and most:
            pool = pools[min(able, key=lambda other: (abs(other - c), other))]
            found[mine] = _neighbours(pool, mine, fluid, stands_for, rng)
    return found


def _neighbours(
    pool: Int64[np.ndarray, " p"],
    mine: Int64[np.ndarray, " k"],
    fluid: Float64[np.ndarray, " n"],
    stands_for: Float64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, " k"]:
    """One of a pool for each, nearly as slow in the fluid."""
    pool = pool[np.argsort(fluid[pool], kind="stable")]
    low = np.searchsorted(fluid[pool], fluid[mine], side="left")
    high = np.searchsorted(fluid[pool], fluid[mine], side="right")
    # Of those that are just as slow any, and some to both sides.
    low = np.maximum(low - _NEIGHBOURS, 0)
    high = np.minimum(high + _NEIGHBOURS, len(pool))
    reached = np.concatenate([[0.0], np.cumsum(stands_for[pool])])
    at = reached[low] + rng.random(len(mine)) * (reached[high] - reached[low])
    place = np.searchsorted(reached, at, side="right") - 1
    return pool[np.clip(place, low, high - 1)]
