"""How an experiment tells what it is doing, without knowing where it is shown."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator
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
