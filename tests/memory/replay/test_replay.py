"""Replays: a model is tested before it learns, runs resume, comparisons are paired."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import midhaul
from midhaul.errors import ConfigError, DataError
from midhaul.memory.cells import Cells
from midhaul.memory.predictors.mlp import MlpPredictor, TrainSettings
from midhaul.memory.predictors.takeover import guarded, train_on
from midhaul.memory.replaying import Learner, replay
from midhaul.memory.retraining.schedule import EveryPeriods, NeverAgain
from midhaul.memory.samples import Samples
from midhaul.memory.selectors.fifo import Fifo
from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.memory.selectors.reservoir import Reservoir
from midhaul.memory.sources.drawn_puffer import draw_days
from midhaul.memory.sources.drawn_stream import drawn_stream

if TYPE_CHECKING:
    from midhaul.memory.replaying import PeriodResult
    from midhaul.memory.retraining.base import RetrainRule
    from midhaul.memory.selectors.base import Selector

STREAM = drawn_stream(n_periods=4, n_sessions=6)
LEARNER = Learner(predictor=MlpPredictor(STREAM.bins, TrainSettings(n_steps=30)))
SMALL = {
    "stream": {"kind": "drawn", "n_periods": 3, "n_sessions": 4},
    "fit": {"n_steps": 10},
    "n_seeds": 2,
    "n_resamples": 100,
    "jobs": 1,
}


def _replayed(
    rule: RetrainRule, selector: Selector | None = None
) -> list[PeriodResult]:
    selector = selector or Reservoir(capacity=200)
    return list(replay(STREAM.periods, STREAM.bins, selector, rule, LEARNER, seed=0))


def test_a_period_is_tested_before_anything_of_it_is_learnt() -> None:
    """The first period has no test; a model that never learns again is the first."""
    found = _replayed(NeverAgain())
    assert len(found[0].raw) == 0
    assert [one.decision.retrain for one in found] == [True, False, False, False]
    first = found[0].taken.predictor
    for one in found[1:]:
        told = first.predict(one.test.x)
        assert np.array_equal(told, one.test.prediction)
        assert (one.test.model_version == 1).all()


def test_what_is_in_memory_is_told_by_the_period_it_came_in() -> None:
    """First in, first out leaves the last period only."""
    found = _replayed(EveryPeriods(), Fifo(capacity=100))
    assert found[-1].kept_of.tolist() == [0, 0, 0, 100]


def test_samples_without_an_output_are_counted() -> None:
    """They are left out of tests and of the memory, and said."""
    period = STREAM.periods[0]
    some = Samples.of(period.x, np.where(np.arange(len(period)) < 5, np.nan, period.y))
    found = list(
        replay(
            (some, STREAM.periods[1]),
            STREAM.bins,
            Reservoir(capacity=50),
            EveryPeriods(),
            LEARNER,
            seed=0,
        )
    )
    assert found[0].n_dropped == 5
    assert len(found[0].test) == len(period) - 5


def test_a_memory_of_known_chances_restores_the_prior() -> None:
    """What was kept more often is not expected more often for that."""
    sampler = PrioritySampler(capacity=200, bins=STREAM.bins, uniform_share=0.1)
    told = _replayed(EveryPeriods(), sampler)[-1]
    plain = Learner(predictor=LEARNER.predictor, correction="none")
    sampler = PrioritySampler(capacity=200, bins=STREAM.bins, uniform_share=0.1)
    raw = list(
        replay(STREAM.periods, STREAM.bins, sampler, EveryPeriods(), plain, seed=0)
    )[-1]
    true = told.is_slow.mean()
    expected = [float((1 / (1 + np.exp(-one.odds))).mean()) for one in (told, raw)]
    assert abs(expected[0] - true) < abs(expected[1] - true)


class _Turned:
    """A model that is sure and right at first, and of the wrong bin when trained."""

    def __init__(self, *, is_wrong: bool = False) -> None:
        self.is_wrong = is_wrong

    def predict(self, x: np.ndarray) -> np.ndarray:
        bin_of = STREAM.bins.of(x[:, 0].astype(float))
        told = np.full((len(x), STREAM.bins.n), 0.1 / STREAM.bins.n, np.float32)
        shift = 5 if self.is_wrong else 0
        told[np.arange(len(x)), (bin_of + shift) % STREAM.bins.n] += 0.9
        return told

    def trained(self, samples: Samples, rng: np.random.Generator) -> _Turned:
        del samples, rng
        return _Turned(is_wrong=True)


def test_a_model_that_is_worse_in_the_mean_is_not_taken_over() -> None:
    """With a guard the present model stays; without one it goes."""
    y = np.random.default_rng(0).exponential(1.0, 300)
    kept = Samples.of(y[:, None], y, group=np.arange(300) // 10)
    rng = np.random.default_rng(1)
    cells = Cells(bins=STREAM.bins)
    present = _Turned()
    found = guarded(present, kept, np.ones(300), cells, "none", rng, most_worse=0.05)
    assert (found.way, found.predictor) == ("present", present)
    found = train_on(present, kept, np.ones(300), cells, "none", rng)
    assert found.way == "none"
    better = guarded(
        _Turned(is_wrong=True), kept, None, cells, "none", rng, most_worse=0.05
    )
    assert better.way == "none"
    assert better.loss_ratio == pytest.approx(1.0)


def test_what_is_told_of_a_period(tmp_path: Path) -> None:
    """How its model came about, what memory covers and how even it is."""
    told = {
        "fit": {"n_steps": 30, "most_worse": 0.0},
        "memory": {"capacity_bytes": 20_000},
        "retrain": {"rule": "block-test"},
    }
    run = midhaul.run({"kind": "memory.replay", **SMALL, **told}, out=tmp_path)
    rows = run.table("periods").to_pylist()
    assert {row["way"] for row in rows} <= {"restore", "weigh", "present"}
    width = STREAM.periods[0].x.shape[1] + STREAM.bins.n
    for row in rows:
        assert 0 < row["n_cells"] <= row["n"]
        assert 1 / row["n_cells"] <= row["density"] < row["density_seen"] < 1
        assert (row["n_groups"], row["n_forgotten"]) == (4, 0)
        assert row["n_kept"] == 20_000 // (4 * width + 8 * (6 + 3))
    (of_configuration,) = run.table("configurations").to_pylist()
    assert of_configuration["capacity"] is None
    assert of_configuration["capacity_bytes"] == 20_000


def test_a_comparison_is_paired_and_shown(tmp_path: Path) -> None:
    """Two memories: a summary, differences on the same clusters, and a report."""
    run = midhaul.run({"kind": "memory.compare", **SMALL}, out=tmp_path)
    rows = run.table("differences").to_pylist()
    assert {row["configuration"] for row in rows} == {1, 2}
    assert {row["n"] for row in rows} == {8}
    summary = {
        (row["configuration"], row["metric"]): row["value"]
        for row in run.table("summary").to_pylist()
    }
    of_mean = [r for r in rows if r["metric"] == "smoothed_mean"]
    for row in of_mean:
        gap = summary[row["configuration"], "smoothed_mean"]
        gap -= summary[0, "smoothed_mean"]
        assert row["difference"] == pytest.approx(gap)
    assert "Memory of priority" in Path(run.report().path).read_text()


def test_a_resumed_run_keeps_what_it_has(tmp_path: Path) -> None:
    """A repetition that was lost is made again, alike; the others stay."""
    config = {"kind": "memory.replay", **SMALL}
    run = midhaul.run(config, out=tmp_path)
    before = run.table("scores").sort_by(
        [("seed", "ascending"), ("cluster", "ascending"), ("score", "ascending")]
    )
    assert set(run.table("periods")["seed"].to_pylist()) == {0, 1}
    again = midhaul.run(config, out=tmp_path / "again")
    after = again.table("scores").sort_by(
        [("seed", "ascending"), ("cluster", "ascending"), ("score", "ascending")]
    )
    assert sum(before["n"].to_pylist()) == sum(after["n"].to_pylist())
    assert before["score"].to_pylist() == after["score"].to_pylist()


def test_a_training_that_costs_too_much_is_not_done(tmp_path: Path) -> None:
    """The same change, at a cost that pays and at one that never does."""
    several = {
        "memories": [{"selector": "reservoir", "capacity": 500}],
        "rules": [
            {"rule": "loss", "name": "cheap", "worth": {"cost": 0.0}},
            {"rule": "loss", "name": "dear", "worth": {"cost": 1e9}},
        ],
        "stream": {"kind": "drawn", "n_periods": 4, "n_sessions": 10},
        "fit": {"n_steps": 40},
        "n_seeds": 1,
    }
    run = midhaul.run({"kind": "memory.compare", **SMALL, **several}, out=tmp_path)
    rows = run.table("periods").to_pylist()
    trained = [
        sum(r["retrained"] for r in rows if r["configuration"] == i) for i in (0, 1)
    ]
    assert trained[1] == 1
    assert trained[0] > 1
    assert any("it is not worth it" in row["why"] for row in rows)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"memory": {"selector": "fifo", "sort": "bin"}}, "fifo has no sort"),
        ({"memory": {"selector": "fiffo"}}, "selector"),
        ({"memory": {"capacity": 0}}, "capacity"),
        ({"retrain": {"rule": "always", "alpha": 0.1}}, "always has no alpha"),
        ({"stream": {"kind": "cellular"}}, "needs file"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(
    told: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Options of another selector or rule, unknown names, files that are missing."""
    with pytest.raises(ConfigError, match=words):
        midhaul.run({"kind": "memory.replay", **SMALL, **told}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_stream_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A file that is not there."""
    stream = {"kind": "cellular", "file": tmp_path / "none.parquet"}
    with pytest.raises(DataError, match=r"none\.parquet"):
        midhaul.run({"kind": "memory.replay", **SMALL, "stream": stream}, out=tmp_path)


def test_streams_of_all_kinds_are_replayed(tmp_path: Path) -> None:
    """Days as Puffer publishes them, any table, and flows of three simulations."""
    draw_days(tmp_path / "days", n_days=2, n_streams=12, seed=0)
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=400), "y": rng.exponential(size=400)}
    columns |= {"s": np.arange(400) // 20}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = {"x": ["a"], "y": "y", "group": "s"}
    streams = (
        {"kind": "puffer", "dir": tmp_path / "days"},
        {"kind": "table", "file": tmp_path / "t.parquet", "columns": table}
        | {"n_periods": 3, "edges": [0, 0.5, 1, 9]},
    )
    for number, stream in enumerate(streams):
        told = {"kind": "memory.replay", **SMALL, "stream": stream, "slow_from": 1.0}
        run = midhaul.run(told, out=tmp_path / str(number))
        assert run.status == "done"
        assert run.verdict is not None
        assert {r["period"] for r in run.table("periods").to_pylist()} >= {0, 1}


def test_sessions_that_a_rule_forgets_count_into_the_verdict(tmp_path: Path) -> None:
    """Of 300 in each of two periods it remembers 256."""
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=1200), "y": rng.exponential(size=1200)}
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns | {"s": np.arange(1200) // 2}), file)
    table = {"x": ["a"], "y": "y", "group": "s"}
    stream = {"kind": "table", "file": file, "columns": table, "n_periods": 2}
    told = {"kind": "memory.replay", **SMALL, "stream": stream, "n_seeds": 1}
    told["retrain"] = {"rule": "block-test"}
    run = midhaul.run(told, out=tmp_path / "runs")
    n = [row["n_forgotten"] for row in run.table("periods").to_pylist()]
    assert n[0] == 300 - 256
    said = f"{sum(n)} of 600 groups were forgotten"
    assert run.verdict is not None
    assert any(one.sentence.startswith(said) for one in run.verdict.tallies)


def test_traffic_of_simulated_networks_is_replayed(tmp_path: Path) -> None:
    """Three runs of network.simulate are three workloads that follow each other."""
    folders = []
    for seed in range(3):
        simulated = {
            "kind": "network.simulate",
            "seed": seed,
            "simulator": "fluid",
            "topology": {"kind": "star", "counts": {"n_hosts": 3}},
            "flows": [{"rate_hz": 200.0, "n_flows": 300}],
        }
        folders.append(midhaul.run(simulated, out=tmp_path / f"net{seed}").dir)
    stream = {"kind": "traffic", "runs": folders, "shift": "incremental"}
    told = {"kind": "memory.replay", **SMALL, "n_seeds": 1, "stream": stream}
    run = midhaul.run(told | {"slow_from": -1.0}, out=tmp_path / "replay")
    assert run.status == "done"
    assert run.table("kept").num_rows > 10
