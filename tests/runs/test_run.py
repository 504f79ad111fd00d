"""Tests of run folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.toy_kind import NAME, STEPS, ToyConfig

from midhaul.errors import ConfigError, StoreError
from midhaul.model import Tally, Verdict
from midhaul.runs import store
from midhaul.runs.manifest import Manifest
from midhaul.runs.run import Run
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import Column, Table

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A new run, begun at noon."""
    return Run.create(tmp_path / "runs", NAME, ToyConfig(), clock=lambda: NOON)


def test_a_new_run_is_a_folder_that_names_time_kind_and_config(run: Run) -> None:
    """Its folder holds a manifest and the complete config at once."""
    assert run.dir.name == f"20260102T120000Z-toy.count-{ToyConfig().hash()}"
    manifest = json.loads((run.dir / "manifest.json").read_text())
    assert manifest["status"] == "running"
    assert manifest["seed"] == 0
    assert manifest["versions"]["python"]
    assert manifest["machine"]["cores"] >= 1
    assert run.config_values()["n_steps"] == 3


def test_a_run_that_cannot_be_begun_leaves_no_folder(tmp_path: Path) -> None:
    """On a full disk: without a manifest nobody would know what the folder is."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(StoreError):
            Run.create(tmp_path, "toy", ToyConfig())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_of_the_same_second_have_two_folders(run: Run) -> None:
    """A name that is taken gets a suffix."""
    other = Run.create(run.dir.parent, NAME, ToyConfig(), clock=lambda: NOON)
    assert other.dir != run.dir
    assert other.dir.name.startswith(run.dir.name)
    assert other.id == other.dir.name


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"step": st.integers(-(2**63), 2**63 - 1)},
            optional={"value": st.none() | st.floats(allow_nan=False)},
        )
    )
)
def test_rows_are_read_as_they_were_written(run: Run, rows: list[dict]) -> None:
    """Missing values are null, and order is kept."""
    run.write(STEPS, rows, part=0)
    expected = [{"step": r["step"], "value": r.get("value")} for r in rows]
    assert run.read(STEPS).to_pylist() == expected


def test_parts_are_numbered_replaced_and_dropped(run: Run) -> None:
    """Without a number the next is taken; the same number writes over it."""
    assert run.parts("steps") == []
    assert [run.write(STEPS, [{"step": i}]) for i in range(2)] == [0, 1]
    run.write(STEPS, [{"step": 7}], part=5)
    run.write(STEPS, [{"step": 8}], part=0)
    assert run.parts("steps") == [0, 1, 5]
    assert run.read(STEPS)["step"].to_pylist() == [8, 1, 7]
    assert run.write(STEPS, []) == 6
    run.drop("steps", [1, 3, 6])
    assert run.parts("steps") == [0, 5]
    assert run.count("steps") == 2


def test_a_summary_is_in_the_order_of_its_writing(run: Run) -> None:
    """Configurations by number, and of each its metrics as they were written."""
    named = Table(
        "configurations", "Names.", (CONFIGURATION, Column("name", pa.string(), "It."))
    )
    run.write(named, [{"configuration": i, "name": f"c{i}"} for i in range(40)])
    metrics = ["b", "a", "d", "c"]
    for part, two in ((1, metrics[2:]), (0, metrics[:2])):
        rows = [
            {"configuration": i, "metric": metric, "value": 1.0, "n": 1}
            for metric in two
            for i in range(39, -1, -1)
        ]
        run.write(SUMMARY, rows, part=part)
    wanted = [(f"c{i}", i, metric) for i in range(40) for metric in metrics]
    found = [(r["name"], r["configuration"], r["metric"]) for r in run.summary.rows]
    assert found == wanted


def test_a_table_without_parts_is_empty_but_has_its_columns(run: Run) -> None:
    """Reading before writing gives no rows."""
    table = run.read(STEPS)
    assert (len(table), table.column_names) == (0, ["step", "value"])
    assert run.tables() == []


def test_what_a_killed_writer_left_is_not_read(run: Run) -> None:
    """Half a temporary file is no part."""
    run.write(STEPS, [{"step": 1}])
    folder = run.dir / "tables" / "steps"
    (folder / ".part-0001.parquet.99.part").write_bytes(b"PAR1 half")
    assert run.read(STEPS)["step"].to_pylist() == [1]
    assert run.sql("SELECT count(*) AS n FROM steps").to_pylist() == [{"n": 1}]
    assert sorted(p.name for p in folder.glob("part*")) == ["part-0000.parquet"]


def test_arrow_tables_are_brought_to_the_columns(run: Run) -> None:
    """Order and types are the table's, and unknown columns are refused."""
    run.write(STEPS, pa.table({"value": [1, 2], "step": [1.0, 2.0]}))
    assert run.read(STEPS).schema.equals(STEPS.schema)
    with pytest.raises(ValueError, match="no column"):
        run.write(STEPS, [{"stp": 1}])


def test_columns_thought_of_later_are_null_in_older_parts(run: Run) -> None:
    """A run of before is read; a column that was always there may not be missing."""
    run.write(STEPS, [{"step": 1, "value": 2.0}])
    unit = Column("unit", pa.string(), "Its unit.", is_newer=True)
    newer = Table(STEPS.name, STEPS.doc, (*STEPS.columns, unit))
    (row,) = run.read(newer).to_pylist()
    assert (row["step"], row["value"], row["unit"]) == (1, 2.0, None)
    asked = Table(
        STEPS.name, STEPS.doc, (*STEPS.columns, replace(unit, is_newer=False))
    )
    with pytest.raises(StoreError, match="cannot be read as table"):
        run.read(asked)


def test_a_damaged_part_is_named(run: Run) -> None:
    """The message says which file to delete."""
    run.write(STEPS, [{"step": 1}])
    (run.dir / "tables/steps/part-0000.parquet").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"part-0000\.parquet"):
        run.read(STEPS)
    with pytest.raises(StoreError, match="cannot answer"):
        run.sql("FROM steps")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT step, step, value FROM steps", ["step", "step_1", "value"]),
        ("SELECT 1 a_1, 2 a, 3 a, 4 a", ["a_1", "a", "a_2", "a_3"]),
        ("FROM steps s JOIN steps t ON s.step = t.step",
         ["step", "value", "step_1", "value_1"]),
    ],
)  # fmt: skip
def test_columns_that_are_asked_for_twice_are_told_apart(
    run: Run, query: str, names: list[str]
) -> None:
    """Each column of an answer keeps its values under a name of its own."""
    run.write(STEPS, [{"step": 1, "value": 2.0}])
    found = run.sql(query)
    assert found.column_names == names
    assert len(found.to_pylist()[0]) == len(names)


def test_a_wrong_query_names_the_tables(run: Run) -> None:
    """It is bad input, whatever is wrong with it; the hint lists what can be asked."""
    run.write(STEPS, [{"step": 1}])
    for query in ("FROM stps", "SELECT nobody FROM steps", "SELEC 1", ""):
        with pytest.raises(ConfigError) as caught:
            run.sql(query)
        assert "steps" in caught.value.hint


def test_what_was_tallied_counts_into_the_verdict(run: Run) -> None:
    """Whatever the experiment says at its end, and it is read back as it was."""
    lost = Tally(what="boxes were lost", n=1, of=2, max_share=0.1, advice="Look.")
    run.tally(lost)
    run.finish("done", None, Verdict())
    found = Run.open(run.dir).verdict
    assert found is not None
    assert not found.is_valid
    assert found.tallies == (lost,)


def test_the_end_is_written_once_with_verdict_and_notes(run: Run) -> None:
    """What finish says is what a reader finds."""
    run.note("hot")
    run.note("hot")
    verdict = Verdict(reasons=("late",), advice=("slow down",))
    run.finish("failed", "it broke", verdict)
    found = Run.open(run.dir)
    assert found.status == "failed"
    assert found.manifest.error == "it broke"
    assert found.manifest.notes == ("hot",)
    assert found.verdict == verdict
    text = json.loads((run.dir / "manifest.json").read_text())
    assert text["verdict"]["is_valid"] is False


def test_two_cannot_resume_the_same_run(tmp_path: Path) -> None:
    """The second is told who is at it, and what that one is writing stays."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from midhaul.runs import store\n"
        "from midhaul.runs.run import Run\n"
        "def write(path):\n"
        "    path.write_text('half'); print('ready', flush=True); time.sleep(600)\n"
        "run = Run.resume(Path(sys.argv[1]))\n"
        "store.write_whole(run.dir / 'tables' / 'x', write)\n"
    )
    run = Run.create(tmp_path, NAME, ToyConfig())
    run.finish("interrupted")
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(run.dir)], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(StoreError, match=f"by process {other.pid}"):
            Run.resume(run.dir)
        store.remove_leftovers(run.dir)
        assert [f.read_text() for f in (run.dir / "tables").iterdir()] == ["half"]
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    Run.resume(run.dir).finish("done")
    assert list((run.dir / "tables").iterdir()) == []
    assert Run.open(run.dir).status == "done"


def test_a_killed_run_is_recognised_and_resumed(tmp_path: Path) -> None:
    """Its parts are there, and another process can take it over."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from midhaul.runs.run import Run\n"
        "from tests.support.toy_kind import NAME, STEPS, ToyConfig\n"
        "run = Run.create(Path(sys.argv[1]), NAME, ToyConfig())\n"
        "run.write(STEPS, [{'step': 1}])\n"
        "assert run.status == 'running'\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    (folder,) = tmp_path.iterdir()
    run = Run.open(folder)
    assert run.manifest.status == "running"
    assert run.status == "killed"
    assert run.read(STEPS)["step"].to_pylist() == [1]
    leftover = folder / "tables" / "steps" / ".part-0001.parquet.9.part"
    leftover.write_bytes(b"half")
    again = Run.resume(folder)
    assert not leftover.exists()
    assert again.status == Run.open(folder).status == "running"
    assert len(again.manifest.resumed) == 1
    with pytest.raises(StoreError, match=f"by process {os.getpid()}"):
        Run.resume(folder)
    again.finish()
    with pytest.raises(StoreError, match="finished"):
        Run.resume(folder)


def test_a_folder_without_or_with_a_wrong_manifest_is_no_run(tmp_path: Path) -> None:
    """Both are named in the message."""
    with pytest.raises(StoreError, match="is no run"):
        Run.open(tmp_path)
    for text in ("{", "[]", '{"id": 3}', '{"verdict": 1}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(StoreError, match="cannot be read"):
            Run.open(tmp_path)


def test_a_manifest_of_a_later_version_is_read(run: Run) -> None:
    """Keys that this version does not know are passed over."""
    data = {**run.manifest.plain(), "schema_version": 2, "new": 1}
    (run.dir / "manifest.json").write_text(json.dumps(data))
    assert Manifest.read(run.dir).schema_version == 2


def test_log_lines_are_json(run: Run) -> None:
    """Each line has its time and its event."""
    run.log("begin", n=1, where=run.dir)
    (line,) = (run.dir / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["event"] == "begin"
    assert json.loads(line)["time"] == NOON.isoformat()


def test_files_have_a_place_of_their_own(run: Run) -> None:
    """The folder of a file is made."""
    path = run.file("nodes/edge1.log")
    path.write_text("x")
    assert path.relative_to(run.dir).parts == ("files", "nodes", "edge1.log")
