"""Lines of Armol's table over several seeds: qualities with intervals, price, calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from armol_rows import Judge, parts_of, settings_of_prices

from midhaul.federation.evaluate.metrics import over_splits
from midhaul.federation.policies.armol.rewards import reward_of
from midhaul.federation.recordings.problem import sizes_of
from midhaul.stats import bootstrap, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from armol_rows import Done

    from midhaul.model import Estimate
    from midhaul.model.estimate import Statistic

N_RESAMPLES = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A line of the table, over all seeds.

    Attributes:
        name: of the line.
        ap, ap50, ap75: with intervals, in percent.
        cost: mean price of an item in thousandths of a USD.
        calls: ``(M,)`` to each provider, a mean over seeds.
        of_image: mean AP50 of single images, which the learners are rewarded with.
        reward: mean of Armol's reward, an image.
        seconds: that learning took.
        ap50_of: as a function of how often each image counts.
        n_images: that are judged.
    """

    name: str
    ap: float
    ap50: Estimate
    ap75: float
    cost: float
    calls: np.ndarray
    of_image: float
    reward: float
    seconds: float
    ap50_of: Statistic
    n_images: int


def table(data: Path, done: Sequence[Done], order: Sequence[str]) -> list[Row]:
    """Judge and print one table, its lines in a given order."""
    first = done[0].job
    recording = parts_of(data, first).test.recording
    jobs = {(one.job.seed, one.job.is_stacked): one.job for one in done}
    judges = {key: Judge(parts_of(data, job)) for key, job in jobs.items()}
    names = {one.job.row for one in done}
    rows = [row_of(name, done, judges) for name in order if name in names]
    protocol = "40/10/50 within val" if first.is_strict else "train -> val"
    prices = "equal prices" if first.is_equal else "second price list"
    n_seeds = len({one.job.seed for one in done})
    title = f"{protocol}, {prices}, {n_seeds} seeds"
    print(f"\n{first.n_providers} providers, {title}", flush=True)
    print(
        "| method | AP | AP50 (95 %) | AP75 | image AP50 | reward | 1e-3 USD "
        "| calls per provider | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        name = row.name
        if name.startswith("single"):
            name = recording.providers[int(name.split()[1])]
        calls = " ".join(f"{count:.0f}" for count in row.calls)
        low, high = row.ap50.low, row.ap50.high
        print(
            f"| {name} | {row.ap:.1f} | {row.ap50.value:.1f} ({low:.1f} to {high:.1f}) "
            f"| {row.ap75:.1f} | {row.of_image:.1f} | {row.reward:.4f} "
            f"| {row.cost:.3f} | {calls} | {row.seconds:.1f} |"
        )
    return rows


def row_of(
    name: str, done: Sequence[Done], judges: dict[tuple[int, bool], Judge]
) -> Row:
    """One line over all seeds."""
    mine = [one for one in done if one.job.row == name]
    by_whom = [judges[one.job.seed, one.job.is_stacked] for one in mine]
    parts = [judge.parts for judge in by_whom]
    qualities = [
        judge.quality(one.asked) for judge, one in zip(by_whom, mine, strict=True)
    ]
    numbers = [part.numbers for part in parts]
    n_images = 1 + max(int(some.max()) for some in numbers)
    statistics = {
        "ap": [quality.ap for quality in qualities],
        "ap50": [quality.ap50 for quality in qualities],
        "ap75": [quality.ap75 for quality in qualities],
    }
    together = {
        key: over_splits(list(zip(numbers, some, strict=True)))
        for key, some in statistics.items()
    }
    ones, rng = np.ones((1, n_images)), np.random.default_rng(0)
    recordings = [part.test.recording for part in parts]
    bits = np.arange(recordings[0].n_providers)
    calls = [(one.asked[:, None] >> bits & 1).sum(axis=0) for one in mine]
    costs = [
        recording.prices_of(one.asked).mean()
        for recording, one in zip(recordings, mine, strict=True)
    ]
    settings = settings_of_prices(is_equal=mine[0].job.is_equal)
    values = [judge.values(one.asked) for judge, one in zip(by_whom, mine, strict=True)]
    rewards = [
        reward_of(value, sizes_of(one.asked), recording.prices_of(one.asked), settings)
        for value, one, recording in zip(values, mine, recordings, strict=True)
    ]
    return Row(
        name=name,
        ap=100 * float(together["ap"](ones)[0]),
        ap50=percent(
            bootstrap(together["ap50"], n_images, rng, n_resamples=N_RESAMPLES)
        ),
        ap75=100 * float(together["ap75"](ones)[0]),
        cost=1e3 * float(np.mean(costs)),
        calls=np.mean(calls, axis=0),
        of_image=100 * float(np.mean([v.clip(0).mean() for v in values])),
        reward=float(np.mean([r.mean() for r in rewards])),
        seconds=float(np.mean([one.seconds for one in mine])),
        ap50_of=together["ap50"],
        n_images=n_images,
    )


def difference(rows: Sequence[Row], first: str, second: str) -> Estimate:
    """AP50 of one line less another's, in points, paired over images."""
    by_name = {row.name: row for row in rows}
    one, two = by_name[first], by_name[second]
    found = paired_bootstrap(
        one.ap50_of,
        two.ap50_of,
        one.n_images,
        np.random.default_rng(1),
        n_resamples=N_RESAMPLES,
    )
    return percent(found.estimate)


def gap_recovered(rows: Sequence[Row], name: str) -> tuple[float, float]:
    """Share of the way from the best fixed single to the upper bound.

    Returns:
        In pooled AP50, and in the reward that is learned from.
    """
    by_name = {row.name: (row.ap50.value, row.reward) for row in rows}
    base, bound = by_name["best fixed <= 1"], by_name["upper bound"]
    shares = [
        (mine - low) / (high - low)
        for mine, low, high in zip(by_name[name], base, bound, strict=True)
    ]
    return shares[0], shares[1]


def percent(estimate: Estimate) -> Estimate:
    """A share in percent."""
    return replace(
        estimate,
        value=100 * estimate.value,
        low=100 * estimate.low,
        high=100 * estimate.high,
    )
