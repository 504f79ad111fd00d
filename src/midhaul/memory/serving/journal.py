"""Journal of a served memory: operations, appended before they are done.

A file begins with a head, and each record with a word, the length and the CRC-32 of
what follows: one line of JSON, then the bodies that it lists. A record that a kill or a
power cut has left unfinished is the last one and was never acknowledged: it is cut off
and counted. Damage with whole records behind it is an error.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import DataError, StoreError
from midhaul.memory.serving.engine import Operation
from midhaul.memory.serving.messages import Piece

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD = b"midhaul memory journal 1\n"
_WORD = b"\xf5mhJ"
_FRAME = struct.Struct("<4sII")
_MOST_BYTES = 1 << 31


class OperationJournal:
    """A journal that is appended to.

    Args:
        file: a new one; StoreError if it is there or cannot be made.

    Attributes:
        file: where it is.
        n_bytes: its length.
        is_broken: whether the disk failed in a way that leaves unknown what is there;
            nothing is taken after that.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.n_bytes = 0
        self.is_broken = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        try:
            self._descriptor = os.open(file, flags, 0o644)
            self._write([_HEAD])
            os.fsync(self._descriptor)
            sync_folder(file.parent)
        except (OSError, ValueError) as error:  # a name with a null byte
            message = f"the journal {file} cannot be made: {error}"
            raise StoreError(message, "look at the disk, or choose another") from error

    def append(self, operation: Operation) -> None:
        """Write an operation; StoreError, and nothing of it is there, if it fails."""
        if self.is_broken:
            message = f"the journal {self.file} cannot be written any more"
            raise StoreError(message, "mend the disk and start the service again")
        try:
            self._write(record_of(operation))
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, self.n_bytes)
            except OSError:
                self.is_broken = True
            message = f"the journal {self.file} cannot be written: {error}"
            raise StoreError(message, "nothing was changed: try again") from error

    def sync(self) -> None:
        """Wait until all of it is on the disk.

        StoreError where the disk does not take it; it is broken then, as what it has is
        not known.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self.is_broken = True
            message = f"the journal {self.file} cannot be synced: {error}"
            raise StoreError(message, "mend the disk and start again") from error

    def close(self) -> None:
        """Sync, and end."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)

    def _write(self, parts: list[bytes]) -> None:
        n_all = sum(map(len, parts))
        n_written = os.writev(self._descriptor, parts)
        if n_written < n_all:  # the rest of what a disk or a signal cut short
            rest = b"".join(parts)
            while n_written < n_all:
                n_written += os.write(self._descriptor, rest[n_written:])
        self.n_bytes += n_all


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRead:
    """What a journal holds.

    Attributes:
        operations: in their order.
        n_cut_bytes: behind the last whole record.
    """

    operations: list[Operation]
    n_cut_bytes: int


def record_of(operation: Operation) -> list[bytes]:
    """An operation as the parts of a record."""
    head = {
        "kind": operation.kind,
        "now_s": operation.now_s,
        "version": operation.version,
        "sizes": [len(piece.data) for piece in operation.pieces],
        "is_json": [piece.is_json for piece in operation.pieces],
    }
    parts = [json.dumps(head).encode() + b"\n", *(p.data for p in operation.pieces)]
    crc, n_bytes = 0, 0
    for part in parts:
        crc = zlib.crc32(part, crc)
        n_bytes += len(part)
    return [_FRAME.pack(_WORD, n_bytes, crc), *parts]


def read_journal(file: Path) -> JournalRead:
    """Read a journal; DataError if it is none, or whole records stand behind damage."""
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:  # a name with a null byte
        message = f"the journal {file} cannot be read: {error}"
        raise DataError(message, "mend the disk") from error
    if not data.startswith(_HEAD):
        if _HEAD.startswith(data):
            return JournalRead(operations=[], n_cut_bytes=len(data))
        message = f"{file} is no journal of a memory of this version"
        raise DataError(message, "move it away to begin without it")
    at = len(_HEAD)
    found: list[Operation] = []
    for operation, end in _records(data, at):
        found.append(operation)
        at = end
    n_cut = len(data) - at
    if n_cut and _whole_record_after(data, at + 1):
        message = f"{file} is damaged at byte {at:,}, {n_cut:,} bytes before its end"
        raise DataError(
            message, "what came after it is lost: restore a copy, or move it away"
        )
    return JournalRead(operations=found, n_cut_bytes=n_cut)


def _records(data: bytes, at: int) -> Iterator[tuple[Operation, int]]:
    """Whole records from a place on, each with its end."""
    while (body := _body(data, at)) is not None:
        end = at + _FRAME.size + len(body)
        yield _operation(body), end
        at = end


def _body(data: bytes, at: int) -> bytes | None:
    """What a record at a place holds; None where none is whole."""
    if at + _FRAME.size > len(data):
        return None
    word, size, crc = _FRAME.unpack_from(data, at)
    begin = at + _FRAME.size
    if word != _WORD or begin + size > len(data):
        return None
    body = data[begin : begin + size]
    return body if zlib.crc32(body) == crc else None


def _operation(body: bytes) -> Operation:
    line, _, rest = body.partition(b"\n")
    head = cast("dict[str, Any]", json.loads(line))
    pieces: list[Piece] = []
    at = 0
    for size, is_json in zip(head["sizes"], head["is_json"], strict=True):
        pieces.append(Piece(data=rest[at : at + size], is_json=is_json))
        at += size
    return Operation(
        kind=head["kind"],
        now_s=head["now_s"],
        version=head["version"],
        pieces=tuple(pieces),
    )


def _whole_record_after(data: bytes, at: int) -> bool:
    """Whether anything that was acknowledged stands behind a place."""
    while (at := data.find(_WORD, at)) >= 0:
        if _body(data, at) is not None:
            return True
        at += 1
    return False


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
