"""Which samples should a bounded memory keep: priority sampling against all others?

Streams P, S-inc and S-per (docs/explanation/sample-memory.md): a model learns from the
memory after each period and is tested on the next; all predictions are smoothed alike.
Bars are those of the main claim: the slow event (2.25 s and more), recalibrated across
traces, is known better than by a uniform memory of the same size, the mean is no worse,
and no score of a smoothed prediction is below -7.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import midhaul

SETS: dict[str, dict[str, Any]] = {
    "S-inc": {"kind": "cellular", "shift": "incremental"},
    "S-per": {"kind": "cellular", "shift": "periodic"},
    "P": {"kind": "puffer-gaps"},
}
CAPACITY = {"S-inc": 10_000, "S-per": 10_000, "P": 20_000}
BATCH = {"S-inc": 64, "S-per": 64, "P": 256}
STEPS = {"S-inc": 700, "S-per": 700, "P": 500}
SHARE = 0.33
"""Of Puffer's sessions."""
SLOW = {"S-inc": -0.05, "S-per": -0.05, "P": 0.0}
"""Most that the slow event's loss may differ from the uniform memory's, as a share."""
MEAN, LEAST = -0.015, -7.0


def memories(name: str, *, quick: bool) -> list[dict[str, Any]]:
    """The memories that are compared, the uniform one first."""
    batch = {"selector": "coverage", "batch_size": BATCH[name]}
    few = [
        {"selector": "reservoir"},
        {"selector": "priority"},
        {"selector": "coverage", **batch},
    ]
    more = [
        {"selector": "coverage", "name": "coverage, densest", "temperature": 0.0}
        | batch,
        {"selector": "coverage", "name": "coverage, by bin", "sort": "bin"} | batch,
        {"selector": "priority", "name": "priority 0.25", "uniform_share": 0.25},
        {"selector": "priority", "name": "priority 0", "uniform_share": 0.0},
        {"selector": "jtt"},
        {"selector": "class-balanced"},
        {"selector": "loss", "temperature": 10.0},
        {"selector": "confidence", "temperature": 0.1},
        {"selector": "committee"},
        {"selector": "lars"},
        {"selector": "stalled-sessions"},
        {"selector": "reservoir-forgetting", "forget": 0.1},
        {"selector": "fifo"},
    ]
    found = few if quick else few + more
    return [one | {"capacity": CAPACITY[name]} for one in found]


def compared(
    name: str, data: Path, out: Path, *, seeds: int, jobs: int, quick: bool
) -> Any:
    """The run of one set."""
    where = (
        {"dir": data / "streams", "share": SHARE}
        if name == "P"
        else {"file": data / "streams" / "cellular_abr.parquet"}
    )
    config = {
        "kind": "memory.compare",
        "n_seeds": seeds,
        "jobs": jobs,
        "stream": SETS[name] | where,
        "fit": {"n_steps": STEPS[name]},
        "memories": memories(name, quick=quick),
    }
    return midhaul.run(config, out=out)


def told(name: str, run: Any) -> bool:
    """Print what a set says; whether all bars are met."""
    values = {
        (row["configuration"], row["metric"]): row
        for row in run.table("summary").to_pylist()
    }
    names = run.table("configurations").to_pylist()
    metrics = ("smoothed_p1", "smoothed_p01", "smoothed_median", "smoothed_mean")
    metrics += ("p1", "p01", "median", "mean", "slow_loss")
    print(f"\n{name}: {run}")
    print(
        f"{'memory':22}" + "".join(f"{m.replace('smoothed', 's'):>10}" for m in metrics)
    )
    for row in names:
        cells = [values[row["configuration"], m]["value"] for m in metrics]
        print(f"{row['name']:22}" + "".join(f"{cell:10.3f}" for cell in cells))
    print("against reservoir, 95 % intervals by trace")
    for row in run.table("differences").to_pylist():
        if row["metric"] in ("slow_loss", "smoothed_mean", "smoothed_p1"):
            print(
                f"{names[row['configuration']]['name']:22}{row['metric']:16}"
                f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
            )
    ours = {
        row["metric"]: row
        for row in run.table("differences").to_pylist()
        if row["configuration"] == 1
    }
    slow, mean = ours["slow_loss"], ours["smoothed_mean"]
    least = values[1, "smoothed_p01"]["value"]
    label = name.lower().replace("-", "_")
    is_slow = slow["difference"] <= SLOW[name] and (slow["high"] < 0 or not SLOW[name])
    bars = (
        (f"{label}_slow_event", slow["difference"], f"<={SLOW[name]}", is_slow),
        (
            f"{label}_smoothed_mean",
            mean["difference"],
            f">={MEAN}",
            mean["difference"] >= MEAN,
        ),
        (f"{label}_p01", least, f">={LEAST}", least >= LEAST),
    )
    for figure, value, bar, is_met in bars:
        print(f"figure {figure} {value:.4f} 1 bar {bar} {'ok' if is_met else 'short'}")
    return all(is_met for *_, is_met in bars)


def main() -> int:
    """Run all sets and hold them to their bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three memories, one seed")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=0, help="5, or 1 with --quick")
    parser.add_argument("--jobs", type=int, default=0, help="0 for one per core")
    args = parser.parse_args()
    if not (args.data / "streams").is_dir():
        print(
            f"no streams in {args.data}: give the folder of the data", file=sys.stderr
        )
        return 2
    seeds = args.seeds or (1 if args.quick else 5)
    met = [
        told(
            name,
            compared(
                name,
                args.data,
                args.out,
                seeds=seeds,
                jobs=args.jobs,
                quick=args.quick,
            ),
        )
        for name in args.only
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
