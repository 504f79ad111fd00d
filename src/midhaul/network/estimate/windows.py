"""Windows: percentiles of a network of which some windows of time are packets.

A corrector learns what packets do to what a fluid says from other networks. A few
windows of the network itself, packet by packet, tell it of this one
(:mod:`midhaul.network.decomposition.hybrid`), and are more exact wherever they hold
enough flows. They are of the whole network, not of its paths: paths share their
flows, so windows of 500 of them cost what all packets do, and a path has two or three
flows of its own.

How far percentiles are off shrinks with how many flows of a class windows hold. Ends of
intervals are conformal (V. Vovk, A. Gammerman, G. Shafer: "Algorithmic Learning in a
Random World", 2005): on scenarios of ``benchmarks/estimate.py`` the error of the
logarithm times that number to a power lies between :data:`ENDS`, 9 times of 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Tally, Verdict
from midhaul.model.estimate import Estimate
from midhaul.network.slowdown import SIZE_CLASSES, size_class
from midhaul.network.work import work_off

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import FlowResults

    Told = dict[str, tuple[Estimate, ...]]

POWER = 0.4
"""Of the number of flows by which errors shrink."""

ENDS = {
    0.5: (-0.44, 0.76),
    0.95: (-1.87, 1.60),
    0.99: (-3.01, 2.22),
    0.999: (-7.3, 3.44),
}
"""The 5th and the 95th of 100 errors of the logarithm of a percentile, times the number
of simulated flows to the power."""

FEWEST_SIMULATED = 20
"""Flows of a class in windows from which the ends hold."""

FEWEST_FOR_VERDICT = 3500
"""Flows in windows from which an estimate is valid."""

STATED_ERROR = 0.07
"""Mean error of p99 with so many, on scenarios that :data:`ENDS` were not made of."""

MOST_LOSING = 0.01
"""Share of flows in windows that lose packets, above which p99 lies on a cliff."""


def windows_of(problem: NetworkProblem, share: float) -> FlowResults:
    """Simulate windows in which a share of the flows start.

    Args:
        problem: what flows where.
        share: of its flows; of 1 all is one window.

    Returns:
        What became of all flows: of those in windows what packets say, of others what
        their donors tell.

    Raises:
        ConfigError: flows wait for others, or a link carries nothing.
    """
    from midhaul.network.simulators import hybrid_simulator  # noqa: PLC0415  a circle

    told = {"n_windows": 1} if share >= 1 else {}
    simulation = hybrid_simulator(share=share, fewest_flows=0, **told).begin(problem)
    work_off(simulation)
    return simulation.results()


def is_simulated(flows: FlowResults) -> Bool[np.ndarray, " n"]:
    """Which flows windows have, packet by packet."""
    return flows.drawn_from == np.arange(len(flows.fct_ns))


def by_windows(
    flows: FlowResults, classes: Sequence[str], shares: Sequence[float]
) -> tuple[Told, Told]:
    """Percentiles of slowdowns and of completion times, with their intervals.

    Args:
        flows: of windows.
        classes: names of classes of size, and ``all``.
        shares: which percentiles.

    Returns:
        For each class one estimate for each percentile; of slowdowns, then of times.
    """
    assert flows.problem is not None  # noqa: S101  a simulator gave them
    slowdown: Told = {}
    fct_s: Told = {}
    for name in classes:
        mine, factors = class_band(flows, name, shares)
        slowdown[name] = _told(flows.slowdown[mine], shares, factors, least=1.0)
        fct_s[name] = _told(flows.fct_ns[mine] / 1e9, shares, factors, unit="s")
    return slowdown, fct_s


def class_band(
    flows: FlowResults, name: str, shares: Sequence[float]
) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, "s 2"]]:
    """Which flows a class has, and factors from percentiles to ends of intervals."""
    assert flows.problem is not None  # noqa: S101  a simulator gave them
    classes = size_class(flows.problem.flows.size_bytes)
    mine = np.ones(len(classes), np.bool_)
    if name != "all":
        mine = classes == SIZE_CLASSES.index(name)
    n = int((mine & is_simulated(flows)).sum())
    if n == int(mine.sum()):  # all of them are packets
        return mine, np.ones((len(shares), 2))
    return mine, band(shares, n)


def band(shares: Sequence[float], n: int) -> Float64[np.ndarray, "s 2"]:
    """Factors from percentiles to the ends of intervals, with ``n`` flows in windows.

    They are those of :data:`ENDS`, and between these in proportion to the nines.
    """
    nines = -np.log10(1 - np.clip(shares, 0.5, 0.999))
    known = [-np.log10(1 - share) for share in ENDS]
    low, high = (np.interp(nines, known, [e[i] for e in ENDS.values()]) for i in (0, 1))
    scale = max(n, 1) ** POWER
    return np.exp(np.stack([-high / scale, -low / scale], axis=1))


def _told(
    values: Float64[np.ndarray, " n"],
    shares: Sequence[float],
    factors: Float64[np.ndarray, "s 2"],
    *,
    least: float = 0.0,
    unit: str = "",
) -> tuple[Estimate, ...]:
    found = np.maximum(np.quantile(values, shares, method="higher"), least)
    return tuple(
        Estimate(
            value=float(v),
            low=float(max(v * low, least)),
            high=float(v * high),
            n=len(values),
            unit=unit,
        )
        for v, (low, high) in zip(found, factors, strict=True)
    )


def window_tallies(flows: FlowResults) -> tuple[Tally, ...]:
    """What was not simulated, and what was and lost packets."""
    own = is_simulated(flows)
    n, n_own = len(own), int(own.sum())
    return (
        Tally(
            what="flows were not simulated, and windows with others tell of them",
            n=n - n_own,
            of=n,
            max_share=1.0,
            advice="Raise windows.",
        ),
        Tally(
            what="flows in windows lost packets, so that a p99 may lie between flows "
            "that wait for a time-out and those that do not",
            n=int((flows.n_retransmitted[own] > 0).sum()) if n_own < n else 0,
            of=n_own,
            max_share=MOST_LOSING,
            advice="Raise windows, or simulate by packets.",
        ),
    )


def window_verdict(flows: FlowResults) -> Verdict:
    """Whether windows hold enough flows for the error that is stated."""
    own = is_simulated(flows)
    n = int(own.sum())
    if own.all() or n >= FEWEST_FOR_VERDICT:
        return Verdict()
    reason = (
        f"Windows hold {n:,} flows. An estimate by windows is valid with "
        f"{FEWEST_FOR_VERDICT:,} or more, where its p99 is off by {STATED_ERROR:.0%} "
        "on average."
    )
    return Verdict(
        reasons=(reason,), advice=("Raise windows, or simulate more flows.",)
    )
