"""CPU and memory of other processes (finer than ticks of 10 ms), and their children.

How busy the machine's processors are is read from the kernel's own counters.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Generator

_CPUCLOCK_SCHED = 2


def cpu_s(pid: int) -> float | None:
    """CPU seconds that a process has used in all threads; None when it is gone.

    User and system count. Linux gives every process a clock of its own; where there is
    none, the coarser account of psutil is used.
    """
    if hasattr(time, "clock_gettime_ns"):
        try:
            return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / 1e9
        except OSError:
            pass
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return times.user + times.system


@contextlib.contextmanager
def prompt() -> Generator[None]:
    """Wake this thread, and those it starts, before any other program's, if allowed.

    For what does little and must do it in time: a link is not slower because nodes
    keep the machine busy. Without the permission (root, or CAP_SYS_NICE) nothing
    changes.
    """
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, OSError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def tree(pid: int) -> list[int]:
    """A process and all below it; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return []
    except psutil.Error:
        return []
    found = [pid]
    for parent in found:
        found.extend(_children(parent))
    return found


def rss_bytes(pids: list[int]) -> int:
    """Resident memory of some processes; those that are gone have none."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


def _children(pid: int) -> list[int]:
    """Children of a process; Linux lists them, elsewhere every process is looked at."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(task / "children").read_text() for task in tasks]
    except OSError:
        with contextlib.suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
        return []
    return [int(number) for text in texts for number in text.split()]


_IDLE = (3, 4)  # idle and waiting for disks, in the first line of /proc/stat


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """Time of all processors since the machine was started, in ticks.

    Attributes:
        busy: spent on something.
        total: all of it.
    """

    busy: int
    total: int

    def busy_since(self, before: CpuTime) -> float:
        """Share of the time since a moment before that was spent on something."""
        return (self.busy - before.busy) / max(1, self.total - before.total)


def cpu_time() -> CpuTime:
    """The counters as of now."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    ticks = [int(text) for text in first.split()[1:9]]
    return CpuTime(busy=sum(ticks) - sum(ticks[i] for i in _IDLE), total=sum(ticks))
