"""federation.train and federation.evaluate from file to report, and what stops them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midhaul.errors import ConfigError, DataError, MidhaulError
from midhaul.federation.bundle import Bundle
from midhaul.federation.evaluate import tables
from midhaul.federation.evaluate.config import EvaluateConfig, TrainConfig
from midhaul.federation.evaluate.experiment import evaluate
from midhaul.federation.evaluate.metrics import samples
from midhaul.federation.evaluate.report import build_evaluate, build_train
from midhaul.federation.evaluate.tables import (
    FAULT_PHASES,
    FAULT_REQUESTS,
    FAULT_SUMMARY,
)
from midhaul.federation.evaluate.train import BUNDLE, train
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.baselines import FixedPolicy
from midhaul.federation.recordings.parquet import write_parquet
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.report import Figure, Notice, Page, render
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

N_ITEMS = 240
POLICIES = ("single", "random-1", "fixed", "ensemble-n", "frugal", "cascade", "oracle")


def tagged(n: int = N_ITEMS) -> Recording:
    """Three providers of one label: a cheap one that knows when it errs, two dear."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, n)
    answers: list[Answers] = []
    for p, accuracy in enumerate((0.7, 0.9, 0.85)):
        right = rng.random(n) < accuracy
        labels = np.where(right, truth, (truth + 1 + p % 2) % 3)
        sure = rng.uniform(0.6, 1.0, n)
        scores = np.where(right, sure, sure - 0.5 * (p == 0))
        answers.append(
            Answers.of_rows(
                np.arange(n), n, labels.astype(np.int32), scores.astype(np.float32)
            )
        )
    return Recording(
        task="labels",
        items=tuple(f"item-{i}" for i in range(n)),
        names=("a", "b", "c"),
        providers=("cheap", "good", "other"),
        prices_usd=np.array([0.0001, 0.001, 0.001]),
        answers=tuple(answers),
        truth=Answers.of_rows(
            np.arange(n), n, truth.astype(np.int32), np.ones(n, np.float32)
        ),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording on disk."""
    place = tmp_path_factory.mktemp("recorded")
    write_parquet(tagged(), place)
    return place


def evaluating(folder: Path, **more: Any) -> EvaluateConfig:
    """A small evaluation of that recording."""
    values: dict[str, Any] = {
        "data": {"kind": "parquet", "file": folder, "task": "labels"},
        "policies": POLICIES,
        "budget_shares": (0.2, 0.6),
        "n_seeds": 2,
        "n_resamples": 60,
        "faults": {"phase_s": 4.0},
        **more,
    }
    return EvaluateConfig.model_validate(values, strict=False)


@pytest.fixture(scope="module")
def evaluated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An evaluation, done."""
    config = evaluating(folder)
    run = Run.create(tmp_path_factory.mktemp("runs"), "federation.evaluate", config)
    evaluate(config, run, SilentProgress())
    run.finish("done")
    return run


def values_of(run: Run, metric: str) -> dict[str, float]:
    """A metric by the name of its configuration."""
    rows = run.summary.rows
    return {row["name"]: row["value"] for row in rows if row["metric"] == metric}


def figures(page: Page) -> dict[str, Figure]:
    """All charts of a page by their titles."""
    return {i.title: i for s in page.sections for i in s.items if isinstance(i, Figure)}


def test_costs_are_the_prices_of_the_calls_that_were_made(evaluated: Run) -> None:
    """Every decision's price is the sum over the providers asked, none for free."""
    prices = np.array([0.0001, 0.001, 0.001])
    rows = evaluated.read(tables.DECISIONS)
    asked = np.asarray(rows["asked"].to_numpy())
    bits = (asked[:, None] >> np.arange(3)) & 1
    assert np.allclose(bits @ prices, rows["cost_usd"].to_numpy())
    calls = evaluated.read(tables.CALLS).to_pylist()
    assert sum(row["n_calls"] for row in calls) == bits.sum()


def test_budgets_are_kept_on_unseen_items_about(evaluated: Run) -> None:
    """Families spend no more than their budgets, but for chance."""
    spent = values_of(evaluated, "cost_usd")
    for row in evaluated.read(tables.CONFIGURATIONS).to_pylist():
        if row["budget_usd"] is not None:
            assert spent[row["name"]] <= row["budget_usd"] * 1.35


def test_no_policy_beats_its_bound_and_the_cascade_beats_chance(
    evaluated: Run,
) -> None:
    """The oracle is above everybody, and a cascade above one drawn at random."""
    quality = values_of(evaluated, "quality")
    oracle = quality.pop("oracle")
    assert all(value <= oracle + 1e-9 for value in quality.values())
    assert quality["cascade 60 %"] > quality["random-1"]


def test_differences_to_itself_are_none(evaluated: Run) -> None:
    """Asking everybody gains nothing on asking everybody."""
    assert values_of(evaluated, "gain_on_all")["ensemble-n"] == 0


def test_the_report_shows_the_trade_off_and_renders(evaluated: Run) -> None:
    """The page holds its charts and becomes HTML."""
    page = build_evaluate(evaluated)
    found = figures(page)
    assert {"Quality against price", "Who is asked", "Regret over time"} <= set(found)
    assert "What it costs to be as good" in render(page)


def test_a_bad_day_is_answered_and_charged(evaluated: Run) -> None:
    """While a provider fails, others answer; every phase of the plan is told."""
    rows = evaluated.read(FAULT_SUMMARY).to_pylist()
    phases = {row["phase"] for row in evaluated.read(FAULT_PHASES).to_pylist()}
    assert {row["phase"] for row in rows} == phases
    outage = [row for row in rows if row["phase"] == "outage"]
    assert all(row["answered"] > 0.5 for row in outage)
    page = build_evaluate(evaluated)
    assert "Quality under faults" in figures(page)
    (day,) = (section for section in page.sections if section.title == "A bad day")
    # So short a day carries no percentile, and says so in the chart's place.
    assert any("Latency under faults" in getattr(one, "text", "") for one in day.items)


def test_runs_can_be_compared_item_by_item(evaluated: Run) -> None:
    """Samples have one unit for each test item, the same for all configurations."""
    found = [one for one in samples(evaluated) if one.metric == "item_quality"]
    assert len(found) == len(evaluated.read(tables.CONFIGURATIONS))
    assert len({one.units for one in found}) == 1


def test_a_run_goes_on_where_it_was_killed(folder: Path, tmp_path: Path) -> None:
    """What was decided is read again: the same numbers, and no part is written anew."""
    config = evaluating(folder, n_seeds=1, policies=("single", "fixed", "cascade"))
    whole = Run.create(tmp_path / "whole", "federation.evaluate", config)
    evaluate(config, whole, SilentProgress())
    again = Run.open(shutil.copytree(whole.dir, tmp_path / "again"))
    dropped = again.parts(tables.DECISIONS.name)[2:]
    again.drop(tables.DECISIONS.name, dropped)
    kept = {part: _stamp(again, part) for part in again.parts(tables.DECISIONS.name)}
    evaluate(config, again, SilentProgress())
    assert kept == {part: _stamp(again, part) for part in kept}
    assert values_of(again, "quality") == values_of(whole, "quality")
    assert values_of(again, "cost_usd") == values_of(whole, "cost_usd")


def test_what_was_decided_before_a_kill_is_streamed_all_the_same(
    folder: Path, tmp_path: Path
) -> None:
    """Regret and the bad day are of every policy, whoever had decided already."""
    config = evaluating(folder, policies=("linucb", "confidence"), n_seeds=1)
    run = Run.create(tmp_path, "federation.evaluate", config)
    evaluate(config, run, SilentProgress())
    names = [table.name for table in (tables.REGRET, FAULT_REQUESTS, FAULT_SUMMARY)]
    whole = {name: run.sql(f"FROM {name}").to_pylist() for name in names}
    for name in names:
        run.drop(name, run.parts(name)[-1:])
    evaluate(config, run, SilentProgress())
    again = {name: run.sql(f"FROM {name}").to_pylist() for name in names}
    assert again == whole


def _stamp(run: Run, part: int) -> int:
    file = run.dir / "tables" / tables.DECISIONS.name / f"part-{part:04d}.parquet"
    return file.stat().st_mtime_ns


@pytest.mark.parametrize("reference", ["truth", "ensemble"])
def test_a_trained_federation_decides_the_same_when_it_is_read(
    folder: Path, tmp_path: Path, reference: str
) -> None:
    """The saved bundle answers; without labels its references are on the bill."""
    values = {
        "data": {"kind": "parquet", "file": folder, "task": "labels"},
        "reference": reference,
    }
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path, "federation.train", config)
    train(config, run, SilentProgress())
    run.finish("done")
    bundle = Bundle.load(run.file(BUNDLE))
    recording = tagged()
    bundle.check_fits(recording)
    assert bundle.calibration is not None
    shown = bundle.calibration.apply(recording)
    nothing = np.zeros((len(shown), 0), np.float32)
    rng = np.random.default_rng(0)
    done = replay(bundle.policy, shown, nothing, bundle.fuser, rng)
    assert done.cost_usd.mean() <= 0.5 * recording.prices_usd.sum() * 1.2
    assert done.asked.any()
    bill = run.read(tables.BILL).to_pylist()
    assert [row["n_calls"] for row in bill] == [N_ITEMS] * 3
    assert "What other budgets would buy" in figures(build_train(run))


def test_trained_federations_are_compared_beside_the_others(
    folder: Path, tmp_path: Path
) -> None:
    """A bundle is a contender with its own fusion."""
    values = {"data": {"kind": "parquet", "file": folder, "task": "labels"}}
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path / "train", "federation.train", config)
    train(config, run, SilentProgress())
    file = run.file(BUNDLE)
    judged = evaluating(folder, n_seeds=1, policies=("ensemble-n",), trained=(file,))
    other = Run.create(tmp_path / "judge", "federation.evaluate", judged)
    evaluate(judged, other, SilentProgress())
    names = list(values_of(other, "quality"))
    assert len(names) == 2
    assert any(name.startswith("trained 1") for name in names)  # in any order


def test_an_oracle_cannot_be_trained(folder: Path, tmp_path: Path) -> None:
    """What knows the truth is no policy."""
    values = {"data": {"kind": "parquet", "file": folder}, "policy": "oracle"}
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path, "federation.train", config)
    with pytest.raises(ConfigError, match="knows the truth"):
        train(config, run, SilentProgress())


@pytest.mark.parametrize(
    ("more", "name", "asked"),
    [
        ({"policy": "single", "fusion": {"name": "vote"}}, "good", 2),
        ({"policy": "single", "providers": ("other",)}, "other", 4),
        ({"policy": "subset", "providers": ("cheap", "other")}, "cheap+other", 5),
    ],
)
def test_policies_that_ask_whom_they_are_told_can_be_trained(
    folder: Path, tmp_path: Path, more: dict[str, Any], name: str, asked: int
) -> None:
    """A single provider is the best on the items to learn from unless one is named."""
    values = {"data": {"kind": "parquet", "file": folder, "task": "labels"}, **more}
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path, "federation.train", config)
    train(config, run, SilentProgress())
    policy = Bundle.load(run.file(BUNDLE)).policy
    assert isinstance(policy, FixedPolicy)
    assert (policy.name, policy.mask) == (name, asked)


def test_the_chord_is_brought_to_its_budget(folder: Path, tmp_path: Path) -> None:
    """It is told the budget when it is trained, and each one when it is compared."""
    data = {"kind": "parquet", "file": folder, "task": "labels"}
    values = {"data": data, "policy": "chord", "budget_share": 0.3}
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path / "train", "federation.train", config)
    train(config, run, SilentProgress())
    (row,) = run.read(tables.CONFIGURATIONS).to_pylist()
    assert row["budget_usd"] == pytest.approx(0.3 * 0.0021)
    config = evaluating(folder, n_seeds=1, policies=("chord",))
    run = Run.create(tmp_path / "judge", "federation.evaluate", config)
    evaluate(config, run, SilentProgress())
    spent = values_of(run, "cost_usd")
    assert list(spent) == ["chord 20 %", "chord 60 %"]
    assert 0 < spent["chord 20 %"] < spent["chord 60 %"] < 0.0021


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"policy": "cascade", "providers": ("good",)}, "by itself"),
        ({"policy": "single", "providers": ("good", "other")}, "one provider"),
        ({"policy": "single", "providers": ("nobody",)}, "nobody"),
        ({"policy": "subset"}, "no provider is named"),
    ],
)
def test_whom_to_ask_has_to_make_sense(
    folder: Path, tmp_path: Path, more: dict[str, Any], why: str
) -> None:
    """Nobody is asked by accident, and no name is passed over."""
    values = {"data": {"kind": "parquet", "file": folder, "task": "labels"}, **more}
    config = TrainConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path, "federation.train", config)
    with pytest.raises(MidhaulError, match=why):
        train(config, run, SilentProgress())
    config = evaluating(folder, policies=("subset",))
    run = Run.create(tmp_path, "federation.evaluate", config)
    with pytest.raises(ConfigError, match="told whom to ask"):
        evaluate(config, run, SilentProgress())


def test_unknown_policies_and_prices_of_nobody_are_named(
    folder: Path, tmp_path: Path
) -> None:
    """Mistakes end in a message that names them."""
    config = evaluating(folder, policies=("cascades",))
    run = Run.create(tmp_path / "a", "federation.evaluate", config)
    with pytest.raises(ConfigError, match="cascades") as caught:
        evaluate(config, run, SilentProgress())
    assert "cascade" in caught.value.hint
    data = {"kind": "parquet", "file": folder, "task": "labels"}
    config = evaluating(folder, data={**data, "prices_usd": {"nobody": 0.1}})
    run = Run.create(tmp_path / "b", "federation.evaluate", config)
    with pytest.raises(DataError, match="nobody"):
        evaluate(config, run, SilentProgress())


def test_too_few_items_are_refused(tmp_path: Path) -> None:
    """A part of hardly any items is no basis for anything."""
    place = tmp_path / "recorded"
    write_parquet(tagged(8), place)
    config = evaluating(place)
    run = Run.create(tmp_path / "run", "federation.evaluate", config)
    with pytest.raises(DataError, match="at least"):
        evaluate(config, run, SilentProgress())


def test_an_empty_run_has_a_report_that_says_so(folder: Path, tmp_path: Path) -> None:
    """A run that was killed at once still has a page."""
    for kind, config, build in (
        ("federation.evaluate", evaluating(folder), build_evaluate),
        ("federation.train", TrainConfig(), build_train),
    ):
        run = Run.create(tmp_path, kind, config)
        page = build(run)
        assert any(isinstance(i, Notice) for s in page.sections for i in s.items)
        assert render(page)


def test_built_in_providers_need_no_data(tmp_path: Path) -> None:
    """Detectors of midhaul are asked about its scenes, and images show their boxes."""
    values = {
        "data": {"n_scenes": 48, "detectors": ["builtin:street-n", "builtin:street-m"]},
        "fusion": {"name": "wbf"},
        "policies": ["single", "fixed", "oracle"],
        "budget_shares": [0.5],
        "n_seeds": 1,
        "n_resamples": 50,
        "n_examples": 1,
        "faults": {"phase_s": 2.0},
    }
    config = EvaluateConfig.model_validate(values, strict=False)
    run = Run.create(tmp_path, "federation.evaluate", config)
    evaluate(config, run, SilentProgress())
    quality = values_of(run, "quality")
    assert quality["street-m"] > quality["street-n"]
    assert len(list(run.file("examples").iterdir())) == 3
