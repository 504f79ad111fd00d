"""Do better predictions stall less: what a memory's model makes of viewing sessions?

A fifth of the recorded links is held out. Models learn from the rest period by period,
from a first period only, a uniform memory, the coverage memory and priority sampling.
The last model of each plans viewing sessions on the held-out links (Fugu's MPC), beside
BBA and robust MPC, which ask no model.

    python benchmarks/memory_stalls.py [--data DIR] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.predictors.mlp import MlpPredictor, TrainSettings
from midhaul.memory.replaying import Learner, replay
from midhaul.memory.retraining.schedule import EveryPeriods, NeverAgain
from midhaul.memory.selectors.coverage import CoverageMemory
from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.memory.selectors.reservoir import Reservoir
from midhaul.memory.sessions.bba import BufferBased
from midhaul.memory.sessions.fugu_mpc import FuguMpc
from midhaul.memory.sessions.ladder import drawn_ladder
from midhaul.memory.sessions.links import RecordedLinks
from midhaul.memory.sessions.mpc import RobustMpc
from midhaul.memory.sessions.player import (
    PlayerSettings,
    drawn_begins,
    play,
    stall_difference,
)
from midhaul.memory.sources.recorded_links import (
    RECORDED_CHUNK_S,
    RECORDED_RATES_BPS,
    links_of_downloads,
)
from midhaul.memory.sources.streams import cellular_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.memory.predictors.base import Predictor
    from midhaul.memory.retraining.base import RetrainRule
    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Selector
    from midhaul.memory.sessions.player import PlayedSessions

CAPACITY, BATCH = 10_000, 64
HELD = 0.2


def memories(bins: Bins) -> dict[str, tuple[Callable[[], Selector], RetrainRule]]:
    """What models learn from, and when."""
    return {
        "static": (lambda: Reservoir(capacity=CAPACITY), NeverAgain()),
        "random": (lambda: Reservoir(capacity=CAPACITY), EveryPeriods()),
        "coverage": (
            lambda: CoverageMemory(capacity=CAPACITY, bins=bins, batch_size=BATCH),
            EveryPeriods(),
        ),
        "priority": (
            lambda: PrioritySampler(capacity=CAPACITY, bins=bins),
            EveryPeriods(),
        ),
    }


def models(
    periods: list[Samples], bins: Bins, seed: int, n_steps: int
) -> dict[str, Predictor]:
    """The last model of each memory."""
    learner = Learner(predictor=MlpPredictor(bins, TrainSettings(n_steps=n_steps)))
    found: dict[str, Predictor] = {}
    for name, (selector, rule) in memories(bins).items():
        *_, last = replay(periods, bins, selector(), rule, learner, seed=seed)
        found[name] = last.taken.predictor
    return found


def played(
    file: Path, seed: int, *, n_steps: int, n_sessions: int
) -> dict[str, PlayedSessions]:
    """Sessions on the held-out links, by each scheme."""
    stream = cellular_stream(file, shift="periodic", seed=seed)
    found = links_of_downloads(file, radio="4G", mobility="walking")
    rng = np.random.default_rng([seed, 71])
    clusters = rng.permutation(np.unique(found.clusters))
    held = clusters[: round(HELD * len(clusters))]
    rest = [p.take(~np.isin(p.cluster, held)) for p in stream.periods]
    traces = [
        one for one, c in zip(found.traces, found.clusters, strict=True) if c in held
    ]
    links = RecordedLinks.of(traces)
    ladder = drawn_ladder(RECORDED_RATES_BPS["4G"], chunk_s=RECORDED_CHUNK_S)
    begins = drawn_begins(links, ladder, n_sessions, rng)
    how = PlayerSettings(n_chunks=100, most_s=15.0)
    schemes = [BufferBased(), RobustMpc()]
    schemes += [
        FuguMpc(predictor=model, name=f"fugu {name}")
        for name, model in models(rest, stream.bins, seed, n_steps).items()
    ]
    return {abr.name: play(abr, links, ladder, begins, how) for abr in schemes}


_JOINED = ("stall_s", "play_s", "startup_s", "quality", "variation", "rung", "took_s")


def pooled(parts: list[PlayedSessions]) -> PlayedSessions:
    """Sessions of several seeds as one, each with links of its own."""
    first, shift = 0, []
    for part in parts:
        shift.append(first)
        first += int(part.link.max()) + 1
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _JOINED
    }
    link = np.concatenate(
        [part.link + at for part, at in zip(parts, shift, strict=True)]
    )
    return replace(parts[0], link=link, **joined)


def main() -> int:
    """Play, print the table, and hold it to its bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--quick", action="store_true", help="one seed, fewer sessions")
    args = parser.parse_args()
    file = args.data / "streams" / "cellular_abr.parquet"
    if not file.exists():
        print(f"no {file}: give the folder of the data", file=sys.stderr)
        return 2
    seeds, n_sessions, n_steps = (1, 3, 300) if args.quick else (5, 8, 700)
    began = time.process_time()
    parts = [
        played(file, seed, n_steps=n_steps, n_sessions=n_sessions)
        for seed in range(seeds)
    ]
    whole = {name: pooled([part[name] for part in parts]) for name in parts[0]}
    rng = np.random.default_rng(0)
    print(f"{len(whole['bba'].link)} sessions, {time.process_time() - began:.0f} CPU-s")
    for name, one in whole.items():
        stalled, quality = one.estimates(rng)
        print(
            f"{name:16} stalled {stalled.value:8.4%} [{stalled.low:.4%}, "
            f"{stalled.high:.4%}], SSIM {quality.value:.3f} dB [{quality.low:.3f}, "
            f"{quality.high:.3f}]"
        )
    names = ("random", "coverage", "static")
    is_short = False
    for name in names:
        found = stall_difference(whole["fugu priority"], whole[f"fugu {name}"], rng)
        gap = found.estimate
        print(
            f"priority less {name}: {gap.value:+.4%} [{gap.low:+.4%}, {gap.high:+.4%}]"
        )
        is_worse = gap.low > 0
        is_short |= is_worse and name == "random"
        print(
            f"figure stalls_priority_less_{name} {gap.value:.6f} share bar <=0+interval"
            f" {'short' if is_worse else 'ok'}"
        )
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
