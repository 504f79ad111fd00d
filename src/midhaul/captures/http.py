"""HTTP/1.1 and HTTP/2 in the clear: requests and answers, as every reader finds them.

*HTTP/2* (RFC 9113): heads of frames are read, which say kind, stream and whether they
end it. A reader that meets a hole where a head should be is lost and says so; what it
found stands.

*HTTP/1.1* (RFC 9112): heads, lengths and chunks are read, bodies are counted. A reader
that meets something else, or a hole where a head should be, is lost and says so; what
it found stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.captures.streams import Chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request or an answer.

    Attributes:
        stream: number of the HTTP/2 stream; 0 for HTTP/1.1 and where not known.
        begin: offset of its first byte in the TCP stream, at most.
        end: offset behind its last byte, at least.
        n_bytes: bytes on the wire of TCP, heads and sealing included.
        code: HTTP status; 0 for requests and where not known.
        is_whole: true when its end was seen.
    """

    stream: int = 0
    first_ns: int
    last_ns: int
    begin: int
    end: int
    n_bytes: int
    code: int = 0
    is_whole: bool = True


_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"PATCH ", b"DELETE ", b"OPTIONS ")
_LONGEST_HEAD = 1 << 17
_FOREVER = 1 << 62
_SWITCHING, _CONTINUE_BELOW = 101, 200
_BODILESS = (204, 304)


def is_http1(data: bytes) -> bool:
    """Whether bytes begin like a message of HTTP/1."""
    return data.startswith((b"HTTP/1.", *_METHODS))


class Http1Reader:
    """Reads one direction of HTTP/1.1.

    The reader of requests appends their ``methods``, that of answers looks into them.

    Attributes:
        found: the messages, in order; interim answers (1xx) are left out.
        is_lost: true once something was met that is not HTTP/1.1.
    """

    def __init__(self, methods: list[str], *, is_client: bool) -> None:
        self.found: list[Message] = []
        self.is_lost = False
        self._methods, self._is_client = methods, is_client
        self._line = b""
        self._missing = 0
        self._is_chunked = self._in_trailer = False
        self._open: Message | None = None

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes."""
        at = chunk.begin
        while at < chunk.end and not self.is_lost:
            if self._open is None:
                self._open = _opened(chunk, at)
            if self._missing:
                taken = min(self._missing, chunk.end - at)
                self._missing -= taken
                at += taken
                if not self._missing and not self._is_chunked:
                    self._close(chunk, at)
                elif at == chunk.end:
                    self._grow(chunk)
            else:
                at = self._text(chunk, at)

    def finish(self) -> None:
        """The stream ended, which ends an answer of unknown length as well."""
        if self._open is not None and not self.is_lost:
            is_endless = self._missing > _FOREVER // 2
            self.found.append(replace(self._open, is_whole=is_endless))
        self._open = None

    def _text(self, chunk: Chunk, at: int) -> int:
        """Read on in a head, or in the line before a chunk; where it ended."""
        part = chunk.data[at - chunk.begin :]
        if not part:
            self.is_lost = True
            return at
        before = len(self._line)
        text = self._line + part
        mark = b"\r\n" if self._is_chunked else b"\r\n\r\n"
        found = text.find(mark)
        if found < 0:
            is_cut = len(part) < chunk.end - at
            self._line = text
            self.is_lost = is_cut or len(text) > _LONGEST_HEAD
            return chunk.end
        self._line = b""
        behind = at + found + len(mark) - before
        if self._is_chunked:
            self._size_line(text[:found], chunk, behind)
        else:
            self._head(text[:found], chunk, behind)
        return behind

    def _head(self, text: bytes, chunk: Chunk, behind: int) -> None:
        if not is_http1(text):
            self.is_lost = True
            return
        first, *rest = text.decode("latin-1").split("\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest)
        }
        words = first.split(" ")
        code, method = 0, ""
        if self._is_client:
            self._methods.append(words[0])
        else:
            code = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
            i = len(self.found)
            method = self._methods[i] if i < len(self._methods) else ""
        if code == _SWITCHING:
            self.is_lost = True
            return
        if 0 < code < _CONTINUE_BELOW:
            self._open = None
            return
        if self._open is not None:
            self._open = replace(self._open, code=code)
        self._body(
            fields, chunk, behind, has_none=method == "HEAD" or code in _BODILESS
        )

    def _body(
        self, fields: dict[str, str], chunk: Chunk, behind: int, *, has_none: bool
    ) -> None:
        """Find out how long the body is."""
        length = fields.get("content-length", "")
        if has_none:
            self._close(chunk, behind)
        elif "chunked" in fields.get("transfer-encoding", "").lower():
            self._is_chunked = True
        elif length.isdecimal() and len(length) < 16:  # noqa: PLR2004 - digits
            self._missing = int(length)
            if not self._missing:
                self._close(chunk, behind)
        elif self._is_client:
            self._close(chunk, behind)
        else:
            self._missing = _FOREVER

    def _size_line(self, text: bytes, chunk: Chunk, behind: int) -> None:
        if self._in_trailer:
            if not text:
                self._close(chunk, behind)
            return
        digits = text.partition(b";")[0].strip()
        if not digits:
            return  # the line end behind a chunk
        try:
            size = int(digits, 16)
        except ValueError:
            self.is_lost = True
            return
        self._missing = max(size, 0)
        self._in_trailer = size == 0

    def _grow(self, chunk: Chunk) -> None:
        """The message goes on behind a chunk."""
        if self._open is not None:
            n_bytes = chunk.end - self._open.begin
            last = {"last_ns": chunk.last_ns, "end": chunk.end, "n_bytes": n_bytes}
            self._open = replace(self._open, **last)

    def _close(self, chunk: Chunk, at: int) -> None:
        if self._open is not None:
            done = replace(self._open, last_ns=chunk.last_ns, end=at)
            size = at - done.begin
            self.found.append(replace(done, n_bytes=size, is_whole=True))
        self._open = None
        self._missing, self._is_chunked, self._in_trailer = 0, False, False


def _opened(chunk: Chunk, at: int) -> Message:
    return Message(
        first_ns=chunk.first_ns,
        last_ns=chunk.last_ns,
        begin=at,
        end=at,
        n_bytes=0,
        is_whole=False,
    )


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM = 0x1


class Http2Reader:
    """Reads one direction of HTTP/2.

    A client begins with the preface.

    Attributes:
        is_lost: true once something was met that is not HTTP/2.
    """

    def __init__(self, *, is_client: bool) -> None:
        self.is_lost = False
        self._preface = len(PREFACE) if is_client else 0
        self._head = b""
        self._frame: tuple[int, int, int] | None = None
        self._missing = 0
        self._begun: tuple[int, int] = (0, 0)
        self._streams: dict[int, Message] = {}

    @property
    def found(self) -> list[Message]:
        """A message for each stream, in the order of their beginning."""
        return list(self._streams.values())

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes."""
        at = chunk.begin
        while at < chunk.end and not self.is_lost:
            if self._preface:
                taken = min(self._preface, chunk.end - at)
                self._preface -= taken
                at += taken
                continue
            if self._frame is None:
                at = self._read_head(chunk, at)
            else:
                taken = min(self._missing, chunk.end - at)
                self._missing -= taken
                at += taken
            if self._frame is not None and not self._missing:
                self._close(chunk, at)

    def finish(self) -> None:
        """The stream ended; messages without an end stay open."""

    def _read_head(self, chunk: Chunk, at: int) -> int:
        if not self._head:
            self._begun = (chunk.first_ns, at)
        begin = at - chunk.begin
        part = chunk.data[begin : begin + _FRAME_HEAD - len(self._head)]
        self.is_lost = not part
        self._head += part
        if len(self._head) == _FRAME_HEAD:
            head, self._head = self._head, b""
            stream = int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
            self._frame = (head[3], head[4], stream)
            self._missing = int.from_bytes(head[:3], "big")
        return at + len(part)

    def _close(self, chunk: Chunk, at: int) -> None:
        """A frame has ended."""
        if self._frame is None:
            return
        (kind, flags, stream), self._frame = self._frame, None
        if not stream or kind not in {_DATA, _HEADERS, _RST_STREAM}:
            return
        first_ns, begin = self._begun
        known = self._streams.get(stream)
        if known is None:
            if kind == _RST_STREAM:
                return
            known = Message(
                stream=stream,
                first_ns=first_ns,
                last_ns=chunk.last_ns,
                begin=begin,
                end=at,
                n_bytes=0,
                is_whole=False,
            )
        is_ended = kind == _RST_STREAM or bool(flags & _END_STREAM)
        self._streams[stream] = replace(
            known,
            last_ns=chunk.last_ns,
            end=at,
            n_bytes=known.n_bytes + at - begin,
            is_whole=known.is_whole or is_ended,
        )
