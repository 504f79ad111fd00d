"""How errors end: in words and exit codes, whatever they are."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from midhaul.cli.guard import guarded
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _raise(error: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise error

    return throw


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("three legs expected", "count again"), 2, "hint: count again"),
        (RuntimeError("nobody foresaw this"), 70, "please report it with"),
        (RecursionError("maximum depth"), 70, "RecursionError"),
        (OSError(13, "Permission denied", "there"), 2, "there cannot be used"),
        (OSError("no file in it"), 70, "OSError"),
        (MemoryError(), 1, "there is not enough memory"),
        (ModuleNotFoundError("no", name="onnxruntime"), 3, "midhaul[detect]"),
        (ModuleNotFoundError("no", name="nonsense"), 70, "ModuleNotFoundError"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (DataError("x" * 10_000_000), 2, "more characters"),
    ],
)
def test_every_error_has_its_words_and_its_code(
    error: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing but words reaches the screen, and not too many of them."""
    with pytest.raises(typer.Exit) as caught, guarded(debug=False):
        _raise(error)()
    assert caught.value.exit_code == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert len(err) < 5000


def test_what_is_unforeseen_is_written_down(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the traceback, and only its owner may read it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(typer.Exit), guarded(debug=False):
        _raise(RuntimeError("nobody foresaw this"))()
    (file,) = tmp_path.iterdir()
    assert str(file) in capsys.readouterr().err
    assert "nobody foresaw this" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_names_that_are_no_text_can_be_printed(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is named in the message all the same."""
    name = os.fsencode(tmp_path) + b"/\xff.toml"
    env = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "midhaul", "run", name],
        capture_output=True,
        check=False,
        env=env,
    )
    assert done.returncode == 2, done.stderr
    assert b"\\udcff.toml" in done.stderr


def test_one_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    """``ls`` lists the rest, and says which is damaged."""
    folder = tmp_path / "20260101T000000Z-toy-0"
    folder.mkdir()
    (folder / "manifest.json").write_text("[" * 100_000)
    done = subprocess.run(
        [sys.executable, "-m", "midhaul", "ls", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0
    assert "left out" in done.stderr
    assert "nested too deeply" in done.stderr
