"""Reading a ledger: by anybody, also while it is written, and how it is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.errors import StoreError
from midhaul.federation.ledger_lines import FIRST_CHECK, HEADER, entry_of
from midhaul.federation.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    from midhaul.federation.ledger_lines import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A ledger that was read to its end.

    Attributes:
        file: which one.
        spending: its totals.
        n_entries: entries before the first that does not hold.
        n_whole_bytes: bytes of the header and of these entries.
        check: checksum of the last of them.
        n_torn_bytes: bytes of an unfinished last line behind them.
        damage: what is wrong and in which line; empty where nothing is. A last line
            without its line feed is no damage: a writer may be in the middle of it.
    """

    file: Path
    spending: Spending
    n_entries: int
    n_whole_bytes: int
    check: int
    n_torn_bytes: int = 0
    damage: str = ""

    def demand_whole(self) -> None:
        """Pass on nothing but a ledger that holds.

        Raises:
            StoreError: it is damaged.
        """
        if self.damage:
            message = f"the ledger {self.file} is damaged: {self.damage}"
            hint = (
                "restore it from a copy, or move it away and begin another: what it "
                "says up to there holds, what was spent behind that nobody knows"
            )
            raise StoreError(message, hint)


def read_ledger(file: Path) -> Contents:
    """Read a ledger, add it up and check it.

    Raises:
        StoreError: the file is missing, cannot be read, or is no ledger.
    """
    spending = Spending()
    n_entries, n_bytes, check = 0, 0, FIRST_CHECK
    rest = b""
    damage = ""
    with _opened(file) as stream:
        header = stream.readline(len(HEADER))
        if header != HEADER:
            if HEADER.startswith(header):  # cut off while it was begun
                return Contents(
                    file=file, spending=spending, n_entries=0, n_whole_bytes=0,
                    check=check, n_torn_bytes=len(header),
                )  # fmt: skip
            message = f"{file} is no ledger"
            raise StoreError(message, "its first line names the columns")
        n_bytes = len(HEADER)
        for line in stream:
            found = entry_of(line, check)
            if found is None:
                rest = line + stream.read()
                break
            entry, own = found
            if entry.number != n_entries + 1 or not spending.add(entry):
                damage = f"line {n_entries + 2} does not follow from those above"
                break
            n_entries, n_bytes, check = entry.number, n_bytes + len(line), own
    # A writer ends each line with its line feed: one that has it was whole once.
    if b"\n" in rest:
        is_last = rest.count(b"\n") == 1 and rest.endswith(b"\n")
        damage = f"line {n_entries + 2}, the last one, was changed"
        if not is_last:
            damage = f"line {n_entries + 2} was changed, or others before it are gone"
    return Contents(
        file=file,
        spending=spending,
        n_entries=n_entries,
        n_whole_bytes=n_bytes,
        check=check,
        n_torn_bytes=0 if damage else len(rest),
        damage=damage,
    )


def entries_of(file: Path) -> Iterator[Entry]:
    """The entries of a ledger up to the first line that does not hold.

    Raises:
        StoreError: the file is missing, cannot be read, or is no ledger.
    """
    with _opened(file) as stream:
        if stream.readline(len(HEADER)) != HEADER:
            message = f"{file} is no ledger"
            raise StoreError(message, "its first line names the columns")
        check = FIRST_CHECK
        for line in stream:
            found = entry_of(line, check)
            if found is None:
                return
            entry, check = found
            yield entry


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except (OSError, ValueError) as error:
        message = f"the ledger {file} cannot be read: {error}"
        raise StoreError(message) from error
