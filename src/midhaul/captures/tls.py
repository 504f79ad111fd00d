"""TLS without a key: records, hellos, and when a connection's handshake ended.

*Hellos* are the clear parts of a handshake; they say names, versions, what was resumed.

Only hellos are read (RFC 5246 7.4.1, RFC 8446 4.1); everything in them may be wrong or
cut off, and is then simply not known.

*Records* are told apart in a stream of bytes without opening them (RFC 5246 6.2, RFC
8446 5).

The head of a record is in the clear in every version: its type and its length. Where a
head was not captured (a short snapshot length, a lost packet) the reader goes on
without: what follows is application data of unknown parts, until a segment begins like
a record again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from midhaul.captures.sealed_http import SealedConnection, Talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.captures.streams import Chunk

CLIENT_HELLO, SERVER_HELLO, CERTIFICATE = 1, 2, 11
FINISHED_BYTES = (36, 52)  # of a Finished message with SHA-256 and with SHA-384

_SNI, _ALPN, _PRE_SHARED_KEY, _EARLY_DATA, _VERSIONS = 0, 16, 41, 42, 43
_TLS13 = 0x0304
_RETRY = bytes.fromhex(
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)
_SHA384 = frozenset((0x1302, 0xC02C, 0xC030, 0x009D, 0x009F))
_GCM = frozenset(
    (0x009C, 0x009D, 0x009E, 0x009F, 0xC02B, 0xC02C, 0xC02F, 0xC030)
)  # fmt: skip
_CHACHA = frozenset((0xCCA8, 0xCCA9, 0xCCAA))
_TLS13_SUITES = frozenset((0x1301, 0x1302, 0x1303, 0x1304, 0x1305))
_AEAD13_BYTES, _GCM_BYTES, _CHACHA_BYTES = 17, 24, 16

TlsVersion = Literal["", "1.0", "1.1", "1.2", "1.3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What one side opened a handshake with.

    Attributes:
        version: the newest version it offers, or the one chosen.
        suites: cipher suites offered, or the one chosen.
        server_name: name of the server asked for; empty when not given.
        protocols: application protocols offered, or the one chosen.
        has_early_data: whether application data follow at once (0-RTT).
        has_key: whether a known key is offered, or taken (TLS 1.3 resumption).
        is_retry: whether the server asks for another hello.
    """

    random: bytes = b""
    version: int = 0
    suites: tuple[int, ...] = ()
    server_name: str = ""
    protocols: tuple[str, ...] = ()
    has_early_data: bool = False
    has_key: bool = False
    is_retry: bool = False

    @property
    def is_tls13(self) -> bool:
        """Whether the version is 1.3."""
        return self.version == _TLS13

    @property
    def version_name(self) -> TlsVersion:
        """The version as people write it."""
        names: dict[int, TlsVersion] = {
            0x0301: "1.0",
            0x0302: "1.1",
            0x0303: "1.2",
            _TLS13: "1.3",
        }
        return names.get(self.version, "")

    @property
    def finished_bytes(self) -> int:
        """Length of a Finished message under the suite chosen (TLS 1.3)."""
        has_long = bool(self.suites) and self.suites[0] in _SHA384
        return FINISHED_BYTES[1] if has_long else FINISHED_BYTES[0]

    @property
    def sealing_bytes(self) -> int | None:
        """What sealing adds to a record under the suite chosen; None if it varies."""
        suite = self.suites[0] if self.suites else 0
        if self.is_tls13 or suite in _TLS13_SUITES:
            return _AEAD13_BYTES
        if suite in _GCM:
            return _GCM_BYTES
        return _CHACHA_BYTES if suite in _CHACHA else None


def messages(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of the handshake messages in some bytes; the last may be cut."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        found.append((data[at], data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def read_hello(body: bytes, *, is_client: bool) -> Hello | None:
    """Read the body of a ClientHello or ServerHello; None when it is damaged."""
    try:
        return _hello(_Bytes(body), is_client=is_client)
    except IndexError:
        return None


class _Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, n: int) -> bytes:
        if self._at + n > len(self._data):
            raise IndexError
        self._at += n
        return self._data[self._at - n : self._at]

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n), "big")

    def block(self, n: int) -> _Bytes:
        """A part whose length stands in ``n`` bytes before it."""
        return _Bytes(self.take(self.number(n)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def _hello(data: _Bytes, *, is_client: bool) -> Hello:
    version = data.number(2)
    random = data.take(32)
    data.block(1)
    suites: list[int] = []
    if is_client:
        offered = data.block(2)
        while offered:
            suites.append(offered.number(2))
        data.block(1)
    else:
        suites.append(data.number(2))
        data.take(1)
    extensions: dict[int, bytes] = {}
    if data:
        data.take(2)
    with contextlib.suppress(IndexError):  # cut off at the snapshot length
        while data:
            kind = data.number(2)
            extensions[kind] = data.block(2).rest()
    return Hello(
        random=random,
        version=_version(version, extensions.get(_VERSIONS, b""), is_client=is_client),
        suites=tuple(suites),
        server_name=_server_name(extensions.get(_SNI, b"")) if is_client else "",
        protocols=_protocols(extensions.get(_ALPN, b"")),
        has_early_data=_EARLY_DATA in extensions,
        has_key=_PRE_SHARED_KEY in extensions,
        is_retry=not is_client and random == _RETRY,
    )


def _version(version: int, extension: bytes, *, is_client: bool) -> int:
    if not extension:
        return version
    if not is_client:
        return int.from_bytes(extension[:2], "big")
    offered = [
        int.from_bytes(extension[i : i + 2], "big")
        for i in range(1, len(extension) - 1, 2)
    ]
    return max((v for v in offered if v <= _TLS13), default=version)


def _server_name(extension: bytes) -> str:
    if len(extension) < 5 or extension[2] != 0:  # noqa: PLR2004 - two lengths, a type
        return ""
    length = int.from_bytes(extension[3:5], "big")
    name = extension[5 : 5 + length].decode("ascii", "replace")
    return name if name.isprintable() else ""


def _protocols(extension: bytes) -> tuple[str, ...]:
    found: list[str] = []
    block = _Bytes(extension[2:])
    while block:
        found.append(block.block(1).rest().decode("ascii", "replace"))
    return tuple(found)


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
        begin: offset of its first byte in the stream, the head included.
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

    The body of application data is kept where it is wanted, that of handshakes always.
    A reader that ``is_lost`` begins in the middle of a stream.

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


_MOST_FLIGHT = 4
"""Records that the client's last flight may have, with certificates."""


class TlsCourse:
    """Follows the records of both ends.

    ``opened`` is told when both hellos are known.

    Attributes:
        begun_ns: first byte of the handshake; 0 when not seen.
        finished_ns: when the client could send its request; 0 when not seen.
        has_certificate: whether the server sent one in the clear.
        talks: application data of both ends, in the order of their ends.
        n_early_bytes: application data before the handshake ended (0-RTT).
    """

    def __init__(self, opened: Callable[[Hello, Hello], None]) -> None:
        self._opened = opened
        self.client_hello: Hello | None = None
        self.server_hello: Hello | None = None
        self.begun_ns = 0
        self.finished_ns = 0
        self.has_certificate = False
        self.talks: list[Talk] = []
        self.n_early_bytes = 0
        self._plain: dict[bool, bytes] = {True: b"", False: b""}
        self._is_sealed = {True: False, False: False}
        self._done_ns = {True: 0, False: 0}
        self._flight: list[Record] = []

    @property
    def is_tls13(self) -> bool:
        """Whether the version is 1.3, as far as it is known."""
        if self.server_hello is not None:
            return self.server_hello.is_tls13
        return self.finished_ns > 0 and not self._done_ns[True]

    @property
    def is_resumed(self) -> bool:
        """Whether a session was resumed, so that no certificate was sent."""
        if self.server_hello is None or not self.finished_ns:
            return False
        if self.is_tls13:
            return self.server_hello.has_key
        return not self.has_certificate

    def setting(self, rtt_ns: int) -> SealedConnection:
        """What taking turns needs to know."""
        client, server = self.client_hello, self.server_hello
        chosen = server.protocols[0] if server and server.protocols else ""
        return SealedConnection(
            is_tls13=self.is_tls13,
            finished_ns=self.finished_ns,
            rtt_ns=rtt_ns,
            offers_http2=client is not None and "h2" in client.protocols,
            chosen=chosen,
        )

    def is_sealed(self, record: Record, *, is_client: bool) -> bool:
        """Whether the record that comes next is encrypted."""
        if record.type == CHANGE_CIPHER:
            return False
        is_old = self.server_hello is not None and not self.server_hello.is_tls13
        return record.type == APPLICATION or (is_old and self._is_sealed[is_client])

    def take(self, record: Record, *, is_client: bool) -> None:
        """Follow one record."""
        if record.type == HANDSHAKE:
            self._handshake(record, is_client=is_client)
        elif record.type == CHANGE_CIPHER:
            self._is_sealed[is_client] = True
        elif record.type == APPLICATION:
            self._application(record, is_client=is_client)

    def _handshake(self, record: Record, *, is_client: bool) -> None:
        if self._is_sealed[is_client] and not self.is_tls13:
            self._done_ns[is_client] = self._done_ns[is_client] or record.last_ns
            if all(self._done_ns.values()) and not self.finished_ns:
                self.finished_ns = max(self._done_ns.values())
            return
        if is_client and not self.begun_ns:
            self.begun_ns = record.first_ns
        body = record.body or b""
        self._plain[is_client] += body
        self._read_plain(is_client=is_client)
        if len(body) < record.n_bytes:
            self._plain[is_client] = b""

    def _read_plain(self, *, is_client: bool) -> None:
        found = messages(self._plain[is_client])
        for kind, body in found:
            if is_client and kind == CLIENT_HELLO:
                hello = read_hello(body, is_client=True)
                self.client_hello = hello or self.client_hello
            elif not is_client and kind == SERVER_HELLO and self.server_hello is None:
                hello = read_hello(body, is_client=False)
                if hello is not None and not hello.is_retry:
                    self.server_hello = hello
                    if self.client_hello is not None:
                        self._opened(self.client_hello, hello)
            elif not is_client and kind == CERTIFICATE:
                self.has_certificate = True

    def _application(self, record: Record, *, is_client: bool) -> None:
        may_be_tls13 = self.server_hello is None or self.server_hello.is_tls13
        if self.begun_ns and not self.finished_ns and may_be_tls13:
            if not is_client:
                return  # the rest of the server's handshake, TLS 1.3
            if self.server_hello is None and self._is_early():
                self.n_early_bytes += record.n_bytes
                self._say(record, is_client=True)
                return
            self._flight.append(record)
            self._end_flight()
            return
        self._say(record, is_client=is_client)

    def _is_early(self) -> bool:
        return self.client_hello is not None and self.client_hello.has_early_data

    def _end_flight(self) -> None:
        """See whether the client's Finished is in its last flight (TLS 1.3)."""
        server = self.server_hello or Hello()
        lengths = [record.n_bytes - _AEAD13_BYTES for record in self._flight]
        wanted = server.finished_bytes if self.server_hello else lengths[-1]
        if lengths[-1] == wanted or len(lengths) == _MOST_FLIGHT:
            place = len(lengths) - 1 if lengths[-1] == wanted else 0
            self.finished_ns = self._flight[place].last_ns
            for record in self._flight[place + 1 :]:
                self._say(record, is_client=True)
            self._flight = []

    def finish(self) -> None:
        """Hand out what waits for a Finished that never came."""
        if self._flight:
            self.finished_ns = self._flight[0].last_ns
            for record in self._flight[1:]:
                self._say(record, is_client=True)
            self._flight = []

    def _say(self, record: Record, *, is_client: bool) -> None:
        sealing = None
        if self.server_hello is not None:
            sealing = self.server_hello.sealing_bytes
        elif self.is_tls13:
            sealing = _AEAD13_BYTES
        length = record.n_bytes - sealing if sealing and record.is_framed else -1
        self.talks.append(
            Talk(
                record.first_ns,
                record.last_ns,
                record.begin,
                record.end,
                length,
                is_client,
            )
        )
