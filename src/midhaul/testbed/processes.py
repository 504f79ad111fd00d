"""CPU time of other processes, finer than the tick of 10 ms that ``/proc`` counts in."""

from __future__ import annotations

import time

import psutil

_CPUCLOCK_SCHED = 2


def cpu_s(pid: int) -> float | None:
    """CPU seconds that a process has used, user and system, all threads.

    Linux gives every process a clock of its own; where there is none, the coarser
    account of psutil is used.

    Returns:
        The seconds, or None when the process is gone.
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
