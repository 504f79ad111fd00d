"""What was written before is read as before: runs, federations, ledgers, queues.

``tests/golden/README.md`` says how each file was made, and by which commit.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tools import compare_runs
from typer.testing import CliRunner

from midhaul.api import prepare
from midhaul.cli.app import app
from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.enforcement.bridge_store import BridgeStore
from midhaul.deploy.enforcement.rate_map import read_rate_map
from midhaul.federation.bundle import Bundle
from midhaul.federation.fusion import SAVED_FUSERS
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.policies.base import SAVED_POLICIES, replay
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.kinds import KINDS
from midhaul.npz_state import read_state
from midhaul.runs.run import Run

GOLDEN = Path(__file__).parent / "golden"
RUNS: dict[str, Any] = json.loads((GOLDEN / "runs.json").read_text(encoding="utf-8"))
INPUTS: dict[str, Any] = json.loads((GOLDEN / "bundles" / "inputs.json").read_text())
DECISIONS: dict[str, Any] = json.loads(
    (GOLDEN / "bundles" / "decisions.json").read_text()
)
NAMES = sorted(RUNS)
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the golden runs, as reports are written into them."""
    return Path(shutil.copytree(GOLDEN / "runs", tmp_path_factory.mktemp("g") / "runs"))


def said(*words: str) -> str:
    """What the command line prints."""
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def digest(rows: object) -> str:
    """The values of rows as one word, as ``runs.json`` has it."""
    return hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()


def test_there_is_one_of_each() -> None:
    """Every kind has its run, every kind of saved policy and fuser its federation."""
    assert sorted(run["kind"] for run in RUNS.values()) == sorted(KINDS)
    assert sorted(path.name for path in (GOLDEN / "runs").iterdir()) == NAMES
    files = sorted((GOLDEN / "bundles").glob("*.npz"))
    assert {file.stem for file in files} == set(DECISIONS)
    states = [read_state(file) for file in files]
    inner = [s["policy"][k] for s in states for k in ("inner",) if k in s["policy"]]
    assert {s["policy"]["policy"] for s in states} | {s["policy"] for s in inner} == {
        *SAVED_POLICIES
    }
    assert {state["fuser"]["fuser"] for state in states} == set(SAVED_FUSERS)


def test_nothing_names_the_machine_that_made_it() -> None:
    """No folder outside of the run, and no name of the machine."""
    texts = {".json", ".jsonl", ".toml", ".yaml", ".txt", ".sh", ".tsv"}
    for file in GOLDEN.rglob("*"):
        if file.suffix in texts:
            text = file.read_text(encoding="utf-8")
            assert re.search(r"(?<![\w.])/(home|root|tmp|work)/", text) is None, file
        if file.name == "manifest.json":
            assert Run.open(file.parent).manifest.process.host == "host"


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_read(name: str) -> None:
    """Every table has its columns, their types and every value."""
    run, told = Run.open(GOLDEN / "runs" / name), RUNS[name]
    assert (run.manifest.kind, run.status) == (told["kind"], told["status"])
    assert run.manifest.plain()["verdict"] == told["verdict"]
    assert sorted(run.tables()) == sorted(told["tables"])
    for table, of_table in told["tables"].items():
        found = run.table(table)
        types = {field.name: str(field.type) for field in found.schema}
        columns = of_table["columns"]
        assert types.items() >= columns.items()
        rows = found.select(list(columns)).to_pylist()
        assert (len(rows), digest(rows)) == (of_table["n_rows"], of_table["digest"])


@pytest.mark.parametrize("name", NAMES)
def test_the_config_is_read(name: str) -> None:
    """The file in the folder makes the config that the run had, but for newer keys."""
    file = GOLDEN / "runs" / name / "config.toml"
    kind, config = prepare(file)
    assert kind.name == RUNS[name]["kind"]
    _has(config.plain(), tomllib.loads(file.read_text(encoding="utf-8")), "")


def _has(found: Any, told: Any, where: str) -> None:
    """What a file says is in a config."""
    if isinstance(told, dict):
        for key, value in told.items():
            _has(found[key], value, f"{where}.{key}")
    elif isinstance(told, list):
        for number, pair in enumerate(zip(found, told, strict=True)):
            _has(*pair, f"{where}[{number}]")
    else:
        assert found == told, where


def test_the_runs_are_listed(runs: Path) -> None:
    """``ls`` knows all of them."""
    listed = json.loads(said("ls", "--json", "--out", str(runs)))
    assert {one["id"]: one["status"] for one in listed} == {
        name: run["status"] for name, run in RUNS.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_shown_reported_and_compared(name: str, runs: Path) -> None:
    """``show`` says what it said, ``report`` makes a page, nothing is unlike itself."""
    shown = json.loads(said("show", name, "--json", "--out", str(runs)))
    assert shown["rows"] == RUNS[name]["counts"]
    summary = sorted(shown["summary"], key=lambda row: str(sorted(row.items())))
    assert digest(summary) == RUNS[name]["summary"]
    said("report", name, "--out", str(runs))
    assert (runs / name / "report" / "index.html").stat().st_size > 100_000
    found = json.loads(said("compare", name, name, "--json", "--out", str(runs)))
    assert len(found["comparisons"]) == RUNS[name]["n_comparisons"]
    results = {one["result"] for one in found["comparisons"]}
    assert results <= {"tie", "unknown", "cannot tell"}
    assert found["differences"] == []


@pytest.mark.parametrize("name", sorted(DECISIONS))
def test_a_federation_decides_as_it_did(name: str, tmp_path: Path) -> None:
    """The same subsets round by round, the same answers, and the same file again."""
    file, told = GOLDEN / "bundles" / f"{name}.npz", DECISIONS[name]
    bundle = Bundle.load(file)
    given = INPUTS[bundle.task]
    n_items = len(given["items"])
    recording = Recording(
        task=bundle.task,
        items=tuple(given["items"]),
        names=tuple(given["names"]),
        providers=tuple(given["providers"]),
        prices_usd=np.array(given["prices_usd"]),
        answers=tuple(_answers(rows) for rows in given["answers"]),
        sizes_px=None
        if given["sizes_px"] is None
        else np.array(given["sizes_px"], np.float32),
    )
    bundle.check_fits(recording)
    if bundle.calibration is not None:
        recording = bundle.calibration.apply(recording)
    features = np.array(given["features"], np.float32)
    rng = np.random.default_rng(3)
    done = replay(bundle.policy, recording, features, bundle.fuser, rng)
    assert (bundle.policy.name, bundle.fuser.name) == (told["policy"], told["fuser"])
    assert done.rounds.shape == (len(told["rounds"]), n_items)
    assert done.rounds.tolist() == told["rounds"]
    fused = _answers(told["fused"])
    for of_answers in ("starts", "labels", "is_missing"):
        assert np.array_equal(
            getattr(done.fused, of_answers), getattr(fused, of_answers)
        )
    assert done.fused.scores == pytest.approx(fused.scores, abs=1e-5)
    assert done.fused.boxes == pytest.approx(fused.boxes, abs=1e-3)

    bundle.save(tmp_path / "again.npz")
    _same(read_state(file), read_state(tmp_path / "again.npz"), name)
    with np.load(file) as before, np.load(tmp_path / "again.npz") as after:
        assert before.files == after.files
        assert before["meta.json"].tobytes() == after["meta.json"].tobytes()


def _answers(rows: dict[str, Any]) -> Answers:
    n = len(rows["labels"])
    boxes = np.array(rows["boxes"] or np.zeros((n, 4)), np.float32).reshape(n, 4)
    return Answers(
        starts=np.array(rows["starts"], np.int64),
        labels=np.array(rows["labels"], np.int32),
        scores=np.array(rows["scores"], np.float32),
        boxes=boxes,
        is_missing=np.array(rows["is_missing"], bool),
        is_ignored=np.zeros(n, bool),
    )


def _same(one: Any, two: Any, where: str) -> None:
    """Nested values with arrays are equal, in the order of names and types as well."""
    if isinstance(one, np.ndarray):
        assert one.dtype == two.dtype, where
        assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f"), where
    elif isinstance(one, dict):
        assert list(one) == list(two), where
        for key, value in one.items():
            _same(value, two[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for number, pair in enumerate(zip(one, two, strict=True)):
            _same(*pair, f"{where}[{number}]")
    else:
        assert (type(one), one) == (type(two), two), where


def test_a_ledger_is_continued(tmp_path: Path) -> None:
    """Its totals are those it had, its open call counts, and a new call follows."""
    file = tmp_path / "ledger.tsv"
    shutil.copyfile(GOLDEN / "ledger.tsv", file)
    noon_s = 1_700_006_400.0
    with Ledger.open(file, sync="never", clock=lambda: noon_s + 2 * DAY_S) as ledger:
        recovery = ledger.recovery
        assert (recovery.n_entries, recovery.n_assumed) == (7, 1)
        assert (recovery.assumed_nusd, recovery.n_torn_bytes) == (9, 0)
        assert ledger.spending.total().committed_nusd == 549
        assert ledger.spending.of_day("2023-11-15").charged_nusd == 500
        call = ledger.reserve(
            run="r",
            provider="aws",
            item="photo",
            price_nusd=100,
            price_list="v1",
            time_s=ledger.now_s(),
        ).call
        ledger.charge(call, 100)
        assert ledger.spending.total().committed_nusd == 649
    before, after = (GOLDEN / "ledger.tsv").read_bytes(), file.read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == before.count(b"\n") + 3


def test_a_bridge_takes_up_its_queue(tmp_path: Path) -> None:
    """Messages in both directions, handshakes, counters and facts."""
    file = tmp_path / "bridge.db"
    shutil.copyfile(GOLDEN / "bridge.db", file)
    store = BridgeStore(str(file), survives="power")
    first, second = store.messages("up")
    (down,) = store.messages("down")
    assert (first.number, first.mid, first.is_released, first.qos) == (1, 77, True, 2)
    assert (second.topic, second.expiry_s) == ("t/2", 1_700_009_999.0)
    assert (down.number, down.is_retained, down.came_s) == (3, True, 1_700_006_403.5)
    assert store.contents(2) == ([[9, b"\x00\xff"], [38, ["k", "v"]]], b"abc")
    assert store.counts("up") == {"t/1": {"n_in": 4.0}}
    assert store.received("here") == {12}
    assert store.fact("epoch") == "one"
    assert store.last_number() == 3
    store.remove(1)
    store.close()
    again = BridgeStore(str(file), survives="power")
    assert [one.number for one in again.messages("up")] == [2]
    again.close()


def test_an_exported_plan_is_taken_and_written_again(tmp_path: Path) -> None:
    """Bridges read its files, and the same config exports the same plan."""
    (name,) = (name for name in NAMES if RUNS[name]["kind"] == "deploy.plan")
    export = GOLDEN / "runs" / name / "files" / "export"
    for gateway in ("harbour", "station"):
        rates = json.loads((export / gateway / "rates.json").read_text())
        found = read_rate_map(export / gateway / "rates.json")
        assert found.uplink_bps == rates["uplink_bps"]
        assert read_bridge(export / gateway / "bridge.toml").name
    config = str(GOLDEN / "runs" / name / "config.toml")
    said("run", config, "--no-report", "--out", str(tmp_path))
    (run,) = tmp_path.iterdir()
    files = [f.relative_to(export) for f in sorted(export.rglob("*")) if f.is_file()]
    written = run / "files" / "export"
    for file in files:
        assert (written / file).read_text() == (export / file).read_text(), file
    assert files == [
        f.relative_to(written) for f in sorted(written.rglob("*")) if f.is_file()
    ]


def test_the_comparison_of_runs_finds_one_changed_value(tmp_path: Path) -> None:
    """Runs are like themselves; a value, a type or a lost run is told."""
    golden = GOLDEN / "runs"
    assert compare_runs.compare(golden, golden).lines == []
    name = next(n for n in NAMES if RUNS[n]["kind"] == "deploy.allocate")
    after = Path(shutil.copytree(golden / name, tmp_path / name))
    file = after / "tables" / "decisions" / "part-0000.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("quality")
    values = table["quality"].to_pylist()
    values[0] = float(np.nextafter(values[0], 2))
    pq.write_table(table.set_column(place, "quality", pa.array(values)), file)
    (line,) = compare_runs.compare(golden / name, after).lines
    assert "decisions.quality: row 0" in line
    assert compare_runs.compare(golden / name, after, relative=1e-12).lines == []
    assert len(compare_runs.compare(golden, tmp_path).lines) == len(NAMES)
