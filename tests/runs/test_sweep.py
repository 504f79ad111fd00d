"""Tests of sweeps: every point once, whatever happens in between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support import toy_kind
from tests.support.toy_kind import NAME, STEPS, SUMMARY, ToyConfig

from midhaul.errors import ConfigError, StoreError
from midhaul.runs.experiment_file import Override, read_file
from midhaul.runs.listing import list_runs
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run
from midhaul.runs.sweep import Sweep, points_of, run_sweep

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = """
kind = "toy.count"
n_steps = 4
step_s = 0.01

[sweep]
factor = [1.0, 2.0, 3.0]
seed = [0, 1]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An experiment file with six points."""
    path = tmp_path / "toy.toml"
    path.write_text(FILE)
    return path


def toy_sweep(file: Path, *over: tuple[str, list[object]]) -> Sweep:
    """The sweep of a toy file."""
    axes = [
        (k, [Override(key=(k,), value=v, folder=Path.cwd()) for v in values])
        for k, values in over
    ]
    points = points_of(read_file(file), ToyConfig, [], axes)
    return Sweep(kind=NAME, experiment=toy_kind.run, points=points)


def tables(root: Path) -> dict[str, list[object]]:
    """All rows of the finished runs, by the hash of their config."""
    done = [run for run in list_runs(root) if run.status == "done"]
    counts = Counter(run.manifest.config_hash for run in done)
    assert set(counts.values()) == {1}, "a point was run twice"
    return {
        run.manifest.config_hash: [
            run.read(table).to_pylist() for table in (STEPS, SUMMARY)
        ]
        for run in done
    }


def test_points_are_all_combinations(file: Path) -> None:
    """A key of --over takes the place of the file's, and points are different."""
    assert len(toy_sweep(file).points) == 6
    points = toy_sweep(file, ("factor", [5.0, 5.0]), ("mode", ["fast", "slow"])).points
    settings = [tuple(point.settings.items()) for point in points]
    assert len(settings) == len(set(settings)) == 4
    assert points[0].config.model_dump()["factor"] == 5.0


def test_a_wrong_value_of_a_point_is_a_config_error(file: Path) -> None:
    """Nothing is run when a point cannot be."""
    with pytest.raises(ConfigError, match="mode"):
        toy_sweep(file, ("mode", ["fats"]))
    file.write_text('kind = "toy.count"\n')
    with pytest.raises(ConfigError, match="varies nothing"):
        toy_sweep(file)


@pytest.mark.parametrize("jobs", [1, 2])
def test_points_share_a_group_and_are_skipped_the_next_time(
    file: Path, tmp_path: Path, jobs: int
) -> None:
    """Every point has one run; starting again begins none."""
    sweep, root = toy_sweep(file), tmp_path / "runs"
    outcomes = run_sweep(sweep, root, SilentProgress(), jobs=jobs)
    assert {o.status for o in outcomes} == {"done"}
    assert [o.point for o in outcomes] == list(sweep.points)
    runs = list(list_runs(root))
    assert {run.manifest.group for run in runs} == {sweep.group}
    assert {str(run.manifest.point) for run in runs} == {
        str(dict(point.settings)) for point in sweep.points
    }
    again = run_sweep(sweep, root, SilentProgress(), jobs=jobs)
    assert {o.status for o in again} == {"skipped"}
    assert [o.run for o in again] == [o.run for o in outcomes]
    assert len(list(list_runs(root))) == 6


def test_the_order_is_left_to_the_seed(file: Path) -> None:
    """The same sweep has the same order, which is not that of the file."""
    over = ("n_steps", list(range(20)))
    one, two = toy_sweep(file, over).shuffled(), toy_sweep(file, over).shuffled()
    assert one == two
    assert one != list(toy_sweep(file, over).points)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_point_is_a_row_and_the_others_go_on(
    file: Path, tmp_path: Path, jobs: int
) -> None:
    """Its error is told, and it is tried again the next time."""
    sweep = toy_sweep(file, ("seed", [0]), ("factor", [1.0]), ("fail_at", [2, 9]))
    outcomes = run_sweep(sweep, tmp_path / "runs", SilentProgress(), jobs=jobs)
    assert [o.status for o in outcomes] == ["failed", "done"]
    assert (outcomes[0].error or "").startswith("step 2 failed")
    again = run_sweep(sweep, tmp_path / "runs", SilentProgress(), jobs=jobs)
    assert [o.status for o in again] == ["failed", "skipped"]
    assert again[0].run == outcomes[0].run


def test_a_sweep_is_run_by_one_process_at_a_time(file: Path, tmp_path: Path) -> None:
    """The second is told so, and the lock goes with its holder."""
    sweep, root = toy_sweep(file, ("step_s", [1.0])), tmp_path / "runs"
    child = start(file, root, "--over", "step_s=1.0")
    try:
        wait_for(lambda: any(root.glob("*/tables/steps")))
        with pytest.raises(StoreError, match=f"run by process {child.pid}"):
            run_sweep(sweep, root, SilentProgress())
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_sweep_is_finished_by_the_next(
    file: Path, tmp_path: Path, jobs: int
) -> None:
    """After SIGKILL at random points every point is there once, with its tables."""
    chance = random.Random(jobs)
    undisturbed, root = tmp_path / "undisturbed", tmp_path / "runs"
    run_sweep(toy_sweep(file), undisturbed, SilentProgress())
    expected = tables(undisturbed)
    for _ in range(3):
        before = n_parts(root)
        child = start(file, root, "--jobs", str(jobs))
        wait_for(lambda before=before, child=child: grew(root, before, child))
        time.sleep(chance.uniform(0, 0.1))
        child.kill()
        child.wait()
        for run in list_runs(root):
            run.read(STEPS)  # every table is readable
    wait_for(lambda: all(run.status != "running" for run in list_runs(root)))
    done = start(file, root, "--jobs", str(jobs))
    assert done.wait(60) == 0
    assert tables(root) == expected
    assert {run.status for run in list_runs(root)} == {"done"}


def test_sigterm_interrupts_and_the_runs_say_so(file: Path, tmp_path: Path) -> None:
    """A sweep that is told to stop ends with 130, its workers with it."""
    root = tmp_path / "runs"
    child = start(file, root, "--jobs", "2", "--set", "step_s=0.3")
    wait_for(lambda: n_parts(root) > 0)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 130
    assert {run.status for run in list_runs(root)} <= {"interrupted", "done"}


def test_a_worker_that_is_killed_is_a_row(file: Path, tmp_path: Path) -> None:
    """One point's process dies, the others go on, and the next sweep resumes it."""
    root = tmp_path / "runs"
    child = start(file, root, "--jobs", "2", "--set", "step_s=0.1")
    wait_for(lambda: n_parts(root) > 0)
    (victim, *_) = (run for run in list_runs(root) if run.status == "running")
    os.kill(victim.manifest.process.pid, signal.SIGKILL)
    assert child.wait(60) == 1
    assert Run.open(victim.dir).status == "killed"
    assert Counter(run.status for run in list_runs(root)) == {"done": 5, "killed": 1}
    assert start(file, root, "--set", "step_s=0.1").wait(60) == 0
    assert len(tables(root)) == 6
    assert len(list(list_runs(root))) == 6


def start(file: Path, root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A sweep of a toy file in another process."""
    module = ["-m", "tests.support.toy_kind", "sweep", str(file), "--out", str(root)]
    return subprocess.Popen(
        [sys.executable, *module, "--no-report", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def n_parts(root: Path) -> int:
    """Parts written so far."""
    return len(list(root.glob("*/tables/*/part-*")))


def grew(root: Path, before: int, child: subprocess.Popen[bytes]) -> bool:
    """Whether a sweep wrote something, or is done."""
    return n_parts(root) > before or child.poll() is not None


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds, half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)
