"""What a bridge keeps on disk: messages, packet ids and counters, in one SQLite file.

One commit takes all that was asked for since the last one: many messages cost one
write. What has been committed survives the kill of the process; with
``survives="power"`` each commit waits for the medium (``fsync``), and survives the loss
of power too. The write-ahead log keeps the file whole in both cases. Everything is done
at once, in the thread of the event loop: on a busy machine, handing a write of a
millisecond to another thread takes many.

A message counts as taken when it is committed, and only then is it acknowledged to the
broker that it came from. It goes when the other broker has acknowledged it. What is
held in between, and under which packet id, is here: a restart loses nothing. So are the
counters of what came, left and was dropped, by lane and topic.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from midhaul.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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

    ``n_bytes`` is on the wire; ``came_s`` and ``expiry_s``, None for never, are seconds
    since 1970. ``mid`` is the packet id under which it was sent, and ``is_released``
    says that only the end of QoS 2's handshake is missing.
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

    A StoreError where it cannot be opened, is another program's, or another bridge has
    it.
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

        A StoreError on a full disk for instance.
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

        A StoreError where it cannot be read.
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

        A StoreError if it fails.
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

        A StoreError if it fails.
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


OTHERS = "(others)"
"""Where topics are counted that are silent, or come after :data:`MAX_TOPICS`."""

MAX_TOPICS = 1000

Cause = Literal[
    "full", "too_large", "expired", "looped", "refused", "no_lane", "no_name", "stopped"
]
"""Why a message was dropped, see :class:`TopicCounts`."""


@dataclass(slots=True, kw_only=True)
class TopicCounts:
    """What happened to the messages of one topic; bytes are payloads.

    At every time, ``n_in = n_out + n_dropped + n_queued``, and ``n_dropped`` is the sum
    of what follows it up to ``n_stopped``.

    Attributes:
        n_in: messages that came.
        n_out: messages that the other broker has acknowledged; of QoS 0, that were
            handed to the connection.
        n_queued: messages that wait, or were sent and are not acknowledged.
        n_dropped: messages that were dropped, for whatever cause.
        n_full: dropped because a queue was full.
        n_too_large: dropped because they were larger than allowed.
        n_expired: dropped because their own message expiry has passed.
        n_looped: dropped because they had been here before.
        n_refused: dropped because the other broker refused them.
        n_no_lane: dropped because no filter of the rate map has them any more.
        n_no_name: dropped because their new topic is none.
        n_stopped: dropped because the bridge was stopped, without a queue on disk.
        n_resent: messages that had to be sent again after a lost connection.
        n_maybe_twice: messages that may have arrived twice: sent again by this bridge,
            or to it.
        bytes_in: of those that came.
        bytes_out: of those that were acknowledged.
        delay_s: sum of the times from coming to acknowledgement.
        max_delay_s: the longest.
    """

    n_in: int = 0
    n_out: int = 0
    n_queued: int = 0
    n_dropped: int = 0
    n_full: int = 0
    n_too_large: int = 0
    n_expired: int = 0
    n_looped: int = 0
    n_refused: int = 0
    n_no_lane: int = 0
    n_no_name: int = 0
    n_stopped: int = 0
    n_resent: int = 0
    n_maybe_twice: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    delay_s: float = 0.0
    max_delay_s: float = 0.0

    def plain(self) -> dict[str, float]:
        """As what JSON can hold; causes of drops only where they occurred."""
        found = {name: getattr(self, name) for name in _NAMES}
        return {k: v for k, v in found.items() if v or k not in _CAUSES}

    def drop(self, cause: Cause) -> None:
        """One of those that were queued is dropped."""
        self.n_queued -= 1
        self.n_dropped += 1
        name = f"n_{cause}"
        setattr(self, name, getattr(self, name) + 1)

    def add(self, other: TopicCounts) -> None:
        """Count together."""
        for name in _NAMES:
            mine, theirs = getattr(self, name), getattr(other, name)
            is_longest = name == "max_delay_s"
            setattr(self, name, max(mine, theirs) if is_longest else mine + theirs)


_NAMES = tuple(one.name for one in fields(TopicCounts))
_CAUSES = {f"n_{cause}" for cause in get_args(Cause)}


class FlowStats:
    """The counters of one direction, by topic, and which have changed.

    ``before`` was counted before the bridge was started, which is ``now_s``.
    """

    def __init__(self, before: Mapping[str, Mapping[str, float]], now_s: float) -> None:
        self.topics: dict[str, TopicCounts] = {
            topic: TopicCounts(**{k: v for k, v in counts.items() if k in _NAMES})  # type: ignore[arg-type]
            for topic, counts in before.items()
        }
        self._changed: dict[str, None] = {}
        self._touched_s = dict.fromkeys(self.topics, now_s)

    def of(self, topic: str, now_s: float) -> TopicCounts:
        """The counts of a topic, to be changed; strange ones are kept together."""
        if topic not in self.topics and len(self.topics) >= MAX_TOPICS:
            topic = OTHERS
        self._changed[topic] = None
        self._touched_s[topic] = now_s
        return self.topics.setdefault(topic, TopicCounts())

    def fold(self, before_s: float) -> list[str]:
        """Count silent topics of which nothing waits with the others; their names."""
        gone = [
            topic
            for topic, counts in self.topics.items()
            if topic != OTHERS
            and not counts.n_queued
            and self._touched_s[topic] < before_s
        ]
        for topic in gone:
            self.of(OTHERS, before_s).add(self.topics.pop(topic))
            del self._touched_s[topic]
            self._changed.pop(topic, None)
        return gone

    def changed(self) -> dict[str, TopicCounts]:
        """What has changed since this was asked last."""
        found = {topic: self.topics[topic] for topic in self._changed}
        self._changed.clear()
        return found

    def plain(self) -> dict[str, Any]:
        """Totals and topics, as what JSON can hold; causes only where they occurred."""
        topics = {topic: counts.plain() for topic, counts in self.topics.items()}
        total = TopicCounts().plain()
        for counts in topics.values():
            for name, value in counts.items():
                before = total.get(name, 0)
                is_longest = name == "max_delay_s"
                total[name] = max(before, value) if is_longest else before + value
        return {"total": total, "topics": topics}
