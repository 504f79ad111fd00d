"""Holds a process to a share of the CPU by stopping and continuing it.

A process of its own, for machines without a writable cgroup::

    python -m midhaul.machine.throttle PID CORES FD attached|detached

The process earns CPU time at the rate of its limit, at most 50 ms ahead; as soon as it
has used more it is stopped until it has earned the difference. The seconds for which
it was stopped are written, as a float64, to the file descriptor FD. An attached one
ends with its standard input, a detached one with its target; both leave the target
running.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import time

from midhaul.machine.processes import cpu_s

_LOOK_S = 0.005
_AHEAD_S = 0.05


class Budget:
    """CPU seconds earned, ``cores`` per second, and not yet used."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._balance_s = 0.0

    def book(self, elapsed_s: float, used_s: float) -> float:
        """Earn and spend; how long the process must rest now, in seconds."""
        earned_s = self._balance_s + elapsed_s * self._cores
        self._balance_s = min(earned_s, _AHEAD_S * self._cores) - used_s
        return max(0.0, -self._balance_s / self._cores)


def hold(pid: int, cores: float, fd: int, *, is_attached: bool) -> None:
    """Hold a process to its limit until it, or the standard input, ends."""
    budget = Budget(cores)
    stopped_s = 0.0
    now, used = time.monotonic(), cpu_s(pid)
    while used is not None:
        before, used_before = now, used
        now, used = time.monotonic(), cpu_s(pid)
        if used is None:
            return
        rest_s = budget.book(now - before, used - used_before)
        if rest_s == 0:
            if _wait(_LOOK_S, is_attached=is_attached):
                return
            continue
        begin = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            is_over = _wait(rest_s, is_attached=is_attached)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        stopped_s += time.monotonic() - begin
        os.pwrite(fd, struct.pack("<d", stopped_s), 0)
        if is_over:
            return


def _wait(seconds: float, *, is_attached: bool) -> bool:
    """Wait, and say whether the standard input has ended meanwhile."""
    if not is_attached:
        time.sleep(seconds)
        return False
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and not os.read(0, 1024)


def main() -> None:
    """Hold the process that the arguments name."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pid, cores, fd, mode = sys.argv[1:]
    hold(int(pid), float(cores), int(fd), is_attached=mode == "attached")


if __name__ == "__main__":
    main()
