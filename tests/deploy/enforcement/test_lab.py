"""Two namespaces, a link of the stated rate between them, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from midhaul.deploy.enforcement.lab import Broker, Lab
from midhaul.errors import DataError, NodeError, PrerequisiteError
from midhaul.machine.namespaces import remove_leftovers

if TYPE_CHECKING:
    from pathlib import Path

_IS_POSSIBLE = (
    sys.platform == "linux"
    and os.geteuid() == 0
    and shutil.which("ip") is not None
    and shutil.which("tc") is not None
)
needs_lab = pytest.mark.skipif(not _IS_POSSIBLE, reason="needs root, ip and tc")

_SINK = (
    "import socket,time\n"
    "with socket.create_server(('0.0.0.0', 9000)) as s:\n"
    "    print('on', flush=True); c, _ = s.accept()\n"
    "    n, t = 0, time.monotonic()\n"
    "    while b := c.recv(65536): n += len(b)\n"
    "    print(8 * n / (time.monotonic() - t))\n"
)
_SOURCE = (
    "import socket,sys\n"
    "s = socket.create_connection((sys.argv[1], 9000), 5)\n"
    "s.sendall(bytes(int(sys.argv[2])))\n"
)
_HOLD = (
    "import time\n"
    "from midhaul.deploy.enforcement.lab import Lab\n"
    "with Lab(uplink_bps=1e6, downlink_bps=1e6) as lab:\n"
    "    print(lab.name('gateway'), flush=True)\n"
    "    time.sleep(60)\n"
)


def _goodput_bps(lab: Lab, n_bytes: int) -> float:
    """What one TCP connection gets from gateway to cloud."""
    python = [sys.executable, "-c"]
    sink = subprocess.Popen(
        lab.command("cloud", [*python, _SINK]), stdout=subprocess.PIPE, text=True
    )
    assert sink.stdout is not None
    with sink.stdout:
        sink.stdout.readline()
        to = [lab.address("cloud"), str(n_bytes)]
        subprocess.run(lab.command("gateway", [*python, _SOURCE, *to]), check=True)
        rate_bps = float(sink.stdout.readline())
    sink.wait()
    return rate_bps


@needs_lab
def test_the_link_has_the_rate_that_was_set_last() -> None:
    """Twice the uplink carries twice as much, and the kernel counts every byte."""
    with Lab(uplink_bps=2e6, downlink_bps=5e7) as lab:
        slow = _goodput_bps(lab, 200_000)
        counted = lab.traffic()
        lab.set_uplink(4e6)
        fast = _goodput_bps(lab, 400_000)
        assert lab.uplink_bps == 4e6
    assert 200_000 < counted.up_bytes < 230_000
    assert 0 < counted.down_bytes < 0.2 * counted.up_bytes
    assert slow < 2e6 * 1.05
    assert 1.6 < fast / slow < 2.5


@needs_lab
def test_an_uplink_of_zero_carries_nothing_until_it_is_raised() -> None:
    """What waits goes on when the rate comes back."""
    with Lab(uplink_bps=0.0, downlink_bps=1e7) as lab:
        probe = lab.command("gateway", ["ping", "-c1", "-W1", lab.address("cloud")])
        if shutil.which("ping") is None:
            code = "import socket;socket.create_connection(('10.99.0.2', 9), 1)"
            probe = lab.command("gateway", [sys.executable, "-c", code])
        subprocess.run(probe, capture_output=True, check=False)
        assert lab.traffic().up_packets == 0
        lab.set_uplink(1e6)
        assert _goodput_bps(lab, 20_000) > 0


@needs_lab
def test_nothing_is_left_of_a_lab() -> None:
    """Namespaces are gone, and so is what ran in them."""
    with Lab(uplink_bps=1e6, downlink_bps=1e6) as lab:
        inside = subprocess.Popen(lab.command("cloud", ["sleep", "60"]))
        name = lab.name("cloud")
    assert inside.wait(5) == -signal.SIGKILL
    assert name not in _namespaces()


@needs_lab
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_program_leaves_no_lab(how: signal.Signals) -> None:
    """SIGTERM cleans up at once, SIGKILL with the next lab."""
    held = subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True
    )
    assert held.stdout is not None
    with held.stdout:
        name = held.stdout.readline().strip()
    assert name in _namespaces()
    assert name not in remove_leftovers()  # its owner runs
    held.send_signal(how)
    held.wait(5)
    if how == signal.SIGKILL:
        remove_leftovers()  # unless another program's lab was quicker
        assert name not in _namespaces()
    end_s = time.monotonic() + 5
    while name in _namespaces() and time.monotonic() < end_s:
        time.sleep(0.05)
    assert name not in _namespaces()


@needs_lab
def test_a_rate_that_is_none_is_refused() -> None:
    """Before the kernel sees it."""
    with (
        Lab(uplink_bps=1e6, downlink_bps=1e6) as lab,
        pytest.raises(DataError, match="found nan"),
    ):
        lab.set_uplink(float("nan"))


def test_without_tc_the_simulation_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is missing, the hint what to do."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PrerequisiteError, match="ip and tc") as caught:
        Lab(uplink_bps=1e6, downlink_bps=1e6)
    assert "deploy.simulate" in caught.value.hint


def _namespaces() -> list[str]:
    listed = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in listed.stdout.splitlines()]


_PATH = "/usr/bin:/bin:/usr/sbin:/usr/local/sbin"
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path=_PATH) is None, reason="needs mosquitto"
)


@needs_mosquitto
def test_a_broker_listens_on_loopback_and_starts_again(tmp_path: Path) -> None:
    """It keeps its port over a restart and is gone when it was stopped."""
    with Broker(tmp_path) as broker:
        first = broker.pid
        socket.create_connection(("127.0.0.1", broker.port), 5).close()
        broker.restart(is_kill=True)
        socket.create_connection(("127.0.0.1", broker.port), 5).close()
        assert broker.pid != first
    assert broker.pid is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), 5)


@needs_mosquitto
def test_a_port_in_use_is_an_error_in_words(tmp_path: Path) -> None:
    """The broker's last line is the message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = Broker(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(NodeError, match="Address already in use"):
            broker.start()
    assert broker.pid is None


def test_without_mosquitto_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint of one command."""
    monkeypatch.setattr(
        "midhaul.deploy.enforcement.lab.shutil.which", lambda *_, **__: None
    )
    with pytest.raises(PrerequisiteError) as caught:
        Broker(tmp_path)
    assert caught.value.hint == "apt install mosquitto"
