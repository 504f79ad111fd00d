"""The journal: what was appended is read again, whatever a kill or a disk does."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from midhaul.errors import DataError, StoreError
from midhaul.memory.serving.engine import Operation
from midhaul.memory.serving.journal import OperationJournal, read_journal
from midhaul.memory.serving.messages import Piece

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = [
    Operation(
        kind="offer",
        now_s=1.5,
        pieces=(
            Piece(data=b"\xf5mhJ\x00\x01", is_json=False),  # as a record begins
            Piece(data=b'{"x": []}\n', is_json=True),
        ),
    ),
    Operation(kind="decide", now_s=2.0),
    Operation(kind="model", now_s=3.0, pieces=(Piece(data=b"", is_json=False),)),
    Operation(kind="retrained", now_s=4.0, version=7),
]


def _written(file: Path) -> list[int]:
    """A journal of them; its length before each, and in the end."""
    journal = OperationJournal(file)
    lengths = [journal.n_bytes]
    for operation in OPERATIONS:
        journal.append(operation)
        lengths.append(journal.n_bytes)
    journal.close()
    assert file.stat().st_size == lengths[-1]
    return lengths


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    """Bodies as they came, also those that look like a record."""
    _written(tmp_path / "journal")
    found = read_journal(tmp_path / "journal")
    assert found.operations == OPERATIONS
    assert found.n_cut_bytes == 0


def test_wherever_it_is_cut_whole_records_are_read(tmp_path: Path) -> None:
    """Only the last one can be missing, and its bytes are counted."""
    file = tmp_path / "journal"
    lengths = _written(file)
    data = file.read_bytes()
    for size in range(len(data)):
        file.write_bytes(data[:size])
        n_whole = max(sum(size >= length for length in lengths) - 1, 0)
        found = read_journal(file)
        assert found.operations == OPERATIONS[:n_whole]
        begin = lengths[n_whole] if size >= lengths[0] else 0
        assert found.n_cut_bytes == size - begin


def test_damage_is_an_error_where_whole_records_follow(tmp_path: Path) -> None:
    """At the very end it is as if the record had been cut short."""
    file = tmp_path / "journal"
    lengths = _written(file)
    data = file.read_bytes()
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x55
        file.write_bytes(damaged)
        if at < lengths[-2]:
            with pytest.raises(DataError, match=r"damaged|no journal"):
                read_journal(file)
        else:
            assert read_journal(file).operations == OPERATIONS[:-1]


def test_zeros_behind_the_end_are_cut(tmp_path: Path) -> None:
    """As a file system may leave them after a power cut."""
    file = tmp_path / "journal"
    _written(file)
    file.write_bytes(file.read_bytes() + bytes(100))
    found = read_journal(file)
    assert found.operations == OPERATIONS
    assert found.n_cut_bytes == 100


def test_a_full_disk_takes_nothing_and_later_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a record is taken back, so that the next one stands behind whole ones."""
    journal = OperationJournal(tmp_path / "journal")
    journal.append(OPERATIONS[0])

    def full(descriptor: int, parts: list[bytes]) -> int:
        os.write(descriptor, b"".join(parts)[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        with pytest.raises(StoreError, match="No space left"):
            journal.append(OPERATIONS[1])
    journal.append(OPERATIONS[2])
    journal.close()
    found = read_journal(tmp_path / "journal")
    assert found.operations == [OPERATIONS[0], OPERATIONS[2]]


def test_a_write_that_is_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system call may write less than it is given."""
    journal = OperationJournal(tmp_path / "journal")

    def some(descriptor: int, parts: list[bytes]) -> int:
        return os.write(descriptor, b"".join(parts)[:9])

    monkeypatch.setattr(os, "writev", some)
    for operation in OPERATIONS:
        journal.append(operation)
    journal.close()
    assert read_journal(tmp_path / "journal").operations == OPERATIONS


def test_a_disk_that_does_not_sync_gets_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds is not known then, so nothing else is acknowledged."""
    journal = OperationJournal(tmp_path / "journal")

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, f"{descriptor} fails")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(StoreError, match="cannot be synced"):
            journal.sync()
    with pytest.raises(StoreError, match="any more"):
        journal.append(OPERATIONS[0])
    journal.close()


def test_a_journal_begins_as_a_new_file(tmp_path: Path) -> None:
    """Nothing that is there is written over."""
    _written(tmp_path / "journal")
    with pytest.raises(StoreError, match="cannot be made"):
        OperationJournal(tmp_path / "journal")
