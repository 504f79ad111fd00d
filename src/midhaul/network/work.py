"""Long simulations: cost predicted by a probe, worked off in slices, kept by a state.

What a packet simulator has to do grows with packets times links. A probe simulates the
first flows of the same problem on this machine; its events and seconds for each packet
and link are those of the whole. The work is done in slices of a fifth of a second, so
that an interrupt ends it within one, and progress is told between two of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.problem import NetworkProblem, Routes
from midhaul.network.transports import framing

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Int64

    from midhaul.network.simulator import Simulation, Simulator

    Clock = Callable[[], float]

_SLICE_S = 0.2
_FIRST_EVENTS = 500
_MOST_GROWTH = 4.0
_MOST_EVENTS = 20_000_000
"""Of a slice: where many small parts end early, the next one may be a large one."""
_PROBE_S = 1.0
_PROBE_HOPS = 200_000
_FEW_HOPS = 400_000
"""Packets times links that take about a second or less: not worth a probe."""


def packet_hops(problem: NetworkProblem) -> Int64[np.ndarray, " n"]:
    """``(n,)`` packets of each flow times the links on its way."""
    return n_packets(problem) * np.diff(problem.routes.offsets)


def n_packets(problem: NetworkProblem) -> Int64[np.ndarray, " n"]:
    """``(n,)`` packets of each flow."""
    flows = problem.flows
    payloads = [framing(one).payload_bytes for one in problem.transports]
    payload = (
        np.take(payloads, flows.transport) if len(flows.transport) else payloads[0]
    )
    return -(-flows.size_bytes // payload)


def first_flows(problem: NetworkProblem, n: int) -> NetworkProblem:
    """The same problem with its first ``n`` flows only."""
    flows, offsets = problem.flows, problem.routes.offsets[: n + 1]
    kept = flows.take(slice(n))
    if flows.waits:
        waits = flows.after_offsets[: n + 1]
        kept = replace(kept, after_offsets=waits, after=flows.after[: waits[-1]])
    return replace(
        problem,
        flows=kept,
        routes=Routes(offsets=offsets, links=problem.routes.links[: offsets[-1]]),
        watched=tuple(flow for flow in problem.watched if flow < n),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkEstimate:
    """What a simulation is going to cost.

    Attributes:
        n_flows: flows.
        n_packet_hops: packets times the links on their way, without what is sent again.
        n_events: what the simulator will work through; None where nothing was probed.
        seconds: on this machine; None where nothing was probed.
    """

    n_flows: int
    n_packet_hops: int
    n_events: float | None
    seconds: float | None

    @property
    def sentence(self) -> str:
        """What is said before it begins."""
        hops = f"{self.n_flows:,} flows, {_many(self.n_packet_hops)} packets × links"
        if self.n_events is None or self.seconds is None:
            return f"{hops}: a second or so"
        return f"{hops}: about {_many(self.n_events)} events, {span_text(self.seconds)}"


def _many(n: float) -> str:
    for factor, word in ((1e9, "billion"), (1e6, "million")):
        if n >= factor:
            return f"{n / factor:.3g} {word}"
    return f"{n:,.0f}"


def span_text(seconds: float) -> str:
    """Seconds for people."""
    hour, minute = 3600, 60
    if seconds >= 2 * hour:
        return f"{seconds / hour:.1f} h"
    return (
        f"{seconds / minute:.1f} min" if seconds >= 2 * minute else f"{seconds:.1f} s"
    )


def predict(
    simulator: Simulator,
    problem: NetworkProblem,
    clock: Clock = time.monotonic,
    *,
    is_wanted: bool = False,
) -> WorkEstimate:
    """What a simulation will cost, by simulating its first flows for up to a second.

    Kernels have to be compiled before. Problems that take about a second themselves are
    probed only where it ``is_wanted``. A simulator that works part by part, and says so
    by a true ``is_part_by_part``, shows its first parts instead of the first flows.
    """
    hops = packet_hops(problem)
    total, n = int(hops.sum()), len(hops)
    if total <= _FEW_HOPS and not is_wanted:
        return WorkEstimate(n_flows=n, n_packet_hops=total, n_events=None, seconds=None)
    is_by_parts = getattr(simulator, "is_part_by_part", False)
    n_first = int(np.searchsorted(np.cumsum(hops), _PROBE_HOPS)) + 1
    n_first = n if is_by_parts else min(n_first, n)
    begin_s = clock()
    simulation = simulator.begin(first_flows(problem, n_first))
    begun_s = clock() - begin_s
    begin_s, n_events, is_done = clock(), _FIRST_EVENTS, False
    while not is_done and clock() - begin_s < _PROBE_S:
        is_done = simulation.advance(n_events)
        n_events = min(2 * n_events, 100_000)
    took_s = max(clock() - begin_s, 1e-6)
    done = float(hops[:n_first].sum()) * max(simulation.share_done, 1e-6)
    factor = max(total, 1) / max(done, 1e-6)
    return WorkEstimate(
        n_flows=n,
        n_packet_hops=total,
        n_events=simulation.results().n_events * factor,
        seconds=begun_s * n / max(n_first, 1) + took_s * factor,
    )


def work_off(
    simulation: Simulation,
    *,
    advance: Callable[[float], None] = lambda _: None,
    keep: Callable[[float], None] = lambda _: None,
    keep_every_s: float = 10.0,
    clock: Clock = time.monotonic,
) -> float:
    """Work a simulation off; the seconds that it took, without keeping.

    ``advance`` is told the share of the work that was done since the last call.
    ``keep`` is called with the seconds so far, at most every ``keep_every_s`` and for a
    twentieth of the time.
    """
    n_events, is_done = _FIRST_EVENTS, False
    share, took_s = simulation.share_done, 0.0
    kept_s, wait_s = clock(), keep_every_s
    while not is_done:
        begin_s = clock()
        is_done = simulation.advance(n_events)
        slice_s = clock() - begin_s
        took_s += slice_s
        growth = _SLICE_S / max(slice_s, 1e-6)
        n_events = max(1, int(n_events * min(max(growth, 0.1), _MOST_GROWTH)))
        n_events = min(n_events, _MOST_EVENTS)
        before, share = share, simulation.share_done
        advance(max(share - before, 0.0))
        if not is_done and clock() - kept_s >= wait_s:
            keep_begin_s = clock()
            keep(took_s)
            kept_s = clock()
            wait_s = max(keep_every_s, 20 * (kept_s - keep_begin_s))
    return took_s
