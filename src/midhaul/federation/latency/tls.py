"""The course of one TLS connection: when its handshake ended, and who spoke then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.federation.latency.hellos import (
    CERTIFICATE,
    CLIENT_HELLO,
    SERVER_HELLO,
    Hello,
    messages,
    read_hello,
)
from midhaul.federation.latency.records import (
    APPLICATION,
    CHANGE_CIPHER,
    HANDSHAKE,
    Record,
)
from midhaul.federation.latency.turns import Setting, Talk

if TYPE_CHECKING:
    from collections.abc import Callable

_AEAD13_BYTES = 17
_MOST_FLIGHT = 4
"""Records that the client's last flight may have, with certificates."""


class TlsCourse:
    """Follows the records of both ends.

    Args:
        opened: is told when both hellos are known.

    Attributes:
        client_hello: the client's last hello; None when not seen.
        server_hello: the server's; None when not seen.
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

    def setting(self, rtt_ns: int) -> Setting:
        """What taking turns needs to know."""
        client, server = self.client_hello, self.server_hello
        chosen = server.protocols[0] if server and server.protocols else ""
        return Setting(
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
