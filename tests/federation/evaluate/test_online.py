"""federation.evaluate with policies that go on learning while a provider gets worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.federation.evaluate.test_experiments import evaluating, figures, tagged

from midhaul.errors import ConfigError
from midhaul.federation.evaluate import tables
from midhaul.federation.evaluate.experiment import evaluate
from midhaul.federation.evaluate.report import build_evaluate
from midhaul.federation.recordings.parquet import write_parquet
from midhaul.report import render
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.evaluate.config import EvaluateConfig

ONLINE = {
    "is_on": True,
    "audit_share": 0.1,
    "n_between_alarms": 2000.0,
    "n_fewest": 60,
    "n_enough": 100,
}
NEW = (tables.ONLINE.name, tables.ONLINE_SUMMARY.name, tables.ALARMS.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording on disk that is long enough to notice something in."""
    place = tmp_path_factory.mktemp("recorded")
    write_parquet(tagged(1600), place)
    return place


def config_of(folder: Path, online: dict[str, Any]) -> EvaluateConfig:
    """An evaluation of some policies, with a stream where ``online`` says so."""
    return evaluating(
        folder,
        policies=("single", "fixed", "frugal", "oracle"),
        n_seeds=1,
        fusion={"name": "vote", "calibration": "none"},
        faults={"is_on": False},
        online=online,
    )


def evaluated(folder: Path, place: Path, **online: Any) -> Run:
    """One, done."""
    config = config_of(folder, online)
    run = Run.create(place, "federation.evaluate", config)
    evaluate(config, run, SilentProgress())
    run.finish("done")
    return run


@pytest.fixture(scope="module")
def kept_up(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One in which the best provider gets worse."""
    return evaluated(folder, tmp_path_factory.mktemp("runs"), **ONLINE)


def test_who_is_kept_up_to_date_does_without_who_broke(kept_up: Run) -> None:
    """Alarms name it, and at the end it is worth more than what was learned once."""
    rows = kept_up.read(tables.ONLINE_SUMMARY).to_pylist()
    found = {(row["policy"], row["is_online"]): row for row in rows}
    assert set(found) == {(p, k) for p in ("fixed", "frugal") for k in (False, True)}
    alarms = kept_up.read(tables.ALARMS).to_pylist()
    for name in ("fixed", "frugal"):
        alone, kept = found[name, False], found[name, True]
        mine = [row for row in alarms if row["policy"] == name]
        assert ("good", "fell") in {(a["provider"], a["direction"]) for a in mine}
        assert mine[0]["item_number"] > alone["n_items"] // 3
        assert kept["n_alarms"] == len(mine)
        assert kept["worth_at_end"] > alone["worth_at_end"] + 0.03
        assert kept["regret"] < alone["regret"]
        assert kept["n_audits"] > 0
        assert (alone["n_alarms"], alone["n_audits"], alone["n_refits"]) == (0, 0, 0)


def test_its_stream_stands_in_tables_and_report(kept_up: Run) -> None:
    """Regret over time of both, up to the same item as the summary."""
    points = kept_up.read(tables.ONLINE).to_pylist()
    for row in kept_up.read(tables.ONLINE_SUMMARY).to_pylist():
        key = (row["policy"], row["is_online"])
        mine = [one for one in points if (one["policy"], one["is_online"]) == key]
        assert mine[-1]["item_number"] == row["n_items"]
        assert mine[-1]["regret"] == pytest.approx(row["regret"])
        assert any(point["is_alarm"] for point in mine) == (row["n_alarms"] > 0)
    page = build_evaluate(kept_up)
    assert "Regret where a provider gets worse" in figures(page)
    text = render(page)
    assert "fixed, kept up to date" in text
    assert "quality fell" in text


def test_a_run_that_is_resumed_streams_nobody_twice(folder: Path, kept_up: Run) -> None:
    """What is there is read, not done again."""
    before = {name: kept_up.sql(f"FROM {name}").to_pylist() for name in NEW}
    stamp = _stamp(kept_up)
    evaluate(config_of(folder, ONLINE), kept_up, SilentProgress())
    assert {name: kept_up.sql(f"FROM {name}").to_pylist() for name in NEW} == before
    assert _stamp(kept_up) == stamp


def _stamp(run: Run) -> dict[str, int]:
    files = (run.dir / "tables" / tables.ONLINE.name).glob("*.parquet")
    return {file.name: file.stat().st_mtime_ns for file in files}


def test_without_the_key_nothing_is_there(
    folder: Path, tmp_path: Path, kept_up: Run
) -> None:
    """No table more, and all others are the same to the digit."""
    plain = evaluated(folder, tmp_path)
    names = {table.name for table in tables.EVALUATE_TABLES}
    there = {name for name in names if plain.parts(name)}
    assert not there & set(NEW)
    for name in sorted(there - {tables.FITS.name, "summary"}):
        assert plain.sql(f"FROM {name}") == kept_up.sql(f"FROM {name}"), name


def test_nobody_gets_worse_and_wrong_names(folder: Path, tmp_path: Path) -> None:
    """Without a change audits are what it costs; who is not there cannot break."""
    run = evaluated(folder, tmp_path / "a", **{**ONLINE, "worse": "none"})
    assert build_evaluate(run)
    for row in run.read(tables.ONLINE_SUMMARY).to_pylist():
        assert row["worth_at_end"] > row["best_fixed_at_end"] - 0.1
    with pytest.raises(ConfigError, match="no provider nobody"):
        evaluated(folder, tmp_path / "b", **{**ONLINE, "provider": "nobody"})
