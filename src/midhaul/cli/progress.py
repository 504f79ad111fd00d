"""Progress on stderr: bars with the time left, or plain lines off a terminal."""

from __future__ import annotations

import contextlib
import sys
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

from midhaul.cli.output import stderr
from midhaul.runs.progress import LineProgress

if TYPE_CHECKING:
    from collections.abc import Generator

    from midhaul.runs.progress import Progress as Reporter
    from midhaul.runs.progress import Task


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
