"""Tests of ``midhaul network``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from midhaul.machine.children import INTERRUPTED
from midhaul.network import simulators

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Midhaul


def test_kernels_are_compiled_one_simulator_after_the_other(
    midhaul: Midhaul, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told with its seconds; what has to be compiled first is said."""
    asked: list[str] = []

    def warm(name: str, transports: object, *, say: object) -> float:
        del transports, say
        asked.append(name)
        return 1.5

    monkeypatch.setattr(simulators, "warm", warm)
    said = midhaul("network", "warm", "--json")
    assert said.code == 0
    assert json.loads(said.out) == {"seconds": dict.fromkeys(simulators.KERNELS, 1.5)}
    assert asked == list(simulators.KERNELS)
    assert "fluid" in midhaul("network", "warm", "fluid").out


def test_a_simulator_without_kernels_is_named(midhaul: Midhaul) -> None:
    """The one that was probably meant stands in the hint."""
    said = midhaul("network", "warm", "packets")
    assert said.code == 2
    assert "found 'packets'" in said.err
    assert "did you mean packet?" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_compiler_ends_as_any_interrupt(
    how: signal.Signals, tmp_path: Path
) -> None:
    """Whatever Numba makes of it: neither an unforeseen error nor a traceback."""
    # Whatever was begun in the background has inherited that it ignores SIGINT.
    begin = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from midhaul.__main__ import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", begin, "network", "warm", "fluid"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    while not list(tmp_path.rglob("*.nbi")):  # the first of many is compiled
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate()
    # Its warden kills one that holds on to Python for too long.
    assert process.returncode in {INTERRUPTED, -signal.SIGKILL}
    assert "Traceback" not in said
    assert "unforeseen" not in said
