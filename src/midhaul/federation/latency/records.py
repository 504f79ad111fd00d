"""TLS records in a stream of bytes, without opening them (RFC 5246 6.2, RFC 8446 5).

The head of a record is in the clear in every version: its type and its length. Where a
head was not captured (a short snapshot length, a lost packet) the reader goes on
without: what follows is application data of unknown parts, until a segment begins like
a record again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.latency.streams import Chunk

CHANGE_CIPHER, ALERT, HANDSHAKE, APPLICATION, HEARTBEAT = 20, 21, 22, 23, 24
_TYPES = frozenset((CHANGE_CIPHER, ALERT, HANDSHAKE, APPLICATION, HEARTBEAT))
_HEAD_BYTES = 5
_MAJOR, _LAST_MINOR = 3, 4
_LONGEST = (1 << 14) + 2048
_KEPT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a stream, or bytes that could not be parted into records.

    Attributes:
        type: content type of the head.
        n_bytes: length in the head: what is sealed, or all where nothing was framed.
        first_ns: when its first byte was seen.
        last_ns: when its last byte was.
        begin: offset of its first byte in the stream, the head included.
        end: offset behind its last byte.
        body: its content where it was asked for, as far as it was captured from its
            begin; None where it was not asked for.
        is_framed: false for bytes whose record heads are not known.
    """

    type: int
    n_bytes: int
    first_ns: int
    last_ns: int
    begin: int
    end: int
    body: bytes | None = None
    is_framed: bool = True


def looks_like_record(data: bytes) -> bool:
    """Whether bytes begin with the head of a TLS record."""
    if len(data) < _HEAD_BYTES:
        return False
    length = data[3] << 8 | data[4]
    is_head = data[0] in _TYPES and data[1] == _MAJOR and data[2] <= _LAST_MINOR
    return is_head and 0 < length <= _LONGEST


class RecordReader:
    """Parts a stream into records.

    Args:
        emit: gets every record when its last byte has come.
        keeps_application_data: whether the body of application data is wanted too;
            that of handshakes always is.
        is_lost: whether it begins in the middle of a stream.

    Attributes:
        n_unframed_bytes: bytes that could not be parted into records.
    """

    def __init__(
        self,
        emit: Callable[[Record], None],
        *,
        keeps_application_data: bool = False,
        is_lost: bool = False,
    ) -> None:
        self._emit = emit
        self._keeps_all = keeps_application_data
        self.n_unframed_bytes = 0
        self._is_lost = is_lost
        self._head = b""
        self._open: Record | None = None
        self._missing = 0
        self._body: list[bytes] | None = None
        self._is_cut = False

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes."""
        if self._is_lost:
            if not looks_like_record(chunk.data):
                self._unframed(chunk, chunk.begin)
                return
            self._is_lost, self._head, self._open = False, b"", None
        at, data, begin = chunk.begin, chunk.data, chunk.begin
        while at < chunk.end:
            if self._missing:
                taken = min(self._missing, chunk.end - at)
                if self._body is not None and not self._is_cut:
                    part = data[at - begin : at - begin + taken]
                    self._body.append(part)
                    self._is_cut = len(part) < taken
                self._missing -= taken
                at += taken
                if not self._missing:
                    self._close(chunk, at)
                continue
            start = at if self._open is None else self._open.begin
            part = data[at - begin : at - begin + _HEAD_BYTES - len(self._head)]
            if not part:
                self._lose(chunk, start)
                return
            if self._open is None:
                self._open = _opened(chunk, at)
            self._head += part
            at += len(part)
            if len(self._head) == _HEAD_BYTES and not self._begin(at):
                self._lose(chunk, start)
                return

    def finish(self) -> None:
        """The stream ended: hand out an application record that is not whole."""
        known = self._open
        if known is not None and self._missing and known.type == APPLICATION:
            end = known.end - self._missing
            self._emit(replace(known, end=end, body=None, is_framed=False))

    def _begin(self, at: int) -> bool:
        """Read a whole head; false when it is none."""
        head, self._head = self._head, b""
        known = self._open
        if known is None or not looks_like_record(head):
            return False
        length = head[3] << 8 | head[4]
        self._open = replace(known, type=head[0], n_bytes=length, end=at + length)
        self._missing = length
        is_wanted = head[0] != APPLICATION or self._keeps_all
        self._body = [] if is_wanted and length <= _KEPT_BYTES else None
        self._is_cut = False
        return True

    def _close(self, chunk: Chunk, at: int) -> None:
        known, self._open = self._open, None
        body, self._body = self._body, None
        if known is not None:
            whole = None if body is None else b"".join(body)
            self._emit(replace(known, last_ns=chunk.last_ns, end=at, body=whole))

    def _lose(self, chunk: Chunk, start: int) -> None:
        """A head is missing: the rest is not framed, from where the record began."""
        self._is_lost, self._head = True, b""
        first_ns = chunk.first_ns if self._open is None else self._open.first_ns
        self._open, self._body = None, None
        self._unframed(chunk._replace(first_ns=first_ns), start)

    def _unframed(self, chunk: Chunk, begin: int) -> None:
        n_bytes = chunk.end - begin
        self.n_unframed_bytes += n_bytes
        self._emit(
            Record(
                type=APPLICATION,
                n_bytes=n_bytes,
                first_ns=chunk.first_ns,
                last_ns=chunk.last_ns,
                begin=begin,
                end=chunk.end,
                is_framed=False,
            )
        )


def _opened(chunk: Chunk, at: int) -> Record:
    return Record(
        type=0,
        n_bytes=0,
        first_ns=chunk.first_ns,
        last_ns=chunk.last_ns,
        begin=at,
        end=at,
    )
