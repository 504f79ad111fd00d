"""Tests of writing whole files, also where there is no room for them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.toy_kind import NAME, STEPS, ToyConfig

from midhaul.errors import StoreError
from midhaul.runs.run import Run
from midhaul.runs.store import write_whole

if TYPE_CHECKING:
    from pathlib import Path

_FILL = """
import resource, signal, sys
from pathlib import Path
from midhaul.errors import StoreError
from midhaul.runs.run import Run
from tests.support.toy_kind import NAME, STEPS, ToyConfig
import numpy as np, pyarrow as pa

run = Run.create(Path(sys.argv[1]), NAME, ToyConfig())
run.write(STEPS, [{"step": 1}])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0).integers(0, 2**62, 100_000)
big = pa.table({"step": noise, "value": noise.astype(float)})
try:
    run.write(STEPS, big)
except StoreError as error:
    run.finish("failed", str(error))
    print(error.message)
    print(error.hint)
"""


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Nothing half-written takes the place of what was there."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("ne")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    """A file in the place of the runs' folder is named, with what to do."""
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StoreError, match="runs") as caught:
        Run.create(tmp_path / "runs", NAME, ToyConfig())
    assert "--out" in caught.value.hint


def test_no_room_is_one_error_and_earlier_rows_stay(tmp_path: Path) -> None:
    """A file that may not grow ends in a message; what was written is readable."""
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    message, hint = done.stdout.splitlines()
    assert "part-0001.parquet" in message
    assert "File too large" in message
    assert "make room" in hint
    (folder,) = tmp_path.iterdir()
    run = Run.open(folder)
    assert run.status == "failed"
    assert run.read(STEPS)["step"].to_pylist() == [1]
    files = [p.name for p in (folder / "tables/steps").iterdir()]
    assert files == ["part-0000.parquet"]


def test_a_full_disk_is_one_error_and_earlier_rows_stay(tmp_path: Path) -> None:
    """The same on a disk of half a megabyte, where one may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)]
    try:
        mounted = (
            subprocess.run(mount, check=False, capture_output=True).returncode == 0
        )
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs rights that this user has not")
    try:
        run = Run.create(tmp_path / "runs", NAME, ToyConfig())
        run.write(STEPS, [{"step": 1}])
        (tmp_path / "ballast").write_bytes(b"x" * 400_000)
        rows = [{"step": i * 7919**3 % 2**61, "value": i / 7} for i in range(50_000)]
        with pytest.raises(StoreError, match="No space left") as caught:
            run.write(STEPS, rows)
        assert "make room" in caught.value.hint
        run.finish("failed", caught.value.message)
        assert Run.open(run.dir).read(STEPS)["step"].to_pylist() == [1]
        assert Run.open(run.dir).status == "failed"
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
