"""Do 95 % intervals cover what they claim to cover?

Many data sets are drawn from one synthetic world and judged with the same detector;
an interval should cover the value to be expected from a data set of that size in 95 of
100 of them. Plain percentiles of the same replicates stand beside it.

    python benchmarks/interval_coverage.py [--quick]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from judging import make

from midhaul.stats import bootstrap
from midhaul.vision.judge.accuracy import Metric, judge

METRICS: tuple[Metric, ...] = ("ap", "ap50", "f1", "macro_f1")
N_IMAGES = 161
N_RESAMPLES = 300
LEAST = 0.88


def main() -> int:
    """Draw, judge, count, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer data sets")
    n_sets = 40 if parser.parse_args().quick else 100
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, ...]]] = {m: [] for m in METRICS}
    for _ in range(n_sets):
        dataset, answers = make(N_IMAGES, rng)
        judgement = judge(answers, dataset)
        for metric in METRICS:
            statistic = judgement.statistic(metric)
            seed = int(rng.integers(2**32))
            chance = np.random.default_rng(seed), np.random.default_rng(seed)
            ours = bootstrap(statistic, N_IMAGES, chance[0], n_resamples=N_RESAMPLES)
            share = np.full(N_IMAGES, 1 / N_IMAGES)
            drawn = statistic(chance[1].multinomial(N_IMAGES, share, N_RESAMPLES) * 1.0)
            plain = np.quantile(drawn, [0.025, 0.975])
            found[metric].append((ours.value, ours.low, ours.high, *plain.tolist()))
    is_short = False
    for metric, rows in found.items():
        table = np.array(rows)
        target = table[:, 0].mean()
        covered, plain = (
            float(np.mean((table[:, k] <= target) & (target <= table[:, k + 1])))
            for k in (1, 3)
        )
        is_met = covered >= LEAST
        is_short |= not is_met
        print(f"{metric}: expected {target:.4f}, spread {table[:, 0].std():.4f}")
        print(f"figure coverage_{metric}_plain {plain:.3f} 1 bar >=0 ok")
        verdict = "ok" if is_met else "short"
        print(f"figure coverage_{metric} {covered:.3f} 1 bar >={LEAST} {verdict}")
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
