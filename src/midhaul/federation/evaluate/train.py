"""federation.train: what happens when a file of that kind is run."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul.errors import ConfigError
from midhaul.federation.bundle import Bundle
from midhaul.federation.evaluate import metrics as result_rows
from midhaul.federation.evaluate import tables
from midhaul.federation.evaluate.inputs import features_of, recording_of
from midhaul.federation.evaluate.metrics import TRAIN_METRICS, judge
from midhaul.federation.evaluate.split_and_fit import (
    Learned,
    PreparedSplit,
    TestPart,
    learn,
    prepare,
)
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.catalogue import entry_named
from midhaul.federation.policies.ensemble_labels import ReferenceBill
from midhaul.federation.recordings.problem import sizes_of, split_items
from midhaul.model import Verdict
from midhaul.runs.summary import SUMMARY
from midhaul.stats import bootstrap, known, mean_statistic

if TYPE_CHECKING:
    from midhaul.federation.evaluate.config import TrainConfig
    from midhaul.federation.evaluate.metrics import PolicyOutcome
    from midhaul.federation.policies.base import SavedPolicy, SubsetPolicy
    from midhaul.federation.recordings.problem import Recording
    from midhaul.model import Estimate
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

BUNDLE = "federation.npz"
"""Name of the saved federation below ``files/``."""


def train(config: TrainConfig, run: Run, progress: Progress) -> None:
    """Learn one policy, calibrate its budget and save it with all that it needs."""
    entry = entry_named(config.policy)
    if entry.knows_truth:
        message = f"policy {config.policy!r} knows the truth, so nobody can use it"
        raise ConfigError(message, "federation.evaluate shows it as a bound")
    recording, tallies = recording_of(config.data, config.seed, progress)
    run.tally(*tallies)
    features, names = features_of(
        config.features, config.data, config.seed, recording, progress
    )
    run.write(tables.PROVIDERS, tables.provider_rows(recording), part=0)
    mine, held = split_items(recording.items, config.seed, config.shares)
    prepared = prepare(
        recording.take(mine),
        recording.take(held),
        (features[mine], features[held]),
        config.fusion,
        config.reference,
        np.random.default_rng([config.seed, 1]),
    )
    _write_bill(run, prepared)
    learned = learn(
        config.policy,
        prepared.train,
        prepared.calibration,
        config.learner,
        config.seed,
        progress,
        settings=_settings(config, recording),
    )
    policy = _write_choice(config, run, recording, names, prepared, learned)
    _write_held_out(run, recording.take(held), held, prepared, learned, policy)
    progress.note(f"saved {run.file(BUNDLE)}")
    run.verdict = Verdict()


def _settings(config: TrainConfig, recording: Recording) -> dict[str, Any]:
    """What the policy is told besides the items.

    ConfigError where that is for who chooses, missing, or too much.
    """
    known = set(entry_named(config.policy).settings)
    told: dict[str, Any] = {
        "providers": config.providers,
        "provider": config.providers[0] if config.providers else "",
        "budget_usd": _budget_usd(config, recording),
    }
    if config.providers and not known & {"provider", "providers"}:
        message = f"policy {config.policy!r} chooses whom to ask by itself"
        raise ConfigError(message, "leave out providers")
    if len(config.providers) > 1 and "provider" in known:
        message = (
            f"policy {config.policy!r} asks one provider, found {config.providers}"
        )
        raise ConfigError(message, 'subset asks several: policy = "subset"')
    return {key: value for key, value in told.items() if key in known}


def _budget_usd(config: TrainConfig, recording: Recording) -> float:
    return config.budget_usd or config.budget_share * float(recording.prices_usd.sum())


def _write_choice(
    config: TrainConfig,
    run: Run,
    recording: Recording,
    features: tuple[str, ...],
    prepared: PreparedSplit,
    learned: Learned,
) -> SubsetPolicy:
    """The policy that keeps the budget, saved and named."""
    all_usd = float(recording.prices_usd.sum())
    budget_usd = _budget_usd(config, recording)
    policy = learned.at(budget_usd)
    Bundle(
        task=recording.task,
        names=recording.names,
        providers=recording.providers,
        prices_usd=recording.prices_usd,
        features=features,
        calibration=prepared.scores,
        fuser=prepared.fuser,
        policy=cast("SavedPolicy", policy),
    ).save(run.file(BUNDLE))
    has_budget = learned.curve is not None or (
        "budget_usd" in entry_named(config.policy).settings
    )
    row = {
        "configuration": 0,
        "name": config.policy,
        "policy": config.policy,
        "budget_share": budget_usd / all_usd if has_budget and all_usd else None,
        "budget_usd": budget_usd if has_budget else None,
        "settings": json.dumps({"reference": config.reference}),
    }
    run.write(tables.CONFIGURATIONS, [row], part=0)
    rows = [{"configuration": 0, "split": 0, **one} for one in learned.learning]
    run.write(tables.LEARNING, rows, part=0)
    return policy


def _write_bill(run: Run, prepared: PreparedSplit) -> None:
    """What the answers that were learned from would cost."""
    parts = (prepared.train.recording, prepared.calibration.recording)
    bills = [
        ReferenceBill.of(one, np.full(len(one), one.everyone, np.int64))
        for one in parts
    ]
    bill = bills[0] + bills[1]
    columns = zip(bill.providers, bill.n_calls, bill.usd, strict=True)
    rows = [
        {"provider": name, "n_calls": int(n_calls), "usd": float(usd)}
        for name, n_calls, usd in columns
    ]
    run.write(tables.BILL, rows, part=0)


def _write_held_out(
    run: Run,
    raw: Recording,
    items: np.ndarray,
    prepared: PreparedSplit,
    learned: Learned,
    policy: SubsetPolicy,
) -> None:
    """What the policy does to the calibration items."""
    examples = prepared.calibration
    part = TestPart(
        items=items,
        raw=examples.recording if raw.truth is None else raw,
        recording=examples.recording,
        features=examples.features,
    )
    begin_s = time.perf_counter()
    done = replay(
        policy, part.recording, part.features, prepared.fuser, np.random.default_rng(0)
    )
    decide_s = (time.perf_counter() - begin_s) / len(items)
    first = done.rounds[0] if len(done.rounds) else np.zeros_like(done.asked)
    n_rounds = (done.rounds != 0).sum(axis=0).astype(np.int64)
    outcome = judge(part, done.fused, done.asked, first, n_rounds)
    whole = part.raw
    run.write(tables.CALLS, result_rows.call_rows(0, whole, [outcome]), part=0)
    run.write(tables.SUBSETS, result_rows.subset_rows(0, whole, [outcome]), part=0)
    run.write(tables.CALIBRATION, tables.reliability_rows(part), part=0)
    _write_points(run, learned, outcome)
    _write_summary(run, outcome, prepared, whole, learned.fit_s, decide_s)


def _write_summary(
    run: Run,
    outcome: PolicyOutcome,
    prepared: PreparedSplit,
    whole: Recording,
    fit_s: float,
    decide_s: float,
) -> None:
    """The numbers of the calibration items."""
    n, rng = len(outcome.items), np.random.default_rng(1)
    statistics = {
        "quality": outcome.quality.statistic,
        "cost_usd": mean_statistic(outcome.cost_usd),
        "n_calls": mean_statistic(sizes_of(outcome.asked).astype(float)),
        "n_rounds": mean_statistic(outcome.n_rounds.astype(float)),
    }
    rows = [
        TRAIN_METRICS[metric].estimate_row(0, bootstrap(statistic, n, rng))
        for metric, statistic in statistics.items()
    ]
    price_usd = float(whole.prices_usd.sum())
    n_all = len(prepared.train) + n
    points = {
        "fit_s": (fit_s, 1),
        "decide_s": (decide_s, n),
        "training_usd": (price_usd * n_all, n_all),
    }
    if price_usd > 0:
        share = float(outcome.cost_usd.mean()) / price_usd
        points = {"cost_share": (share, 1), **points}
    rows += [TRAIN_METRICS[metric].row(0, *point) for metric, point in points.items()]
    run.write(SUMMARY, rows, part=0)


def _write_points(run: Run, learned: Learned, outcome: PolicyOutcome) -> None:
    """All exchange rates of the family, and the policy that was saved, on its own."""
    if learned.curve is None:
        return
    points: list[tuple[float | None, float, Estimate]] = [
        (p.multiplier, p.cost_usd.value, p.quality) for p in learned.curve.points
    ]
    n, rng = len(outcome.items), np.random.default_rng(1)
    quality = bootstrap(outcome.quality.statistic, n, rng)
    points.append((None, float(outcome.cost_usd.mean()), quality))
    rows = [
        {
            "multiplier": multiplier,
            "cost_usd": cost_usd,
            "quality": quality.value,
            "low": known(quality.low),
            "high": known(quality.high),
            "is_chosen": multiplier is None,
        }
        for multiplier, cost_usd, quality in points
    ]
    run.write(tables.POINTS, rows, part=0)
