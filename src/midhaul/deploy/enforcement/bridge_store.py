"""What a bridge keeps on disk: messages, packet ids and counters, in one SQLite file.

One commit takes all that was asked for since the last one: many messages cost one
write. What has been committed survives the kill of the process; with
``survives="power"`` each commit waits for the medium (``fsync``), and survives the loss
of power too. The write-ahead log keeps the file whole in both cases. Everything is done
at once, in the thread of the event loop: on a busy machine, handing a write of a
millisecond to another thread takes many.

A message counts as taken when it is committed, and only then is it acknowledged to the
broker that it came from. It goes when the other broker has acknowledged it. What is
held in between, and under which packet id, is here: a restart loses nothing.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from midhaul.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

IN_MEMORY = ":memory:"

_VERSION = 1
_LOG_BYTES = 16_000_000
_TABLES = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY, flow TEXT NOT NULL, topic TEXT NOT NULL,
    qos INTEGER NOT NULL, is_retained INTEGER NOT NULL, came_s REAL NOT NULL,
    expiry_s REAL, n_bytes INTEGER NOT NULL, properties TEXT NOT NULL,
    payload BLOB NOT NULL, mid INTEGER, is_released INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS received (
    end TEXT NOT NULL, mid INTEGER NOT NULL, PRIMARY KEY (end, mid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    flow TEXT NOT NULL, topic TEXT NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (flow, topic)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message that waits, without its payload.

    Attributes:
        number: in the order in which messages came.
        flow: its direction, ``up`` or ``down``.
        topic: under which it came.
        qos: under which it leaves.
        is_retained: the flag RETAIN.
        came_s: when it came, seconds since 1970.
        expiry_s: when it may be dropped, the same clock; None for never.
        n_bytes: on the wire.
        n_payload_bytes: of the payload.
        mid: packet id under which it was sent; None where it was not.
        is_released: whether only the end of QoS 2's handshake is missing.
    """

    number: int
    flow: str
    topic: str
    qos: int
    is_retained: bool
    came_s: float
    expiry_s: float | None
    n_bytes: int
    n_payload_bytes: int
    mid: int | None = None
    is_released: bool = False


class BridgeStore:
    """The file of one bridge; one process at a time has it.

    Args:
        file: its path, or :data:`IN_MEMORY` for none.
        survives: what a commit survives.

    Raises:
        StoreError: it cannot be opened, is another program's, or another bridge has it.
    """

    def __init__(self, file: str, *, survives: Literal["kill", "power"]) -> None:
        self._file = file
        self._asked: list[tuple[str, Sequence[Any]]] = []
        self._more: list[Callable[[], Iterable[tuple[str, Sequence[Any]]]]] = []
        self._db = self._opened(survives)

    def _opened(self, survives: Literal["kill", "power"]) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self._file, timeout=1.0, isolation_level=None)
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            full = "FULL" if survives == "power" else "NORMAL"
            db.execute(f"PRAGMA synchronous = {full}")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            db.execute("BEGIN IMMEDIATE")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in {0, _VERSION}:
                message = f"{self._file} is the queue of another version: {version}"
                raise StoreError(message, "name another queue_file")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from error
        return db

    def _error(self, error: sqlite3.Error) -> StoreError:
        if "locked" in str(error):
            message = f"another process has the queue {self._file}"
            return StoreError(message, "one bridge has one name and one queue_file")
        message = f"the queue {self._file} cannot be used: {error}"
        hint = "queue_file names a file in a folder with room that can be written"
        return StoreError(message, hint)

    @property
    def is_on_disk(self) -> bool:
        """Whether what it holds outlives the process."""
        return self._file != IN_MEMORY

    def ask(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Add a change to the next commit."""
        self._asked.append((statement, values))

    def also(self, changes: Callable[[], Iterable[tuple[str, Sequence[Any]]]]) -> None:
        """Have something asked before each commit, for what it wants to add."""
        self._more.append(changes)

    def commit(self) -> None:
        """Keep all that was asked for, as a whole.

        Raises:
            StoreError: it cannot be kept, because the disk is full for instance.
        """
        for more in self._more:
            self._asked.extend(more())
        asked, self._asked = self._asked, []
        if not asked:
            return
        try:
            self._db.execute("BEGIN")
            for statement, values in asked:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from error

    def add(self, one: Stored, properties: object, payload: bytes) -> None:
        """Keep a message."""
        self.ask(
            "INSERT INTO message (number, flow, topic, qos, is_retained, came_s, "
            "expiry_s, n_bytes, properties, payload) VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                one.number,
                one.flow,
                one.topic,
                one.qos,
                one.is_retained,
                one.came_s,
                one.expiry_s,
                one.n_bytes,
                json.dumps(properties, default=_hex),
                payload,
            ),
        )

    def remove(self, number: int) -> None:
        """A message is not needed any more."""
        self.ask("DELETE FROM message WHERE number = ?", (number,))

    def sent(self, number: int, mid: int) -> None:
        """A message is about to be sent under a packet id."""
        self.ask("UPDATE message SET mid = ? WHERE number = ?", (mid, number))

    def released(self, number: int) -> None:
        """The other broker has a message of QoS 2; the handshake goes on."""
        self.ask("UPDATE message SET is_released = 1 WHERE number = ?", (number,))

    def forget_mids(self, flow: str) -> None:
        """The other broker has lost the session: packet ids mean nothing any more."""
        self.ask("UPDATE message SET mid = NULL, is_released = 0 WHERE flow=?", (flow,))

    def contents(self, number: int) -> tuple[list[Any], bytes]:
        """Properties and payload of a message that was committed.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            found = self._db.execute(
                "SELECT properties, payload FROM message WHERE number = ?", (number,)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._error(error) from error
        return json.loads(found[0], object_hook=_unhex), bytes(found[1])

    def messages(self, flow: str) -> list[Stored]:
        """What waits, in order; only before the first commit."""
        rows = self._db.execute(
            "SELECT number, topic, qos, is_retained, came_s, expiry_s, n_bytes, "
            "length(payload), mid, is_released FROM message WHERE flow = ? "
            "ORDER BY number",
            (flow,),
        )
        return [
            Stored(
                number=row[0],
                flow=flow,
                topic=row[1],
                qos=row[2],
                is_retained=bool(row[3]),
                came_s=row[4],
                expiry_s=row[5],
                n_bytes=row[6],
                n_payload_bytes=row[7],
                mid=row[8],
                is_released=bool(row[9]),
            )
            for row in rows
        ]

    def last_number(self) -> int:
        """The highest number of a message; before the first commit."""
        (number,) = self._db.execute("SELECT max(number) FROM message").fetchone()
        return number or 0

    def counts(self, flow: str) -> dict[str, dict[str, float]]:
        """Counters by topic; only before the first commit."""
        rows = self._db.execute(
            "SELECT topic, counts FROM counts WHERE flow = ?", (flow,)
        )
        return {topic: json.loads(text) for topic, text in rows}

    def received(self, end: str) -> set[int]:
        """Packet ids of QoS 2 whose handshake is not over; before the first commit."""
        rows = self._db.execute("SELECT mid FROM received WHERE end = ?", (end,))
        return {mid for (mid,) in rows}

    def fact(self, name: str) -> str:
        """Something that was kept; empty where it was not. Before the first commit."""
        row = self._db.execute(
            "SELECT value FROM fact WHERE name = ?", (name,)
        ).fetchone()
        return row[0] if row else ""

    def keep(self, name: str, value: str) -> None:
        """Keep something under a name."""
        self.ask("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def tidy(self) -> None:
        """Give pages that are free back to the file system.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from error

    def abort(self) -> None:
        """Let others have the file, and write nothing."""
        self._db.close()

    def close(self) -> None:
        """Write what was asked for, and let others have the file.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            self.commit()
        finally:
            self._db.close()


def _hex(value: object) -> dict[str, str]:
    """Bytes in JSON."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    message = f"expected bytes, found {type(value).__name__}"
    raise TypeError(message)


def _unhex(found: dict[str, str]) -> bytes:
    return bytes.fromhex(found["hex"])
