"""Requests and answers of HTTP/2 in bytes that are in the clear (RFC 9113).

Heads of frames are read: kind, stream and whether they end it. A reader that
meets a hole where a head should be is lost and says so; what it found stands.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.federation.latency.messages import Message

if TYPE_CHECKING:
    from midhaul.federation.latency.streams import Chunk

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM = 0x1


class Http2Reader:
    """Reads one direction of HTTP/2.

    Args:
        is_client: whether it begins with the preface.

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
