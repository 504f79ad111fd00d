"""Progress on stderr: bars with the time left, or plain lines off a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from midhaul.cli.output import say, stderr

if TYPE_CHECKING:
    from collections.abc import Generator

    from midhaul.runs.progress import Progress as Reporter
    from midhaul.runs.progress import Task

_LINE_PERIOD_S = 5.0


@contextlib.contextmanager
def shown_progress() -> Generator[Reporter]:
    """Progress for a person on a terminal, or as lines for a file."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True) as bars:
        yield _Bars(bars)


class _Bar:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, n: float = 1) -> None:
        self._bars.advance(self._task, n)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    @contextlib.contextmanager
    def task(self, name: str, total: float | None = None) -> Generator[Task]:
        task = self._bars.add_task(name, total=total)
        try:
            yield _Bar(self._bars, task)
        finally:
            self._bars.remove_task(task)

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)


class _Lines:
    def __init__(self, name: str, total: float | None) -> None:
        self._name = name
        self._total = total
        self._done = 0.0
        self._begin = self._last = time.monotonic()

    def advance(self, n: float = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last < _LINE_PERIOD_S:
            return
        self._last = now
        of, left = "", ""
        if self._total is not None:
            of = f" of {self._total:g}"
            rest = (self._total - self._done) * (now - self._begin) / self._done
            left = f", {rest:.0f} s left"
        say(f"{self._name}: {self._done:g}{of}{left}")


class LineProgress:
    """A line per task, and every few seconds one that says how far it is."""

    @contextlib.contextmanager
    def task(self, name: str, total: float | None = None) -> Generator[Task]:
        """Begin a piece of work."""
        say(name if total is None else f"{name}: {total:g}")
        yield _Lines(name, total)

    def note(self, text: str) -> None:
        """Say one sentence."""
        say(text)
