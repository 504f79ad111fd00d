"""The journal of a recording: a line before each call, and one behind it.

Lines are with the kernel before anything else happens, so they survive whatever ends
the process. Who reads the journal knows which calls were made, which were answered and
how, and which were cut off; tables are made from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from midhaul import documents
from midhaul.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

UNFINISHED = "unfinished"
SKIPPED = "skipped"
"""The status of a call that was not made because its provider cannot be had."""

NOT_MADE = frozenset({"not_sent", SKIPPED})
"""Statuses of calls that were not made, and that a resumed run makes."""


class CallKey(NamedTuple):
    """What a call is about.

    Attributes:
        provider: name of the provider.
        item: id of the image.
        number: of the pass over the image set.
    """

    provider: str
    item: str
    number: int


class JournalEntry(NamedTuple):
    """One box or label of an answer; the corners are None without a box."""

    label: str
    score: float
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCall:
    """A call, as far as it is known.

    Attributes:
        key: what it is about.
        slice: of the image set.
        planned_s: when its slice was to begin, since 1970.
        sent_s: when it was made.
        status: how it went; ``unfinished`` where nobody knows.
        message: what went wrong.
        latency_s: from the call to the answer; None without.
        price_usd: what was charged.
        upload_bytes: of the image.
        found: the answer; None without.
        n_asked: how often it was asked so far.
        n_dropped: boxes or labels of the answer that could not be read.
    """

    key: CallKey
    slice: int
    planned_s: float
    sent_s: float
    status: str = UNFINISHED
    message: str = ""
    latency_s: float | None = None
    price_usd: float = 0.0
    upload_bytes: int = 0
    found: tuple[JournalEntry, ...] | None = None
    n_asked: int = 1
    n_dropped: int = 0


class Journal:
    """Appends to a journal; closed by ``with``.

    What is in the file is read first. StoreError where it cannot be read or written.

    Attributes:
        calls: the last call about everything that was ever asked.
    """

    def __init__(self, file: Path) -> None:
        self.calls, n_bytes = _read(file)
        try:
            with file.open("ab") as whole:
                whole.truncate(n_bytes)  # a last line that was never finished
            self._file = file.open("ab", buffering=0)
        except OSError as error:
            message = f"{file} cannot be written: {error}"
            raise StoreError(message) from error

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def write(self, call: JournalCall) -> None:
        """Note a call that is about to be made, or what became of it.

        StoreError where the disk does not take it; the call must not be made then.
        """
        text = json.dumps(asdict(call), separators=(",", ":"))
        try:
            self._file.write(text.encode() + b"\n")
        except OSError as error:
            message = f"{self._file.name} cannot be written: {error}"
            raise StoreError(message) from error
        self.calls[call.key] = call


def _read(file: Path) -> tuple[dict[CallKey, JournalCall], int]:
    """All calls of a journal, and the length of its whole lines."""
    calls: dict[CallKey, JournalCall] = {}
    n_bytes = 0
    if not file.exists():
        return calls, n_bytes
    try:
        with file.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                call = _call(documents.parse_json(line))
                calls[call.key] = call
                n_bytes += len(line)
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{file} cannot be read as a journal: {error}"
        raise StoreError(message, "begin a new run") from error
    return calls, n_bytes


def _call(fields: dict[str, Any]) -> JournalCall:
    found = fields["found"]
    rows = None if found is None else tuple(JournalEntry(*row) for row in found)
    known: dict[str, Any] = {**fields, "key": CallKey(*fields["key"]), "found": rows}
    return JournalCall(**known)
