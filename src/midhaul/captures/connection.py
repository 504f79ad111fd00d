"""TCP connection of a capture: both its streams, and what is spoken in them.

The readers between a stream and its messages stand here, too: HTTP in the clear, and
HTTP in TLS.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from midhaul.captures.capture import ACK, FIN, RST, SYN
from midhaul.captures.http import PREFACE, Http1Reader, Http2Reader, is_http1
from midhaul.captures.key_log import Opener
from midhaul.captures.sealed_http import Talk, Turn, http_version, take_turns
from midhaul.captures.streams import Chunk, Stream
from midhaul.captures.tls import Record, RecordReader, TlsCourse, looks_like_record

if TYPE_CHECKING:
    from midhaul.captures.capture import Segment
    from midhaul.captures.http import Message
    from midhaul.captures.key_log import Secrets
    from midhaul.captures.tls import Hello, Record


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


Protocol = Literal["", "tls", "http/1.1", "http/2"]
"""What is spoken on top of TCP; empty where it is none of them."""

_PREFACE_START = PREFACE[:14]


class TcpConnection:
    """One connection, packet by packet.

    Attributes:
        file: number of the capture with its first packet.
        first_ns: when that was seen.
        syn_ns: the first SYN; 0 when not seen.
        syn_ack_ns: the answer to it; 0 when not seen.
        established_ns: the client's first packet behind it; 0 when not seen.
        reset_ns: when it was reset; 0 when it was not.
    """

    def __init__(
        self,
        client: tuple[bytes, int],
        server: tuple[bytes, int],
        secrets: Secrets,
        *,
        file: int = 0,
    ) -> None:
        self.client_address, self.server_address = client, server
        self.file = file
        self.first_ns = self.last_ns = 0
        self.syn_ns = self.syn_ack_ns = self.established_ns = 0
        self.reset_ns, self.is_reset_by_client = 0, False
        self.n_packets = 0
        self.protocol: Protocol = ""
        self.course = TlsCourse(self._keyed)
        self._secrets = secrets
        self._opener: Opener | None = None
        self._is_closed_book = not secrets
        self._n_syn = 0
        self._syn_seq = -1
        self._talks: list[Talk] = []
        methods: list[str] = []
        self._inner = {True: OpenedReader(methods, is_client=True)}
        self._inner[False] = OpenedReader(methods, is_client=False)
        self._methods: list[str] = []
        self._readers: dict[bool, Http1Reader | Http2Reader | None] = {}
        self.client = Stream(_Front(self, is_client=True))
        self.server = Stream(_Front(self, is_client=False))

    @property
    def handshake_ns(self) -> int:
        """Round trip of the SYN; 0 where it was not seen, or sent twice."""
        if self._n_syn != 1 or not self.syn_ack_ns:
            return 0
        return self.syn_ack_ns - self.syn_ns

    @property
    def is_closed(self) -> bool:
        """Whether both ends closed it, or one reset it."""
        both = self.client.ended_ns and self.server.ended_ns
        return bool(self.reset_ns or both)

    @property
    def is_opened(self) -> bool:
        """Whether the records of TLS could be opened, all of them."""
        return self.protocol == "tls" and not self._is_closed_book

    def is_reopened_by(self, segment: Segment) -> bool:
        """Whether a segment begins another connection between the same ports."""
        if not segment.flags & SYN or segment.flags & ACK:
            return False
        return self.n_packets > 0 and segment.seq != self._syn_seq

    def add(self, time_ns: int, segment: Segment, *, is_client: bool) -> None:
        """Take a packet, in the order of the capture."""
        self.first_ns = self.first_ns or time_ns
        self.last_ns = time_ns
        self.n_packets += 1
        flags, seq = segment.flags, segment.seq
        mine, other = self.client, self.server
        if not is_client:
            mine, other = other, mine
        if flags & SYN:
            self._opens(time_ns, segment, is_client=is_client)
            mine.begin(seq)
            seq += 1
        elif is_client and self.syn_ack_ns and not self.established_ns:
            self.established_ns = time_ns
        if flags & ACK:
            other.acknowledge(time_ns, segment.ack)
        if segment.n_bytes:
            mine.add(time_ns, seq % (1 << 32), segment.data, segment.n_bytes)
        if flags & FIN:
            mine.ended_ns = mine.ended_ns or time_ns
        if flags & RST and not self.reset_ns:
            self.reset_ns, self.is_reset_by_client = time_ns, is_client

    def _opens(self, time_ns: int, segment: Segment, *, is_client: bool) -> None:
        if is_client:
            self._n_syn += 1
            self._syn_seq = segment.seq
            self.syn_ns = self.syn_ns or time_ns
        elif not self.syn_ack_ns:
            self.syn_ack_ns = time_ns

    def finish(self) -> None:
        """No more packets will come."""
        for stream in (self.client, self.server):
            stream.finish()
            if isinstance(stream.reader, _Front):
                stream.reader.finish()
        self.course.finish()
        for side in (True, False):
            self._inner[side].finish()

    def http(self, rtt_ns: int) -> str:
        """Version of HTTP: ``1.1``, ``2``, or empty where it is none."""
        if self.protocol in {"http/1.1", "http/2"}:
            return self.protocol.removeprefix("http/")
        if self.protocol != "tls":
            return ""
        if self.is_opened:
            return self._inner[True].http
        return http_version(self._sorted_talks(), self.course.setting(rtt_ns))

    def turns(self, rtt_ns: int) -> list[Turn]:
        """Requests and their answers, after :meth:`finish`."""
        if self.is_opened:
            asked, told = self._inner[True].found(), self._inner[False].found()
            return _paired(asked, told, by_stream=self._inner[True].http == "2")
        if self.protocol == "tls":
            is_ended = bool(self.client.ended_ns or self.reset_ns)
            setting = replace(self.course.setting(rtt_ns), is_ended=is_ended)
            return take_turns(self._sorted_talks(), setting)
        asking, telling = self._readers.get(True), self._readers.get(False)
        is_lost = any(r is not None and r.is_lost for r in (asking, telling))
        if asking is None or is_lost:
            talks = sorted(self._talks)
            return take_turns(talks, self.course.setting(0)) if self.protocol else []
        told = [] if telling is None else telling.found
        return _paired(asking.found, told, by_stream=self.protocol == "http/2")

    def _sorted_talks(self) -> list[Talk]:
        return sorted(self.course.talks, key=lambda talk: (talk.first_ns, talk.last_ns))

    def choose(self, chunk: Chunk, *, is_client: bool) -> _StreamReader:
        """The reader for a stream that begins with this."""
        data = chunk.data
        if looks_like_record(data) or not data:
            return self._records(is_client=is_client, is_lost=not data)
        is_http2 = data.startswith(_PREFACE_START) if is_client else False
        if is_http2 or (not is_client and self.protocol == "http/2"):
            self.protocol = "http/2"
            reader: Http1Reader | Http2Reader = Http2Reader(is_client=is_client)
        elif is_http1(data) and self.protocol in {"", "http/1.1"}:
            self.protocol = "http/1.1"
            reader = Http1Reader(self._methods, is_client=is_client)
        else:
            return self._records(is_client=is_client, is_lost=True)
        self._readers[is_client] = reader
        return ClearReader(reader, self._talks, is_client=is_client)

    def _records(self, *, is_client: bool, is_lost: bool) -> RecordReader:
        def emit(record: Record) -> None:
            self._record(record, is_client=is_client)

        keeps = bool(self._secrets)
        return RecordReader(emit, keeps_application_data=keeps, is_lost=is_lost)

    def _record(self, record: Record, *, is_client: bool) -> None:
        if record.is_framed:
            self.protocol = self.protocol or "tls"
        is_sealed = self.course.is_sealed(record, is_client=is_client)
        self.course.take(record, is_client=is_client)
        if self._is_closed_book or not is_sealed:
            return
        opener = self._opener
        content = None if opener is None else opener.open(record, is_client=is_client)
        if content is None:
            self._is_closed_book = True
        elif content:
            self._inner[is_client].feed(record, content)

    def _keyed(self, client: Hello, server: Hello) -> None:
        secrets = self._secrets.get(client.random)
        if secrets is None:
            self._is_closed_book = True
        else:
            self._opener = Opener(client, server, secrets)


class _Front:
    """Hands the first bytes to whoever can read them, and the rest as well."""

    def __init__(self, connection: TcpConnection, *, is_client: bool) -> None:
        self._connection, self._is_client = connection, is_client
        self._reader: _StreamReader | None = None

    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes."""
        if self._reader is None:
            self._reader = self._connection.choose(chunk, is_client=self._is_client)
        self._reader.feed(chunk)

    def finish(self) -> None:
        """The stream ended."""
        if self._reader is not None:
            self._reader.finish()


_StreamReader = RecordReader | ClearReader


def _paired(
    asked: list[Message], told: list[Message], *, by_stream: bool
) -> list[Turn]:
    """Requests with their answers: by the number of the stream, or in order."""
    if by_stream:
        answers = {message.stream: message for message in told}
        return [Turn(request=r, answer=answers.get(r.stream)) for r in asked]
    return [
        Turn(request=request, answer=told[i] if i < len(told) else None)
        for i, request in enumerate(asked)
    ]
