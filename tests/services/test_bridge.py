"""The bridge as a process: it starts, forwards, and ends when it is told to."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt import publish

from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.enforcement.rate_map import RateMap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATH = "/usr/bin:/bin:/usr/sbin:/usr/local/sbin"
_SERVE = [sys.executable, "-m", "midhaul", "serve", "bridge"]
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path=_PATH) is None, reason="needs mosquitto"
)


@needs_mosquitto
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_bridge_sends_what_waits_and_ends(
    tmp_path: Path, how: signal.Signals
) -> None:
    """After the signal it drains, writes its counters and exits with 0."""
    RateMap(rates_bps={"iot/#": 1e6}).write(tmp_path / "rates.json")
    with Broker(tmp_path / "local") as local, Broker(tmp_path / "remote") as remote:
        file = tmp_path / "bridge.json"
        settings = {
            "stats": "stats.json",
            "watch_s": 0.05,
            "local": {"port": local.port},
            "remote": {"port": remote.port},
        }
        file.write_text(json.dumps(settings), encoding="utf-8")
        process = subprocess.Popen([*_SERVE, str(file)], stdout=subprocess.PIPE)
        try:
            _until_connected(tmp_path / "stats.json")
            messages = [("iot/a", b"x" * 5000, 1, False)] * 10  # 0.4 s of the rate
            publish.multiple(messages, port=local.port)
            _until(tmp_path / "stats.json", lambda said: "iot/a" in said["topics"])
            process.send_signal(how)
            printed, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert b"forwarding by" in printed
    said = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    assert said["topics"]["iot/a"]["n_out"] == said["topics"]["iot/a"]["n_in"] > 0


def test_a_missing_rate_map_ends_the_bridge_in_words(tmp_path: Path) -> None:
    """Exit code 2 and the name of the file."""
    file = tmp_path / "bridge.toml"
    file.write_text("", encoding="utf-8")
    done = subprocess.run(
        [*_SERVE, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "rates.json cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def _until_connected(stats: Path) -> None:
    _until(
        stats,
        lambda said: said["local"]["is_connected"] & said["remote"]["is_connected"],
    )


def _until(stats: Path, is_so: Callable[[dict[str, Any]], bool]) -> None:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        if stats.exists() and is_so(json.loads(stats.read_text(encoding="utf-8"))):
            return
        time.sleep(0.02)
    pytest.fail(f"{stats} does not say so in time")
