"""How many viewing sessions a second does the simulator play, and what do kernels gain?

Sessions of 100 chunks over drawn links by BBA, robust MPC and Fugu with a predictor
that costs nothing, for three numbers of sessions; and kernels of downloads and of plans
against the plain loops that stand beside them.

    python benchmarks/memory_sessions.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.sessions.bba import BufferBased
from midhaul.memory.sessions.checks import check_players
from midhaul.memory.sessions.fugu_mpc import FuguMpc
from midhaul.memory.sessions.ladder import drawn_ladder
from midhaul.memory.sessions.links import RecordedLinks, took_plainly_s
from midhaul.memory.sessions.mpc import RobustMpc
from midhaul.memory.sessions.planning import Weighing, best_rungs, worth_plainly
from midhaul.memory.sessions.player import PlayerSettings, drawn_begins, play
from midhaul.memory.sources.fugu import FUGU_BINS
from midhaul.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.memory.sessions.base import Abr

N_CHUNKS = 100


class Free:
    """A predictor that costs nothing: every bin alike."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The same for all."""
        return np.full((len(x), FUGU_BINS.n), 1 / FUGU_BINS.n, np.float32)


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sessions")
    sizes = (4, 16, 64) if parser.parse_args().quick else (16, 64, 256)
    traces = drawn_traces()
    growths: list[float] = []
    schemes: tuple[Abr, ...] = (
        BufferBased(),
        RobustMpc(),
        FuguMpc(predictor=Free()),
    )
    print("sessions a CPU-second of", N_CHUNKS, "chunks, for", sizes, "sessions")
    for abr in schemes:
        costs = [cost_s(abr, traces, n) for n in sizes]
        shown = "".join(f"{n / c:9.0f}" for n, c in zip(sizes, costs, strict=True))
        print(f"  {abr.name:12}{shown}")
        growths.append(
            float(np.log(costs[-1] / costs[0]) / np.log(sizes[-1] / sizes[0]))
        )
    figures = (
        ("downloads_speedup_over_plain", download_speedup(traces), ">=", 5.0),
        ("plans_speedup_over_plain", plan_speedup(), ">=", 20.0),
        ("largest_growth_exponent_of_sessions", max(growths), "<=", 1.1),
    )
    is_short = False
    for name, value, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.2f} - bar {sign}{bar:g} {verdict}")
    return int(is_short)


def drawn_traces() -> list[Trace]:
    """Links whose rates wander."""
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 0.3, (4, 600))
    return [
        Trace(
            name=str(i),
            times_s=np.arange(600.0),
            rates_bps=2e6 * np.exp(np.cumsum(one).clip(-2, 2)),
            length_s=600.0,
        )
        for i, one in enumerate(steps)
    ]


def cpu_s(work: Callable[[], object], n: int = 3) -> float:
    """The least CPU time of several goes, after one that compiles."""
    work()
    spent: list[float] = []
    for _ in range(n):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return min(spent)


def cost_s(abr: Abr, traces: list[Trace], n: int) -> float:
    """CPU time of some sessions."""
    links, ladder = RecordedLinks.of(traces), drawn_ladder()
    begins = drawn_begins(links, ladder, n // 4, np.random.default_rng(1))
    how = PlayerSettings(n_chunks=N_CHUNKS)
    return cpu_s(lambda: play(abr, links, ladder, begins, how))


def download_speedup(traces: list[Trace]) -> float:
    """How many times longer downloads take interval by interval."""
    rng = np.random.default_rng(2)
    links, n = RecordedLinks.of(traces), 2000
    link = rng.integers(len(traces), size=n)
    begin_s, size = rng.random(n) * 600, rng.lognormal(14, 1, n)

    def plainly() -> None:
        for i in range(n):
            took_plainly_s(traces[link[i]], float(begin_s[i]), float(size[i]))

    return cpu_s(plainly, 1) / cpu_s(lambda: links.took_s(link, begin_s, size))


def plan_speedup() -> float:
    """How many times longer a plan of three chunks takes by recursion."""
    now = next(check_players())
    rng = np.random.default_rng(3)
    shape = (now.n, 3, now.quality.shape[2], 3)
    times_s, shares = rng.random(shape) * 8, rng.dirichlet(np.ones(3), shape[:3])
    weighing = Weighing()

    def plainly() -> None:
        for i in range(now.n):
            worth_plainly(
                float(now.buffer_s[i]),
                float(now.last_quality[i]),
                now.quality[i, :3],
                times_s[i],
                shares[i],
                now.chunk_s,
                now.most_s,
                weighing,
            )

    def ours() -> None:
        for _ in range(50):
            best_rungs(now, times_s, shares, weighing)

    return cpu_s(plainly, 1) / (cpu_s(ours) / 50)


if __name__ == "__main__":
    sys.exit(main())
