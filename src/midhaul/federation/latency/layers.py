"""Readers between a stream and its messages: HTTP in the clear, and HTTP in TLS."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.federation.latency.http1 import Http1Reader, is_http1
from midhaul.federation.latency.http2 import Http2Reader
from midhaul.federation.latency.streams import Chunk
from midhaul.federation.latency.turns import Talk

if TYPE_CHECKING:
    from midhaul.federation.latency.messages import Message
    from midhaul.federation.latency.records import Record


class ClearReader:
    """Reads HTTP, and notes who spoke when, should the reader get lost."""

    def __init__(
        self, reader: Http1Reader | Http2Reader, talks: list[Talk], *, is_client: bool
    ) -> None:
        self._reader, self._talks, self._is_client = reader, talks, is_client

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes."""
        times = (chunk.first_ns, chunk.last_ns)
        self._talks.append(Talk(*times, chunk.begin, chunk.end, -1, self._is_client))
        self._reader.feed(chunk)

    def finish(self) -> None:
        """The stream ended."""
        self._reader.finish()


class OpenedReader:
    """The content of opened records, read as HTTP."""

    def __init__(self, methods: list[str], *, is_client: bool) -> None:
        self._methods, self._is_client = methods, is_client
        self._reader: Http1Reader | Http2Reader | None = None
        self._begins: list[int] = []
        self._records: list[tuple[int, int]] = []
        self._next = 0

    @property
    def http(self) -> str:
        """Version of HTTP."""
        if self._reader is None:
            return ""
        return "2" if isinstance(self._reader, Http2Reader) else "1.1"

    def feed(self, record: Record, content: bytes) -> None:
        """Take the content of a record."""
        if self._reader is None:
            self._reader = (
                Http1Reader(self._methods, is_client=self._is_client)
                if is_http1(content)
                else Http2Reader(is_client=self._is_client)
            )
        begin, self._next = self._next, self._next + len(content)
        self._begins.append(begin)
        self._records.append((record.begin, record.end))
        chunk = Chunk(record.first_ns, record.last_ns, begin, self._next, content)
        self._reader.feed(chunk)

    def finish(self) -> None:
        """The stream ended."""
        if self._reader is not None:
            self._reader.finish()

    def found(self) -> list[Message]:
        """The messages, with the offsets of their records in the TCP stream."""
        if self._reader is None:
            return []
        return [
            replace(
                message,
                begin=self._records[bisect_right(self._begins, message.begin) - 1][0],
                end=self._records[bisect_left(self._begins, message.end) - 1][1],
            )
            for message in self._reader.found
        ]
