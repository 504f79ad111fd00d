"""Nodes that run until they are told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.services.stations import jpeg

from midhaul.errors import DataError, MidhaulError
from midhaul.runs.progress import SilentProgress
from midhaul.testbed import interactive
from midhaul.testbed.measure.config import LinkConfig, NodeConfig, TestbedConfig
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UP = """
import sys, pathlib
from midhaul.runs.progress import SilentProgress
from midhaul.testbed import interactive
from midhaul.testbed.measure.config import TestbedConfig
config = TestbedConfig.model_validate_json(sys.argv[1])
interactive.up(config, pathlib.Path(sys.argv[2]), SilentProgress())
"""

CONFIG = TestbedConfig(
    kind="testbed.measure",
    nodes=(
        NodeConfig(name="cloud", role="cloud", detector="null", cpu_limit=0.9),
        NodeConfig(name="edge1", role="edge", cloud="cloud", forward="image"),
    ),
    links=(LinkConfig(source="workload", target="edge1", rate_bps=1e9, delay_s=0.05),),
)


def up(state: Path, config: TestbedConfig = CONFIG) -> subprocess.CompletedProcess[str]:
    """Start nodes from a process that ends at once."""
    return subprocess.run(
        [sys.executable, "-c", UP, config.model_dump_json(), str(state)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose nodes are stopped at the end, come what may."""
    folder = tmp_path / "state"
    yield folder
    with contextlib.suppress(DataError):
        interactive.down(folder)


def ask(url: str) -> tuple[str, float]:
    """Status of a request, and how long it took."""

    async def go() -> tuple[str, float]:
        async with Client() as client:
            begin = time.perf_counter()
            answer = await client.infer(url, [("a", jpeg())], timeout_s=20)
            return answer.status, time.perf_counter() - begin

    return asyncio.run(go())


def test_nodes_live_on_and_are_found_again(state: Path) -> None:
    """Nodes and their link outlive the program that started them, until down."""
    done = up(state)
    assert done.returncode == 0, done.stderr
    cloud, edge = interactive.status(state)
    assert (cloud.name, cloud.status, edge.status) == ("cloud", "ready", "ready")
    status, took_s = ask(edge.url)
    assert status == "ok"
    assert took_s > 0.1
    again = up(state)
    assert again.returncode != 0
    assert "running already" in again.stderr
    assert set(interactive.down(state)) == {"cloud", "edge1"}
    assert interactive.status(state) == []
    assert interactive.down(state) == []
    assert not psutil.pid_exists(edge.pid) or (
        psutil.Process(edge.pid).status() == psutil.STATUS_ZOMBIE
    )


def test_a_node_that_died_is_told(state: Path) -> None:
    """Status tells a dead and a frozen node, and down still cleans up."""
    assert up(state).returncode == 0
    cloud, edge = interactive.status(state)
    os.kill(cloud.pid, signal.SIGKILL)
    os.kill(edge.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while interactive.status(state)[0].status != "dead":
        assert time.monotonic() < deadline
    assert [node.status for node in interactive.status(state)] == [
        "dead",
        "not answering",
    ]
    assert interactive.down(state) == ["edge1"]


def test_a_stale_state_is_no_obstacle(state: Path) -> None:
    """Numbers of processes that are others by now are left alone."""
    mine = {
        "name": "edge1", "role": "edge", "url": "http://127.0.0.1:9", "log": "",
        "own_url": "http://127.0.0.1:9", "pid": os.getpid(), "started_s": 1.0,
    }  # fmt: skip
    state.mkdir()
    (state / "testbed.json").write_text(json.dumps([mine]))
    assert [node.status for node in interactive.status(state)] == ["dead"]
    assert interactive.down(state) == []


def test_a_node_that_does_not_start_takes_the_others_down(state: Path) -> None:
    """When one node fails, up fails with its reason and nothing is left running."""
    broken = NodeConfig(name="edge2", role="edge", detector="null?service_s=x")
    config = CONFIG.model_copy(update={"nodes": (*CONFIG.nodes, broken)})
    before = {process.pid for process in psutil.process_iter()}
    with pytest.raises(MidhaulError, match="edge2"):
        interactive.up(config, state, SilentProgress())
    assert interactive.status(state) == []
    mine = psutil.Process().children(recursive=True)
    assert not [process for process in mine if process.pid not in before]


def test_a_state_that_is_none_is_refused(state: Path) -> None:
    """A damaged state file ends in an error that names it."""
    state.mkdir()
    (state / "testbed.json").write_text("{")
    with pytest.raises(DataError, match=r"testbed\.json"):
        interactive.status(state)
