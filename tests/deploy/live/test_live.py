"""A short live run from end to end, with everything that may break breaking."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from midhaul.deploy.live.config import LiveConfig
from midhaul.deploy.live.experiment import live, missing_here
from midhaul.deploy.live.metrics import samples
from midhaul.deploy.live.tables import (
    CURVES,
    LIVE_PULLS,
    MESSAGES,
    MOVES,
    PERIODS,
    RATES,
    REPEATS,
    SUMMARY,
)
from midhaul.runs.perform import perform
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

_MISSING = missing_here()[0]
needs_machine = pytest.mark.skipif(bool(_MISSING), reason="; ".join(_MISSING))

SHORT: dict[str, Any] = {
    "duration_s": 9.6,
    "time_scale": 50.0,
    "images": {"scale": 0.004},
    "requests": {"rate_per_min": 3.0, "min_lifetime_min": 2},
    "gateway": {"disk_bytes": 30e6},
    "link": {"downlink_bps": 20e6},
    "workload": {
        "detector": "builtin:street-n",
        "n_curve_images": 6,
        "n_curve_sounds": 12,
    },
    "faults": [
        {"what": "registry", "at_s": 0.6, "down_s": 1.0},
        {"what": "gateway-broker", "at_s": 3.5, "down_s": 0.5},
        {"what": "cloud-broker", "at_s": 5.5, "down_s": 0.5},
    ],
}


def with_trace(folder: Path) -> dict[str, Any]:
    """The same over an uplink that follows a trace, of 2 Mbit/s all the time."""
    file = folder / "steady.up"
    file.write_text("".join(f"{round(i * 6.016)}\n" for i in range(1, 997)))
    return {**SHORT, "link": {**SHORT["link"], "uplink_trace": str(file)}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of ten seconds in which registry and brokers go away and come back."""
    folder = tmp_path_factory.mktemp("runs")
    config = LiveConfig.model_validate_json(json.dumps(with_trace(folder)))
    made = Run.create(folder, "deploy.live", config)
    perform(live, config, made, SilentProgress())
    return made


@needs_machine
def test_a_run_fills_its_tables(run: Run) -> None:
    """It ends well, and every table that must have rows has them."""
    assert run.status == "done"
    assert run.verdict is not None
    for table in (CURVES, MESSAGES, PERIODS, RATES, LIVE_PULLS, MOVES, REPEATS):
        assert run.count(table.name), table.name
    assert run.count(PERIODS.name) == 8
    assert run.read(REPEATS)["n_restarts"].to_pylist() == [3]


@needs_machine
def test_messages_cross_both_ways_and_few_are_missing(run: Run) -> None:
    """Messages are scored across restarts of both brokers; none counts twice."""
    rows = run.read(MESSAGES).to_pylist()
    keys = {(row["analytic"], row["number"]) for row in rows}
    assert len(keys) == len(rows)
    status = [row["status"] for row in rows]
    assert status.count("scored") > 0.8 * (len(rows) - status.count("not granted"))
    for row in rows:
        assert (row["quality"] is None) == (row["status"] in {"late", "missing"})
        if row["status"] == "scored":
            assert 0 <= row["quality"] <= 1
            assert row["planned_s"] <= row["received_s"] <= row["scored_s"]
            is_near = row["place"] == "gateway"
            assert (row["uplink_bytes"] < 3000) == is_near or row["knob"] < 0.1


@needs_machine
def test_no_period_is_given_more_than_the_uplink(run: Run) -> None:
    """Neither in the plan nor at the device."""
    for row in run.read(PERIODS).to_pylist():
        assert row["allocated_bps"] + row["reserved_bps"] <= row["uplink_bps"]
        assert not row["is_overshoot"]


@needs_machine
def test_a_registry_that_dies_during_a_pull_delays_it_only(run: Run) -> None:
    """No pull fails; at least one went on after the registry had come back."""
    pulls = run.read(LIVE_PULLS).to_pylist()
    assert all(not row["error"] for row in pulls)
    assert sum(row["n_retries"] or 0 for row in pulls) >= 1
    assert any(row["is_realised"] for row in run.read(MOVES).to_pylist())


@needs_machine
def test_metrics_have_units_and_are_summed_up(run: Run) -> None:
    """The summary has every metric once, and each of its ratios is one."""
    rows = {row["metric"]: row for row in run.read(SUMMARY).to_pylist()}
    assert len(rows) == run.count(SUMMARY.name)
    assert {metric.metric for metric in samples(run)} <= rows.keys()
    for name in ("late_share", "missing_share", "overshoot_share", "wasted_pull_share"):
        value = rows[name]["value"]
        assert value is None or 0 <= value <= 1
    as_zero, in_time = rows["weighted_qos"], rows["weighted_qos_in_time"]
    assert as_zero["value"] <= in_time["value"] + 1e-9


@needs_machine
def test_a_resumed_run_keeps_what_came_to_its_end(run: Run) -> None:
    """Finished repetitions are not done again; rows of others would be dropped.

    What is kept is not even written anew: a kill meanwhile would cost it.
    """
    folder = run.dir / "tables" / MESSAGES.name
    kept = {file: file.stat().st_ino for file in folder.iterdir()}
    run.write(MESSAGES, [{"repeat": 1, "analytic": "stray", "number": 0}])
    n = run.count(MESSAGES.name) - 1
    config = LiveConfig.model_validate_json(json.dumps(with_trace(run.dir.parent)))
    live(config, run, SilentProgress())
    assert run.count(MESSAGES.name) == n
    assert run.count(REPEATS.name) == 1
    assert {file: file.stat().st_ino for file in folder.iterdir()} == kept


@needs_machine
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """After SIGINT its namespaces, processes and large files are gone."""
    code = (
        "import sys; from pathlib import Path\n"
        "from midhaul.deploy.live.config import LiveConfig\n"
        "from midhaul.deploy.live.experiment import live\n"
        "from midhaul.runs.perform import perform\n"
        "from midhaul.runs.progress import SilentProgress\n"
        "from midhaul.runs.run import Run\n"
        "config = LiveConfig.model_validate_json(sys.argv[2])\n"
        "run = Run.create(Path(sys.argv[1]), 'deploy.live', config)\n"
        "perform(live, config, run, SilentProgress())\n"
    )
    config = json.dumps({**SHORT, "duration_s": 60.0})
    command = [sys.executable, "-c", code, str(tmp_path), config]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509 - no other threads here
    )
    try:
        end_s = time.monotonic() + 600
        while time.monotonic() < end_s and not list(tmp_path.glob("*/tables/rates")):
            assert process.poll() is None
            time.sleep(0.1)
        mine = f"midhaul-{process.pid}-"
        assert mine in _namespaces()
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert mine not in _namespaces()
    assert not list(Path(tempfile.gettempdir()).glob(f"midhaul-live-{process.pid}-*"))
    (folder,) = tmp_path.iterdir()
    made = Run.open(folder)
    assert made.status == "interrupted"
    assert made.count(RATES.name)


def _hear_interrupts() -> None:
    """Undo what a shell does to programs in its background: make Ctrl-C count."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _namespaces() -> str:
    ip = shutil.which("ip") or "ip"
    return subprocess.run(
        [ip, "netns"], capture_output=True, text=True, check=True
    ).stdout
