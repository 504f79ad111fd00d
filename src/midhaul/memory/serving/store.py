"""Store of a served memory: a snapshot, and the journals of what was done since.

Snapshot ``n`` is the state before journal ``n``. A new one begins with its journal;
while its snapshot is being written, the one before and its journal are still there, so
that a kill at any moment leaves a snapshot and all journals since. They go when the new
one is on the disk.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError, MidhaulError, NodeError, StoreError
from midhaul.machine.locks import FileLock
from midhaul.memory.serving.journal import OperationJournal, read_journal, sync_folder
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.memory.serving.engine import Operation, ServedMemory

_SNAPSHOT = re.compile(r"snapshot-(\d{9})\.npz")
_JOURNAL = re.compile(r"journal-(\d{9})\.log")
_WHAT = "snapshot of a served memory"
_HINT = "restore a copy of it, or move the folder away to begin anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was found of an earlier process.

    Attributes:
        n_operations: read from journals.
        n_cut_bytes: of records that are not whole: a kill leaves one that was never
            acknowledged, a power cut what was not synced.
        n_samples: in memory then.
        is_new: whether nothing was there.
    """

    n_operations: int
    n_cut_bytes: int
    n_samples: int
    is_new: bool

    @property
    def sentence(self) -> str:
        """What to tell; empty for a new memory."""
        if self.is_new:
            return ""
        cut = ""
        if self.n_cut_bytes:
            cut = f", {self.n_cut_bytes:,} bytes of a record that is not whole were cut"
        return (
            f"restored {self.n_samples:,} samples, {self.n_operations:,} operations "
            f"since the last snapshot{cut}"
        )


class MemoryStore:
    """A folder that one process holds.

    Args:
        folder: made if it is not there.

    Raises:
        NodeError: another process has it.
        StoreError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "lock")
        except BlockingIOError as error:
            message = f"another process serves the memory in {folder}"
            raise NodeError(
                message, "stop it, or choose another journal.dir"
            ) from error
        except OSError as error:
            message = f"the folder {folder} cannot be used: {error}"
            raise StoreError(message, "choose another journal.dir") from error
        self._journal: OperationJournal | None = None
        self._ended: list[OperationJournal] = []
        self._number = 0

    @property
    def journal(self) -> OperationJournal:
        """What is appended to."""
        if self._journal is None:
            message = "restore the store first"
            raise RuntimeError(message)
        return self._journal

    def restore(self, engine: ServedMemory) -> Restored:
        """Bring a new engine to where an earlier process was.

        The caller begins a journal and writes a snapshot next. DataError if what is
        there cannot be read.
        """
        for partial in self.folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        snapshots = self._numbers(_SNAPSHOT)
        journals = self._numbers(_JOURNAL)
        first = max(snapshots, default=-1)
        wanted = [number for number in journals if number >= first]
        _demand_all(wanted, first, self.folder)
        if first >= 0:
            engine.restore(read_state(self._snapshot(first), _WHAT, _HINT))
        n_operations = n_cut = 0
        for number in wanted:
            found = read_journal(self._file(number))
            for operation in found.operations:
                engine.perform(operation)
            n_operations += len(found.operations)
            n_cut += found.n_cut_bytes
        self._number = max([first, *journals], default=-1)
        return Restored(
            n_operations=n_operations,
            n_cut_bytes=n_cut,
            n_samples=len(engine.memory),
            is_new=first < 0 and not n_operations,
        )

    def append(self, operation: Operation) -> None:
        """Write an operation down; StoreError if that is not possible."""
        self.journal.append(operation)

    def begin(self) -> int:
        """Go on in a new journal; its number, for the snapshot of the state now."""
        number = self._number + 1
        new = OperationJournal(self._file(number))
        if self._journal is not None:
            self._ended.append(self._journal)
        self._number, self._journal = number, new
        return number

    def write(self, number: int, state: Mapping[str, Any]) -> None:
        """Write a snapshot, then remove what it replaces; StoreError if it fails."""
        file = self._snapshot(number)
        while self._ended:
            self._ended.pop().close()
        try:
            write_state(file, state)
            sync_folder(self.folder)
        except OSError as error:
            message = f"the snapshot {file} cannot be written: {error}"
            raise StoreError(message, "look at the disk; journals are kept") from error
        for pattern, name in ((_SNAPSHOT, self._snapshot), (_JOURNAL, self._file)):
            for old in self._numbers(pattern):
                if old < number:
                    name(old).unlink(missing_ok=True)

    def exported(self, state: Mapping[str, Any]) -> bytes:
        """A state as the bytes of a snapshot."""
        file = self.folder / ".export.partial"
        try:
            write_state(file, state)
            return file.read_bytes()
        except OSError as error:
            message = f"{self.folder} cannot be written: {error}"
            raise StoreError(message, "look at the disk") from error
        finally:
            file.unlink(missing_ok=True)

    def read(self, data: bytes) -> Mapping[str, Any]:
        """The state that somebody exported; DataError if it is none."""
        file = self.folder / ".import.partial"
        try:
            file.write_bytes(data)
            return read_state(file, "exported memory", "GET /export writes one")
        except OSError as error:
            message = f"{self.folder} cannot be written: {error}"
            raise DataError(message, "look at the disk") from error
        except DataError as error:
            message = error.message.replace(str(file), "the body")
            raise DataError(message, error.hint) from None
        finally:
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """Sync, and let others have the folder."""
        with contextlib.suppress(MidhaulError):
            if self._journal is not None:
                self._journal.close()
            while self._ended:
                self._ended.pop().close()
        self._journal = None
        self._lock.release()

    def _snapshot(self, number: int) -> Path:
        return self.folder / f"snapshot-{number:09}.npz"

    def _file(self, number: int) -> Path:
        return self.folder / f"journal-{number:09}.log"

    def _numbers(self, pattern: re.Pattern[str]) -> list[int]:
        found = (pattern.fullmatch(one.name) for one in self.folder.iterdir())
        return sorted(int(one[1]) for one in found if one)


def _demand_all(numbers: list[int], first: int, folder: Path) -> None:
    """DataError where a journal is missing between others, or after a snapshot."""
    begin = max(first, 0)
    if not numbers and first < 0:
        return
    if numbers != list(range(begin, begin + len(numbers))) or not numbers:
        message = (
            f"{folder}: expected all journals from number {begin} on, found {numbers}"
        )
        raise DataError(message, _HINT)
