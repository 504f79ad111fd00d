"""Hybrid: some windows of time packet by packet, fluid elsewhere, corrected by these.

The simulator ``hybrid``. Problem: the fluid tells cheaply and for every flow how rates
are shared, and nothing of queues, windows and losses; packets tell all of it and cost
more than ten times as much. What of the second does the whole need?

1. The fluid is simulated for all flows.
2. Time is cut into windows in which equally many flows start, and a few are drawn
   (:mod:`midhaul.network.decomposition.window_draws`).
3. Each is simulated packet by packet, with the whole network. What the fluid has under
   way when it begins is sent from there on, with what it has left; some flows before it
   and behind it are simulated and not judged.
4. A flow of a window has its own completion time. Any other one has its fluid slowdown
   times the ratio of packets to fluid of a flow of a window, its *donor*, which is one
   of its neighbours in the fluid, each as likely as its window was unlikely
   (:mod:`midhaul.network.decomposition.hot_deck`).

Windows hold ten thousand flows or more together, whatever their share is. They have to
be long beside most flows, and beside what senders remember: the more
flows there are, the better it is, and the cheaper beside packets. Of a flow that
outlasts its window only shorter ones tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, require
from midhaul.network.decomposition.hot_deck import nearest_donors
from midhaul.network.decomposition.part import inner_of, require_separable, with_inner
from midhaul.network.decomposition.window_draws import (
    WindowDraw,
    draw_by_turns,
    draw_in_proportion,
)
from midhaul.network.problem import Routes, busiest_links, fingerprint, link_table
from midhaul.network.simulator import UNFINISHED, FlowResults, LinkResults
from midhaul.network.slowdown import size_class
from midhaul.network.transports import TcpTransport
from midhaul.network.work import packet_hops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float64, Int64

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays, Simulation, Simulator

WINDOW_SHARE = 0.05
"""Of the flows that start in windows of packets, unless told otherwise."""

N_WINDOWS = 40
FEWEST_FLOWS = 10_000
"""Of windows together, whatever their share is: of fewer a p99 is mostly chance."""

_VERSION = 2
_LEAD, _BEHIND = 0.25, 0.1
"""Of the length of a window: what is simulated before and behind it, not judged."""

_ROUND_TRIPS = 30
"""What is simulated before a window lasts so many, or as long as the window does."""

_JOINED = 0.5
"""Share of that time in which what is under way joins; in the rest it settles."""

_ENDED = 0.9
"""Share of the flows of a window that the fluid has ended when arrivals stop."""

_TAIL = 0.97
"""The percentile of fluid slowdowns from which a flow counts as slow."""

_MOST_SHARE = 1 / 3
"""Of the flows in windows; where more are needed, all is one window."""

_TIMEOUTS = 5
"""A window lasts so many of TCP's least time-outs, or longer."""

_QUANTUM = 50_000
"""Events between two looks at whether all flows of a window have ended."""

_FLUID_WORK = 0.2
"""Share of the work that the fluid is, about."""

_FULL_BYTES = 1500

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
        n_by_turns: windows that are drawn by turns at first, whatever the share is, so
            that :meth:`HybridSimulation.widen` can add to them; 0: they are drawn in
            proportion.
    """

    name = "hybrid"
    is_part_by_part = True
    inner: Simulator
    fluid: Simulator
    share: float = WINDOW_SHARE
    n_windows: int = N_WINDOWS
    fewest_flows: int = FEWEST_FLOWS
    n_by_turns: int = 0

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
        self._draw = WindowDraw(
            n_windows=0,
            order=np.zeros(0, np.int64),
            chance=np.zeros(0),
            is_chosen=np.zeros(0, np.bool_),
        )
        self._n_wanted = 0
        self._work = np.zeros(0)
        self._next = 0
        self._window: TimeWindow | None = None
        self._simulation: Simulation | None = None
        self._fct_ns = np.full(n, UNFINISHED, np.int64)
        self._place = np.full(n, -1, np.int64)
        self._ways: Int64[np.ndarray, " n"] | None = None
        self._counts = np.zeros((2, n), np.int64)
        self._columns = np.zeros((len(_COUNTED) + 2, m), np.int64)
        self._n_events = 0

    @property
    def share_done(self) -> float:
        """Share of the work that is done, about."""
        if self._whole is None:
            return _FLUID_WORK * self._fluid.share_done
        if self._next >= self._n_wanted:
            return 1.0
        begun = self._simulation.share_done if self._simulation is not None else 0.0
        done = self._work[: self._next].sum() + begun * self._work[self._next]
        share = float(done / max(self._work[: self._n_wanted].sum(), 1))
        return _FLUID_WORK + (1 - _FLUID_WORK) * share

    def advance(self, n_events: int) -> bool:
        """Work through events of the fluid or of a window; True when none is left."""
        if self._whole is None:
            if not self._fluid.advance(n_events):
                return False
            self._choose(self._fluid.results())
            return not self._n_wanted
        for _ in range(-(-n_events // _QUANTUM)):
            if self._next >= self._n_wanted:
                break
            self._step()
        return self._next >= self._n_wanted

    @property
    def n_windows(self) -> int:
        """That can be simulated, with those that are."""
        return len(self._windows)

    def widen(self, n: int) -> None:
        """Simulate so many windows in all, as far as there are; never fewer."""
        self._n_wanted = max(self._n_wanted, min(n, len(self._windows)))

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
        if how.n_by_turns:
            self._draw = draw_by_turns(n_slow, rng)
        else:
            self._draw = draw_in_proportion(n_slow, share, rng)
        chosen = self._draw.order.tolist()
        starts = problem.flows.start_ns[order]
        self._windows = [
            (int(starts[edges[w]]), int(starts[edges[w + 1] - 1])) for w in chosen
        ]
        hops = packet_hops(problem)[order]
        self._work = np.array([hops[edges[w] : edges[w + 1]].sum() for w in chosen])
        self.widen(how.n_by_turns or len(chosen))

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
        self._place[own] = self._next
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
            "place": self._place.copy(),
            "counts": self._counts.copy(),
            "columns": self._columns.copy(),
            "numbers": np.array(
                [self._whole is not None, self._next, self._n_wanted, self._n_events],
                np.int64,
            ),
            "problem": self._identity(),
        }
        return with_inner(found, self._simulation)

    def restore(self, state: Arrays) -> None:
        """Go on from what :meth:`state` gave; a DataError if that is of another."""
        if not np.array_equal(state.get("problem", np.zeros(0)), self._identity()):
            message = "the state is of another problem, or of another version of hybrid"
            raise DataError(message, "simulate from the start")
        has_fluid, self._next, n_wanted, self._n_events = state["numbers"].tolist()
        self._fct_ns[...] = state["fct_ns"]
        self._place[...] = state["place"]
        self._counts[...] = state["counts"]
        self._columns[...] = state["columns"]
        if not has_fluid:
            return
        while not self._fluid.advance(1 << 40):
            pass
        self._choose(self._fluid.results())
        self.widen(n_wanted)
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
        if self._whole is not None and self._next >= self._n_wanted:
            fct_ns, donor = self._told(np.ones(self._next, np.bool_))
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

    def left_out(self, n_groups: int) -> Iterator[Float64[np.ndarray, " n"]]:
        """Slowdowns of all flows without each of some groups of the windows."""
        assert self._whole is not None  # noqa: S101  there are windows
        for group in range(n_groups):
            fct_ns, _ = self._told(np.arange(self._next) % n_groups != group)
            yield fct_ns / np.maximum(self._whole.ideal_fct_ns, 1)

    def _told(
        self, is_kept: Bool[np.ndarray, " m"]
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Completion times of all flows by the windows that are kept, and donors."""
        from midhaul.network.fluid.arrivals import group_routes  # noqa: PLC0415

        problem, whole = self._problem, self._whole
        assert whole is not None  # noqa: S101  there are windows
        stands_for = np.append(self._draw.stands_for(is_kept), 0.0)[self._place]
        if self._ways is None:
            routes, none = problem.routes, np.zeros(len(self._place), np.int32)
            self._ways = group_routes(routes.offsets, routes.links, none)[0]
        donor = nearest_donors(
            size_class(problem.flows.size_bytes),
            self._ways,
            whole.slowdown,
            stands_for,
            np.random.default_rng([problem.seed, 75]),
        )
        is_known = stands_for > 0
        ratio = self._fct_ns[donor] / np.maximum(whole.fct_ns[donor], 1)
        drawn_ns = np.ceil(whole.fct_ns * np.where(is_known[donor], ratio, 1.0))
        drawn_ns = np.maximum(drawn_ns.astype(np.int64), whole.ideal_fct_ns)
        return np.where(is_known, self._fct_ns, drawn_ns), donor

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
        said += f"{how.n_by_turns} {how.inner.name} "
        said += f"{how.fluid.name} "
        return np.frombuffer(
            said.encode() + fingerprint(self._problem), np.uint8
        ).copy()


def round_trip_ns(problem: NetworkProblem) -> float:
    """A long round trip of a full packet: nine of ten flows have a shorter one."""
    table, routes = link_table(problem.topology), problem.routes
    each_ns = 2 * table.delay_ns + 8e9 * _FULL_BYTES / table.rate_bps
    ways_ns = np.add.reduceat(each_ns[routes.links], routes.offsets[:-1])
    return float(np.quantile(ways_ns, 0.9))


def most_windows(problem: NetworkProblem) -> int:
    """How many windows there can be that are long beside what TCP remembers."""
    timeouts_s = [
        one.min_timeout_s for one in problem.transports if isinstance(one, TcpTransport)
    ]
    start_ns = problem.flows.start_ns
    span_s = float(start_ns.max() - start_ns.min()) / 1e9
    return max(1, int(span_s / (_TIMEOUTS * max(timeouts_s, default=1e-12))))


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
    settles_ns = min(_ROUND_TRIPS * round_trip_ns(problem), length_ns)
    first_ns = max(begin_ns - int(max(_LEAD * length_ns, settles_ns)), 0)
    is_there = (starts_ns >= first_ns) & (starts_ns <= last_ns)
    rest = np.flatnonzero((starts_ns < first_ns) & (ends_ns > first_ns))
    # One after the other, as all of them at once would be a burst that never was.
    share = (np.arange(len(rest)) + 0.5) / max(len(rest), 1)
    joins_ns = first_ns + (_JOINED * share * (begin_ns - first_ns)).astype(np.int64)
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
