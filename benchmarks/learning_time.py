"""How long does our cascade learn, beside SAC as Armol released it, and decide?

Both learn in the same run, on one thread, from the same items: three sizes of a
training set. SAC takes 50,000 steps and 48,050 updates of 1,024 whatever the size.
Unless ``--full`` is given, its time is that of the steps and updates it was let do,
times how many there are; both counts are printed. Decisions are timed per item, for
many items at once and for one.

    python benchmarks/learning_time.py [--quick] [--data DIR] [--full]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from armol_data import DATA, THREE, load, present, taken

from midhaul.federation.policies.armol.presets import preset
from midhaul.federation.policies.armol.sac import fit_sac
from midhaul.federation.policies.base import Situation
from midhaul.federation.policies.budgets import calibrate
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.recordings.problem import split_items

if TYPE_CHECKING:
    from midhaul.federation.policies.base import Examples, SubsetPolicy

SHARES = (0.25, 0.5, 1.0)
"""Of the training items."""
BUDGET_CALLS = 1.5
LEAST_RATIO = 10.0
MOST_US = 1_000.0
N_MANY, N_SINGLE = 2_000, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds of learning.

    Attributes:
        seconds: of the whole, scaled where it was cut.
        policy: what was learned.
        n_steps: that were taken.
        n_updates: that were done.
    """

    seconds: float
    policy: SubsetPolicy
    n_steps: int = 0
    n_updates: int = 0


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer updates of SAC")
    parser.add_argument("--full", action="store_true", help="all of SAC, an hour each")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = load(options.data)
    world = world.with_providers(present(world.val.recording, THREE))
    learn, hold = split_items(world.train.recording.items, 0, (0.8, 0.2))
    whole, calibration = taken(world.train, learn), taken(world.train, hold)
    learn_cascade(taken(whole, np.arange(8)), calibration)  # compiles its kernels
    ratios: list[float] = []
    print(
        "| items | cascade, s | SAC (armol), s | steps, updates | SAC (corrected), s |"
    )
    print("|---|---|---|---|---|")
    for share in SHARES:
        some = taken(whole, np.arange(round(share * len(whole))))
        ours = learn_cascade(some, calibration)
        theirs = learn_sac(some, n_updates=10 if options.quick else 100)
        if options.full:
            theirs = learn_all(some)
        begin = time.perf_counter()
        rng = np.random.default_rng(0)
        better = fit_sac(some, preset("sac", "corrected"), rng, calibration=calibration)
        corrected_s = time.perf_counter() - begin
        ratios.append(theirs.seconds / ours.seconds)
        print(
            f"| {len(some)} | {ours.seconds:.2f} | {theirs.seconds:.0f} | "
            f"{theirs.n_steps:,}, {theirs.n_updates:,} | {corrected_s:.1f} |"
        )
        last = (ours.policy, theirs.policy, better)
    names = ("cascade", "SAC (armol)", "SAC (corrected)")
    print(
        "\n| policy | us an item, many at once | us an item, one alone |\n|---|---|---|"
    )
    singles: list[float] = []
    for name, policy in zip(names, last, strict=True):
        many, single = decision_us(policy, world.val)
        singles.append(many)
        print(f"| {name} | {many:.1f} | {single:.0f} |")
    return figures(min(ratios), singles[0])


def learn_cascade(examples: Examples, calibration: Examples) -> Spent:
    """Our policy, calibrated to a budget."""
    begin = time.perf_counter()
    rng = np.random.default_rng(0)
    family: Any = fit_policy("cascade", examples, None, rng)
    budget_usd = BUDGET_CALLS * float(examples.recording.prices_usd.mean())
    policy = calibrate(family, calibration, rng).for_budget(budget_usd)
    return Spent(seconds=time.perf_counter() - begin, policy=policy)


def learn_sac(examples: Examples, n_updates: int) -> Spent:
    """SAC as released, as far as it is let, scaled to all of its steps and updates."""
    settings = preset("sac", "armol")
    replay, course = settings.replay, settings.course
    total = course.n_epochs * course.n_steps
    rounds = (total - replay.n_before) // replay.n_between + 1
    n_before = replay.n_before - replay.n_between
    idle = replace(settings, course=replace(course, n_epochs=1, n_steps=n_before))
    begin = time.perf_counter()
    fit_sac(examples, idle, np.random.default_rng(0))
    stepping = time.perf_counter() - begin
    busy = replace(
        settings,
        course=replace(course, n_epochs=1, n_steps=replay.n_before),
        replay=replace(replay, n_updates=n_updates),
    )
    begin = time.perf_counter()
    policy = fit_sac(examples, busy, np.random.default_rng(0))
    updating = time.perf_counter() - begin - stepping
    all_updates = rounds * replay.n_updates
    seconds = stepping * total / n_before + updating * all_updates / n_updates
    return Spent(
        seconds=seconds, policy=policy, n_steps=replay.n_before, n_updates=n_updates
    )


def learn_all(examples: Examples) -> Spent:
    """SAC as released, to its end."""
    settings = preset("sac", "armol")
    replay, course = settings.replay, settings.course
    total = course.n_epochs * course.n_steps
    begin = time.perf_counter()
    policy = fit_sac(examples, settings, np.random.default_rng(0))
    return Spent(
        seconds=time.perf_counter() - begin,
        policy=policy,
        n_steps=total,
        n_updates=replay.n_updates
        * ((total - replay.n_before) // replay.n_between + 1),
    )


def decision_us(policy: SubsetPolicy, examples: Examples) -> tuple[float, float]:
    """Time of the first decision about an item: of many at once, and of one alone."""
    n = len(examples)
    rng = np.random.default_rng(0)
    everything = _before(examples)
    one = _before(taken(examples, np.arange(1)))
    for situation in (everything, one):
        policy.decide(situation, rng)  # whatever is made at the first call
    n_times = max(1, N_MANY // n)
    begin = time.perf_counter()
    for _ in range(n_times):
        policy.decide(everything, rng)
    many = (time.perf_counter() - begin) / (n_times * n)
    singles: list[float] = []
    for _ in range(N_SINGLE):
        begin = time.perf_counter()
        policy.decide(one, rng)
        singles.append(time.perf_counter() - begin)
    return 1e6 * many, 1e6 * float(np.median(singles))


def _before(examples: Examples) -> Situation:
    """What is known before anybody is asked."""
    asked = np.zeros(len(examples), np.int64)
    return Situation(
        recording=examples.recording.shown(asked),
        features=examples.features,
        asked=asked,
    )


def figures(ratio: float, decision: float) -> int:
    """Print the figures with their bars."""
    print()
    is_slow, is_late = ratio < LEAST_RATIO, decision > MOST_US
    print(
        f"figure sac_over_cascade_learning_time {ratio:.1f} ratio "
        f"bar >={LEAST_RATIO:g} {'short' if is_slow else 'ok'}"
    )
    print(
        f"figure cascade_decision_time {decision:.1f} us bar <={MOST_US:g} "
        f"{'short' if is_late else 'ok'}"
    )
    return int(is_slow or is_late)


if __name__ == "__main__":
    sys.exit(main())
