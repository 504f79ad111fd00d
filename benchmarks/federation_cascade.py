"""How much of everybody's quality does a cascade over subsets reach for which price?

Tags (pascal_tags), single labels (six FrugalML sets) and boxes (voc2007_boxes), learned
on 40 % of the items, budgets calibrated on 10 %, judged on the other half, over several
splits by hash. Asking all is fused by the same learned fuser, and by the plain one.

    python benchmarks/federation_cascade.py [--quick] [--data DIR] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.evaluate.config import FusionConfig, LearnerConfig
from midhaul.federation.evaluate.metrics import cost_to_match
from midhaul.federation.evaluate.split_and_fit import (
    PreparedSplit,
    TestPart,
    learn,
    split_three,
)
from midhaul.federation.fusion import Fuser, fuser_named
from midhaul.federation.policies.base import replay
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.problem import Recording, all_masks, sizes_of
from midhaul.federation.recordings.source import RecordingSource, open_recording
from midhaul.runs.progress import SilentProgress

if TYPE_CHECKING:
    from midhaul.federation.policies.base import SubsetPolicy

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
SAVINGS = {
    "ferplus": 0.67,
    "waimai": 0.60,
    "yelp": 0.12,
    "audiomnist": 0.91,
    "digit": 0.44,
    "fluent": 0.37,
}
"""The higher of what FrugalML is remembered to save and what a simple cascade saved."""

SECOND_PRICES = (0.001, 0.0002, 0.0002, 0.0005, 0.001, 0.0015, 0.0008)
"""Another price list of VOC's seven detectors, in the order of the recording."""

N_TRIO = 3

Figure = tuple[str, float, str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One split of a recording with a cascade learned on it."""

    prepared: PreparedSplit
    part: TestPart
    seed: int

    def run(self, policy: SubsetPolicy) -> tuple[float, float, float]:
        """Price, quality and calls of a policy on the test items."""
        recording = self.part.recording
        done = replay(
            policy,
            recording,
            self.part.features,
            self.prepared.fuser,
            np.random.default_rng(self.seed),
        )
        return (
            float(done.cost_usd.mean()),
            set_quality(recording, done.fused).value,
            float(sizes_of(done.asked).mean()),
        )

    def fixed(self, mask: int, fuser: Fuser | None = None) -> float:
        """Quality of asking one subset about every test item."""
        recording = self.part.recording if fuser is None else self.part.raw
        asked = np.full(len(recording), mask, np.int64)
        fused = (fuser or self.prepared.fuser).fuse(recording, asked)
        return set_quality(self.part.raw, fused).value


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one split, not five")
    parser.add_argument("--only", nargs="*", default=(), help="data sets by name")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("MIDHAUL_DATA", DATA))
    )
    options = parser.parse_args()
    n_seeds = 1 if options.quick else 5
    figures: list[Figure] = []
    for name in ("pascal_tags", *SAVINGS, "voc2007_boxes"):
        if options.only and name not in options.only:
            continue
        recording = read(options.data, name)
        if recording is None:
            print(f"no {name} in {options.data}: left out")
        elif name == "pascal_tags":
            figures += tags(recording, n_seeds)
        elif name == "voc2007_boxes":
            figures += boxes(recording, n_seeds, "equal prices")
            second = replace(recording, prices_usd=np.array(SECOND_PRICES))
            boxes(second, n_seeds, "second price list")
        else:
            figures += labels(name, recording, n_seeds)
    for title, value, unit, bar in figures:
        verdict = "ok" if value >= bar else "short"
        print(f"figure {title} {value:.4f} {unit} bar >={bar:g} {verdict}")
    return int(not figures or any(value < bar for _, value, _, bar in figures))


def read(folder: Path, name: str) -> Recording | None:
    """A recording of the data folder; None where it is not there."""
    task, price_usd, truth = "labels", None, None
    file = folder / "mlaas" / f"{name}.parquet"
    if name == "pascal_tags":
        task, truth = "tags", folder / "mlaas" / "pascal_truth.parquet"
    if name == "voc2007_boxes":
        task, price_usd = "boxes", 0.001
        file, truth = (
            folder / name / f for f in ("predictions.parquet", "truth.parquet")
        )
    if not file.is_file():
        return None
    return open_recording(
        RecordingSource(
            kind="parquet", file=file, task=task, truth=truth, price_usd=price_usd
        )
    )


def split_of(recording: Recording, seed: int) -> Split:
    """Fit calibration and fusion on the training items of one split."""
    features = np.zeros((len(recording), 0), np.float32)
    prepared, part = split_three(
        recording, features, FusionConfig(), "truth", (0.4, 0.1, 0.5), seed
    )
    return Split(prepared=prepared, part=part, seed=seed)


def learned(split: Split):  # noqa: ANN201 - a BudgetCurve
    """The calibrated cascade of a split, and the time it took."""
    found = learn(
        "cascade",
        split.prepared.train,
        split.prepared.calibration,
        LearnerConfig(),
        split.seed,
        SilentProgress(),
    )
    assert found.curve is not None  # noqa: S101 - a family has one
    return found.curve, found.fit_s


def tags(recording: Recording, n_seeds: int) -> list[Figure]:
    """Three commercial tagging services."""
    price_usd = float(recording.prices_usd.sum())
    shares = (0.2, 0.22, 0.25, 0.3, 0.36, 0.5, 1.0)
    rows, plain, stacked = [], [], []
    for seed in range(n_seeds):
        split = split_of(recording, seed)
        curve, fit_s = learned(split)
        budgets = [curve.for_budget(share * price_usd) for share in shares]
        rows.append([split.run(policy) for policy in budgets])
        plain.append(split.fixed(recording.everyone, fuser_named("vote")))
        stacked.append(split.fixed(recording.everyone))
        print(f"pascal_tags split {seed}: learned in {fit_s:.1f} s")
    table = np.mean(rows, axis=0)
    print("budget  share of price  Jaccard  calls")
    for share, (cost, quality, calls) in zip(shares, table, strict=True):
        print(f"{share:6.2f}  {cost / price_usd:14.3f}  {quality:.4f}  {calls:.2f}")
    vote, ours = float(np.mean(plain)), float(np.mean(stacked))
    print(f"all three: vote {vote:.4f}, stacked {ours:.4f}")
    points = [(cost / price_usd, quality) for cost, quality, _ in table]
    for title, target in (("vote", vote), ("stacked", ours)):
        found = cost_to_match(points, target)
        print(f"all three by {title} are matched at {found} of their price")
    spent, reached = np.array(rows)[:, :, 0] / price_usd, np.array(rows)[:, :, 1]
    gains = {}
    for share in (0.25, 0.36):
        # Read off where just so much was spent, as a budget is not met to the cent.
        read = [np.interp(share, *one) for one in zip(spent, reached, strict=True)]
        gains[share] = gain = np.array(read) - np.array(plain)
        half = 1.96 * gain.std(ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else np.nan
        print(f"over all three by vote at {share}: {gain.mean():.4f} ± {half:.4f}")
    return [
        ("tags_over_all_at_25pct", float(gains[0.25].mean()), "Jaccard", 0.0),
        ("tags_over_all_at_36pct", float(gains[0.36].mean()), "Jaccard", 0.025),
    ]


def labels(name: str, recording: Recording, n_seeds: int) -> list[Figure]:
    """One FrugalML set: what matching the best single provider saves."""
    savings, gains, fits = [], [], []
    for seed in range(n_seeds):
        split = split_of(recording, seed)
        curve, fit_s = learned(split)
        fits.append(fit_s)
        alone = [
            set_quality(split.part.raw, one).value for one in split.part.raw.answers
        ]
        best = int(np.argmax(alone))
        price_usd = float(recording.prices_usd[best])
        runs = [split.run(curve.family.at(p.multiplier)) for p in curve.points]
        points = [(cost, quality) for cost, quality, _ in runs]
        cost = cost_to_match(points, alone[best])
        savings.append(0.0 if cost is None else 1 - cost / price_usd)
        at_price = split.run(curve.for_budget(price_usd))
        gains.append(at_price[1] - alone[best])
    saving, spread = float(np.mean(savings)), float(np.std(savings))
    print(
        f"{name}: saves {saving:.3f} (sd {spread:.3f}) at the best single's accuracy; "
        f"{np.mean(gains):+.4f} at its price; learned in {np.mean(fits):.1f} s"
    )
    return [(f"labels_{name}_saving", saving, "share", SAVINGS[name])]


def boxes(recording: Recording, n_seeds: int, title: str) -> list[Figure]:
    """Seven detectors: what a number of calls buys."""
    calls = (1.0, 1.25, 1.55, 2.0, 2.4, 3.0, 3.6, 5.0)
    price_usd = float(recording.prices_usd.mean())
    rows, stacked, plain = [], [], []
    masks = all_masks(recording.n_providers)
    sizes = sizes_of(masks)
    trios, wbf = masks[sizes == N_TRIO].tolist(), fuser_named("wbf")
    for seed in range(n_seeds):
        split = split_of(recording, seed)
        curve, fit_s = learned(split)
        rows.append([split.run(curve.for_budget(n * price_usd)) for n in calls])
        found = np.array([split.fixed(int(mask)) for mask in masks])
        stacked.append([found[sizes == k].max() for k in range(1, 8)])
        raw = split.part.raw
        plain.append(
            [
                max(set_quality(raw, one).value for one in raw.answers),
                max(split.fixed(mask, wbf) for mask in trios),
                split.fixed(recording.everyone, wbf),
                split.fixed(recording.everyone, fuser_named("nms")),
            ]
        )
        print(f"voc2007_boxes, {title}, split {seed}: learned in {fit_s:.1f} s")
    at = budget_table(f"voc2007_boxes, {title}", rows, calls, price_usd)
    fixed = 100 * np.array(stacked)
    print("best fixed subset of 1..7, stacked:", fixed.mean(axis=0).round(2).tolist())
    single, trio, whole, nms = 100 * np.transpose(plain)
    print(
        f"best single as it answers {single.mean():.2f}, best trio by WBF "
        f"{trio.mean():.2f}, all seven by WBF {whole.mean():.2f}, NMS {nms.mean():.2f}"
    )
    pairs = (
        ("best_single", 1.55, single, fixed[:, 0], 5.0),
        ("best_trio", 2.4, trio, fixed[:, 2], 0.0),
        ("all", 3.6, whole, fixed[:, 6], 0.0),
    )
    figures: list[Figure] = []
    for name, budget, as_is, by_stacking, bar in pairs:
        print(f"over {name} at {budget}: {apart(at[budget] - as_is)}")
        print(f"over {name} with our fusion: {apart(at[budget] - by_stacking)}")
        gain = float((at[budget] - as_is).mean())
        figures.append((f"boxes_over_{name}_at_{budget}", gain, "AP50", bar))
    gain = float((fixed[:, 6] - nms).mean())
    return [*figures, ("boxes_all_stacked_over_nms", gain, "AP50", 1.5)]


def budget_table(
    title: str,
    rows: list[list[tuple[float, float, float]]],
    budgets: tuple[float, ...],
    price_usd: float,
) -> dict[float, np.ndarray]:
    """Print what budgets buy; AP50 in percent of each split, by budget."""
    print(f"{title}: budget in calls, price in calls, AP50, calls")
    for n, (cost, quality, made) in zip(budgets, np.mean(rows, axis=0), strict=True):
        print(f"{n:5.2f}  {cost / price_usd:5.2f}  {100 * quality:.2f}  {made:.2f}")
    return dict(zip(budgets, 100 * np.array(rows)[:, :, 1].T, strict=True))


def apart(differences: np.ndarray) -> str:
    """The mean over splits, and the least and the most."""
    low, high = differences.min(), differences.max()
    return f"{differences.mean():+.2f} ({low:+.2f} to {high:+.2f} over the splits)"


if __name__ == "__main__":
    begin = time.monotonic()
    code = main()
    print(f"{time.monotonic() - begin:.0f} s")
    sys.exit(code)
