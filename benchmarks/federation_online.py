"""What does a policy lose over time, when providers change and when nobody tells it?

Streams of recorded items, half of each set by the hash of ids; the other half is
learned from. For each set, with and without a provider that gets worse after a third:

- regret over time of the best fixed subset (as learned), LinUCB (without and with a
  first answer, forgetting or not), our cascade as it was learned, and the same kept up
  to date (``online``: audits, alarms, learning anew), with labels, few and none;
- alarms: how often one is false, how many audits a change takes to be noticed, and
  whether the right provider is named;
- the mode without labels: what a cascade that learned from the fused answer of
  everybody keeps of one that learned from people, and what its references cost.

Bars. No more than 1 false alarm in 10,000 items. A provider whose answers are swapped
on half of the items is noticed within 150 audits (median over sets and providers), one
that fails on half within 20. After a change, what is kept up to date has in the last
third of the stream, audits included, at least 0.95 of the worth of the best fixed
subset of that very third, which nobody could know. While nothing changes it loses no
more than 0.03 of the worth. Without labels at least 0.94 of the worth remains, which is
what Armol's table has (32.68 of 34.71 AP50). The bars
were stated before digit and pascal were streamed, after ferplus and waimai had been.

These streams are no untouched test: what watches answers, who takes over, how long is
audited more and whom references trust was changed after looking at all four. One order
of the items for each set, so regret has no interval; other data have to confirm it.

    python benchmarks/federation_online.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from online_cases import case
from online_streams import streams

from midhaul.federation.evaluate.online import degraded
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.ensemble_labels import with_references
from midhaul.federation.policies.online.drift import DriftMonitor
from midhaul.federation.policies.online.settings import OnlineSettings
from midhaul.federation.quality import item_quality

if TYPE_CHECKING:
    from online_cases import Case

    from midhaul.federation.evaluate.online import Degrading
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.online.drift import Alarm
    from midhaul.federation.recordings.problem import Recording

DATA = Path(
    os.environ.get("MIDHAUL_DATA", Path(__file__).parent.parent.parent / "shared/data")
)
SETS = ("ferplus", "waimai", "digit", "pascal")
N_BETWEEN = 10_000


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sets and seeds")
    parser.add_argument("--policy", default="cascade", help="what is kept up to date")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    begin = time.process_time()
    names = SETS[:1] if options.quick else SETS
    seeds = range(1 if options.quick else 5)
    cases = [
        one
        for name in names
        if (one := case(options.data / "mlaas", name, 0)) is not None
    ]
    if not cases:
        print(f"no data sets in {options.data / 'mlaas'}")
        return 1
    figures = [*false_alarms(cases, seeds), *delays(cases, seeds)]
    figures += streams(cases, options.policy)
    figures += without_labels(options.data / "mlaas", names, seeds, options.policy)
    print(f"\n{time.process_time() - begin:.0f} s of CPU")
    is_short = False
    for name, value, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.4f} - bar {sign}{bar:g} {verdict}")
    return int(is_short)


def false_alarms(
    cases: list[Case], seeds: range
) -> list[tuple[str, float, str, float]]:
    """Streams in which nothing changes, in several orders."""
    n_alarms, n_items = 0, 0
    print("\nfalse alarms, everybody asked about every item, A = 10,000")
    for one in cases:
        here = 0
        for seed in seeds:
            order = np.random.default_rng([seed, 3]).permutation(len(one.later))
            here += len(_watch(one, one.later.take(order), N_BETWEEN))
        total = len(one.later) * len(seeds)
        print(f"{one.name:10} {here} in {total} items")
        n_alarms, n_items = n_alarms + here, n_items + total
    rate = n_alarms / n_items * N_BETWEEN
    return [("false_alarms_in_10000_items", rate, "<=", 1.0)]


def _watch(one: Case, recording: Recording, n_between: float) -> tuple[Alarm, ...]:
    monitor = DriftMonitor(recording.providers, n_between)
    before = one.calibration.recording
    monitor.baseline(before, _fused(one.fuser, before))
    return monitor.watch(recording, _fused(one.fuser, recording))


def _fused(fuser: Fuser, recording: Recording) -> Any:
    asked = np.full(len(recording), recording.everyone, np.int64)
    return fuser.fuse(recording.shown(asked), asked)


def delays(cases: list[Case], seeds: range) -> list[tuple[str, float, str, float]]:
    """Audits from a change to the first alarm, at an audit share of 5 %."""
    settings = OnlineSettings()
    n_between = 2 * settings.n_between_alarms * settings.audit_share
    print("\naudits to the first alarm (median of seeds), half of the items hit")
    print("set        provider            swapped  failing   unsure  named rightly")
    found: dict[str, list[float]] = {"swapped": [], "failing": [], "unsure": []}
    n_right, n_named = 0, 0
    for one in cases:
        for provider in one.later.providers:
            medians: list[float] = []
            right: list[bool] = []
            for how, all_of in found.items():
                took: list[float] = []
                for seed in seeds:
                    delay, is_right = _delay(one, provider, how, seed, n_between)  # pyright: ignore[reportArgumentType]
                    took.append(delay)
                    right.append(is_right)
                medians.append(float(np.median(took)))
                all_of.append(medians[-1])
            n_right, n_named = n_right + sum(right), n_named + len(right)
            shown = "".join(f"{median:9.0f}" for median in medians)
            print(f"{one.name:10} {provider:18}{shown}      {np.mean(right):.2f}")
    print(f"named rightly: {n_right} of {n_named}")
    return [
        ("audits_to_notice_swapped", float(np.median(found["swapped"])), "<=", 150.0),
        ("audits_to_notice_failing", float(np.median(found["failing"])), "<=", 20.0),
    ]


def _delay(
    one: Case, provider: str, how: Degrading, seed: int, n_between: float
) -> tuple[float, bool]:
    rng = np.random.default_rng([seed, 4])
    recording = one.later.take(rng.permutation(len(one.later)))
    worse = degraded(recording, provider, 0, rng, share=0.5, how=how)
    alarms = _watch(one, worse, n_between)
    if not alarms:
        return float("inf"), False
    return float(alarms[0].number), alarms[0].provider == provider


def without_labels(
    folder: Path, names: tuple[str, ...], seeds: range, policy: str
) -> list[tuple[str, float, str, float]]:
    """What learning from everybody's fused answer keeps, judged by the truth."""
    print("\nwithout labels: worth on the test part, mean of splits")
    print(
        "set        cheapest  with labels  without  gain kept"
        "  bill of references, USD  a year of use at 10,000 items a day, USD"
    )
    ratios: list[float] = []
    for name in names:
        rows: list[tuple[float, ...]] = []
        for seed in seeds:
            one = case(folder, name, seed)
            if one is None:
                continue
            task = one.later.task
            teacher = fuser_named("wbf" if task == "boxes" else "vote")
            judged, bill = with_references(one.train.recording, teacher)
            taught = replace(one.train, recording=judged)
            found = [_cheapest(one)]
            for examples in (one.train, taught):
                family: Any = fit_policy(policy, examples, {}, np.random.default_rng(8))
                found += [*_tested(one, family.at(one.multiplier))]
            rows.append((*found, bill.total_usd))
        if not rows:
            continue
        low, high, _, kept, usd, billed = np.mean(rows, axis=0)
        share = (kept - low) / (high - low)
        ratios.append(kept / high)
        print(
            f"{name:10} {low:8.4f} {high:12.4f} {kept:8.4f} {share:10.3f}"
            f"{billed:18.2f}{usd * 3_650_000:28.0f}"
        )
    return [("worth_kept_without_labels", min(ratios), ">=", 0.94)]


def _tested(one: Case, policy: Any) -> tuple[float, float]:
    recording = one.later
    features = np.zeros((len(recording), 0), np.float32)
    rng = np.random.default_rng(9)
    done = replay(policy, recording, features, one.fuser, rng)
    quality = float(item_quality(recording, done.fused).mean())
    cost = float(done.cost_usd.mean())
    return quality - one.multiplier * cost, cost


def _cheapest(one: Case) -> float:
    recording = one.later
    p = int(recording.prices_usd.argmin())
    quality = float(item_quality(recording, recording.answers[p]).mean())
    return quality - one.multiplier * float(recording.prices_usd[p])


if __name__ == "__main__":
    sys.exit(main())
