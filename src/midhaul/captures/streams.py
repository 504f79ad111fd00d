"""One direction of a TCP connection: its bytes in order, and when each was seen.

Sequence numbers are unwrapped into offsets of a stream that begins at 0. Data that come
again are not delivered again, data that come early wait, and data that the other end
has acknowledged though no capture has them become a hole: bytes without content.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

_HALF, _WHOLE = 1 << 31, 1 << 32
_MOST_WAITING = 4096
"""Early segments that wait before what is missing is given up."""


class Chunk(NamedTuple):
    """Bytes of a stream that came together.

    Attributes:
        begin: offset of the first byte in the stream.
        data: the content from the begin on, as far as it was captured.
    """

    first_ns: int
    last_ns: int
    begin: int
    end: int
    data: bytes


class StreamReader(Protocol):
    """Takes the bytes of a stream in order."""

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes."""
        ...


class Times(NamedTuple):
    """When which bytes of a stream were sent and acknowledged.

    Attributes:
        sent_ns: ``(s,)`` times of segments with data, also of repeated ones.
        begins: ``(s,)`` offset of the first byte of each.
        ends: ``(s,)`` offset behind the last byte of each.
        acked_ns: ``(a,)`` times of acknowledgements by the other end.
        acked: ``(a,)`` the offset up to which it had everything, never falling.
    """

    sent_ns: Int64[np.ndarray, " s"]
    begins: Int64[np.ndarray, " s"]
    ends: Int64[np.ndarray, " s"]
    acked_ns: Int64[np.ndarray, " a"]
    acked: Int64[np.ndarray, " a"]


class Stream:
    """One direction of a connection, whose reader gets the bytes in order.

    Attributes:
        n_repeated: segments that brought nothing new.
        n_missing_bytes: bytes that were acknowledged but not captured.
        ended_ns: when its sender closed it; 0 as long as it did not.
    """

    def __init__(self, reader: StreamReader) -> None:
        self.reader = reader
        self.is_whole = False
        self.n_repeated = 0
        self.n_missing_bytes = 0
        self.ended_ns = 0
        self._base: int | None = None
        self._next = 0
        self._waiting: dict[int, tuple[int, bytes, int]] = {}
        self._sent_ns, self._begins, self._ends = array("q"), array("q"), array("q")
        self._acked_ns, self._acked = array("q"), array("q")

    @property
    def n_bytes(self) -> int:
        """Bytes delivered so far."""
        return self._next

    def begin(self, seq: int) -> None:
        """The stream begins behind a SYN with this number."""
        self._base = (seq + 1) % _WHOLE
        self.is_whole = True

    def add(self, time_ns: int, seq: int, data: bytes, n_bytes: int) -> None:
        """A segment with data, in the order in which it was captured."""
        if self._base is None:
            self._base = seq
        begin = self._offset(seq)
        end = begin + n_bytes
        if end <= 0 or (n_bytes == 1 and begin == self._next - 1):
            return  # from before the capture, or asks whether the other end is alive
        self._sent_ns.append(time_ns)
        self._begins.append(begin)
        self._ends.append(end)
        if end <= self._next:
            self.n_repeated += 1
        elif begin > self._next:
            known = self._waiting.get(begin)
            if known is None or known[2] < n_bytes:
                self._waiting[begin] = (time_ns, data, n_bytes)
            if len(self._waiting) > _MOST_WAITING:
                self._skip(min(self._waiting))
        else:
            self._deliver(time_ns, begin, data, n_bytes)
            self._drain()

    def acknowledge(self, time_ns: int, ack: int) -> None:
        """The other end says which byte it expects next."""
        if self._base is None:
            return
        offset = self._offset(ack)
        if self._waiting and offset > self._next:
            first = min(self._waiting)
            if first <= offset:
                self._skip(first)
        if self._acked and offset <= self._acked[-1]:
            return
        self._acked_ns.append(time_ns)
        self._acked.append(offset)

    def finish(self) -> None:
        """No more segments will come: hand out what waits."""
        while self._waiting:
            self._skip(min(self._waiting))

    def times(self) -> Times:
        """When everything was sent and acknowledged."""
        return Times(
            np.array(self._sent_ns, np.int64),
            np.array(self._begins, np.int64),
            np.array(self._ends, np.int64),
            np.array(self._acked_ns, np.int64),
            np.array(self._acked, np.int64),
        )

    def _offset(self, number: int) -> int:
        """The offset of a sequence number, taken as near to the present as can be."""
        base = 0 if self._base is None else self._base
        here = base + self._next
        return self._next + (number - here + _HALF) % _WHOLE - _HALF

    def _deliver(self, time_ns: int, begin: int, data: bytes, n_bytes: int) -> None:
        known = self._next - begin
        fresh = data[known:] if known else data
        end = begin + n_bytes
        self.reader.feed(Chunk(time_ns, time_ns, self._next, end, fresh))
        self._next = end

    def _drain(self) -> None:
        while self._waiting:
            begin = min(self._waiting)
            if begin > self._next:
                return
            time_ns, data, n_bytes = self._waiting.pop(begin)
            if begin + n_bytes > self._next:
                self._deliver(time_ns, begin, data, n_bytes)

    def _skip(self, offset: int) -> None:
        """Give up what is missing before an offset."""
        time_ns = self._waiting[offset][0]
        self.n_missing_bytes += offset - self._next
        self.reader.feed(Chunk(time_ns, time_ns, self._next, offset, b""))
        self._next = offset
        self._drain()
