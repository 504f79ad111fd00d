"""Nodes as real processes on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.services.stations import jpeg

from midhaul.errors import NodeError
from midhaul.machine.limits import release_left
from midhaul.testbed.nodes.checks import check_launcher
from midhaul.testbed.nodes.launcher import LocalLauncher, launch
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.wire import Client

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.wire import Answer


def ask(url: str, image: bytes, *, timeout_s: float = 20) -> Answer:
    """One request with a client of its own."""

    async def go() -> Answer:
        async with Client() as client:
            return await client.infer(url, [("a", image)], timeout_s=timeout_s)

    return asyncio.run(go())


def test_the_local_launcher_keeps_its_promises(tmp_path: Path) -> None:
    """Processes on this machine pass the conformance suite of launchers."""
    check_launcher(LocalLauncher(tmp_path))


def test_a_topology_starts_answers_and_stops(tmp_path: Path) -> None:
    """An edge and a cloud start, answer, survive bad input, and end cleanly."""
    nodes = (
        NodeSettings(name="edge1", cloud="cloud", forward="image"),
        NodeSettings(name="cloud", role="cloud", detector="null"),
    )
    with LocalLauncher(tmp_path) as launcher:
        running = launch(launcher, nodes)
        assert list(running) == ["edge1", "cloud"]
        url = running["edge1"].url
        assert ask(url, jpeg()).meta["answered_by"] == "cloud"
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as one:
            one.sendall(b"POST /infer HTTP/1.1\r\ncontent-length: 99\r\n\r\nxx")
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as one:
            one.sendall(b"\x00\x01\x02 no http\r\n\r\n")
            assert b"400" in one.recv(1000)
        assert ask(url, jpeg()[:600]).status == "http-422"
        assert ask(url, jpeg()).is_ok
        processes = [psutil.Process(node.pid) for node in running.values()]
        assert all(node.is_alive() for node in running.values())
    assert not any(process.is_running() for process in processes)


def test_a_slow_request_takes_its_time(tmp_path: Path) -> None:
    """A request of 1.7 s is one of 1.7 s, and never wraps at a second."""
    node = NodeSettings(name="edge1", detector="null?service_s=1.7")
    with LocalLauncher(tmp_path) as launcher:
        url = launcher.start(node, {}).url
        begin = time.perf_counter_ns()
        answer = ask(url, jpeg())
        service_ns = time.perf_counter_ns() - begin
    assert 1_700_000_000 <= answer.meta["inference_ns"] <= service_ns


def test_a_term_signal_lets_a_request_finish(tmp_path: Path) -> None:
    """SIGTERM ends a node with code 0, after the request in flight."""

    async def go(url: str, pid: int) -> Answer:
        async with Client() as client:
            asking = asyncio.create_task(
                client.infer(url, [("a", jpeg())], timeout_s=20)
            )
            await asyncio.sleep(0.3)
            os.kill(pid, signal.SIGTERM)
            return await asking

    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(
            NodeSettings(name="edge1", detector="null?service_s=1"), {}
        )
        assert asyncio.run(go(node.url, node.pid)).is_ok
        assert psutil.Process(node.pid).wait(20) in (0, None)


def test_a_killed_node_is_noticed(tmp_path: Path) -> None:
    """A node killed in the middle is dead, and requests to it are refused."""
    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(NodeSettings(name="edge1", detector="null"), {})
        os.kill(node.pid, signal.SIGKILL)
        psutil.Process(node.pid).wait(20)
        assert not node.is_alive()
        assert ask(node.url, jpeg()).status == "refused"


def test_a_stopped_node_is_a_time_out(tmp_path: Path) -> None:
    """A frozen node ends in a time-out, and can still be ended."""
    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(NodeSettings(name="edge1", detector="null"), {})
        os.kill(node.pid, signal.SIGSTOP)
        assert ask(node.url, jpeg(), timeout_s=0.3).status == "timeout"


@pytest.mark.parametrize("detector", ["null?service_s=x", "onnx:/nowhere/model.onnx"])
def test_a_detector_that_cannot_be_loaded_is_told(
    tmp_path: Path, detector: str
) -> None:
    """A node that ends before it is ready says why in one line."""
    with (
        LocalLauncher(tmp_path) as launcher,
        pytest.raises(NodeError, match="edge1 ended with code 1 before") as caught,
    ):
        launcher.start(NodeSettings(name="edge1", detector=detector), {})
    assert "Traceback" not in str(caught.value)
    assert "service_s" in str(caught.value) or "nowhere" in str(caught.value)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A port that somebody listens on ends in an error with its number."""
    with socket.socket() as other, LocalLauncher(tmp_path) as launcher:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(NodeError, match=rf"edge1: port {port} .* is in use"):
            launcher.start(NodeSettings(name="edge1", port=port), {})


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """A working directory that is a file ends in an error that names both."""
    (tmp_path / "file").touch()
    settings = NodeSettings(name="edge1", workdir=str(tmp_path / "file"))
    with (
        LocalLauncher(tmp_path) as launcher,
        pytest.raises(NodeError, match=r"edge1 cannot use .*file"),
    ):
        launcher.start(settings, {})


def test_no_node_outlives_its_launcher(tmp_path: Path) -> None:
    """Nodes and links end when the program that started them is killed."""
    program = (
        "import pathlib, sys, time\n"
        "from midhaul.model import Link\n"
        "from midhaul.testbed.nodes.launcher import LocalLauncher\n"
        "from midhaul.testbed.links.links import Links\n"
        "from midhaul.testbed.nodes.settings import NodeSettings\n"
        "launcher = LocalLauncher(pathlib.Path(sys.argv[1]))\n"
        "node = launcher.start(NodeSettings(name='edge1', cpu_limit=0.5), {})\n"
        "links = Links([Link(source='workload', target='edge1', delay_s=0.1)])\n"
        "links.connect('workload', 'edge1', node.url)\n"
        "print(node.pid, links.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pids = [int(text) for text in parent.stdout.readline().split()]
        processes = [psutil.Process(pid) for pid in pids]
        assert all(process.is_running() for process in processes)
        parent.kill()
    _, left = psutil.wait_procs(processes, timeout=120)
    release_left(pids[0], "edge1")
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in left)
