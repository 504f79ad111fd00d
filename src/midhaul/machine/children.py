"""Child processes: none outlives the program that started it, none holds up its end.

A program that is killed cannot stop what it has started. So a second process, the
:mod:`~midhaul.machine.warden`, waits for its end; everything that was started meanwhile
bears a token in its environment, also what children start, and goes with it.

SIGINT and SIGTERM become a ``KeyboardInterrupt``, so that a run ends as interrupted.
Whatever is still under way when the time is up (a worker, a library that computes in C,
a thread that nobody waits for) does not hold up the end.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn, Protocol

from midhaul.errors import MidhaulError, NodeError
from midhaul.machine.warden import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from types import FrameType
    from typing import Self

_WARDEN = Path(__file__).with_name("warden.py")
_DEADLINE_S = 2.0
_GRACE_S = 1.0
_POLL_S = 0.005
_SHOWN_CHARACTERS = 400
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


class Interrupt:
    """What SIGINT and SIGTERM do: raise ``KeyboardInterrupt`` once, and remember it.

    A library that is interrupted in the middle, as a compiler is, may make another
    error of it, or lose it: see :func:`was_interrupted`.

    Args:
        on_first: called with the number of the first signal.
    """

    def __init__(self, on_first: Callable[[int], None] | None = None) -> None:
        self._on_first = on_first
        self.is_told = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; all but the first are ignored."""
        del frame
        if self.is_told:
            return
        self.is_told = True
        # What cannot be raised where it happens would be shown as a traceback.
        sys.unraisablehook = lambda _: None
        if self._on_first is not None:
            self._on_first(number)
        raise KeyboardInterrupt


def was_interrupted() -> bool:
    """Whether an :class:`Interrupt` handles signals and has had one.

    Whatever goes wrong after that is of no interest: the program is to end.
    """
    handlers = (signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM))
    return any(isinstance(one, Interrupt) and one.is_told for one in handlers)


def leave(code: int) -> NoReturn:
    """End this program with a code as soon as what ``atexit`` knows is done.

    To take an interpreter down may take longer than an interrupt, once a compiler is
    loaded, and nothing that waits for a deadline runs any more meanwhile.
    """
    # There is no public one.
    atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


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

    def end_in_time() -> None:
        if not told.read(1):
            return
        time.sleep(_DEADLINE_S if warden.poll() is None else 0)
        if on_deadline is not None:
            with contextlib.suppress(Exception):
                on_deadline()
        os._exit(INTERRUPTED)

    def pass_on(number: int) -> None:
        # An event loop may have taken the descriptor for wake-ups for itself.
        with contextlib.suppress(OSError):
            os.write(orders, bytes([number]))

    interrupt = Interrupt(pass_on)
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
        if (
            not interrupt.is_told
        ):  # else warden and deadline stay until this program has ended
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


class LoggedChild(ABC):
    """A program that says in its log when it is ready; a context manager.

    What it says is appended to the log; it is ready when it says ``ready``. Patience is
    the longest wait until it is ready, and until it has ended.
    """

    def __init__(
        self, name: str, log: Path, *, ready: str, patience_s: float = 10.0
    ) -> None:
        self.log = log
        self._name = name
        self._ready = re.compile(ready)
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None
        self._n_before = 0

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What is run, at each start; files that it reads are written here."""

    def _is_ready(self, said: re.Match[str]) -> None:
        """Take in what it said when it was ready; nothing, unless it is of use."""
        del said

    def _failure(self, message: str) -> MidhaulError:
        """What is raised when it does not start."""
        return NodeError(message, f"its log is {self.log}")

    def __enter__(self) -> Self:
        """Start it, and wait until it is ready."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its process; None while it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def said(self) -> str:
        """What it has said since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._n_before)
            return log.read().decode("utf-8", "replace")

    def start(self) -> None:
        """Start it where it does not run, and wait until it is ready.

        MidhaulError if it ends, or is not ready in time.
        """
        if self._process is not None:
            return
        command = self._command()
        with self.log.open("ab") as log:
            self._n_before = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait(self._process)
        except BaseException:
            self.stop(is_kill=True)
            raise

    def stop(self, *, is_kill: bool = False) -> None:
        """End it, at once (as a crash would) where ``is_kill``; twice is harmless."""
        process, self._process = self._process, None
        if process is not None:
            if is_kill:
                process.kill()
            stop([process], grace_s=self._patience_s)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.stop(is_kill=True)

    def restart(self, *, is_kill: bool = False, down_s: float = 0.0) -> None:
        """End it, wait, and start it again."""
        self.stop(is_kill=is_kill)
        time.sleep(down_s)
        self.start()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        end_s = time.monotonic() + self._patience_s
        while True:
            has_ended = process.poll() is not None
            said = self.said
            found = self._ready.search(said)
            if found and not has_ended:
                self._is_ready(found)
                return
            last = said.strip()[-_SHOWN_CHARACTERS:] or "it said nothing"
            if has_ended:
                message = f"{self._name} ended while it started: {last}"
                raise self._failure(message)
            if time.monotonic() > end_s:
                message = f"{self._name} is not ready after {self._patience_s} s: "
                raise self._failure(message + last)
            time.sleep(_POLL_S)
