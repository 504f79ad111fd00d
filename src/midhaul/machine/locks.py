"""Files that one process holds: the system lets go of them however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class FileLock:
    """A file that nobody else holds, from now until :meth:`release` or the end.

    Children do not inherit it. On a file system that knows no locks everybody gets it.

    Args:
        path: of the file; made when it is missing, never removed, since another
            process may be waiting for the very same file.
        said: what stands in it for those who come second; empty for nothing.

    Raises:
        BlockingIOError: another process has it; ``strerror`` is what that one wrote.
        OSError: it cannot be opened or written.
    """

    def __init__(self, path: Path, said: str = "") -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 1024).decode("utf-8", "replace")
            self.release()
            raise BlockingIOError(error.errno, holder) from error
        except OSError as error:
            if error.errno not in _UNKNOWN:
                self.release()
                raise
        if said:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, said.encode(), 0)

    def release(self) -> None:
        """Let go; twice is harmless."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
