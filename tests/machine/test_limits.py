"""Limits on CPU and memory, by whatever means this machine has."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.machine.limits import (
    AddressSpace,
    CgroupLimit,
    Throttle,
    limit_cpu,
    limit_memory,
)
from midhaul.machine.processes import cpu_s
from midhaul.machine.throttle import Budget
from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midhaul.machine.limits import Held

CORES = 0.15  # less than a busy machine gives whoever wants a core
PATIENCE_S = 120.0
MEANS = pytest.mark.parametrize(
    "hold",
    [
        lambda pid: limit_cpu(pid, "spinner", CORES),
        lambda pid: Throttle(pid, CORES),
    ],
    ids=["best means here", "stop and continue"],
)


def spin() -> subprocess.Popen[bytes]:
    """A process that uses all the CPU it gets."""
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


@given(
    st.floats(0.05, 4),
    st.lists(st.tuples(st.floats(1e-3, 0.2), st.floats(0, 0.5)), max_size=30),
)
def test_a_budget_never_gives_more_than_it_earns(
    cores: float, steps: list[tuple[float, float]]
) -> None:
    """After the rest it demands, a process has used at most its share, and 50 ms."""
    budget = Budget(cores)
    earned_s, used_s = 0.0, 0.0
    for elapsed_s, spent_s in steps:
        earned_s += elapsed_s * cores
        used_s += spent_s
        rest_s = budget.book(elapsed_s, spent_s)
        assert rest_s >= 0
        assert used_s <= earned_s + rest_s * cores + 1e-9


@MEANS
def test_a_process_is_held_to_its_share(hold: Callable[[int], Held]) -> None:
    """A spinning process gets its share of a core, and the time held back is told."""
    process, spun = spin(), time.monotonic()
    held = hold(process.pid)
    try:
        while not held.throttled_s():
            assert time.monotonic() - spun < PATIENCE_S
            time.sleep(0.05)
        begin, before = time.monotonic(), cpu_s(process.pid)
        waited_s = begin - spun
        time.sleep(1.5)
        elapsed_s, after = time.monotonic() - begin, cpu_s(process.pid)
        throttled_s = held.throttled_s()
    finally:
        process.kill()
        process.wait()
        held.release()
    assert before is not None
    assert after is not None
    assert (after - before) / elapsed_s < CORES * 1.4
    assert throttled_s < elapsed_s + waited_s


def test_a_released_process_runs_on() -> None:
    """When the helper goes, the process it held is not left stopped."""
    process = spin()
    held = Throttle(process.pid, 0.05)
    try:
        one = psutil.Process(process.pid)
        while one.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        held.release()
        assert one.status() != psutil.STATUS_STOPPED
    finally:
        process.kill()
        process.wait()


def test_a_memory_limit_is_enforced() -> None:
    """A process that wants more than its limit does not get it."""
    program = "input(); x = b'x' * (600 << 20); print(len(x))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        held = limit_memory(process.pid, "eater", 300 << 20)
        said, _ = process.communicate(b"\n", timeout=60)
    held.release()
    assert said == b""
    assert process.returncode != 0


def test_limits_of_the_dead_are_swept_away() -> None:
    """A cgroup that a killed program left behind goes with the next limit."""
    with spin() as first:
        held = limit_cpu(first.pid, "left", CORES)
        first.kill()
    with spin() as second:
        other = limit_cpu(second.pid, "other", CORES)
        if isinstance(held, CgroupLimit):
            assert not held.folder.exists()
        second.kill()
    held.release()
    other.release()


def test_what_needs_nothing_is_harmless() -> None:
    """A limit kept by the kernel with the process has nothing to tell or clean up."""
    held = AddressSpace()
    held.release()
    assert held.throttled_s() == 0


def test_a_node_says_how_it_is_limited(tmp_path: Path) -> None:
    """A launched node reports the means of its limits, and leaves nothing behind."""
    settings = NodeSettings(
        name="edge1", detector="null", cpu_limit=0.5, memory_limit_bytes=4 << 30
    )
    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(settings, {})
        assert set(node.limits) == {"cpu", "memory"}
        assert node.limits["cpu"] in {"cgroup v2", "cgroup v1", "stop and continue"}
        assert node.limits["memory"] in {"cgroup v2", "cgroup v1", "RLIMIT_AS"}
        assert node.throttled_s() >= 0
    assert node.limits == {}
