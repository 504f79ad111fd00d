"""How good is every fusion of boxes on held-out images, and how fast?

Pooled AP50 of all methods when all detectors are asked, one, the best trio, and another
subset for every image; five splits by item hash of VOC2007 with seven detectors, and
COCO's train2017 against val2017. Agreement with ensemble_boxes and images per second
beside it, at three sizes.

    python benchmarks/box_fusion.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from box_fusion_peer import agreement, speed

from midhaul.federation.fusion import fit_fuser, fuser_named
from midhaul.federation.fusion.calibration import fit_calibration, reliability
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.parquet import read_parquet
from midhaul.federation.recordings.problem import split_items
from midhaul.stats import paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.recordings.problem import Recording
    from midhaul.model.estimate import Statistic

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
RULES = ("nms", "soft_nms", "nmw", "wbf")
METHODS = (*RULES, "wbf/calibrated", "stacked")
SEEDS = 5
PRICE_USD = 0.001

Figure = tuple[str, float, str, str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Pooled AP50 of every method in every case, on one test part.

    Attributes:
        numbers: ``(k,)`` of the test items among all.
        values: AP50 by case and method.
        statistics: the same as functions of the items' weights, of some cases.
    """

    numbers: np.ndarray
    values: dict[str, dict[str, float]]
    statistics: dict[str, dict[str, Statistic]]


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer seeds and sizes")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    voc = read_parquet(
        options.data / "voc2007_boxes" / "predictions.parquet",
        task="boxes",
        truth_file=options.data / "voc2007_boxes" / "truth.parquet",
        price_usd=PRICE_USD,
    )
    n_resamples = 100 if options.quick else 1000
    parts: list[Judged] = []
    for seed in range(1 if options.quick else SEEDS):
        train, _, test = split_items(voc.items, seed)
        parts.append(judge(voc.take(train), voc.take(test), test, seed))
    figures = report("voc", "VOC2007", parts, len(voc), n_resamples)
    figures += singles(parts)
    train, val = coco(options.data)
    judged = judge(train, val, np.arange(len(val)), 0)
    figures += report("coco", "COCO val2017", [judged], len(val), n_resamples)
    stacked = fit_fuser(
        "stacked",
        voc.take(split_items(voc.items, 0)[0]),
        rng=np.random.default_rng(0),
    )
    figures += worth(voc.take(split_items(voc.items, 0)[2]), stacked)
    sizes = (50, 100, 200) if options.quick else (300, 900, len(voc))
    figures += agreement(voc, 40 if options.quick else 200)
    figures += speed(voc, stacked, sizes, 40 if options.quick else 100)
    is_short = False
    for name, value, unit, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.4f} {unit} bar {sign}{bar:g} {verdict}")
    return int(is_short)


def coco(data: Path) -> tuple[Recording, Recording]:
    """Detections on images that the detectors were trained on, and on others."""
    train, val = (
        read_parquet(
            data / "coco_detections" / f"{part}.parquet",
            task="boxes",
            truth_file=data / "coco_mini" / f"instances_{part}.json",
            price_usd=PRICE_USD,
        )
        for part in ("train", "val")
    )
    return train, val.only(train.providers)


def judge(train: Recording, test: Recording, numbers: np.ndarray, seed: int) -> Judged:
    """Fit on one part, fuse the other in every case."""
    fusers: dict[str, Fuser] = {name: fuser_named(name) for name in RULES}
    stacked = fit_fuser("stacked", train, rng=np.random.default_rng(seed))
    calibrated = fit_calibration(train).apply(test)
    values: dict[str, dict[str, float]] = {}
    statistics: dict[str, dict[str, Statistic]] = {}
    for case, asked in cases(train, len(test), seed).items():
        fused = {name: fuser.fuse(test, asked) for name, fuser in fusers.items()}
        fused["wbf/calibrated"] = fusers["wbf"].fuse(calibrated, asked)
        fused["stacked"] = stacked.fuse(test, asked)
        found = {name: set_quality(test, answers) for name, answers in fused.items()}
        values[case] = {name: quality.value for name, quality in found.items()}
        if case in {"all", "mix"}:
            statistics[case] = {name: found[name].statistic for name in METHODS}
    return Judged(numbers=numbers, values=values, statistics=statistics)


def cases(train: Recording, n: int, seed: int) -> dict[str, np.ndarray]:
    """Who is asked about each of n items, by the name of the case."""
    rng = np.random.default_rng([seed, 1])
    p = train.n_providers
    wbf = fuser_named("wbf")

    def worth(mask: int, items: Recording) -> float:
        asked = np.full(len(items), mask, np.int64)
        return set_quality(items, wbf.fuse(items, asked)).value

    alone = [worth(1 << k, train) for k in range(p)]
    best = np.argsort(alone)[::-1][:7].tolist()
    trios = [sum(1 << k for k in trio) for trio in itertools.combinations(best, 3)]
    masks = {"all": train.everyone, "trio": max(trios, key=lambda m: worth(m, train))}
    masks |= {name: 1 << k for k, name in enumerate(train.providers)}
    asked = {case: np.full(n, mask, np.int64) for case, mask in masks.items()}
    sizes = rng.integers(1, p + 1, n)
    ranks = rng.random((n, p)).argsort(axis=1).argsort(axis=1)
    asked["mix"] = ((ranks < sizes[:, None]) << np.arange(p)).sum(axis=1)
    return asked


def report(
    key: str, title: str, parts: Sequence[Judged], n: int, n_resamples: int
) -> list[Figure]:
    """Print a table and give the figures of all detectors and of the mix."""
    print(f"\n{title}: pooled AP50 in % of the test part, mean of {len(parts)} splits")
    print(f"{'':28}" + "".join(f"{name:>16}" for name in METHODS))
    for case in parts[0].values:
        means = mean_of(parts, case)
        print(f"{case:28}" + "".join(f"{100 * means[name]:16.2f}" for name in METHODS))
    figures: list[Figure] = []
    for case, other, bar in (("all", "nms", 1.5), ("mix", "", 0.0)):
        means = mean_of(parts, case)
        rival = other or max(METHODS[:-1], key=lambda name: means[name])
        found = paired_bootstrap(
            pooled(parts, case, "stacked"),
            pooled(parts, case, rival),
            n,
            np.random.default_rng(0),
            n_resamples=n_resamples,
        ).estimate
        value, low, high = (100 * x for x in (found.value, found.low, found.high))
        print(f"{case}: stacked - {rival} {value:.2f} points [{low:.2f}, {high:.2f}]")
        name = f"{key}_{case}_stacked_minus_{other or 'best_other'}"
        figures.append((name, value, "points", ">=", bar))
        figures.append((f"{name}_low_end", low, "points", ">=", 0.0))
    return figures


def mean_of(parts: Sequence[Judged], case: str) -> Mapping[str, float]:
    """AP50 of every method, the mean over splits."""
    return {
        name: float(np.mean([part.values[case][name] for part in parts]))
        for name in METHODS
    }


def pooled(parts: Sequence[Judged], case: str, method: str) -> Statistic:
    """The mean over splits as a function of the weights of all items."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        found = [
            part.statistics[case][method](weights[:, part.numbers]) for part in parts
        ]
        return np.mean(found, axis=0)

    return statistic


def worth(test: Recording, stacked: Fuser) -> list[Figure]:
    """Whether scores mean the same however many detectors were asked."""
    print("\ncalibration error of fused scores, by the number of detectors asked")
    fusers = (fuser_named("nms"), fuser_named("wbf"), stacked)
    print("     " + "".join(f"{fuser.name:>10}" for fuser in fusers))
    rng = np.random.default_rng(0)
    worst = 0.0
    for size in range(1, test.n_providers + 1):
        ranks = rng.random((len(test), test.n_providers)).argsort(axis=1)
        is_in = ranks.argsort(axis=1) < size
        asked = (is_in << np.arange(test.n_providers)).sum(axis=1)
        errors = [reliability(test, one.fuse(test, asked)).error for one in fusers]
        print(f"{size:5d}" + "".join(f"{error:10.4f}" for error in errors))
        worst = max(worst, errors[-1])
    return [("stacked_calibration_error_worst", worst, "-", "<=", 0.05)]


def singles(parts: Sequence[Judged]) -> list[Figure]:
    """What learning does to one detector alone."""
    names = [case for case in parts[0].values if case not in {"all", "trio", "mix"}]
    means = [mean_of(parts, name) for name in names]
    gains = [100 * (mean["stacked"] - mean["nms"]) for mean in means]
    return [
        ("voc_single_stacked_minus_nms_mean", float(np.mean(gains)), "points", ">=", 0),
        ("voc_single_stacked_minus_nms_worst", min(gains), "points", ">=", -0.5),
    ]


if __name__ == "__main__":
    sys.exit(main())
