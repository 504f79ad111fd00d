"""The files of a layer store: one owner, and errors that say what to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import IO, TYPE_CHECKING

from midhaul.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

FULL_HINT = (
    "delete layers (an eviction policy says which), or give the store a larger disk; "
    "what was pulled so far is kept, and the next pull continues from there"
)


@contextlib.contextmanager
def store_errors(path: Path) -> Generator[None]:
    """Turn the system's errors about a store into a StoreError that helps."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise StoreError(message, FULL_HINT) from error


def lock(path: Path) -> IO[bytes]:
    """Take a file for this process, until it is closed or the process ends.

    Raises:
        StoreError: another process has it.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        message = f"the layer store {path.parent} is open in another process"
        raise StoreError(message, "end that one first, or choose another folder") from (
            error
        )
    return file


def size_of(path: Path) -> int:
    """Size of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sync(path: Path) -> None:
    """Have a file on the disk, not in memory only."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
