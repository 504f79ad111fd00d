"""A simulator that costs nothing: flows to one target slow each other down.

It follows no physics but the bounds: nobody is faster than alone, and every byte is
counted on every link. What experiments do with simulators is tested with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.network.problem import link_table
from midhaul.network.simulator import FlowResults, LinkResults, Timeline

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays


class FakeSimulation:
    """One event for each flow, in the order of their numbers."""

    def __init__(self, problem: NetworkProblem, state: Arrays | None) -> None:
        self._problem = problem
        self._table = link_table(problem.topology)
        if (self._table.rate_bps <= 0).any():
            message = "a link carries nothing"
            raise ConfigError(message)
        n = len(problem.flows)
        flows = problem.flows
        self._mark = np.array([flows.size_bytes.sum(), n, problem.seed])
        self._start = np.full(n, -1, np.int64)
        self._fct = np.full(n, -1, np.int64)
        self._position = 0
        if state is not None:
            if not np.array_equal(state["mark"], self._mark):
                message = "the state is of another problem"
                raise DataError(message)
            self._position = int(state["position"])
            self._start, self._fct = state["start"].copy(), state["fct"].copy()
        rates = [
            8e9 * flows.size_bytes[i] / self._table.rate_bps[problem.routes.of(i)].min()
            + self._table.delay_ns[problem.routes.of(i)].sum()
            for i in range(n)
        ]
        self._ideal = np.ceil(np.array(rates, np.float64)).astype(np.int64)

    @property
    def share_done(self) -> float:
        """By the number of flows."""
        n = len(self._problem.flows)
        return self._position / n if n else 1.0

    def advance(self, n_events: int) -> bool:
        """So many flows."""
        flows = self._problem.flows
        end = min(self._position + n_events, len(flows))
        for i in range(self._position, end):
            start = int(flows.start_ns[i])
            if flows.waits:
                before = flows.after[
                    flows.after_offsets[i] : flows.after_offsets[i + 1]
                ]
                start += int((self._start + self._fct)[before].max(initial=0))
            same = (flows.target[:i] == flows.target[i]) & (self._start[:i] <= start)
            n_beside = int(np.sum(same & ((self._start + self._fct)[:i] > start)))
            self._start[i] = start
            self._fct[i] = self._ideal[i] * (1 + n_beside)
        self._position = end
        return end == len(flows)

    def state(self) -> Arrays:
        """Where it is."""
        return {
            "mark": self._mark,
            "position": np.array(self._position),
            "start": self._start.copy(),
            "fct": self._fct.copy(),
        }

    def results(self) -> FlowResults:
        """What is known so far."""
        problem, m = self._problem, len(self._table.source)
        until = problem.until_ns
        done = self._fct >= 0
        if until is not None:
            done &= self._start + self._fct <= until
        fct = np.where(done, self._fct, -1)
        end = until or int((self._start + self._fct)[done].max(initial=0))
        sent = np.where(done, problem.flows.size_bytes, 0)
        n_hops = np.diff(problem.routes.offsets)
        n_bytes = np.bincount(
            problem.routes.links, np.repeat(sent, n_hops), minlength=m
        ).astype(np.int64)
        none = np.zeros(m, np.int64)
        times = np.zeros(0, np.int64)
        if problem.sample_ns and len(fct):
            times = np.arange(0, end + 1, max(problem.sample_ns, end // 100))
        return FlowResults(
            start_ns=self._start.copy(),
            fct_ns=fct,
            ideal_fct_ns=self._ideal,
            n_retransmitted=np.zeros(len(fct), np.int64),
            n_marked=np.zeros(len(fct), np.int64),
            busiest_link=np.array(
                [problem.routes.of(i)[0] for i in range(len(fct))], np.int32
            ),
            links=LinkResults(
                n_bytes=n_bytes,
                busy_ns=np.round(8e9 * n_bytes / self._table.rate_bps).astype(np.int64),
                n_dropped=none,
                n_marked=none,
                paused_ns=none,
                max_queue_bytes=n_bytes // 10,
                samples_ns=times,
                samples_bytes=np.outer(times % 7, n_bytes // 100).astype(np.int64),
            ),
            timeline=self._timeline(fct),
            n_events=self._position,
            end_ns=end,
        )

    def _timeline(self, fct: np.ndarray) -> Timeline | None:
        watched = [i for i in self._problem.watched if fct[i] >= 0]
        if not watched:
            return None
        steps = np.linspace(0, 1, 50)
        flow = np.repeat(np.array(watched, np.int64), len(steps))
        share = np.tile(steps, len(watched))
        sizes = self._problem.flows.size_bytes[flow]
        return Timeline(
            time_ns=(self._start[flow] + share * fct[flow]).astype(np.int64),
            flow=flow,
            window_bytes=1e4 + 1e5 * share,
            rate_bps=np.full(len(flow), np.inf),
            in_flight_bytes=(1e4 * share).astype(np.int64),
            acked_bytes=(sizes * share).astype(np.int64),
        )


class FakeSimulator:
    """Answers at once."""

    name = "fake"

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> FakeSimulation:
        """Begin, or go on from a state."""
        return FakeSimulation(problem, state)
