"""Child processes: none outlives the program that started it, none holds up its end.

A program that is killed cannot stop what it has started. So a second process, the
:mod:`~midhaul.machine.warden`, waits for its end; everything that was started meanwhile
bears a token in its environment, also what children start, and goes with it.

SIGINT and SIGTERM become a ``KeyboardInterrupt``, so that a run ends as interrupted.
Whatever is still under way when the time is up (a worker, a library that computes in C,
a thread that nobody waits for) does not hold up the end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from midhaul.machine.warden import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import FrameType

_WARDEN = Path(__file__).with_name("warden.py")
_DEADLINE_S = 2.0
_GRACE_S = 1.0
_POLL_S = 0.005
INTERRUPTED = 130
"""Exit code of a program that was told to end."""


class ChildProcess(Protocol):
    """What :func:`stop` needs of a process, as ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        ...


@contextlib.contextmanager
def watched(on_deadline: Callable[[], None] | None = None) -> Generator[None]:
    """Let nothing that is started within outlive this program, nor hold up its end.

    For the main thread. Within, the first SIGINT or SIGTERM raises
    ``KeyboardInterrupt`` and further ones are ignored. A program that has not ended two
    seconds later ends with code 130, wherever it is.

    Args:
        on_deadline: called by another thread just before that; writes down what must
            not be lost.
    """
    token = secrets.token_hex(8)
    before = os.environ.get(VARIABLE)
    warden = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-I", "-S", str(_WARDEN), str(os.getpid()), token],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    if warden.stdin is None or warden.stdout is None:
        raise AssertionError  # both are pipes
    told = warden.stdout
    os.environ[VARIABLE] = f"{before} {token}" if before else token
    orders = warden.stdin.fileno()
    os.set_blocking(orders, False)
    is_told = False

    def end_in_time() -> None:
        if not told.read(1):
            return
        time.sleep(_DEADLINE_S if warden.poll() is None else 0)
        if on_deadline is not None:
            with contextlib.suppress(Exception):
                on_deadline()
        os._exit(INTERRUPTED)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_told
        del frame
        if is_told:
            return
        is_told = True
        # An event loop may have taken the descriptor for wake-ups for itself.
        with contextlib.suppress(OSError):
            os.write(orders, bytes([number]))
        raise KeyboardInterrupt

    deadline = threading.Thread(target=end_in_time, daemon=True, name="deadline")
    deadline.start()
    handlers = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN  # as in a background job
    }
    wake = signal.set_wakeup_fd(orders, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wake)
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
        if not is_told:  # else warden and deadline stay until this program has ended
            for number, handler in handlers.items():
                signal.signal(number, handler)
            with contextlib.suppress(OSError):
                os.write(orders, b"q")
            warden.wait()
            deadline.join()
            warden.stdin.close()
            told.close()


@contextlib.contextmanager
def without_main() -> Generator[None]:
    """Let processes that are spawned within not run this program's file once more.

    What they work on is a function of a module. A script that asks for it in its first
    line, as a notebook may, would start itself again in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def end_with_parent() -> None:
    """Have this process of ``multiprocessing`` end as soon as its parent has.

    A second line behind the warden, for programs that have none. Ctrl-C is left to the
    parent, which stops its children.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end with parent").start()


def stop(processes: Iterable[ChildProcess], *, grace_s: float = _GRACE_S) -> None:
    """End processes, all at once: first gently, then not; twice is harmless.

    Args:
        processes: those that have ended are passed over.
        grace_s: how long they may take before they are killed.
    """
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        _send(process, signal.SIGCONT)  # one that is stopped hears nothing
        _send(process, signal.SIGTERM)
    end_s = time.monotonic() + grace_s
    while alive and time.monotonic() < end_s:
        time.sleep(_POLL_S)
        alive = [process for process in alive if process.poll() is None]
    for process in alive:
        _send(process, signal.SIGKILL)
    while any(process.poll() is None for process in alive):
        time.sleep(_POLL_S)


def _send(process: ChildProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
