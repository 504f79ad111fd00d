"""Calls in processes of their own, a few at a time.

Each call has a fresh process, so that one that dies takes no other with it, and every
process ends when the one that started it does, however that ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import connection
from typing import TYPE_CHECKING, cast

from midhaul.runs.perform import in_words
from midhaul.runs.progress import SilentProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from multiprocessing.context import SpawnProcess
    from types import FrameType

_GRACE_S = 10.0


def run_apart(
    function: Callable[..., None], calls: Mapping[str, tuple[object, ...]], jobs: int
) -> Iterator[tuple[str, str | None]]:
    """Call ``function(*arguments, progress)`` per entry, ``jobs`` at once.

    Args:
        function: importable by name; its arguments can be pickled.
        calls: the arguments by key.
        jobs: processes at once.

    Yields:
        Each key when its process has ended, with what the call raised; a process
        that was killed says nothing.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(calls.items())
    active: dict[int, tuple[str, SpawnProcess, connection.Connection]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                key, arguments = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                target = (function, arguments, sender)
                process = context.Process(target=_work, args=target)
                process.start()
                sender.close()
                active[process.sentinel] = (key, process, receiver)
            for sentinel in connection.wait(list(active)):
                key, process, receiver = active.pop(cast("int", sentinel))
                process.join()
                yield key, _answer(receiver)
    finally:
        _stop([process for _, process, _ in active.values()])


@contextlib.contextmanager
def stop_on_terminate() -> Generator[None]:
    """Treat SIGTERM like Ctrl-C, once, so that a run ends as interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(processes: list[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _GRACE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _answer(receiver: connection.Connection) -> str | None:
    with receiver:
        try:
            return receiver.recv()
        except EOFError:
            return None


def _work(
    function: Callable[..., None],
    arguments: tuple[object, ...],
    sender: connection.Connection,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with sender, contextlib.suppress(KeyboardInterrupt), stop_on_terminate():
        try:
            function(*arguments, SilentProgress())
        except Exception as error:  # noqa: BLE001  the parent tells it
            sender.send(in_words(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)
