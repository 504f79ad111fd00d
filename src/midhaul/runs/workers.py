"""Calls in processes of their own, a few at a time.

Each call has a fresh process, so that one that dies takes no other with it, and every
process ends when the one that started it does, however that ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from multiprocessing import connection
from typing import TYPE_CHECKING, cast

from midhaul.machine import children
from midhaul.runs.perform import in_words
from midhaul.runs.progress import SilentProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.context import SpawnProcess
    from types import FrameType


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
                with children.without_main():
                    process.start()
                sender.close()
                active[process.sentinel] = (key, process, receiver)
            for sentinel in connection.wait(list(active)):
                key, process, receiver = active.pop(cast("int", sentinel))
                process.join()
                yield key, _answer(receiver)
    finally:
        children.stop(_Worker(process) for _, process, _ in active.values())


class _Worker:
    """A process of multiprocessing, to be stopped like any other."""

    def __init__(self, process: SpawnProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode


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
    children.end_with_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    with sender, contextlib.suppress(KeyboardInterrupt):
        try:
            function(*arguments, SilentProgress())
        except Exception as error:  # noqa: BLE001  the parent tells it
            sender.send(in_words(error))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM like Ctrl-C, once, so that a run ends as interrupted."""
    del frame
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
