"""network.train: truth in parts, targets, nets that learn, judging, and the kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.correctors import TINY, scenario_of

from midhaul.errors import DataError, SimulationError
from midhaul.kinds import KINDS
from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.features import features_of
from midhaul.network.corrector.fitted import load_corrector
from midhaul.network.corrector.m3 import M3_SIZES, m3_net
from midhaul.network.corrector.scenarios import draw_scenario
from midhaul.network.packet.rdma.simulation import RdmaSimulation
from midhaul.network.train import truth as truths
from midhaul.network.train.config import NetworkTrainConfig
from midhaul.network.train.dataset import N_TARGETS, TrainingRows, rows_of_part, targets
from midhaul.network.train.experiment import train
from midhaul.network.train.fitting import arrays_of, fit_m3, fit_net, scaling_of
from midhaul.network.train.judging import card, wasserstein
from midhaul.network.train.learning import (
    CORRECTOR,
    Fitting,
    fit_corrector,
    judge,
    split_scenarios,
)
from midhaul.network.train.metrics import METRICS, pairs_in_order
from midhaul.network.train.tables import TRAIN_TABLES
from midhaul.network.train.truth import part_name, read_part, simulate_part
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

KIND = KINDS["network.train"]
N = 24


@pytest.fixture(scope="module", name="part")
def _part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("truth") / part_name(0)
    simulate_part(file, 3, range(N), TINY, 0.3)
    return file


@pytest.fixture(scope="module", name="rows")
def _rows(part: Path) -> TrainingRows:
    found = rows_of_part(part)
    assert found is not None
    return found


def test_a_part_has_a_slowdown_for_each_flow_of_the_foreground(part: Path) -> None:
    """And one for each of the first flows, alone; none is below 1; one by windows."""
    for seed, amount, truth in read_part(part):
        scenario = draw_scenario(seed, truth.number, amount)
        assert len(truth.own) == scenario.path.is_foreground.sum()
        assert len(truth.first) == min(scenario.n_first, len(scenario.path))
        if not truth.is_given_up:
            assert (truth.own >= 1 - 1e-6).all()
        if not np.isnan(truth.windows).any():
            assert (truth.windows >= 1 - 1e-6).all()
            assert truth.windows_s > 0


def test_a_part_of_before_has_no_windows(part: Path, tmp_path: Path) -> None:
    """What was written before there were any is read, and says nothing of them."""
    with np.load(part, allow_pickle=False) as read:
        arrays: dict[str, Any] = {
            name: read[name] for name in read.files if "windows" not in name
        }
    file = tmp_path / part_name(0)
    np.savez_compressed(file, allow_pickle=False, **arrays)
    for (*_, one), (*_, other) in zip(read_part(part), read_part(file), strict=True):
        assert np.array_equal(one.own, other.own, equal_nan=True)
        assert np.isnan(other.windows).all()
        assert len(other.windows) == len(one.own)
    rows = rows_of_part(file)
    assert rows is not None
    assert np.isnan(rows.windows).all()


def test_a_part_that_is_there_is_not_simulated_again(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run that was killed goes on."""
    before = part.read_bytes()
    monkeypatch.setattr(truths, "scenario_truth", None)
    simulate_part(part, 3, range(N), TINY, 0.3)
    assert part.read_bytes() == before


def test_a_part_is_the_same_in_any_process(part: Path, tmp_path: Path) -> None:
    """Killed and resumed are equal, apart from the time it took."""
    again = tmp_path / part_name(0)
    simulate_part(again, 3, range(N), TINY, 0.3)
    for (*_, one), (*_, other) in zip(read_part(part), read_part(again), strict=True):
        assert np.array_equal(one.own, other.own, equal_nan=True)
        assert np.array_equal(one.first, other.first, equal_nan=True)
        assert np.array_equal(one.windows, other.windows, equal_nan=True)


def test_truth_of_another_law_is_refused(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are other scenarios."""
    monkeypatch.setattr(truths, "LAW_VERSION", 99)
    with pytest.raises(DataError, match="this version draws law 99"):
        list(read_part(part))


def test_a_network_that_collapses_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many events for its packets there is no truth."""
    monkeypatch.setattr(truths, "_MOST_EVENTS", 0)
    monkeypatch.setattr(truths, "_FEW_EVENTS", 0)
    monkeypatch.setattr(truths, "_SLICE", 1)
    found = truths.scenario_truth(scenario_of("dctcp"))
    assert found.is_given_up


def test_a_network_that_outgrows_memory_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends no training, which may be hours old."""

    def advance(*_: object) -> bool:
        message = "a table does not fit into memory"
        raise SimulationError(message)

    monkeypatch.setattr(RdmaSimulation, "advance", advance)
    assert truths.scenario_truth(scenario_of("dctcp")).is_given_up


def test_few_values_stand_for_themselves_and_many_for_their_distribution() -> None:
    """Shares add up to 1, and the tail is told finely."""
    few, shares = targets(np.array([2.0, 1.0, 4.0]))
    assert np.exp(few[:3]) == pytest.approx([1, 2, 4])
    assert shares[:3] == pytest.approx([1 / 3] * 3)
    assert shares[3:].sum() == 0
    many = np.random.default_rng(0).pareto(3, 20_000) + 1
    values, shares = targets(many)
    assert len(values) == N_TARGETS
    assert shares.sum() == pytest.approx(1)
    below = np.exp(values[np.cumsum(shares) <= 0.99]).max()
    assert below == pytest.approx(np.quantile(many, 0.99), rel=0.05)


def test_rows_have_all_and_few_of_the_foreground(rows: TrainingRows) -> None:
    """A row of one flow has the slowdown of one of all."""
    assert {0, 1, 4}.issubset(set(rows.n_few.tolist()))
    one = rows.n_few == 1
    assert (rows.counts[one].sum(axis=1) == 1).all()
    for number in np.unique(rows.number[one]):
        alone = rows.exact[one & (rows.number == number)][0, -1, 0]
        whole = rows.exact[(rows.n_few == 0) & (rows.number == number)][0, -1]
        assert alone <= whole[-1] + 1e-5 or np.isclose(alone, whole[-1], atol=0.5)


def test_nets_learn_and_numpy_says_what_torch_says(rows: TrainingRows) -> None:
    """The loss falls; the same seed gives the same numbers."""
    pytest.importorskip("torch")
    said: list[str] = []
    scaling = scaling_of(rows)
    net = fit_net(
        rows, scaling, seed=1, n_epochs=12, width=32, hop_width=8, say=said.append
    )
    losses = [float(text.split("loss ")[1].split(",")[0]) for text in said]
    assert losses[-1] < 0.8 * losses[0]
    again = fit_net(rows, scaling, seed=1, n_epochs=12, width=32, hop_width=8)
    for name, (weight, _) in net.layers.items():
        assert np.allclose(weight, again.layers[name][0], atol=1e-5)


def test_a_fitted_corrector_is_better_than_the_fluid_on_what_it_has_seen(
    rows: TrainingRows,
) -> None:
    """Two dozen scenarios are learnt by heart, the rest is for intervals."""
    pytest.importorskip("torch")
    corrector = fit_corrector(
        rows,
        share=0.25,
        fitting=Fitting(n_nets=1, n_epochs=60, width=48, hop_width=8),
        seed=0,
    )
    apart = split_scenarios(rows.scenario, 0.25, 0)
    seen = judge(corrector, rows.take(np.flatnonzero(~apart)), rows)
    logs = {way: told[:, -1] for way, told in seen.told.items()}
    truth = seen.rows.exact[:, -1]
    own = np.abs(logs[CORRECTOR] - truth).mean()
    assert own < np.abs(logs["fluid"] - truth).mean()
    assert corrector.record["n_calibration"] == len(np.unique(rows.scenario[apart]))
    features = arrays_of(seen.rows)
    assert np.isfinite(corrector.log_slowdown(features)[0]).all()


def test_m3s_net_learns_the_same_rows_and_answers_as_correctors_do(
    rows: TrainingRows,
) -> None:
    """The loss falls; its own size is that of the paper."""
    pytest.importorskip("torch")
    said: list[str] = []
    corrector = fit_m3(
        rows, M3_SIZES["tiny"], seed=0, n_epochs=15, rate=3e-3, say=said.append
    )
    losses = [float(text.split("loss ")[1]) for text in said]
    assert losses[-1] < losses[0]
    features = [features_of(scenario_of(name).path) for name in ("dctcp", "cubic")]
    found = corrector.predict(features)
    assert (found.slowdown >= 1).all()
    assert (np.diff(found.slowdown, axis=2) >= 0).all()
    weights = sum(p.numel() for p in m3_net(M3_SIZES["m3"]).parameters())
    assert 1.5e7 < weights < 2e7


def test_errors_are_shares_of_the_truth_with_a_sign() -> None:
    """Ten per cent up, ten per cent down, and one that is not known."""
    truth = np.log([10.0, 10.0, np.nan])
    told = np.log([11.0, 9.0, 5.0])
    found = card(truth, told, told - 0.2, told + 0.01)
    assert (found.n, found.mean) == (2, pytest.approx(0.1))
    assert found.bias == pytest.approx(0.0)
    assert found.coverage == 0.5


def test_the_distance_of_a_shift_is_the_shift() -> None:
    """Over the mean of the true one."""
    logs = np.full((1, len(LEVELS)), np.log(2.0))
    assert wasserstein(logs, logs).tolist() == [0.0]
    assert wasserstein(logs, logs + np.log(1.5)).tolist() == pytest.approx([0.5])


def test_pairs_that_are_truly_apart_are_counted() -> None:
    """Of one transport only; those within 5 % do not count."""
    columns = {
        "transport": np.array(["a", "a", "a", "b"]),
        "true_p99": np.array([1.0, 2.0, 2.05, 9.0]),
        "p99": np.array([1.0, 3.0, 0.5, 0.1]),
    }
    assert pairs_in_order(columns) == 0.5


SHORT = {
    "n_scenarios": 20,
    "n_tests": 8,
    "amount": {"fewest": 60, "most": 120, "rdma_hops": 3e4, "tcp_hops": 1.5e4},
    "test_amount": {"fewest": 150, "most": 200, "rdma_hops": 6e4, "tcp_hops": 3e4},
    "fitting": {"n_nets": 1, "n_epochs": 2, "width": 16, "hop_width": 8},
    "curve": [10],
    "n_resamples": 100,
}


SHORT_TEXT = json.dumps(SHORT)


def perform(folder: Path, **changes: Any) -> Run:
    """A run of a short training."""
    values = json.dumps({**SHORT, **changes})
    config = NetworkTrainConfig.model_validate_json(values)
    run = Run.create(folder, KIND.name, config)
    train(config, run, SilentProgress())
    run.finish()
    run.presenter = KIND
    return run


def test_a_run_writes_a_corrector_with_its_record(tmp_path: Path) -> None:
    """Tables, summary, report, and a file that can be read; parts can be used again."""
    pytest.importorskip("torch")
    run = perform(tmp_path / "runs")
    assert set(run.tables()) <= {table.name for table in TRAIN_TABLES}
    corrector = load_corrector(run.file("corrector.npz"))
    assert corrector.record["n_scenarios"] == 18
    assert {one["metric"] for one in run.summary.rows} <= set(METRICS)
    assert run.count("scenarios") >= 5 * 7
    (windows,) = run.sql(
        "SELECT count(p99) AS n FROM scenarios JOIN configurations USING "
        "(configuration) WHERE name = 'windows'"
    ).to_pylist()
    assert windows["n"] >= 5
    assert run.count("learning_curve") > 0
    titles = {section.title for section in KIND.build_page(run).sections}
    assert {"Overview", "Errors", "Learning"} <= titles
    n_rows = {name: run.count(name) for name in run.tables()}
    train(NetworkTrainConfig.model_validate_json(SHORT_TEXT), run, SilentProgress())
    assert {name: run.count(name) for name in run.tables()} == n_rows
    more = perform(tmp_path / "more", truth=[str(run.dir / "files")], curve=[], seed=5)
    assert load_corrector(more.file("corrector.npz")).record["n_scenarios"] == 36


def test_a_folder_without_parts_is_refused(tmp_path: Path) -> None:
    """It is a slip of the hand."""
    pytest.importorskip("torch")
    with pytest.raises(DataError, match="no parts of truth"):
        perform(tmp_path / "runs", truth=[str(tmp_path)])
