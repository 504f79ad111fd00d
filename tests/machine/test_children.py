"""Child processes: none outlives its parent, none holds up its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midhaul.errors import NodeError
from midhaul.machine import children
from midhaul.machine.warden import VARIABLE, bearers

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]

_STARTS = """
import subprocess, sys, threading, time
from midhaul.machine.children import watched
from midhaul.runs.perform import parallel
from tests.support.idle import idle, said
def deadline():
    said("deadline")
with watched(deadline):
    # A foreign program, started by a thread that ends, and its child in a session of
    # its own that lets go of everything which it has inherited.
    thread = threading.Thread(target=lambda: subprocess.Popen(
        ["sh", "-c", "setsid sleep 600 </dev/null >/dev/null 2>&1 & exec sleep 600"]))
    thread.start()
    thread.join()
    {work}
"""
_POOL = "list(parallel(idle, [0, 1], jobs=2))"
_DEAF = "idle(0)"
_QUICK = "said('ready'); time.sleep(600)"
_HANGS = """
    try:
        said('ready'); time.sleep(600)
    finally:
        time.sleep(600)
"""


@contextlib.contextmanager
def program(work: str, n_ready: int) -> Iterator[subprocess.Popen[str]]:
    """A program that is at some work, with children at theirs."""
    # Whatever was begun in the background has inherited that it ignores SIGINT.
    begin = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", begin + _STARTS.format(work=work)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            for _ in range(n_ready):
                assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.wait()


def token_of(pid: int) -> str:
    """The token that the children of a program bear, once two of them have begun.

    A child that was forked just now still has the environment of its parent, and one
    that ends is no longer there.
    """
    found: list[str] = []

    def look() -> bool:
        found[:] = []
        with contextlib.suppress(OSError):
            for child in descendants(pid):
                environment = Path(f"/proc/{child}/environ").read_bytes()
                found.extend(
                    entry.decode().partition("=")[2].split()[-1]
                    for entry in environment.split(b"\0")
                    if entry.startswith(f"{VARIABLE}=".encode())
                )
        return len(found) >= 2

    until(look)
    assert len(set(found)) == 1
    return found[0]


def descendants(pid: int) -> list[int]:
    """All processes below one, but for its warden."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = [int(number) for number in text.split()]
    below = [one for child in found for one in descendants(child)]
    return [
        one
        for one in [*found, *below]
        if b"warden.py" not in Path(f"/proc/{one}/cmdline").read_bytes()
    ]


def until(holds: Callable[[], bool], patience_s: float = 60.0) -> None:
    """Wait for something to become true."""
    end_s = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize(("work", "n"), [(_POOL, 2), (_DEAF, 1), (_QUICK, 1)])
def test_what_a_killed_program_has_started_ends(work: str, n: int) -> None:
    """Pools, foreign programs, and what those start in sessions of their own."""
    with program(work, n) as process:
        token = token_of(process.pid)
        until(lambda: len(bearers(token)) >= 2)
        process.kill()
        process.wait()
        until(lambda: not bearers(token))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("work", "n", "codes"),
    [
        (_POOL, 2, {-signal.SIGINT, children.INTERRUPTED}),
        (_QUICK, 1, {-signal.SIGINT, children.INTERRUPTED}),
        (_DEAF, 1, {-signal.SIGKILL}),
    ],
)
def test_a_program_that_is_told_to_ends_with_all_that_it_started(
    work: str, n: int, codes: set[int], how: signal.Signals
) -> None:
    """Also one that never lets Python run: that one is killed by its warden."""
    with program(work, n) as process:
        token = token_of(process.pid)
        process.send_signal(how)
        assert process.wait(300) in codes
        until(lambda: not bearers(token))


def test_whoever_hangs_in_the_end_is_ended_after_its_word() -> None:
    """Cleaning up for ever is cut short, and what must not be lost is said before."""
    with program(_HANGS, 1) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == children.INTERRUPTED
        assert process.stdout is not None
        assert process.stdout.read() == "deadline\n"


def test_a_program_that_ends_well_is_left_alone() -> None:
    """What it leaves running on purpose lives on, and handlers are as before."""
    before = signal.getsignal(signal.SIGTERM)
    with children.watched():
        left = subprocess.Popen(["sleep", "600"])
    assert left.poll() is None
    assert signal.getsignal(signal.SIGTERM) is before
    assert VARIABLE not in os.environ
    children.stop([left])
    assert left.poll() == -signal.SIGTERM


def test_all_are_stopped_together_even_those_that_are_deaf_or_stopped() -> None:
    """Gently first; one that ignores it, or cannot hear it, is killed."""
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"],
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == b"ready\n"
    halted = subprocess.Popen(["sleep", "600"])
    halted.send_signal(signal.SIGSTOP)
    children.stop([deaf, halted], grace_s=0.1)
    assert deaf.poll() == -signal.SIGKILL
    assert halted.poll() == -signal.SIGTERM
    children.stop([deaf, halted])
    deaf.stdout.close()


class Told(children.LoggedChild):
    """A shell that is told what to do, and says its number when it is ready."""

    def __init__(self, log: Path, words: str, patience_s: float = 60.0) -> None:
        super().__init__("the shell", log, ready=r"ready (\d+)", patience_s=patience_s)
        self._words = words
        self.numbers: list[int] = []

    def _command(self) -> list[str]:
        return ["sh", "-c", self._words]

    def _is_ready(self, said: re.Match[str]) -> None:
        self.numbers.append(int(said[1]))


def test_a_logged_child_is_started_stopped_killed_and_started_again(
    tmp_path: Path,
) -> None:
    """Each time another process, in the same log; a kill is no request."""
    words = "trap 'echo bye; exit' TERM; echo ready $$; while :; do sleep 0.01; done"
    with Told(tmp_path / "log", words) as child:
        first = child.pid
        child.start()
        assert child.pid == first == child.numbers[0]
        child.restart()
        assert "bye" in child.log.read_text()
        assert child.said == f"ready {child.pid}\n"
        child.kill()
        assert child.pid is None
        child.start()
    assert len(set(child.numbers)) == 3
    assert child.log.read_text().count("bye") == 2
    assert child.pid is None
    child.stop()


def test_a_logged_child_that_does_not_start_is_told(tmp_path: Path) -> None:
    """With its last words, also those of a second try; nothing is left behind."""
    child = Told(tmp_path / "log", "echo no room; exit 3")
    for _ in range(2):
        with pytest.raises(NodeError, match=r"the shell ended .*: no room") as caught:
            child.start()
        assert str(child.log) in caught.value.hint
        assert child.pid is None
    slow = Told(tmp_path / "slow", "echo $$; exec sleep 600", patience_s=0.5)
    with pytest.raises(NodeError, match="not ready after"):
        slow.start()
    assert slow.pid is None
    if text := slow.said.strip():
        with pytest.raises(ProcessLookupError):
            os.kill(int(text), 0)
