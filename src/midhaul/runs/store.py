"""Writing files so that a reader sees all of one or nothing of it."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING

from midhaul.errors import StoreError
from midhaul.runs.manifest import start_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_TEMPORARY = ".part"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def store_errors(path: Path) -> Generator[None]:
    """Turn the system's errors about ``path`` into a StoreError that helps."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot write {path}: {reason}"
        if error.errno in _FULL:
            hint = "make room on its disk, or choose another with --out; what was "
            hint += "written before is kept, and --resume continues from there"
        elif error.errno in _FORBIDDEN:
            hint = "make the folder writable, or choose another with --out"
        else:
            hint = "choose another folder with --out"
        raise StoreError(message, hint) from error


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file, then put it in the place of ``path``.

    StoreError if it cannot be written; the file that was there is unchanged.
    """
    pid = os.getpid()
    writer = f"{pid}-{start_of(pid)}-{threading.get_ident():x}"
    temporary = path.with_name(f".{path.name}.{writer}{_TEMPORARY}")
    with store_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            _sync(temporary)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed left unfinished below a folder.

    What a process that lives is writing stays.
    """
    with store_errors(folder):
        for path in folder.rglob(f".*{_TEMPORARY}"):
            writer = path.name.removesuffix(_TEMPORARY).rpartition(".")[2]
            pid, _, started = writer.rpartition("-")[0].partition("-")
            if not pid.isdigit() or start_of(int(pid)) != started:
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
