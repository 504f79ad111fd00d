"""What every simulator of a network offers, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float64, Int32, Int64

    from midhaul.network.problem import NetworkProblem

    Arrays = Mapping[str, np.ndarray]

UNFINISHED = -1
"""The completion time of a flow that had not ended when the simulation did."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinkResults:
    """What each of ``m`` directed links did.

    Attributes:
        n_bytes: ``(m,)`` sent, with headers.
        busy_ns: ``(m,)`` time that it sent.
        n_dropped: ``(m,)`` packets lost at its queue or on it.
        n_marked: ``(m,)`` packets that its queue marked.
        paused_ns: ``(m,)`` time that it was paused (PFC).
        max_queue_bytes: ``(m,)`` most that waited.
        samples_ns: ``(s,)`` when queues were looked at.
        samples_bytes: ``(s, m)`` what waited then.
    """

    n_bytes: Int64[np.ndarray, " m"]
    busy_ns: Int64[np.ndarray, " m"]
    n_dropped: Int64[np.ndarray, " m"]
    n_marked: Int64[np.ndarray, " m"]
    paused_ns: Int64[np.ndarray, " m"]
    max_queue_bytes: Int64[np.ndarray, " m"]
    samples_ns: Int64[np.ndarray, " s"]
    samples_bytes: Int64[np.ndarray, "s m"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """How watched flows fared, a row each time something of them changed.

    Attributes:
        time_ns: ``(k,)`` when.
        flow: ``(k,)`` which.
        window_bytes: ``(k,)`` what may be under way.
        rate_bps: ``(k,)`` pacing rate, infinite where it is not paced.
        in_flight_bytes: ``(k,)`` what is.
        acked_bytes: ``(k,)`` what has been acknowledged so far.
    """

    time_ns: Int64[np.ndarray, " k"]
    flow: Int64[np.ndarray, " k"]
    window_bytes: Float64[np.ndarray, " k"]
    rate_bps: Float64[np.ndarray, " k"]
    in_flight_bytes: Int64[np.ndarray, " k"]
    acked_bytes: Int64[np.ndarray, " k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlowResults:
    """What became of ``n`` flows and of the links they took.

    Attributes:
        start_ns: ``(n,)`` when it started; of one that waited, when it could.
        fct_ns: ``(n,)`` flow completion time; -1 where it has not ended.
        ideal_fct_ns: ``(n,)`` what it takes alone on its path.
        n_retransmitted: ``(n,)`` packets sent more than once.
        n_marked: ``(n,)`` its packets that a queue marked.
        busiest_link: ``(n,)`` of the links on its way, the one that was busiest.
        links: what the links did.
        timeline: of the watched flows; None where none is.
        n_events: what the simulator worked through, by its own count.
        end_ns: the simulated time at which it stopped.
    """

    start_ns: Int64[np.ndarray, " n"]
    fct_ns: Int64[np.ndarray, " n"]
    ideal_fct_ns: Int64[np.ndarray, " n"]
    n_retransmitted: Int64[np.ndarray, " n"]
    n_marked: Int64[np.ndarray, " n"]
    busiest_link: Int32[np.ndarray, " n"]
    links: LinkResults
    timeline: Timeline | None
    n_events: int
    end_ns: int

    @property
    def is_finished(self) -> np.ndarray:
        """``(n,)`` true where the flow has ended."""
        return self.fct_ns != UNFINISHED

    @property
    def slowdown(self) -> Float64[np.ndarray, " n"]:
        """``(n,)`` completion time over ideal one; NaN where it has not ended."""
        ratio = self.fct_ns / self.ideal_fct_ns
        return np.where(self.is_finished, ratio, np.nan)


class Simulation(Protocol):
    """A simulation under way, worked off in slices."""

    @property
    def share_done(self) -> float:
        """Share of the work that is done, 0 to 1."""
        ...

    def advance(self, n_events: int) -> bool:
        """Work through so many events, or to the end; True when there is none left."""
        ...

    def state(self) -> Arrays | None:
        """All that ``begin`` needs to go on from here; None where that cannot be."""
        ...

    def results(self) -> FlowResults:
        """What is known so far."""
        ...


class Simulator(Protocol):
    """Tells what becomes of flows in a network."""

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        ...

    def begin(self, problem: NetworkProblem, state: Arrays | None = None) -> Simulation:
        """Begin, or go on from a state.

        PrerequisiteError if something is missing that it needs; ConfigError if the
        problem has what it cannot simulate; DataError if the state is of another
        problem or version.
        """
        ...
