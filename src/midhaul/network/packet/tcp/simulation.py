"""Every packet of TCP flows through a network, as ns-3.37 simulates them.

The kernels stand in the other files of this folder that begin with ``tcp_``; what ns-3
does that RFCs do not ask for is numbered in each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.network.ideal import ideal_fct_ns
from midhaul.network.packet.events import larger
from midhaul.network.packet.tcp import arena as a
from midhaul.network.packet.tcp import kernel
from midhaul.network.packet.tcp.tables import arena, check_tcp, flow_cells
from midhaul.network.problem import busiest_links, fingerprint
from midhaul.network.simulator import FlowResults, LinkResults, Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.network.problem import NetworkProblem

VERSION = 5
_STATE = ("m", "h", "t", "tm", "f", "rows", "samples")
_HEAP, _ROWS = 1024, 1024


class TcpSimulation:
    """A simulation of TCP flows under way."""

    def __init__(self, problem: NetworkProblem) -> None:
        check_tcp(problem)
        self._problem = problem
        self._fingerprint = np.frombuffer(fingerprint(problem), np.int64)
        self._is_done = len(problem.flows) == 0
        self._m = arena(problem)
        self._f = flow_cells(problem, self._m)
        self._h = np.zeros(2 * (_HEAP + 4 * len(problem.topology.links)), np.int64)
        self._t = np.zeros(2 * _HEAP, np.int64)
        self._tm = np.zeros(8, np.int64)
        n_links = len(problem.topology.links)
        self._rows = np.zeros(a.ROW * (_ROWS if problem.watched else 1), np.int64)
        self._samples = np.zeros(
            _ROWS * (1 + n_links) if problem.sample_ns else 0, np.int64
        )

    @property
    def share_done(self) -> float:
        """Share of the flows that have ended."""
        n = len(self._problem.flows)
        return 1.0 if self._is_done or n == 0 else float(self._m[a.G_OVER]) / n

    def advance(self, n_events: int) -> bool:
        """Work through so many events, or to the end; True when there is none left."""
        until = int(self._m[a.G_EVENTS]) + n_events
        while not self._is_done:
            left = until - int(self._m[a.G_EVENTS])
            why = kernel.advance(
                self._m,
                self._m.view(np.float64),
                self._h,
                self._t,
                self._tm,
                self._f,
                self._rows,
                self._samples,
                left,
            )
            if why == kernel.SPENT:
                break
            if why == kernel.DONE:
                self._is_done = True
            else:
                self._make_room(why)
        return self._is_done

    def _make_room(self, why: int) -> None:
        """Make larger what is too short."""
        if why == kernel.NO_ROOM:
            segments = int(self._m[a.G_MAX_WINDOW] // self._m[a.G_MIN_SEGMENT])
            more = max(len(self._m), 2 * 48 * (2 * segments + 256))
            self._m = larger(self._m, len(self._m) + more)
        elif why == kernel.NO_HEAP:
            self._h = larger(self._h, 2 * len(self._h))
        elif why == kernel.NO_TIMERS:
            more = len(self._t) + 2 * int(self._m[a.G_MOST_DEPENDENTS])
            self._t = larger(self._t, len(self._t) + more)
        elif why == kernel.NO_ROWS:
            self._rows = larger(self._rows, 2 * len(self._rows) + _ROWS * a.ROW)
        else:
            self._samples = larger(self._samples, 2 * len(self._samples))

    def state(self) -> Mapping[str, np.ndarray]:
        """All that ``begin_tcp`` needs to go on from here."""
        state = {name: getattr(self, f"_{name}").copy() for name in _STATE}
        state["of"] = np.array(
            [VERSION, int(self._is_done), *self._fingerprint.tolist()], np.int64
        )
        return state

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state.

        Raises:
            DataError: the state is of another problem or version.
        """
        found = state.get("of")
        if found is None or len(found) != 4 or int(found[0]) != VERSION:  # noqa: PLR2004
            message = f"expected a state of a TCP simulation, version {VERSION}"
            raise DataError(message, "begin the simulation anew")
        if not np.array_equal(found[2:], self._fingerprint):
            message = "the state is of another network, other flows or other settings"
            raise DataError(message, "begin the simulation anew")
        for name in _STATE:
            setattr(self, f"_{name}", np.array(state[name]))
        self._is_done = bool(found[1])

    def results(self) -> FlowResults:
        """What is known so far."""
        problem, m = self._problem, self._m
        n = len(problem.flows)
        rows = self._f[: n * a.N_F].reshape(n, a.N_F)
        links = self._links()
        return FlowResults(
            start_ns=rows[:, a.F_BEGAN].copy(),
            fct_ns=rows[:, a.F_FCT].copy(),
            ideal_fct_ns=ideal_fct_ns(problem),
            n_retransmitted=rows[:, a.F_RETRANSMITTED].copy(),
            n_marked=rows[:, a.F_MARKED].copy(),
            busiest_link=busiest_links(problem.routes, links.busy_ns),
            links=links,
            timeline=self._timeline() if problem.watched else None,
            n_events=int(m[a.G_EVENTS]),
            end_ns=int(m[a.G_NOW]),
            problem=problem,
        )

    def _links(self) -> LinkResults:
        """What the links did."""
        m, n = self._m, len(self._problem.topology.links)
        first = int(m[a.G_LINKS])
        rows = m[first : first + n * a.N_L].reshape(n, a.N_L)
        samples = self._samples.reshape(-1, n + 1)[: int(m[a.G_N_SAMPLES])]
        return LinkResults(
            n_bytes=rows[:, a.L_SENT].copy(),
            busy_ns=rows[:, a.L_BUSY].copy(),
            n_dropped=rows[:, a.L_DROPS].copy(),
            n_marked=rows[:, a.L_MARKS].copy(),
            paused_ns=np.zeros(n, np.int64),
            max_queue_bytes=rows[:, a.L_MOST].copy(),
            samples_ns=samples[:, 0].copy(),
            samples_bytes=samples[:, 1:].copy(),
        )

    def _timeline(self) -> Timeline:
        """How the watched flows fared."""
        rows = self._rows.reshape(-1, a.ROW)[: int(self._m[a.G_ROWS])]
        rates = np.where(rows[:, 3] < 0, np.inf, rows[:, 3].astype(np.float64))
        return Timeline(
            time_ns=rows[:, 0].copy(),
            flow=rows[:, 1].copy(),
            window_bytes=rows[:, 2].astype(np.float64),
            rate_bps=rates,
            in_flight_bytes=rows[:, 4].copy(),
            acked_bytes=rows[:, 5].copy(),
        )


def begin_tcp(
    problem: NetworkProblem, state: Mapping[str, np.ndarray] | None = None
) -> TcpSimulation:
    """Begin to simulate flows of TCP, or go on from a state.

    Raises:
        ConfigError: the problem has what this simulator cannot do.
        DataError: the state is of another problem or version.
    """
    simulation = TcpSimulation(problem)
    if state is not None:
        simulation.restore(state)
    return simulation
