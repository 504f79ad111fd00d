"""What is in memory when traffic shifts: three workloads that come, go and come back?

Flows of a bottleneck at 30 Mbit/s are simulated by `network.simulate`, by three laws of
sizes. Their streams are those of the seed: periodic (one always, the others every fifth
and tenth period), incremental (one after the other), congestion (one law at 66, 100 and
133 % of the load). After the last period: how much of each workload is in memory?

    python benchmarks/memory_traffic.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

import midhaul
from midhaul.memory.predictors.mlp import MlpPredictor, TrainSettings
from midhaul.memory.replaying import Learner, replay
from midhaul.memory.retraining.schedule import EveryPeriods
from midhaul.memory.selectors.catalogue import SELECTORS
from midhaul.memory.sources.traffic import traffic_stream, workload_of

if TYPE_CHECKING:
    from midhaul.memory.selectors.base import Selector
    from midhaul.memory.sources.streams import StreamSet

LAWS = ("websearch", "webserver", "hadoop")
LOADS = (0.66, 1.0, 1.33)
PATTERNS = ("periodic", "incremental", "congestion")
SIZES = {
    "periodic": (0.012, 1.0, 0.0042),
    "incremental": (0.06, 1.0, 0.042),
    "congestion": (0.66, 1.0, 1.33),
}
"""Flows of each workload over those of the largest, as the seed's runs had them."""
SHOWN = ("fifo", "reservoir", "lars", "coverage", "priority")
RATE_BPS = 30e6
RARE = 0.2
"""Share of the stream below which a workload is rare: ours keeps more of it."""


def simulated(folder: Path, law: str, load: float, n_flows: int, seed: int) -> Path:
    """The folder of a run: two sources that share a bottleneck."""
    config = {
        "kind": "network.simulate",
        "seed": seed,
        "simulator": "fluid",
        "topology": {
            "kind": "dumbbell",
            "counts": {"n_pairs": 2},
            "cables": [{"name": "middle", "rate_bps": RATE_BPS, "delay_s": 0.005}],
        },
        "flows": [
            {
                "sizes": {"kind": law},
                "load": min(load, 0.99),
                "n_flows": n_flows,
            }
        ],
    }
    return midhaul.run(config, out=folder).dir


def streams(n_flows: int) -> dict[str, StreamSet]:
    """The three patterns."""
    found: dict[str, StreamSet] = {}
    for pattern in PATTERNS:
        with tempfile.TemporaryDirectory() as folder:
            runs = [
                simulated(
                    Path(folder) / str(number),
                    LAWS[0] if pattern == "congestion" else LAWS[number],
                    LOADS[number] if pattern == "congestion" else LOADS[0],
                    round(n_flows * size),
                    number,
                )
                for number, size in enumerate(SIZES[pattern])
            ]
            found[pattern] = traffic_stream(runs, pattern=cast("Any", pattern))
    return found


def shares(stream: StreamSet, name: str, capacity: int) -> np.ndarray:
    """How much of each workload is in memory at the end."""
    told = {"capacity": capacity, "bins": stream.bins, "batch_size": 64}
    selector = cast("Selector", SELECTORS.called(name, **told))
    net = MlpPredictor(stream.bins, TrainSettings(n_steps=100))
    learner = Learner(predictor=net, slow_from=0.0)
    *_, last = replay(
        stream.periods, stream.bins, selector, EveryPeriods(), learner, seed=0
    )
    counts = np.bincount(workload_of(last.kept.cluster), minlength=len(LAWS))
    return counts / counts.sum()


def main() -> int:
    """Print the table, and hold ours to its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer flows")
    n_flows, capacity = (
        (20_000, 1_000) if parser.parse_args().quick else (100_000, 4_000)
    )
    is_short = False
    for pattern, stream in streams(n_flows).items():
        came = np.concatenate([workload_of(p.cluster) for p in stream.periods])
        of_stream = np.bincount(came, minlength=len(LAWS)) / len(came)
        print(f"\n{pattern}: {len(came):,} samples, capacity {capacity:,}")
        print(f"{'stream':12}" + "".join(f"{share:8.1%}" for share in of_stream))
        found = {name: shares(stream, name, capacity) for name in SHOWN}
        for name, of_memory in found.items():
            print(f"{name:12}" + "".join(f"{share:8.1%}" for share in of_memory))
        rare = of_stream < RARE
        if rare.any():
            over = (found["priority"] / found["reservoir"])[rare].min()
            is_short |= over < 1
            verdict = "short" if over < 1 else "ok"
            print(
                f"figure {pattern}_rarest_over_reservoir {over:.2f} x bar >=1 {verdict}"
            )
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
