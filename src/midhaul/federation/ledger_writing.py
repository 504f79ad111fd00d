"""The file below a ledger: locked, mended at its end, written in whole lines only."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.errors import StoreError
from midhaul.federation.ledger_file import read_ledger
from midhaul.federation.ledger_lines import HEADER

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.ledger_file import Contents


def lock_file(file: Path) -> int:
    """Open for writing by nobody else.

    Raises:
        StoreError: another process writes it, or it cannot be opened.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        message = f"the ledger {file} cannot be opened: {error.strerror}"
        raise StoreError(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another process writes the ledger {file}"
        hint = "stop it first, or give this one a ledger of its own"
        raise StoreError(message, hint) from error
    return descriptor


def prepare(descriptor: int, file: Path) -> Contents:
    """What the file says, once a last line that was never finished is cut off.

    Raises:
        StoreError: it is damaged, no ledger, or cannot be written.
    """
    if os.fstat(descriptor).st_size == 0:
        write_line(descriptor, HEADER, 0, file)
    contents = read_ledger(file)
    contents.demand_whole()
    os.ftruncate(descriptor, contents.n_whole_bytes)
    if contents.n_whole_bytes == 0:
        write_line(descriptor, HEADER, 0, file)
        contents = replace(contents, n_whole_bytes=len(HEADER))
    return contents


def write_line(descriptor: int, line: bytes, at: int, file: Path) -> None:
    """Write a line at the end, all of it or nothing.

    Raises:
        StoreError: there is no space, or the disk does not take it.
    """
    reason = "the disk is full"
    try:
        if os.pwrite(descriptor, line, at) == len(line):
            return
    except OSError as error:
        reason = error.strerror or str(error)
    with contextlib.suppress(OSError):  # the next line overwrites what is left
        os.ftruncate(descriptor, at)
    message = f"the ledger {file} cannot be written ({reason}), so no call is made"
    raise StoreError(message, "free some space on its disk")
