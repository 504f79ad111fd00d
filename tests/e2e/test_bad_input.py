"""What goes wrong ends in one clear message, and what was measured is there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.recorded_scenes import record_scenes
from tests.support.tiny_coco import write_coco

from midhaul.runs.run import Run

ACCURACY = """
kind = "testbed.accuracy"
detectors = ["null"]
jobs = 1
[data]
n_scenes = 4
[judge]
n_resamples = 100
"""

MEASURE = """
kind = "testbed.measure"
n_blocks = 1
jobs = 1
[data]
n_scenes = 3
[judge]
n_resamples = 100
[load]
n_requests = 3
max_warmup = 0
percentile = 50.0
[[nodes]]
name = "edge1"
role = "edge"
detector = "null"
port = {port}
"""


def midhaul(
    tmp_path: Path, text: str, *settings: str
) -> subprocess.CompletedProcess[str]:
    """Run an experiment with the command line."""
    file = tmp_path / "experiment.toml"
    file.write_text(text)
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "midhaul", "run", str(file), *words]
    return subprocess.run(
        [*command, "--out", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check_message(
    done: subprocess.CompletedProcess[str], code: int, *words: str
) -> None:
    """One message with a hint, no traceback, and the exit code that belongs to it."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert sum(line.startswith("midhaul: ") for line in lines) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_all_mistakes_of_a_file_at_once(tmp_path: Path) -> None:
    """An unknown key and a wrong type, each with its place and what was meant."""
    text = ACCURACY.replace("jobs = 1", 'jbos = 1\nseed = "one"')
    done = midhaul(tmp_path, text)
    check_message(done, 2, "jbos", "did you mean 'jobs'", "seed", "experiment.toml")


def test_missing_images_are_named(tmp_path: Path) -> None:
    """The folder is there, one of its images is not."""
    coco = write_coco(tmp_path / "coco")
    coco.images[0].unlink()
    done = midhaul(tmp_path, ACCURACY, *coco.settings)
    check_message(done, 2, coco.images[0].stem)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    """An image that was cut off names itself; answers before it are kept."""
    coco = write_coco(tmp_path / "coco", n_images=50)
    data = coco.images[-1].read_bytes()
    coco.images[-1].write_bytes(data[: len(data) // 2])
    done = midhaul(tmp_path, ACCURACY, *coco.settings, 'encode=["jpeg:50"]')
    check_message(done, 2, coco.images[-1].stem.lstrip("0"), "cut off")
    (folder,) = (tmp_path / "runs").iterdir()
    run = Run.open(folder)
    assert run.status == "failed"
    (kept,) = run.sql("SELECT count(*) AS n FROM detections").to_pylist()
    assert kept["n"] == 40


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    """A detector file that holds something else."""
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    shutil.copy(
        Path(__file__).parents[2] / "src/midhaul/vision/cards/yolox_nano.toml",
        tmp_path / "model.toml",
    )
    done = midhaul(tmp_path, ACCURACY, 'detectors=["onnx:model.onnx"]')
    assert "model.onnx" in done.stderr
    check_message(done, 2)


def test_a_port_in_use(tmp_path: Path) -> None:
    """Somebody else listens where the node is to listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = midhaul(tmp_path, MEASURE.format(port=port))
    check_message(done, 1, str(port), "edge1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk(tmp_path: Path) -> None:
    """The message says where, and the tables that were written can be read."""
    small = tmp_path / "runs"
    small.mkdir()
    record_scenes(tmp_path / "scenes.parquet", 60)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        detector = f'["recorded:{tmp_path}/scenes.parquet?provider=good"]'
        done = midhaul(
            tmp_path,
            ACCURACY,
            "data.n_scenes=60",
            f"detectors={detector}",
            'encode=["keep","jpeg:90","jpeg:80","jpeg:70","jpeg:60","jpeg:50"]',
        )
        check_message(done, 1, "No space left", str(small))
        (folder,) = small.iterdir()
        run = Run.open(folder)
        for table in run.tables():
            run.sql(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
    finally:
        subprocess.run(["umount", str(small)], check=True)
