"""Tests of running, showing and listing through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import toy_kind
from tests.support.toy_kind import NAME, ToyConfig

from midhaul.runs.run import Run

if TYPE_CHECKING:
    import pytest
    from tests.cli.conftest import Midhaul


def last(root: Path = Path("runs")) -> Path:
    """The folder of the newest run."""
    return max(root.glob("2*"))


def test_a_run_ends_with_summary_verdict_and_places(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """Results are on stdout, messages on stderr."""
    said = midhaul("run", str(toy_file), "--set", "factor=2")
    assert said.code == 0, said.err
    assert "total" in said.out
    assert "2.6 min" in said.out
    assert "valid" in said.out
    assert f"run     {last()}" in said.out
    assert f"report  {last()}/report/index.html" in said.out
    assert (last() / "report/index.html").stat().st_size > 1000
    assert "steps: 12" in said.err


def test_json_is_all_of_stdout(midhaul: Midhaul, toy_file: Path) -> None:
    """What --json prints can be read by a program."""
    found = json.loads(midhaul("run", str(toy_file), "--json", "--no-report").out)
    assert found["run"]["status"] == "done"
    assert found["run"]["verdict"]["is_valid"] is True
    assert found["summary"][0]["value"] == 78
    assert found["report"] is None


def test_bad_input_is_two_lines_and_exit_code_2(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """No run is begun and nothing is on stdout."""
    for arguments in (
        ["run", "none.toml"],
        ["run", str(toy_file), "--set", "fctor=2"],
        ["run", str(toy_file), "--set", "nonsense"],
        ["run", str(toy_file), "--set", "kind=toy.cont"],
        ["new", "toy.conut"],
        ["compare", "a", "b", "--gate", "x"],
        ["sweep", str(toy_file), "--over", "factor"],
        ["sweep", str(toy_file)],
    ):
        said = midhaul(*arguments)
        assert said.code == 2, arguments
        assert said.out == ""
        assert said.err.startswith("midhaul: ")
        assert "\nhint: " in said.err
        assert "Traceback" not in said.err
    assert not Path("runs").exists()


def test_debug_shows_the_traceback(midhaul: Midhaul) -> None:
    """Whoever wants it gets it, along with the message."""
    said = midhaul("--debug", "run", "none.toml")
    assert said.code == 2
    assert "Traceback" in said.err
    assert "midhaul: there is no experiment file none.toml" in said.err


def test_a_failed_experiment_says_where_its_rows_are(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """Exit code 1, the experiment's own message, and then it can be resumed."""
    said = midhaul("run", str(toy_file), "--set", "fail_at=3")
    assert said.code == 1
    assert "midhaul: step 3 failed" in said.err
    assert said.err.endswith("hint: take fewer steps\n")
    assert f"what was measured before is in {last()}" in said.err
    assert "failed" in midhaul("ls").out


def test_a_run_that_fails_before_its_first_row_can_be_read(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """It is there with its error, says that there is nothing else, and is resumed."""
    said = midhaul("run", str(toy_file), "--set", "fail_at=0")
    assert said.code == 1
    assert f"nothing but the error is in {last()}" in said.err
    assert "failed" in midhaul("ls").out
    name = last().name
    assert "no finished run" in midhaul("show", "last").err
    shown = midhaul("show", name)
    assert shown.code == 0
    assert "step 0 failed" in shown.out
    compared = midhaul("compare", name, name)
    assert compared.code != 0
    assert "has nothing to compare: it is failed" in compared.err
    assert midhaul("report", name).code == 0
    again = midhaul("run", str(toy_file), "--set", "fail_at=0", "--resume")
    assert f"resuming {last()}" in again.err


def test_an_unforeseen_error_points_to_the_log(
    midhaul: Midhaul, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in an experiment is one message too; the traceback is kept."""
    monkeypatch.setattr(toy_kind, "SUMMARY", None)
    said = midhaul("run", str(toy_file))
    assert said.code == 70
    assert "the experiment failed: AttributeError" in said.err
    assert "Traceback" in (last() / "log.jsonl").read_text()
    assert "AttributeError" in midhaul("show", last().name, "--log").out


def hear_interrupts() -> None:
    """Undo what a shell does to programs in its background: make Ctrl-C count."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_resume_takes_up_what_was_cut_off(midhaul: Midhaul, toy_file: Path) -> None:
    """Ctrl-C ends with 130 and the command that goes on; no step is done twice."""
    arguments = ["run", str(toy_file), "--no-report", "--set", "step_s=0.1"]
    command = [sys.executable, "-m", "tests.support.toy_kind", *arguments]
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - no other threads here
    ) as child:
        deadline = time.monotonic() + 30
        while not list(Path().glob("runs/*/tables/steps/part-0001*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
    assert "interrupted" in midhaul("ls").out
    said = midhaul(*arguments, "--resume")
    assert said.code == 0, said.err
    assert "resuming" in said.err
    assert len(list(Path("runs").iterdir())) == 1
    steps = json.loads(midhaul("show", "--table", "steps", "--json").out)
    assert [row["step"] for row in steps] == list(range(12))
    assert "beginning a new one" in midhaul(*arguments, "--resume").err


def test_who_resumes_second_is_told_who_has_the_run(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """A second run of the same is not begun beside it."""
    run = Run.create(Path("runs"), NAME, ToyConfig(n_steps=12))
    said = midhaul("run", str(toy_file), "--resume", "--no-report")
    assert said.code == 1
    assert run.id in said.err
    assert f"by process {os.getpid()}" in said.err
    assert "resuming" not in said.err
    assert len(list(Path("runs").iterdir())) == 1


def test_show_and_ls_tell_what_there_is(midhaul: Midhaul, toy_file: Path) -> None:
    """Tables, config and facts of a run, by every way to name it."""
    assert "begin with" in midhaul("ls").err
    midhaul("run", str(toy_file), "--no-report")
    run = last().name
    assert json.loads(midhaul("ls", "--json").out)[0]["id"] == run
    assert run in midhaul("ls").out
    assert midhaul("ls", "--kind", "other").out == ""
    for name in (run, run[:20], "last", f"runs/{run}"):
        assert f"runs/{run}" in midhaul("show", name).out
    assert "n_steps = 12" in midhaul("show", "--config").out
    assert json.loads(midhaul("show", "--config", "--json").out)["n_steps"] == 12
    shown = midhaul("show", "--table", "steps", "--limit", "5")
    assert len(shown.out.splitlines()) == 6
    assert "5 of 12 rows" in shown.err
    found = midhaul("show", "--sql", "SELECT sum(value) AS s FROM steps", "--json")
    assert json.loads(found.out) == [{"s": 78.0}]
    twice = midhaul("show", "--sql", "SELECT step, step FROM steps", "--limit", "1")
    assert twice.out.split()[:2] == ["step", "step_1"]
    assert json.loads(midhaul("show", "--json").out)["rows"]["steps"] == 12
    wrong = midhaul("show", "--table", "stpes")
    assert (wrong.code, "did you mean 'steps'" in wrong.err) == (1, True)


def test_report_is_written_again(midhaul: Midhaul, toy_file: Path) -> None:
    """The page of a run is derived from it at any time."""
    midhaul("run", str(toy_file), "--no-report")
    said = midhaul("report", "last")
    assert said.out.strip() == f"{last()}/report/index.html"
    assert last().name in Path(said.out.strip()).read_text()


def test_output_that_nobody_reads_is_no_error(toy_file: Path, tmp_path: Path) -> None:
    """A pipe that closes early ends the program quietly."""
    del toy_file
    script = f"{sys.executable} -m midhaul new testbed.measure | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert done.stderr == ""
