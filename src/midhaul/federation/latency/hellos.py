"""What the clear parts of a TLS handshake say: names, versions, what was resumed.

Only hellos are read (RFC 5246 7.4.1, RFC 8446 4.1); everything in them may be wrong or
cut off, and is then simply not known.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

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
        random: its 32 random bytes.
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
