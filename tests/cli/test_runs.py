"""Tests of listing runs, naming them and being rid of them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import toy_kind

from midhaul.errors import DataError
from midhaul.runs.run import Run

if TYPE_CHECKING:
    import pytest
    from tests.cli.conftest import Midhaul

ROOT = Path(__file__).parent.parent.parent


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a terminal of so many columns shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.toy_kind", *arguments],
        stdout=theirs,
        env={**env, "PYTHONPATH": str(ROOT)},
    ):
        os.close(theirs)
        told = b""
        try:
            while part := os.read(ours, 4096):
                told += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return told.decode().splitlines()


def test_80_columns_are_enough_to_tell_runs_apart(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """Name, verdict and what was found are there, and no line is longer."""
    midhaul("run", str(toy_file), "--name", "before the change", "--no-report")
    midhaul("run", str(toy_file), "--set", "factor=-2", "--set", 'tags=["night"]')
    lines = on_a_terminal(80, "ls")
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "before the change" in text
    assert "#night" in text
    assert "total 78 s" in text
    assert sum("not valid" in line for line in lines) == 1
    shown = on_a_terminal(80, "show", "before the change")
    assert any(line.split() == ["total", "78", "s", "total"] for line in shown)


def test_a_pipe_gets_columns_with_all_that_is_known(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """The lines are parted by tabs; JSON has the same."""
    midhaul("run", str(toy_file), "--name", "a", "--set", "note=why", "--no-report")
    heads, line = midhaul("ls").out.splitlines()
    told = dict(zip(heads.split("\t"), line.split("\t"), strict=True))
    assert (told["name"], told["verdict"], told["found"]) == (
        "a",
        "valid",
        "total 78 s",
    )
    assert len(midhaul("ls", "--tag", "b").out) == 0
    (plain,) = json.loads(midhaul("ls", "--json").out)
    assert (plain["name"], plain["note"], plain["found"]) == ("a", "why", "total 78 s")


def test_a_run_is_called_by_its_name(midhaul: Midhaul, toy_file: Path) -> None:
    """In show, in its report and where two are compared."""
    for name in ("one", "two"):
        midhaul("run", str(toy_file), "--name", name)
    assert "name" in midhaul("show", "one").out
    page = Path(midhaul("report", "two").out.strip()).read_text()
    assert "<h1>two · Toy</h1>" in page
    assert midhaul("compare", "one", "two").code == 0


def test_runs_are_deleted_when_their_owner_says_so(
    midhaul: Midhaul, toy_file: Path
) -> None:
    """Not without a yes, and never one that is being run."""
    midhaul("run", str(toy_file), "--name", "a", "--no-report")
    kept = midhaul("rm", "a")
    assert (kept.code, len(midhaul("ls", "--json").out) > 3) == (1, True)
    assert midhaul("rm", "a", "--yes").code == 0
    assert midhaul("ls", "--json").out == "[]\n"
    busy = Run.create(Path("runs"), toy_kind.NAME, toy_kind.ToyConfig())
    assert "being run" in midhaul("rm", busy.id, "--yes").err
    assert busy.dir.is_dir()


def test_gc_deletes_what_came_to_no_end(midhaul: Midhaul, toy_file: Path) -> None:
    """What is finished stays."""
    midhaul("run", str(toy_file), "--no-report")
    midhaul("run", str(toy_file), "--set", "fail_at=3")
    assert "nothing to delete" in midhaul("gc", "--older-than", "1", "--yes").err
    assert "this run" in midhaul("gc", "--yes").err
    assert [r["status"] for r in json.loads(midhaul("ls", "--json").out)] == ["done"]


def test_bad_input_leaves_no_folder(
    midhaul: Midhaul, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is not there is told of before anything is kept."""

    def opens(*_: object) -> None:
        message = "there is no model"
        raise DataError(message)

    monkeypatch.setattr(toy_kind, "count", opens)
    said = midhaul("run", str(toy_file))
    assert (said.code, "nothing was begun" in said.err) == (2, True)
    assert midhaul("ls", "--json").out == "[]\n"


def test_the_shell_completes_verbs_and_runs(midhaul: Midhaul, toy_file: Path) -> None:
    """Names and ids of runs come after verbs that take one."""
    midhaul("run", str(toy_file), "--name", "before", "--no-report")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_TOY_COMPLETE": "complete_bash"}
    code = "from midhaul.cli.app import app; app(prog_name='toy')"
    for words, n, found in (("toy sh", "1", "show"), ("toy show be", "2", "before")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**env, "COMP_WORDS": words, "COMP_CWORD": n},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.split() == [found]
