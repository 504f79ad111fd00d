"""A lane: the queue of what one rate is granted to, its bounds and its counts.

A lane is a topic, or all topics of a filter; messages leave it in the order in which
they came.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.deploy.enforcement.bucket import Bucket

T = TypeVar("T")

Drop = Literal["oldest", "newest"]
"""Which message goes when a queue is full: the oldest, or the one that comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may wait in each lane.

    Attributes:
        n_messages: at most so many.
        n_bytes: at most so many bytes on the wire together; a larger message has no
            room at all.
        drop: which one goes when there is no room.

    Raises:
        DataError: no message fits.
    """

    n_messages: int = 100
    n_bytes: int = 16_000_000
    drop: Drop = "oldest"

    def __post_init__(self) -> None:
        """Check that something may wait."""
        if self.n_messages < 1 or self.n_bytes < 1:
            message = (
                "expected room for at least one message and one byte, found "
                f"{self.n_messages} messages and {self.n_bytes} bytes"
            )
            raise DataError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Generic[T]):
    """A message in a queue.

    Attributes:
        lane: where it waits.
        number: counts all messages that came, so that order can be restored.
        message: whatever it is.
        n_bytes: what it takes on the wire.
        came_s: when it came.
    """

    lane: str
    number: int
    message: T
    n_bytes: int
    came_s: float


@dataclass(slots=True, kw_only=True)
class LaneCounts:
    """What happened in one lane; bytes are those on the wire.

    Attributes:
        n_in: messages that came.
        n_out: messages that left; one that was put back and left again counts twice.
        n_dropped: messages that were dropped.
        bytes_in: of those that came.
        bytes_out: of those that left.
        bytes_dropped: of those that were dropped.
        delay_s: sum of the times in the queue, of those that left.
        max_delay_s: the longest.
    """

    n_in: int = 0
    n_out: int = 0
    n_dropped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_dropped: int = 0
    delay_s: float = 0.0
    max_delay_s: float = 0.0

    def add(self, other: LaneCounts) -> None:
        """Count together."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            is_longest = one.name == "max_delay_s"
            setattr(self, one.name, max(mine, theirs) if is_longest else mine + theirs)


class Lane(Generic[T]):
    """The queue of one lane; the oldest message is at its head."""

    __slots__ = ("_bounds", "bucket", "counts", "n_bytes", "queue", "spare_s")

    def __init__(self, bucket: Bucket, bounds: Bounds) -> None:
        self._bounds = bounds
        self.bucket = bucket
        self.queue: deque[Waiting[T]] = deque()
        self.n_bytes = 0
        self.counts = LaneCounts()
        self.spare_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """True where something waits that may leave at some time."""
        return bool(self.queue) and self.bucket.rate_bps > 0

    def append(self, waiting: Waiting[T]) -> list[Waiting[T]]:
        """Add a message that came; what was dropped for it, or itself."""
        self.counts.n_in += 1
        self.counts.bytes_in += waiting.n_bytes
        if waiting.n_bytes > self._bounds.n_bytes:
            return self._dropped([waiting])
        self.queue.append(waiting)
        self.n_bytes += waiting.n_bytes
        return self.trim()

    def return_head(self, waiting: Waiting[T]) -> None:
        """Put a message back before all others; :meth:`trim` has to follow."""
        self.queue.appendleft(waiting)
        self.n_bytes += waiting.n_bytes

    def pop(self, now_s: float) -> Waiting[T]:
        """The oldest message, which leaves now."""
        waiting = self.queue.popleft()
        self.n_bytes -= waiting.n_bytes
        delay_s = now_s - waiting.came_s
        self.counts.n_out += 1
        self.counts.bytes_out += waiting.n_bytes
        self.counts.delay_s += delay_s
        self.counts.max_delay_s = max(self.counts.max_delay_s, delay_s)
        return waiting

    def trim(self) -> list[Waiting[T]]:
        """Drop messages until the bounds are kept."""
        gone: list[Waiting[T]] = []
        bounds = self._bounds
        while len(self.queue) > bounds.n_messages or self.n_bytes > bounds.n_bytes:
            is_oldest = bounds.drop == "oldest"
            waiting = self.queue.popleft() if is_oldest else self.queue.pop()
            self.n_bytes -= waiting.n_bytes
            gone.append(waiting)
        return self._dropped(gone)

    def discard(self, is_gone: Callable[[T], bool]) -> list[Waiting[T]]:
        """Drop the messages of which something is so."""
        gone = [one for one in self.queue if is_gone(one.message)]
        if gone:
            numbers = {one.number for one in gone}
            self.queue = deque(one for one in self.queue if one.number not in numbers)
            self.n_bytes -= sum(one.n_bytes for one in gone)
        return self._dropped(gone)

    def _dropped(self, gone: list[Waiting[T]]) -> list[Waiting[T]]:
        self.counts.n_dropped += len(gone)
        self.counts.bytes_dropped += sum(one.n_bytes for one in gone)
        return gone
