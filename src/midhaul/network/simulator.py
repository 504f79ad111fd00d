"""What every simulator of a network offers, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from midhaul.errors import DataError, require
from midhaul.model.display import Display, Shown, counted
from midhaul.network.slowdown import PERCENTILES, class_rows, judged_flows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float64, Int32, Int64

    from midhaul.network.problem import NetworkProblem

    Arrays = Mapping[str, np.ndarray]

UNFINISHED = -1
"""The completion time of a flow that had not ended when the simulation did."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LinkResults(Shown):
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
        is_simulated: ``(m,)`` false where only bytes and the time that they take are
            known; None where all is of all links.
    """

    n_bytes: Int64[np.ndarray, " m"]
    busy_ns: Int64[np.ndarray, " m"]
    n_dropped: Int64[np.ndarray, " m"]
    n_marked: Int64[np.ndarray, " m"]
    paused_ns: Int64[np.ndarray, " m"]
    max_queue_bytes: Int64[np.ndarray, " m"]
    samples_ns: Int64[np.ndarray, " s"]
    samples_bytes: Int64[np.ndarray, "s m"]
    is_simulated: Bool[np.ndarray, " m"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Timeline(Shown):
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FlowResults(Shown):
    """What became of ``n`` flows and of the links they took.

    Attributes:
        start_ns: ``(n,)`` when it started; of one that waited, when it could, and -1
            where that never came.
        fct_ns: ``(n,)`` flow completion time; -1 where it has not ended.
        ideal_fct_ns: ``(n,)`` what it takes alone on its path.
        n_retransmitted: ``(n,)`` packets sent more than once.
        n_marked: ``(n,)`` its packets that a queue marked.
        busiest_link: ``(n,)`` of the links on its way, the one that was busiest.
        links: what the links did.
        timeline: of the watched flows; None where none is.
        n_events: what the simulator worked through, by its own count.
        end_ns: the simulated time at which it stopped.
        problem: what was simulated, which gives frames their names; None where it is
            not at hand.
        drawn_from: ``(n,)`` the flow whose slowdown, or ratio of packets to fluid, it
            was given, as it was not simulated; its own index where it was. None where
            all were.
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
    problem: NetworkProblem | None = None
    drawn_from: Int64[np.ndarray, " n"] | None = None

    @property
    def is_drawn(self) -> np.ndarray:
        """``(n,)`` true where it was not simulated and has another flow's slowdown."""
        n = len(self.fct_ns)
        if self.drawn_from is None:
            return np.zeros(n, np.bool_)
        return self.drawn_from != np.arange(n)

    @property
    def is_finished(self) -> np.ndarray:
        """``(n,)`` true where the flow has ended."""
        return self.fct_ns != UNFINISHED

    @property
    def slowdown(self) -> Float64[np.ndarray, " n"]:
        """``(n,)`` completion time over ideal one; NaN where it has not ended."""
        ratio = self.fct_ns / self.ideal_fct_ns
        return np.where(self.is_finished, ratio, np.nan)

    def df(self) -> Any:
        """The flows as a data frame of pandas, a row for each.

        Raises:
            PrerequisiteError: pandas is not installed.
        """
        columns: dict[str, Any] = {"flow": np.arange(len(self.fct_ns))}
        if self.problem is not None:
            flows, names = self.problem.flows, np.array(self.problem.topology.nodes)
            columns |= {
                "source": names[flows.source],
                "target": names[flows.target],
                "size_bytes": flows.size_bytes,
            }
            if len(flows.label):
                columns["label"] = np.array(flows.labels)[flows.label]
        ended = self.is_finished
        columns |= {
            "start_s": self.start_ns / 1e9,
            "fct_s": np.where(ended, self.fct_ns / 1e9, np.nan),
            "ideal_fct_s": self.ideal_fct_ns / 1e9,
            "slowdown": self.slowdown,
            "is_drawn": self.is_drawn,
            "n_retransmitted": self.n_retransmitted,
            "n_marked": self.n_marked,
            "busiest_link": self._link_names(self.busiest_link),
        }
        return _frame(columns)

    def links_df(self) -> Any:
        """The links as a data frame of pandas, a row for each.

        Raises:
            PrerequisiteError: pandas is not installed.
        """
        m = len(self.links.n_bytes)
        samples = self.links.samples_bytes
        return _frame(
            {
                "link": self._link_names(np.arange(m)),
                "n_bytes": self.links.n_bytes,
                "utilisation": self.links.busy_ns / max(self.end_ns, 1),
                "n_dropped": self.links.n_dropped,
                "n_marked": self.links.n_marked,
                "paused_s": self.links.paused_ns / 1e9,
                "max_queue_bytes": self.links.max_queue_bytes,
                "mean_queue_bytes": samples.mean(axis=0)
                if len(samples)
                else np.full(m, np.nan),
            }
        )

    def timeline_df(self) -> Any:
        """How watched flows fared, as a data frame of pandas.

        Raises:
            DataError: no flow was watched, or the simulator follows none.
            PrerequisiteError: pandas is not installed.
        """
        if self.timeline is None:
            if self.problem is not None and self.problem.watched:
                message = "this simulator follows no flow over time"
                raise DataError(message, "packet, fluid and kernel do")
            message = "no flow was watched, so there is no timeline"
            raise DataError(message, "name some: watched=(0, 1)")
        found = self.timeline
        return _frame(
            {
                "time_s": found.time_ns / 1e9,
                "flow": found.flow,
                "window_bytes": found.window_bytes,
                "rate_bps": found.rate_bps,
                "in_flight_bytes": found.in_flight_bytes,
                "acked_bytes": found.acked_bytes,
            }
        )

    def figure(self) -> Any:
        """The slowdowns as curves, a line for each class of size; a cell shows it.

        Raises:
            DataError: it is not known how large the flows were.
            PrerequisiteError: a library of the extra ``report`` is missing.
        """
        require("altair", "report")
        from midhaul.network.charts import slowdown_figure  # noqa: PLC0415  heavy

        if self.problem is None:
            message = "these results do not say how large the flows were"
            raise DataError(message, "midhaul.network.simulate says so")
        judged = judged_flows(
            self.start_ns, self.fct_ns, self.ideal_fct_ns, self.end_ns
        )
        return slowdown_figure(judged, self.problem.flows.size_bytes)

    def _link_names(self, links: np.ndarray) -> np.ndarray:
        if self.problem is None:
            return links
        names = np.array([*(x.name for x in self.problem.topology.links), "-"])
        return names[links]

    def _line(self) -> str:
        """How many flows ended, and how many packets were lost."""
        n, n_open = len(self.fct_ns), int(np.sum(~self.is_finished))
        ended = f", {n_open:,} of them not ended" if n_open else ""
        n_drawn = int(self.is_drawn.sum())
        ended += f", {n_drawn:,} of them drawn" if n_drawn else ""
        lost = int(self.links.n_dropped.sum())
        return (
            f"{counted(n, 'flow')} in {self.end_ns / 1e9:.4g} s{ended}, "
            f"{counted(lost, 'packet')} dropped"
        )

    def _display(self) -> Display:
        """Slowdowns by class of size, as far as the flows carry them."""
        sizes = (
            self.problem.flows.size_bytes
            if self.problem is not None
            else np.zeros(len(self.fct_ns), np.int64)
        )
        judged = judged_flows(
            self.start_ns, self.fct_ns, self.ideal_fct_ns, self.end_ns
        )
        rows = class_rows(judged, sizes)
        if self.problem is None:
            rows = rows[:1]
        heads = [f"p{q * 100:g}" for q in PERCENTILES]
        return Display(
            text=self._line(),
            columns=("size", "flows", *(f"slowdown {head}" for head in heads)),
            rows=[
                (row["size_class"], row["n"], *(row[head] for head in heads))
                for row in rows
            ],
        )


def _frame(columns: Mapping[str, Any]) -> Any:
    return cast("Any", require("pandas", "report")).DataFrame(columns)


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
