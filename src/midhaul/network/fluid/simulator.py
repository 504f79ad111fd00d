"""Fluid simulation: flows are liquids that share links max-min fairly at all times.

A flow sends its wire bytes, payload and headers, at its max-min fair rate, from its
start until they are gone. Its completion time is the time that takes, and beside it
what the first packet needs, which is its ideal completion time less the time that its
slowest link would need for it alone: so the slowdown of a flow alone is 1. There are no
queues, losses or windows, so what links say of these is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import ConfigError, DataError, require
from midhaul.network.problem import busiest_links, fingerprint
from midhaul.network.simulator import FlowResults, LinkResults, Timeline

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.network.fluid.arrivals import Fate
    from midhaul.network.fluid.flow_classes import FluidLoad
    from midhaul.network.fluid.graphs import GraphState
    from midhaul.network.fluid.paths import PathState
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays

Method = Literal["auto", "paths", "graph"]

_VERSION = 3
_ROWS = 1 << 16
_TIME, _CLASS, _RATE, _SENT = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidSimulator:
    """Exact max-min fair sharing on any topology.

    Attributes:
        method: ``paths``: all rates are shared out at each event, which is quick for
            few routes; ``graph``: only those that can change; ``auto``: what is quicker
            and can do it.
    """

    method: Method = "auto"

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        return "fluid"

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> FluidSimulation:
        """Begin, or go on from a state.

        Args:
            problem: what flows where.
            state: what :meth:`FluidSimulation.state` gave.

        Returns:
            The simulation, in which nothing more has happened yet.

        Raises:
            PrerequisiteError: Numba is not installed.
            ConfigError: a link that flows take never carries anything, or the method
                cannot do what the problem asks for.
            DataError: the state is of another problem or version.
        """
        require("numba", "network")
        from midhaul.network.fluid.flow_classes import (  # noqa: PLC0415  slow to import
            fluid_load,
        )

        load = fluid_load(problem)
        simulation = FluidSimulation(
            problem, load, is_graph=self._is_graph(problem, load)
        )
        if state is not None:
            simulation.restore(state)
        return simulation

    def _is_graph(self, problem: NetworkProblem, load: FluidLoad) -> bool:
        """Whether only what can change is shared out."""
        from midhaul.network.fluid.paths import (  # noqa: PLC0415  slow to import
            MOST_CLASSES,
            MOST_LINKS,
        )

        n_classes, n_links = len(load.given.slots) - 1, len(load.given.capacity)
        has_more = bool(problem.watched) or len(load.changes.time_ns) > 0
        is_large = n_classes > MOST_CLASSES or n_links > MOST_LINKS
        if self.method == "paths" and (has_more or n_links > MOST_LINKS):
            message = (
                f"method paths has at most {MOST_LINKS} links, steady rates and no "
                f"watched flows, found {n_links} links"
            )
            raise ConfigError(message, "use method auto")
        return self.method == "graph" or (
            self.method == "auto" and (has_more or is_large)
        )


class FluidSimulation:
    """A fluid simulation under way.

    Args:
        problem: what flows where.
        load: the same for the kernels.
        is_graph: whether only what can change is shared out.
    """

    def __init__(
        self, problem: NetworkProblem, load: FluidLoad, *, is_graph: bool
    ) -> None:
        from midhaul.network.fluid import graphs, paths  # noqa: PLC0415  slow to import

        self._problem = problem
        self._load = load
        self._fate: Fate = load.fate()
        self._graph: GraphState | None = None
        self._paths: PathState | None = None
        self._rows: list[np.ndarray] = []
        self._has_ended = False
        if is_graph:
            is_watched = np.zeros(len(load.given.slots) - 1, np.bool_)
            is_watched[load.given.class_of[list(problem.watched)]] = True
            n_rows = max(_ROWS, 4 * int(is_watched.sum())) if problem.watched else 0
            self._graph = graphs.graph_state(
                load.given, load.changes, is_watched, n_rows
            )
        else:
            self._paths = paths.path_state(load.given)

    @property
    def share_done(self) -> float:
        """Share of the flows that have been sent, or of the time until the stop."""
        if self._has_ended:
            return 1.0
        done = float(self._fate.counters[3]) / max(len(self._problem.flows), 1)
        if self._problem.until_ns:
            done = max(done, float(self._fate.clock[0]) / self._problem.until_ns)
        return min(done, 1.0)

    def advance(self, n_events: int) -> bool:
        """Work through about so many starts and ends; True when there is none left."""
        from midhaul.network.fluid import graphs, paths  # noqa: PLC0415  slow to import
        from midhaul.network.fluid.arrivals import FULL, MORE  # noqa: PLC0415

        until = self._problem.until_ns
        until_ns = 1 << 62 if until is None else until
        given, fate = self._load.given, self._fate
        if self._paths is not None:
            status = paths.advance_paths(given, fate, self._paths, n_events, until_ns)
        elif self._graph is not None:
            graph, changes = self._graph, self._load.changes
            before = int(fate.counters[2])
            while True:
                left = n_events - (int(fate.counters[2]) - before)
                status = graphs.advance_graph(
                    given, fate, graph, changes, left, until_ns
                )
                if status != FULL:
                    break
                self._take_rows()
        else:
            raise AssertionError
        self._has_ended = status != MORE
        return self._has_ended

    def state(self) -> dict[str, np.ndarray]:
        """All that ``begin`` needs to go on from here, bit by bit as if undisturbed."""
        self._take_rows()
        parts = {"fate": self._fate, "graph": self._graph, "paths": self._paths}
        found = {
            f"{part}.{name}": values.copy()
            for part, arrays in parts.items()
            if arrays is not None
            for name, values in arrays._asdict().items()
        }
        found["rows"] = np.concatenate([np.zeros((0, 4)), *self._rows])
        found["problem"] = self._identity()
        return found

    def restore(self, state: Arrays) -> None:
        """Go on from what :meth:`state` gave; a DataError if that is of another."""
        known = self.state()
        is_same = set(known) == set(state) and all(
            known[name].shape == state[name].shape
            for name in known
            if name not in {"rows", "problem"}
        )
        if not is_same or not np.array_equal(known["problem"], state["problem"]):
            message = "the state is of another problem, or of another version of fluid"
            raise DataError(message, "simulate from the start")
        parts = {"fate": self._fate, "graph": self._graph, "paths": self._paths}
        for part, arrays in parts.items():
            if arrays is not None:
                for name, values in arrays._asdict().items():
                    values[...] = state[f"{part}.{name}"]
        self._rows = [np.array(state["rows"])]

    @property
    def sent_ns(self) -> Float64[np.ndarray, " n"]:
        """``(n,)`` how long each flow took to be sent; NaN where it is not yet."""
        return self._fate.sent_ns.copy()

    def results(self) -> FlowResults:
        """What is known so far."""
        fate, until = self._fate, self._problem.until_ns
        n = len(self._problem.flows)
        fct_ns, start_ns = fate.fct_ns.copy(), fate.start_ns.copy()
        now_ns = float(fate.clock[0])
        end_ns = int((start_ns + fct_ns)[fct_ns >= 0].max(initial=round(now_ns)))
        if until is not None:
            fct_ns[start_ns + fct_ns > until] = -1
            has_stopped = self._has_ended and bool((fct_ns < 0).any())
            end_ns = until if has_stopped else min(end_ns, until)
            now_ns = float(until) if has_stopped else now_ns
        links = self._links(now_ns)
        busiest = busiest_links(self._load.ways, links.busy_ns)
        return FlowResults(
            start_ns=start_ns,
            fct_ns=fct_ns,
            ideal_fct_ns=self._load.ideal_fct_ns,
            n_retransmitted=np.zeros(n, np.int64),
            n_marked=np.zeros(n, np.int64),
            busiest_link=busiest[self._load.way_of],
            links=links,
            timeline=self._timeline() if self._problem.watched else None,
            n_events=int(fate.counters[2]),
            end_ns=end_ns,
            problem=self._problem,
        )

    def _identity(self) -> np.ndarray:
        method = "graph" if self._graph is not None else "paths"
        said = f"fluid {_VERSION} {method} ".encode() + fingerprint(self._problem)
        return np.frombuffer(said, np.uint8).copy()

    def _take_rows(self) -> None:
        """Keep what the kernel has written of watched flows, and let it begin anew."""
        if self._graph is not None and len(self._graph.rows):
            n = int(self._graph.totals[-1])
            self._rows.append(self._graph.rows[:n].copy())
            self._graph.totals[-1] = 0

    def _class_bytes(self, now_ns: float) -> Float64[np.ndarray, " k"]:
        """What has been sent of the flows of each class until now."""
        given, fate = self._load.given, self._fate
        n_classes = len(given.slots) - 1
        is_sent = ~np.isnan(fate.sent_ns)
        sent = np.bincount(
            given.class_of[is_sent], given.wire_bytes[is_sent], minlength=n_classes
        )
        if self._paths is not None:
            counts = self._paths.flows.astype(np.int64)
            passed = np.full(n_classes, now_ns - float(fate.clock[0]))
            virtual = self._paths.sent_bytes + self._paths.rates * passed
        else:
            graph = self._graph
            if graph is None:
                raise AssertionError
            counts = graph.classes[:, 0]
            moving = graph.moving
            virtual = moving[:, 0] + moving[:, 2] * (now_ns - moving[:, 1])
        for one in np.flatnonzero(counts).tolist():
            slots = np.s_[given.slots[one] : given.slots[one] + counts[one]]
            flows, ends = fate.ending[slots], fate.ends_at[slots]
            left = np.maximum(ends - virtual[one], 0.0)
            sent[one] += float(np.sum(given.wire_bytes[flows] - left))
        return sent

    def _links(self, now_ns: float) -> LinkResults:
        load, given = self._load, self._load.given
        m = len(self._problem.topology.links)
        lengths = np.diff(given.route_offsets)
        of_hops = np.repeat(self._class_bytes(now_ns), lengths)
        n_bytes = np.bincount(given.route_links, of_hops, minlength=len(given.capacity))
        with np.errstate(divide="ignore", invalid="ignore"):
            busy_ns = np.nan_to_num(n_bytes / given.capacity, posinf=0.0)
        if self._graph is not None:
            for link in np.unique(load.changes.link).tolist():
                rate, *_, load_, since, busy, _ = self._graph.levels[link].tolist()
                is_sending = load_ > 0 and rate > 0
                last = load_ * (now_ns - since) / rate if is_sending else 0.0
                busy_ns[link] = busy + last
        is_link = load.links >= 0
        sent, busy = np.zeros(m, np.int64), np.zeros(m, np.int64)
        sent[load.links[is_link]] = np.rint(n_bytes[is_link])
        busy[load.links[is_link]] = np.rint(busy_ns[is_link])
        self._add_unshaped(sent)
        none = np.zeros(m, np.int64)
        return LinkResults(
            n_bytes=sent,
            busy_ns=busy,
            n_dropped=none,
            n_marked=none.copy(),
            paused_ns=none.copy(),
            max_queue_bytes=none.copy(),
            samples_ns=np.zeros(0, np.int64),
            samples_bytes=np.zeros((0, m), np.int64),
        )

    def _add_unshaped(self, sent: Int64[np.ndarray, " m"]) -> None:
        """Add what infinitely fast links have carried of the flows that are sent."""
        topology, routes = self._problem.topology, self._problem.routes
        is_fast = np.array(
            [x.rate_bps == float("inf") for x in topology.links], np.bool_
        )
        is_fast[self._load.links[self._load.links >= 0]] = False
        if is_fast.any():
            is_sent = ~np.isnan(self._fate.sent_ns)
            wire = np.where(is_sent, self._load.given.wire_bytes, 0.0)
            of_hops = np.repeat(wire, np.diff(routes.offsets))
            carried = np.bincount(routes.links, of_hops, minlength=len(sent))
            sent[is_fast] = np.rint(carried[is_fast])

    def _timeline(self) -> Timeline:
        """Rates of watched flows, and what was sent of them, at each change."""
        self._take_rows()
        rows = np.concatenate([np.zeros((0, 4)), *self._rows])
        parts = [self._rows_of(rows, flow) for flow in self._problem.watched]
        flow = np.concatenate(
            [
                np.full(len(p), f)
                for f, p in zip(self._problem.watched, parts, strict=True)
            ]
        )
        table = np.concatenate(parts)
        order = np.argsort(table[:, 0], kind="stable")
        table, flow = table[order], flow[order]
        return Timeline(
            time_ns=np.rint(table[:, 0]).astype(np.int64),
            flow=flow.astype(np.int64),
            window_bytes=np.full(len(table), np.inf),
            rate_bps=table[:, 1] * 8e9,
            in_flight_bytes=np.zeros(len(table), np.int64),
            acked_bytes=np.rint(table[:, 2]).astype(np.int64),
        )

    def _rows_of(self, rows: np.ndarray, flow: int) -> np.ndarray:
        """Time, rate and payload sent of one flow, from its start to its end."""
        given, fate = self._load.given, self._fate
        start_ns = float(fate.start_ns[flow])
        if start_ns < 0 or start_ns > fate.clock[0]:
            return np.zeros((0, 3))
        own = rows[rows[:, _CLASS] == given.class_of[flow]]
        at = int(np.searchsorted(own[:, _TIME], start_ns, side="right")) - 1
        if at < 0:
            return np.zeros((0, 3))
        sent_ns = float(fate.sent_ns[flow])
        end_ns = start_ns + sent_ns if sent_ns == sent_ns else float(fate.clock[0])  # noqa: PLR0124  NaN
        begun = own[at]
        before = begun[_SENT] + begun[_RATE] * (start_ns - begun[_TIME])
        later = own[at + 1 :]
        later = later[later[:, _TIME] < end_ns]
        share = float(self._problem.flows.size_bytes[flow] / given.wire_bytes[flow])
        found = np.zeros((len(later) + 2, 3))
        found[0] = start_ns, begun[_RATE], 0.0
        found[1:-1, 0], found[1:-1, 1] = later[:, _TIME], later[:, _RATE]
        found[1:-1, 2] = (later[:, _SENT] - before) * share
        last = found[-2]
        grown = last[1] * (end_ns - last[0]) * share
        found[-1] = end_ns, 0.0 if sent_ns == sent_ns else last[1], last[2] + grown  # noqa: PLR0124
        return found
