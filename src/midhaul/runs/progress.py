"""How an experiment tells what it is doing, without knowing where it is shown."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager


class Task(Protocol):
    """One piece of work whose steps can be counted."""

    def advance(self, n: float = 1) -> None:
        """Say that ``n`` more steps are done."""
        ...


class Progress(Protocol):
    """Where an experiment reports its progress."""

    def task(
        self, name: str, total: float | None = None
    ) -> AbstractContextManager[Task]:
        """Begin a piece of work; it ends with the ``with`` block.

        Args:
            name: what is being done, in a few words.
            total: its number of steps; None when nobody knows.
        """
        ...

    def note(self, text: str) -> None:
        """Say one sentence that stays on the screen."""
        ...


_LINE_PERIOD_S = 5.0


def say(text: str) -> None:
    """Write a line to stderr, as it is at that time."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class _Lines:
    def __init__(
        self, name: str, total: float | None, say: Callable[[str], None]
    ) -> None:
        self._name = name
        self._total = total
        self._say = say
        self._done = 0.0
        self._begin = self._last = time.monotonic()

    def advance(self, n: float = 1) -> None:
        """Count, and say every few seconds how far it is."""
        self._done += n
        now = time.monotonic()
        if now - self._last < _LINE_PERIOD_S:
            return
        self._last = now
        of, left = "", ""
        if self._total is not None:
            of = f" of {self._total:g}"
        if self._total is not None and self._done > 0:
            rest = (self._total - self._done) * (now - self._begin) / self._done
            left = f", {rest:.0f} s left"
        self._say(f"{self._name}: {round(self._done, 1):g}{of}{left}")


class LineProgress:
    """A line per task, and every few seconds one that says how far it is.

    Args:
        say: takes the lines; they go to stderr by default.
    """

    def __init__(self, say: Callable[[str], None] = say) -> None:
        self._say = say

    @contextmanager
    def task(self, name: str, total: float | None = None) -> Generator[Task]:
        """Begin a piece of work."""
        self._say(name if total is None else f"{name}: {total:g}")
        yield _Lines(name, total, self._say)

    def note(self, text: str) -> None:
        """Say one sentence."""
        self._say(text)


class _SilentTask:
    def advance(self, n: float = 1) -> None:
        """Count for nobody."""


class SilentProgress:
    """Progress that nobody sees."""

    @contextmanager
    def task(self, name: str, total: float | None = None) -> Generator[Task]:
        """Begin a piece of work, unseen."""
        del name, total
        yield _SilentTask()

    def note(self, text: str) -> None:
        """Say nothing."""
