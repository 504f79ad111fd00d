"""Watching a cell."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from midhaul.testbed.links.links import Links
from midhaul.testbed.measure.blocks import CellWatch

if TYPE_CHECKING:
    from collections.abc import Mapping

BUSY = "while True: pass"


class FakeNode:
    """A node that is some process."""

    def __init__(self, pid: int, throttled_s: float = 0.0) -> None:
        self.name = "edge"
        self.url = ""
        self.pid: int | None = pid
        self.limits: Mapping[str, str] = {}
        self._begin = time.monotonic()
        self._share = throttled_s

    def is_alive(self) -> bool:
        """Always."""
        return True

    def throttled_s(self) -> float:
        """A share of the time since it was made."""
        return self._share * (time.monotonic() - self._begin)

    def log(self) -> str:
        """Nothing."""
        return ""

    def stop(self) -> None:
        """Nothing to stop."""


def watched(node: FakeNode) -> CellWatch:
    """A watch over one node."""
    return CellWatch(nodes={"edge": node}, periods_s={"edge": 0.2}, links=Links(()))


def test_what_a_node_uses_is_its_own() -> None:
    """A child of this process is not foreign, and its CPU time is a row."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        with watched(FakeNode(process.pid)) as watch:
            time.sleep(1.0)
    finally:
        process.kill()
        process.wait()
    used = sum(row["cpu_s"] for row in watch.rows if row["node"] == "edge")
    assert used > 0
    assert {row["node"] for row in watch.rows} == {"edge", "workload"}
    assert 0 <= watch.foreign_cpu <= 1
    assert 0 <= watch.steal <= 1


def test_a_throttled_node_is_seen() -> None:
    """The share of the time in which a limit held it back."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(5)"])
    try:
        with watched(FakeNode(process.pid, throttled_s=0.5)) as watch:
            time.sleep(0.6)
    finally:
        process.kill()
        process.wait()
    assert 0.4 < watch.throttled["edge"] < 0.6
