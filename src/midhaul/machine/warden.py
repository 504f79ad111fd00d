"""The warden: a process that outlives the program which started it, to clear up.

    python -I -S warden.py PID TOKEN

It reads its standard input, whose other end only the program PID holds:

- the end of it: the program is gone, however it went. Every process that has TOKEN in
  its environment is killed, and the namespaces that the program had made are removed;
- ``q``: the program ends as it should, and has stopped what it had started;
- the number of a signal, SIGINT or SIGTERM, which the interpreter writes from within
  the signal's handler in C. It is passed on to the standard output, where a thread of
  the program waits for it. If that program still lives when its time is up, because a
  library computes on without ever letting Python run, it is killed.

It imports nothing of midhaul and no site-packages, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "MIDHAUL_WARDENS"
"""Tokens of the programs that a process must not outlive, with blanks between."""

PATIENCE_S = 2.7
"""From SIGINT or SIGTERM to the end of a program that does not end by itself."""

_DONE = ord("q")
_ROUNDS = 40
_BETWEEN_S = 0.025


def watch(pid: int, token: str) -> None:
    """Wait for the program's end, or for its time to be up."""
    deadline_s = None
    while True:
        left_s = None if deadline_s is None else max(0, deadline_s - time.monotonic())
        ready, _, _ = select.select([0], [], [], left_s)
        if not ready:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            break
        said = os.read(0, 1024)
        if _DONE in said:
            return
        if not said:
            break
        if deadline_s is None and {signal.SIGINT, signal.SIGTERM} & set(said):
            deadline_s = time.monotonic() + PATIENCE_S
            with contextlib.suppress(OSError):
                os.write(1, b"!")
    clear(pid, token)


def clear(pid: int, token: str) -> None:
    """Kill what bears the token until there is none, then remove namespaces."""
    for _ in range(_ROUNDS):
        found = bearers(token)
        if not found:
            break
        for process in found:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_BETWEEN_S)
    with contextlib.suppress(OSError):
        for space in Path("/run/netns").glob(f"midhaul-{pid}-*"):  # deploy's labs
            subprocess.run(  # noqa: S603 - a fixed program
                ["ip", "netns", "delete", space.name],  # noqa: S607
                check=False,
                stderr=subprocess.DEVNULL,
            )


def bearers(token: str) -> list[int]:
    """Processes that run and have the token in their environment."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            mine = next(
                (v for v in environment if v.startswith(f"{VARIABLE}=".encode())), b""
            )
            if token.encode() in mine.partition(b"=")[2].split():
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch(int(sys.argv[1]), sys.argv[2])
