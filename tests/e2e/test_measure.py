"""The main job on real processes: up, load, rows, summary, report, down."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.recorded_scenes import record_scenes

from midhaul.runs.run import Run
from midhaul.testbed.measure.request_metrics import stages_of
from midhaul.testbed.measure.samples import judged_requests

N_SCENES = 6
PARTS = "tables/*/part-*.parquet"
EXPERIMENT = """
kind = "testbed.measure"
n_blocks = 2
precision = "0.1%"
jobs = 1

[data]
kind = "builtin"
n_scenes = 6

[[nodes]]
name = "cloud"
role = "cloud"
detector = "recorded:{file}?provider=good&service_s=0.004"

[[nodes]]
name = "edge1"
role = "edge"
cloud = "cloud"
forward = "image"

[[nodes]]
name = "edge2"
role = "edge"
cloud = "cloud"
forward = "image"

[[links]]
source = "edge1"
target = "cloud"
rate_bps = 100e6
delay_s = 0.002

[load]
n_requests = 12
warmup_window = 4
max_warmup = 24
percentile = 50.0

[judge]
n_resamples = 100

[grid]
"cloud.detector" = [
  "recorded:{file}?provider=good&service_s=0.004",
  "recorded:{file}?provider=poor&service_s=0.002",
]
"edge.encode" = ["keep", "jpeg:30"]
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of four configurations in two blocks."""
    folder = tmp_path_factory.mktemp("experiment")
    record_scenes(folder / "scenes.parquet", N_SCENES)
    file = folder / "measure.toml"
    file.write_text(EXPERIMENT.format(file=folder / "scenes.parquet"))
    return file


def midhaul(*words: str | Path) -> list[str]:
    """The command line of a midhaul of this environment."""
    return [sys.executable, "-m", "midhaul", *map(str, words)]


def only_run(root: Path) -> Run:
    """The one run below a folder."""
    (folder,) = (f for f in root.iterdir() if (f / "manifest.json").exists())
    return Run.open(folder)


@pytest.fixture(scope="module")
def finished(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The experiment, run undisturbed."""
    root = tmp_path_factory.mktemp("runs")
    subprocess.run(midhaul("run", experiment, "--out", root), check=True, timeout=300)
    return only_run(root)


def rows(run: Run, query: str) -> list[dict[str, Any]]:
    """The answer to a query as dictionaries."""
    return run.sql(query).to_pylist()


def cells_of(run: Run) -> list[tuple[int, int]]:
    """Configuration and block of every cell, sorted."""
    found = rows(run, "SELECT configuration, block FROM cells ORDER BY ALL")
    return [(row["configuration"], row["block"]) for row in found]


def test_every_cell_is_measured_once_on_the_same_images(finished: Run) -> None:
    """A block visits every configuration, with one list of images for all."""
    assert finished.status == "done"
    assert cells_of(finished) == [(c, b) for c in range(4) for b in range(2)]
    sent = rows(
        finished,
        "SELECT configuration, block, list(images ORDER BY request) AS images, "
        "count(*) AS n FROM requests WHERE NOT is_warmup GROUP BY ALL",
    )
    assert {row["n"] for row in sent} == {12}
    for block in (0, 1):
        lists = [json.dumps(row["images"]) for row in sent if row["block"] == block]
        assert len(set(lists)) == 1
    positions = rows(
        finished, "SELECT block, list(configuration ORDER BY position) FROM cells "
        "GROUP BY block ORDER BY block"
    )  # fmt: skip
    assert positions[0] != positions[1]


def test_requests_account_for_their_time(finished: Run) -> None:
    """Stages fit into the node's time, and that into what the workload saw."""
    (found,) = rows(
        finished,
        "SELECT count(*) AS n, "
        "count(*) FILTER (latency_ns >= service_ns AND service_ns >= node_ns AND "
        "node_ns >= queue_ns + decode_ns + encode_ns + forward_ns AND "
        "forward_ns >= cloud_inference_ns AND network_ns = service_ns - node_ns) "
        "AS n_consistent FROM requests WHERE status = 'ok'",
    )
    assert found["n"] == found["n_consistent"] > 0


def test_stages_sum_up_to_the_latency(finished: Run) -> None:
    """No stage is negative, and their means make up the mean latency."""
    for requests in judged_requests(finished).values():
        parts = stages_of(requests.table, requests.latency_ns, requests.is_ok)
        assert all((values >= 0).all() for values in parts.values())
        np.testing.assert_allclose(sum(parts.values()), requests.latency_ns)
    found = rows(
        finished,
        "SELECT sum(value) FILTER (metric LIKE 'stage_%' AND "
        "metric != 'stage_forward_s') AS parts, "
        "max(value) FILTER (metric = 'latency_mean_s') AS whole, "
        "FROM summary GROUP BY configuration",
    )
    assert len(found) == 4
    for row in found:
        assert np.isclose(row["parts"], row["whole"])


def test_means_are_over_all_judged_requests(finished: Run) -> None:
    """The summary's bytes are the table's sum over its number of rows."""
    found = rows(
        finished,
        "SELECT s.value, r.mean FROM summary s JOIN (SELECT configuration, "
        "sum(backhaul_up_bytes) / count(*) AS mean FROM requests WHERE NOT is_warmup "
        "GROUP BY ALL) r USING (configuration) WHERE metric = 'backhaul_up_bytes'",
    )
    assert len(found) == 4
    assert all(np.isclose(row["value"], row["mean"]) for row in found)


def test_smaller_images_are_fewer_bytes_and_the_better_detector_wins(
    finished: Run,
) -> None:
    """The summary tells configurations apart in the direction that was built in."""
    found = rows(
        finished,
        "SELECT c.edge_detector, c.cloud_detector, c.encode, s.metric, s.value, s.low, "
        "s.high FROM summary s JOIN configurations c USING (configuration)",
    )
    by_key = {(r["cloud_detector"], r["encode"], r["metric"]): r for r in found}
    for encode in ("keep", "jpeg:30"):
        good, poor = (by_key[name, encode, "ap50"] for name in ("good", "poor"))
        assert good["value"] > poor["value"]
        assert good["low"] <= good["value"] <= good["high"]
    for name in ("good", "poor"):
        kept, small = (
            by_key[name, encode, "backhaul_up_bytes"] for encode in ("keep", "jpeg:30")
        )
        assert small["value"] < kept["value"]
        assert by_key[name, "keep", "size_left"]["value"] == 1
    assert by_key["good", "keep", "usd_per_1000"]["value"] > 0


def test_links_measured_themselves_and_usage_was_watched(finished: Run) -> None:
    """Both directions of the shaped link in each block, and every node in each cell."""
    links = rows(finished, "SELECT block, link FROM links ORDER BY ALL")
    names = ("cloud->edge1", "edge1->cloud")
    assert links == [{"block": b, "link": name} for b in (0, 1) for name in names]
    nodes = rows(finished, "SELECT node, sum(cpu_s) AS cpu_s FROM usage GROUP BY node")
    found = {row["node"]: row["cpu_s"] for row in nodes}
    assert found.keys() == {"workload", "cloud", "edge1", "edge2"}
    assert all(cpu_s > 0 for cpu_s in found.values())


def test_the_report_is_one_small_file(finished: Run) -> None:
    """The report of the main job is there and within its bound."""
    report = finished.dir / "report" / "index.html"
    assert 100_000 < report.stat().st_size < 5_000_000


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_finished(
    experiment: Path, finished: Run, tmp_path: Path
) -> None:
    """SIGKILL at random moments: every cell once, accuracy tables identical.

    A moment is a random number of written parts, in each third of them once, so that
    the run is always killed before its end, however fast the machine is.
    """
    n_parts = len(list(finished.dir.glob(PARTS)))
    rng = random.Random(os.urandom(8))
    command = midhaul("run", experiment, "--out", tmp_path, "--resume", "--no-report")
    for third in range(3):
        low, high = (1 + (n_parts - 8) * bound // 3 for bound in (third, third + 1))
        _kill(command, tmp_path, rng.randrange(low, high))
        run = only_run(tmp_path)
        assert run.status == "killed"
        for table in run.tables():
            run.sql(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
    subprocess.run(command, check=True, timeout=300)
    run = only_run(tmp_path)
    assert run.status == "done"
    assert cells_of(run) == cells_of(finished)
    n = "SELECT count(*) AS n, count(DISTINCT (configuration, block, request)) AS d "
    (counted,) = rows(run, n + "FROM requests")
    assert counted["n"] == counted["d"]
    for table in ("images", "detections", "classes", "configurations"):
        query = f"SELECT * FROM {table} ORDER BY ALL"  # noqa: S608 - our own names
        assert rows(run, query) == rows(finished, query)
    accuracy = "SELECT * FROM summary WHERE metric LIKE 'ap%' OR metric LIKE '%f1%' "
    accuracy += "AND metric != 'f1_per_s' ORDER BY ALL"
    assert rows(run, accuracy) == rows(finished, accuracy)


def _kill(command: list[str], root: Path, n_before: int) -> None:
    """Begin or go on with a run; kill it once it has so many parts, one of them new."""
    n_before = max(n_before, len(list(root.glob(f"*/{PARTS}"))) + 1)
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(root.glob(f"*/{PARTS}"))) < n_before:
        assert process.poll() is None, f"ended before part {n_before}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_node_that_dies_costs_its_cell_only(experiment: Path, tmp_path: Path) -> None:
    """An edge killed mid-run: the verdict says so, and the other rows are there."""
    command = midhaul("run", experiment, "--out", tmp_path, "--no-report")
    command += ["--set", "n_blocks=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = _node_under_load(tmp_path, process)
    os.kill(pid, signal.SIGKILL)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    run = only_run(tmp_path)
    assert run.verdict is not None
    assert not run.verdict.is_valid
    assert any("Node edge1" in reason for reason in run.verdict.reasons)
    assert "not valid" in text
    assert cells_of(run) == [(c, 0) for c in range(4)]


def _node_under_load(root: Path, process: subprocess.Popen[str]) -> int:
    """The process of edge1 once a first cell was measured."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if list(root.glob("*/tables/cells/part-*.parquet")):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if str(root).encode() in b" ".join(words) and any(
                    word.endswith(b"edge1.json") for word in words
                ):
                    return int(folder.name)
        time.sleep(0.02)
    pytest.fail("no cell was measured")


def test_latencies_beyond_a_second_do_not_wrap(tmp_path: Path) -> None:
    """A service time of 1.7 s is 1.7 s in the table, not 0.7 s."""
    record_scenes(tmp_path / "scenes.parquet", 2)
    file = tmp_path / "slow.toml"
    file.write_text(
        f"""
kind = "testbed.measure"
n_blocks = 1
jobs = 1
[data]
n_scenes = 2
[judge]
n_resamples = 100
[load]
n_requests = 2
max_warmup = 0
percentile = 50.0
[[nodes]]
name = "edge1"
role = "edge"
detector = "recorded:{tmp_path}/scenes.parquet?provider=good&service_s=1.7&cv=0"
"""
    )
    command = midhaul("run", file, "--out", tmp_path / "runs", "--no-report")
    subprocess.run(command, check=True, timeout=120)
    found = rows(
        only_run(tmp_path / "runs"), "SELECT latency_ns, inference_ns FROM requests"
    )
    for row in found:
        assert row["latency_ns"] >= row["inference_ns"] >= 1_700_000_000
        assert np.isclose(row["inference_ns"], 1.7e9, rtol=0.2)
