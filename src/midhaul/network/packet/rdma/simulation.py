"""A simulation of RDMA under way: slices, larger tables, its state, and its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, SimulationError
from midhaul.network.ideal import ideal_fct_ns
from midhaul.network.packet.events import HEAP_SIZE, larger, more_free
from midhaul.network.packet.rdma import layout as at
from midhaul.network.packet.rdma.kernel import run
from midhaul.network.packet.rdma.tables import build, no_slots
from midhaul.network.problem import busiest_links, fingerprint
from midhaul.network.simulator import FlowResults, LinkResults, Timeline

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays

VERSION = 3
"""Of what a state holds; another one is not read."""

_MOST_ROWS = 1 << 27
"""Rows of a table beyond which something grows without end."""


def begin_rdma(problem: NetworkProblem, state: Arrays | None = None) -> RdmaSimulation:
    """Begin a simulation of RDMA, or go on from a state."""
    return RdmaSimulation(problem, state)


class RdmaSimulation:
    """A simulation of RDMA, worked off in slices.

    Args:
        problem: what is simulated.
        state: what ``state`` gave earlier, of the same problem; None to begin.

    Raises:
        ConfigError: the problem has what cannot be simulated.
        DataError: the state is of another problem or version.
    """

    def __init__(self, problem: NetworkProblem, state: Arrays | None = None) -> None:
        self._problem = problem
        self._tables = build(problem)
        self._is_over = False
        if state is not None:
            self._restore(state)

    def _restore(self, state: Arrays) -> None:
        """Put the tables of a state in place of those of the beginning."""
        found = ""
        if set(state) != {*at.STATE_FIELDS, "version", "problem"}:
            found = "other arrays"
        elif int(state["version"][0]) != VERSION:
            found = f"one of version {int(state['version'][0])}"
        elif not np.array_equal(state["problem"], _digest(self._problem)):
            found = "one of another problem"
        if found:
            message = f"expected a state of version {VERSION} of this problem, "
            message += f"found {found}"
            raise DataError(message, "begin it anew")
        copies = {name: np.array(state[name]) for name in at.STATE_FIELDS}
        self._tables = self._tables._replace(**copies)

    @property
    def share_done(self) -> float:
        """Share of the bytes that have arrived."""
        total = int(self._tables.size.sum())
        if self._is_over or not total:
            return 1.0
        return int(self._tables.meta[at.DONE_BYTES]) / total

    def advance(self, n_events: int) -> bool:
        """Work through so many events, or to the end; True when there is none left."""
        goal = int(self._tables.meta[at.N_EVENTS]) + n_events
        while not self._is_over:
            left = goal - int(self._tables.meta[at.N_EVENTS])
            status = int(run(self._tables, left))
            if status == at.DONE:
                self._is_over = True
            elif status == at.MORE:
                break
            else:
                self._tables = _with_room(self._tables, status)
        return self._is_over

    def state(self) -> Arrays:
        """All that is needed to go on from here."""
        arrays = {
            name: np.array(getattr(self._tables, name)) for name in at.STATE_FIELDS
        }
        return arrays | {
            "version": np.array([VERSION]),
            "problem": _digest(self._problem),
        }

    def results(self) -> FlowResults:
        """What is known so far."""
        t, problem = self._tables, self._problem
        end = int(t.meta[at.END])
        if self._is_over and problem.until_ns is not None and int(t.meta[HEAP_SIZE]):
            end = problem.until_ns
        links = self._links(end)
        return FlowResults(
            start_ns=t.started.copy(),
            fct_ns=t.fct.copy(),
            ideal_fct_ns=ideal_fct_ns(problem),
            n_retransmitted=t.repeated.copy(),
            n_marked=t.marked.copy(),
            busiest_link=busiest_links(problem.routes, links.busy_ns),
            links=links,
            timeline=self._timeline() if problem.watched else None,
            n_events=int(t.meta[at.N_EVENTS]),
            end_ns=end,
            problem=problem,
        )

    def _links(self, end: int) -> LinkResults:
        """What each link did; a pause that goes on counts until now."""
        rows, n = self._tables.links, int(self._tables.meta[at.N_SAMPLES])
        going_on = np.where(rows[:, at.PAUSED] != 0, end - rows[:, at.PAUSED_SINCE], 0)
        m = len(rows)
        return LinkResults(
            n_bytes=rows[:, at.SENT_BYTES].copy(),
            busy_ns=rows[:, at.BUSY_NS].copy(),
            n_dropped=rows[:, at.N_DROPPED].copy(),
            n_marked=rows[:, at.N_MARKED].copy(),
            paused_ns=rows[:, at.PAUSED_NS] + going_on,
            max_queue_bytes=rows[:, at.MAX_WAITING].copy(),
            samples_ns=self._tables.samples_ns[:n].copy(),
            samples_bytes=self._tables.samples[:n].copy()
            if n
            else np.zeros((0, m), np.int64),
        )

    def _timeline(self) -> Timeline:
        """What was noted of watched flows; a window of 0 is none."""
        rows = self._tables.timeline[: int(self._tables.meta[at.N_ROWS])]
        window = rows[:, 2].astype(np.float64)
        return Timeline(
            time_ns=rows[:, 0].copy(),
            flow=rows[:, 1].copy(),
            window_bytes=np.where(window > 0, window, np.inf),
            rate_bps=rows[:, 3].astype(np.float64),
            in_flight_bytes=rows[:, 4].copy(),
            acked_bytes=rows[:, 5].copy(),
        )


def _with_room(t: at.Tables, status: int) -> at.Tables:
    """The same tables with more rows of what was short."""
    if status == at.SHORT_PACKETS:
        n = _twice(len(t.packets))
        hops = larger(t.hops, n) if len(t.hops) == len(t.packets) else t.hops
        free = more_free(t.free, t.meta, len(t.packets), n)
        return t._replace(packets=larger(t.packets, n), hops=hops, free=free)
    if status == at.SHORT_SLOTS:
        before, n = len(t.slots), _twice(len(t.slots))
        slots = no_slots(n)
        slots[:before] = t.slots
        seen = larger(t.seen, n) if len(t.seen) == before else t.seen
        return t._replace(
            slots=slots,
            seen=seen,
            floats=larger(t.floats, n),
            free_slots=more_free(t.free_slots, t.slot_meta, before, n),
        )
    if status == at.SHORT_HEAP:
        return t._replace(heap=larger(t.heap, _twice(len(t.heap))))
    if status == at.SHORT_NICS:
        nics = np.zeros((len(t.nics), _twice(t.nics.shape[1])), np.int64)
        nics[:, : t.nics.shape[1]] = t.nics
        return t._replace(nics=nics)
    if status == at.SHORT_SAMPLES:
        n = _twice(len(t.samples))
        return t._replace(
            samples=larger(t.samples, n), samples_ns=larger(t.samples_ns, n)
        )
    return t._replace(timeline=larger(t.timeline, _twice(len(t.timeline))))


def _twice(n: int) -> int:
    """Twice as many rows; SimulationError where that has no end."""
    if n >= _MOST_ROWS:
        message = f"expected fewer than {_MOST_ROWS:,} packets, flows or events at once"
        raise SimulationError(
            message, "lower the load, or bound windows and switch_buffer_bytes"
        )
    return 2 * n


def _digest(problem: NetworkProblem) -> np.ndarray:
    """Bytes by which a state knows its problem."""
    return np.frombuffer(fingerprint(problem), np.uint8).copy()
