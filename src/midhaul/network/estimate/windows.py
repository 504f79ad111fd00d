"""Windows: percentiles of a network of which some windows of time are packets.

A corrector learns what packets do to what a fluid says from other networks. A few
windows of the network itself, packet by packet, tell it of this one
(:mod:`midhaul.network.decomposition.hybrid`), and are more exact wherever they hold
enough flows. They are of the whole network, not of its paths: paths share their
flows, so windows of 500 of them cost what all packets do, and a path has two or three
flows of its own.

How many are enough differs between networks by more than ten times. So windows are
added until the interval of the p99 is narrow. Its ends are by a jackknife: windows are
left out group by group, and what the others say then differs as much as other windows
would have said (J. Shao, C. F. J. Wu: "A General Theory for Jackknife Variance
Estimation", Annals of Statistics 17, 1989, on why groups and not flows are left out
where percentiles are told), with Student's t for how few groups there are, less by the
share of the flows that are known (W. G. Cochran: "Sampling Techniques", 1977, section
2.6). Stopping where an interval is narrow chooses those that are too narrow, so all
are wider by :data:`WIDER`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.model import Tally, Verdict
from midhaul.model.estimate import Estimate
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.work import work_off

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Float64

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import FlowResults

    Told = dict[str, tuple[Estimate, ...]]

N_FIRST = 6
"""Windows that are simulated in any case."""

WIDER = 1.2
"""By what intervals are wider than the jackknife says, for the choice of when to stop:
of 134 scenarios that hold for no other figure they then had the truth 9 times of 10."""

_FEWEST = 4
_MORE = 1.4
_N_WINDOWS = 40
_FLOWS_OF_WINDOW = 50
_MOST_GROUPS = 10
_TAIL = 0.99

_STUDENT = np.array([6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833])
"""What 95 % of Student's t do not exceed, with 1 to 9 degrees of freedom."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowedFlows:
    """What windows tell of all flows of a network.

    Attributes:
        flows: of those in windows what packets say, of others what their donors tell.
        left_out: ``(g, n)`` slowdowns of all flows, each time without a group of the
            windows; none where all flows are packets.
        within: how narrow the interval of the p99 was to be, as a share of it.
    """

    flows: FlowResults
    left_out: Float32[np.ndarray, "g n"]
    within: float

    @property
    def is_simulated(self) -> Bool[np.ndarray, " n"]:
        """Which flows windows have, packet by packet."""
        return self.flows.drawn_from == np.arange(len(self.flows.fct_ns))

    def members(self, name: str) -> Bool[np.ndarray, " n"]:
        """Which flows are of a class of size, by its name, or of ``all``."""
        assert self.flows.problem is not None  # noqa: S101  a simulator gave them
        if name == "all":
            return np.ones(len(self.flows.fct_ns), np.bool_)
        classes = size_class(self.flows.problem.flows.size_bytes)
        return classes == SIZE_CLASSES.index(name)

    def half(
        self, mine: Bool[np.ndarray, " n"], shares: Sequence[float]
    ) -> Float64[np.ndarray, " s"]:
        """Half of the 90 % interval of the logarithm of each percentile.

        Args:
            mine: the flows that percentiles are of.
            shares: which percentiles.
        """
        g = len(self.left_out)
        is_left = mine & ~self.is_simulated
        if not g or not is_left.any():
            return np.zeros(len(shares))
        told = [
            np.quantile(one[mine], shares, method="higher") for one in self.left_out
        ]
        logs = np.log(np.maximum(told, 1.0))
        variance = (g - 1) * logs.var(axis=0) * is_left.sum() / mine.sum()
        return WIDER * _STUDENT[g - 2] * np.sqrt(variance)


def windows_of(
    problem: NetworkProblem,
    share: float,
    *,
    within: float = 0.1,
    of: Bool[np.ndarray, " n"] | None = None,
) -> WindowedFlows:
    """Simulate windows until the p99 is told narrowly.

    Args:
        problem: what flows where.
        share: of the flows that start in windows, at most; but four windows are
            simulated in any case, and where there are no more, all flows are.
        within: how far the ends of its interval may lie from the p99, as a share of it.
        of: the flows that the p99 is of; all by default.

    Returns:
        What became of all flows, and what other windows might have said.

    Raises:
        ConfigError: flows wait for others, or a link carries nothing.
    """
    from midhaul.network.decomposition.hybrid import most_windows  # noqa: PLC0415
    from midhaul.network.simulators import hybrid_simulator  # noqa: PLC0415  a circle

    n = len(problem.flows)
    mine = np.ones(n, np.bool_) if of is None else of
    n_windows = max(_N_WINDOWS, math.ceil(N_FIRST / share))
    n_windows = min(n_windows, most_windows(problem), n // _FLOWS_OF_WINDOW)
    told: dict[str, Any] = {"share": 1.0, "n_windows": 1, "fewest_flows": 0}
    most = max(int(share * n_windows), _FEWEST)
    if most < n_windows:
        told |= {"n_windows": n_windows, "n_by_turns": min(N_FIRST, most)}
    simulation = hybrid_simulator(**told).begin(problem)
    drawn = told.get("n_by_turns", 1)
    while True:
        work_off(simulation)
        groups = min(drawn, _MOST_GROUPS) if drawn > 1 else 0
        left_out = [one.astype(np.float32) for one in simulation.left_out(groups)]
        found = WindowedFlows(
            flows=simulation.results(),
            left_out=np.array(left_out, np.float32).reshape(groups, n),
            within=within,
        )
        if drawn >= most or np.expm1(found.half(mine, (_TAIL,))[0]) <= within:
            return found
        drawn = min(math.ceil(_MORE * drawn), most)
        simulation.widen(drawn)


def by_windows(
    found: WindowedFlows, classes: Sequence[str], shares: Sequence[float]
) -> tuple[Told, Told]:
    """Percentiles of slowdowns and of completion times, with their intervals.

    Args:
        found: of windows.
        classes: names of classes of size, and ``all``.
        shares: which percentiles.

    Returns:
        For each class one estimate for each percentile; of slowdowns, then of times.
        Ends of intervals of times are those of slowdowns, in proportion.
    """
    slowdown: Told = {}
    fct_s: Told = {}
    for name in classes:
        mine = found.members(name)
        factors = np.exp(found.half(mine, shares))
        flows = found.flows
        slowdown[name] = _told(flows.slowdown[mine], shares, factors, least=1.0)
        fct_s[name] = _told(flows.fct_ns[mine] / 1e9, shares, factors, unit="s")
    return slowdown, fct_s


def _told(
    values: Float64[np.ndarray, " n"],
    shares: Sequence[float],
    factors: Float64[np.ndarray, " s"],
    *,
    least: float = 0.0,
    unit: str = "",
) -> tuple[Estimate, ...]:
    found = np.maximum(np.quantile(values, shares, method="higher"), least)
    return tuple(
        Estimate(
            value=float(v),
            low=float(max(v / factor, least)),
            high=float(v * factor),
            n=len(values),
            unit=unit,
        )
        for v, factor in zip(found, factors, strict=True)
    )


def window_tallies(found: WindowedFlows) -> tuple[Tally, ...]:
    """What was not simulated, and what was and lost packets."""
    own = found.is_simulated
    n, n_own = len(own), int(own.sum())
    n_losing = int((found.flows.n_retransmitted[own] > 0).sum())
    return (
        Tally(
            what="flows were not simulated, and windows with others tell of them",
            n=n - n_own,
            of=n,
            max_share=1.0,
            advice="Raise windows.",
        ),
        Tally(
            what="flows in windows lost packets: a p99 may lie between flows that wait "
            "for a time-out and those that do not",
            n=n_losing if n_own < n else 0,
            of=n_own,
            max_share=1.0,
            advice="Lower within, or simulate by packets.",
        ),
    )


def window_verdict(found: WindowedFlows) -> Verdict:
    """Whether the interval of the p99 is as narrow as it was to be."""
    half = float(np.expm1(found.half(found.members("all"), (_TAIL,))[0]))
    if half <= found.within:
        return Verdict()
    n = int(found.is_simulated.sum())
    reason = (
        f"The p99 by windows with {n:,} flows may be off by {half:.0%}, and was to be "
        f"told within {found.within:.0%}."
    )
    return Verdict(reasons=(reason,), advice=("Raise windows, or within.",))
