"""Snapshots of a served memory: when they are taken, beside the work.

The state is copied between two operations; it is written by another thread.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from midhaul.errors import MidhaulError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from midhaul.memory.serving.engine import ServedMemory
    from midhaul.memory.serving.store import MemoryStore


class Snapshots:
    """Takes a snapshot when the journal is long, or old.

    Args:
        engine: whose state it is.
        store: where it goes.
        clock: seconds that only rise.
        every_s: most time between two, as long as something is done.
        max_bytes: of a journal.

    Attributes:
        n_written: snapshots that are on the disk.
        n_failed: those that the disk did not take.
        failure: why the last one failed; empty when it did not.
    """

    def __init__(
        self,
        engine: ServedMemory,
        store: MemoryStore,
        clock: Callable[[], float],
        *,
        every_s: float,
        max_bytes: int,
    ) -> None:
        self.n_written = 0
        self.n_failed = 0
        self.failure = ""
        self._engine = engine
        self._store = store
        self._clock = clock
        self._every_s = every_s
        self._max_bytes = max_bytes
        self._disk = ThreadPoolExecutor(1, "memory-disk")
        self._under_way: Future[None] | None = None
        self._last_s = clock()

    def consider(self) -> None:
        """Take one if it is time; called between two operations."""
        n_bytes = self._store.journal.n_bytes
        is_old = self._clock() - self._last_s >= self._every_s
        if n_bytes < self._max_bytes and not is_old:
            return
        if self._under_way is None or self._under_way.done():
            self.take()

    def take(self) -> None:
        """Take one now."""
        self._last_s = self._clock()
        try:
            number = self._store.begin()
        except MidhaulError as error:
            self._fail(error)
            return
        state = self._engine.state()
        self._under_way = self._disk.submit(self._write, number, state)

    def sync(self) -> Future[None]:
        """Have what was written down reach the disk."""
        return self._disk.submit(self._sync)

    def exported(self, state: dict[str, object]) -> Future[bytes]:
        """A state as bytes, made beside the work."""
        return self._disk.submit(self._store.exported, state)

    def close(self) -> None:
        """Take a last one, and wait until it is written."""
        self.take()
        self._disk.shutdown(wait=True)

    def _sync(self) -> None:
        try:
            self._store.journal.sync()
        except MidhaulError as error:
            self.failure = error.message

    def _write(self, number: int, state: dict[str, object]) -> None:
        try:
            self._store.write(number, state)
        except MidhaulError as error:
            self._fail(error)
            return
        self.n_written += 1
        self.failure = ""

    def _fail(self, error: MidhaulError) -> None:
        self.n_failed += 1
        self.failure = error.message
