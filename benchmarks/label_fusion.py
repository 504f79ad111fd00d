"""Is learned fusion of labels and tags better than a vote and than the best provider?

Quality (accuracy, mean Jaccard index) of every subset of providers on the half of the
items that nothing was fitted to, mean of five splits by hash, for commercial APIs.

    python benchmarks/label_fusion.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from midhaul.federation.fusion import fit_fuser, fuser_named
from midhaul.federation.quality import item_quality, subset_qualities
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import (
    Recording,
    all_masks,
    members,
    split_items,
)

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
LABELS = ("ferplus", "waimai", "yelp", "audiomnist", "digit", "fluent")
TAGS = "pascal_tags"
NOISE = 0.005
"""How far below a provider's own answers fused ones may lie, on a mean of splits."""


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one split, not five")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("MIDHAUL_DATA", DATA)),
        help="folder of data sets",
    )
    options = parser.parse_args()
    folder = options.data / "mlaas"
    n_seeds = 1 if options.quick else 5
    figures: list[tuple[str, float, float]] = []
    for name in (*LABELS, TAGS):
        file = folder / f"{name}.parquet"
        if not file.is_file():
            print(f"no {file}: left out")
            continue
        if name == TAGS:
            truth = folder / "pascal_truth.parquet"
            recording = read_parquet(file, task="tags", truth_file=truth)
        else:
            recording = read_parquet(file, task="labels")
        table = measure(name, recording, n_seeds)
        alone = np.bitwise_count(all_masks(recording.n_providers)) == 1
        figures += [
            (f"{name}_everybody_over_vote", table[-1, 2] - table[-1, 1], 0.0),
            (f"{name}_everybody_over_best", table[-1, 2] - table[-1, 0], 0.0),
            (
                f"{name}_alone_over_own",
                float((table[:, 2] - table[:, 0])[alone].min()),
                -NOISE,
            ),
        ]
    for name, value, bar in figures:
        verdict = "ok" if value >= bar else "short"
        print(f"figure {name} {value:.4f} - bar >={bar:g} {verdict}")
    return int(not figures or any(value < bar for _, value, bar in figures))


def measure(name: str, recording: Recording, n_seeds: int) -> np.ndarray:
    """Quality of each subset: its best provider, vote, stacked; ``(s, 3)``."""
    masks = all_masks(recording.n_providers)
    total = np.zeros((len(masks), 3))
    fit_s = fuse_s = bias = 0.0
    for seed in range(n_seeds):
        train, _, test = (recording.take(k) for k in split_items(recording.items, seed))
        begin = time.process_time()
        fuser = fit_fuser("stacked", train, rng=np.random.default_rng(seed))
        fit_s += (time.process_time() - begin) / n_seeds
        alone = [float(item_quality(test, one).mean()) for one in test.answers]
        total[:, 0] += [max(alone[p] for p in members(m)) for m in masks.tolist()]
        total[:, 1] += subset_qualities(test, fuser_named("vote"), masks).mean(axis=0)
        total[:, 2] += subset_qualities(test, fuser, masks).mean(axis=0)
        begin = time.process_time()
        fused = fuser.fuse(test, np.full(len(test), test.everyone))
        fuse_s += (time.process_time() - begin) / n_seeds
        bias += float(fused.scores.mean() - item_quality(test, fused).mean()) / n_seeds
    total /= n_seeds
    calibration = (
        f", score - accuracy {bias:+.4f}" if recording.task == "labels" else ""
    )
    print(
        f"\n{name}: {len(recording)} items, {len(recording.names)} names, mean of "
        f"{n_seeds} splits; fit {fit_s:.2f} s, fuse half {1e3 * fuse_s:.1f} ms"
        f"{calibration}"
    )
    print(f"{'providers':50}  best   vote   stacked")
    for mask, row in zip(masks.tolist(), total.tolist(), strict=True):
        who = ", ".join(recording.providers[p] for p in members(mask))
        print(f"{who:50} {row[0]:.4f} {row[1]:.4f} {row[2]:.4f}")
    return total


if __name__ == "__main__":
    sys.exit(main())
