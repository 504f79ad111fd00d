"""HTTP on bare ASGI: bodies and answers, and what clients can cost a server.

A request's head is parsed on the event loop, so its bytes are counted before they are
parsed, and it has to be there in time. Of requests that come before the answers to
earlier ones (pipelining) only a few are parsed, and a head's worth is kept: who asks on
is heard no more. The connection of a body that nobody reads is closed, and so is that
of a client that takes no answers, and where too many are open that of whoever has been
silent longest.

Bodies of all connections together have a bound: when it is reached, the largest of
those that are still arriving is refused, which is the one of somebody who sends much
and slowly and not that of whoever comes next.

Bound to another address than loopback, a server asks for a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hmac
import ipaddress
import json
import os
import resource
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from midhaul.errors import ConfigError
from midhaul.wire.client import TOKEN
from midhaul.wire.limits import ServerLimits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_DRAINED_TIMES = 4
_TINY_BYTES = 1 << 13
_PIECE_BYTES = 1 << 18


class HttpError(Exception):
    """A request that ends in an HTTP status and one line of text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Disconnected(Exception):  # noqa: N818 - it is news, not an error
    """The client went away."""


async def read_body(
    scope: Scope, receive: Receive, *, max_bytes: int, timeout_s: float
) -> bytes:
    """The whole body of a request.

    A body that is too long is read on and thrown away for a while, because a client
    that is still sending would not see the answer. HttpError if it is too long (413) or
    too slow (408); Disconnected if the client went away in the middle.
    """
    pieces: list[bytes | bytearray] = []
    size = 0
    announced = int(header(scope, b"content-length") or 0)
    is_long = announced > max_bytes
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk = message.get("body", b"")
                size += len(chunk)
                is_long = is_long or size > max_bytes
                if is_long:
                    pieces.clear()
                else:
                    _append(pieces, chunk)
                if not message.get("more_body") or size > _DRAINED_TIMES * max_bytes:
                    break
    except TimeoutError as error:
        text = f"the body did not arrive within {timeout_s:g} s"
        raise HttpError(408, text) from error
    if is_long:
        text = f"a body has at most {max_bytes} bytes, got {max(announced, size)}"
        raise HttpError(413, text)
    whole = [bytes(piece) for piece in pieces]  # those that are bytes are not copied
    if size <= _PIECE_BYTES:
        return b"".join(whole)
    return await asyncio.to_thread(b"".join, whole)  # without the interpreter's lock


def _append(pieces: list[bytes | bytearray], chunk: bytes) -> None:
    """Keep a chunk.

    Tiny ones in a list would take far more than their bytes, and one array of all would
    be copied as it grows: so tiny ones are put together, to pieces of a size at which
    neither matters.
    """
    if len(chunk) >= _TINY_BYTES:
        pieces.append(chunk)
        return
    last = pieces[-1] if pieces else b""
    if isinstance(last, bytes) or len(last) >= _PIECE_BYTES:
        last = bytearray()
        pieces.append(last)
    last += chunk


def header(scope: Scope, name: bytes) -> str:
    """The value of a request header; empty where it is missing."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return ""


async def write(send: Send, status: int, body: bytes, content_type: bytes) -> None:
    """Send a whole answer."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def write_json(send: Send, status: int, value: object) -> None:
    """Send a JSON answer."""
    await write(send, status, json.dumps(value).encode(), b"application/json")


async def write_text(send: Send, status: int, text: str) -> None:
    """Send one line of text."""
    line = " ".join(text.split())
    await write(send, status, f"{line}\n".encode(), b"text/plain; charset=utf-8")


_FIELD_BYTES = 32
"""What a field counts beside its text, as in RFC 9113, 6.5.2: each costs a call."""


_HEAD_SLICE_BYTES = 256
"""Parsed at once where heads may be: some ten of the shortest requests."""
_BODY_SLICE_BYTES = 1 << 14
"""The same where a body ends nobody knows where."""
_UNREAD_BYTES = 1 << 18
"""Of a body that is thrown away because its answer is out, before the connection is."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection, whose heads are counted and timed."""

    limits = ServerLimits()
    silent: ClassVar[dict[LimitedProtocol, None]]
    """Connections of a server without a request so far, the first one first."""
    kept: ClassVar[dict[LimitedProtocol, None]]
    """Those that wait for another request."""

    _is_head = True
    _has_ended = False
    _is_ignored = False
    _n_head = 0
    _n_fields = 0
    _n_left: int | None = 0
    _n_unread = 0
    _held = b""
    _timer: asyncio.TimerHandle | None = None
    _deaf: asyncio.TimerHandle | None = None
    _refusal = (400, "Invalid HTTP request received.")

    def connection_made(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, transport: asyncio.Transport
    ) -> None:
        """Expect the head of a request."""
        super().connection_made(transport)
        self.silent[self] = None
        self._expect_head()
        if len(self.connections) > self.limits.max_connections:
            oldest = next(iter(self.silent or self.kept))
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_timer()
        self.resume_writing()
        self._speaks()
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more of a head than one may have, and few requests."""
        if self._is_ignored:
            self.transport.pause_reading()
            return
        self._held += data
        self._feed()

    def _feed(self) -> None:
        """Parse what is there, until a request has to wait for an earlier one."""
        data, at = self._held, 0
        while at < len(data) and not self.transport.is_closing():
            if self._is_head and self.pipeline:
                break
            part = data[at : at + self._room()]
            at += len(part)
            if not self._is_head:
                super().data_received(part)
                continue
            self._expect_head()
            self._has_ended = False
            super().data_received(part)
            if self._is_head and not self._has_ended:
                self._n_head += len(part)
                if self._n_head >= self.limits.max_head_bytes:
                    self._refuse(431, "The head of a request is too long.")
        self._held = data[at:]
        if len(self._held) > self.limits.max_head_bytes:
            self._ignore()  # it asks on and on, and hears nothing
        elif self._held:
            self.flow.pause_reading()

    def _ignore(self) -> None:
        """Hear no more of somebody, and end the connection later.

        Whoever would open another one at once costs less while this one stands.
        """
        self._is_ignored, self._held = True, b""
        self.transport.pause_reading()
        self.silent[self] = None
        self._stop_timer()
        self._timer = self.loop.call_later(
            self.limits.head_timeout_s, self.transport.abort
        )

    def _room(self) -> int:
        """How much of what is there may be parsed at once."""
        if not self._is_head:
            return self._n_left or _BODY_SLICE_BYTES
        return min(_HEAD_SLICE_BYTES, self.limits.max_head_bytes - self._n_head)

    def _speaks(self) -> None:
        self.silent.pop(self, None)
        self.kept.pop(self, None)

    def on_message_begin(self) -> None:
        """Count the fields of a head anew."""
        self._n_fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Refuse a URL that is too long."""
        super().on_url(url)
        if len(self.url) > self.limits.max_url_bytes:
            self._refusal = (414, "The URL is too long.")
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse fields that are too long together, also behind a body."""
        self._n_fields += len(name) + len(value) + _FIELD_BYTES
        if self._n_fields > self.limits.max_head_bytes:
            self._refusal = (431, "The headers of a request are too long.")
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the body come, in a time that the application sets."""
        self._stop_timer()
        self._speaks()
        self._is_head, self._n_head, self._n_unread = False, 0, 0
        said = dict(self.headers).get(b"content-length", b"")
        self._n_left = int(said) if said.isdigit() else None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Close where somebody sends on whose answer is out."""
        if self._n_left is not None:
            self._n_left -= len(body)
        if self.cycle.response_complete:
            self._n_unread += len(body)
            if self._n_unread > _UNREAD_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._stop_timer()
        self._is_head = self._has_ended = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what was held back, and wait no longer than for a head."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._held and not self.pipeline:
            self._feed()
        if not self.cycle.response_complete:
            return  # of another request that came meanwhile
        if self._is_head:
            self.kept[self] = None
        else:
            self._expect_head()  # the rest of a body that nobody reads

    def pause_writing(self) -> None:
        """Give a client that takes no answer some time."""
        super().pause_writing()
        if self._deaf is None:
            self._deaf = self.loop.call_later(
                self.limits.answer_timeout_s, self.transport.abort
            )

    def resume_writing(self) -> None:
        """It takes what it asked for."""
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say what was refused."""
        del msg
        self._refuse(*self._refusal)

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(
                self.limits.head_timeout_s, self._be_too_late
            )

    def _be_too_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        is_answering = bool(self.cycle) and not self.cycle.response_complete
        if not self._is_head:
            if not is_answering:
                self.transport.close()
        elif is_answering:
            self._expect_head()  # another word would pass for that answer
        else:
            self._refuse(408, "The head of a request did not arrive in time.")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, text: str) -> None:
        self._stop_timer()
        body = f"{text}\n"
        head = (
            f"HTTP/1.1 {status} Refused\r\ncontent-type: text/plain\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode())
        self.transport.close()


def protocol_of(limits: ServerLimits) -> type[LimitedProtocol]:
    """Uvicorn's protocol with limits on the heads of requests."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(1, min(limits.max_connections, open_files - _OTHER_FILES))
    limits = replace(limits, max_connections=most)
    own: dict[str, Any] = {"limits": limits, "silent": {}, "kept": {}}
    return type("Protocol", (LimitedProtocol,), own)


_OTHER_FILES = 256
"""Kept free for connections to others, and for files."""
_HIGH_BYTES = 8 << 20
"""Bodies in flight after which memory is handed back."""
_CALM_S = 1.0
"""From there to then, so that it is done once and not for each of many."""


@dataclass(slots=True, eq=False)
class _Body:
    """A body that is in memory."""

    task: asyncio.Task[Any] | None
    n_bytes: int = 0
    is_arriving: bool = True
    is_refused: bool = False


class AdmissionControl:
    """Stands before an application: asks for the token, counts bodies in flight.

    The application answers an ``HttpError`` which is raised while it reads a body. All
    requests must bear the token, save ``GET /health``; empty for none.
    """

    def __init__(
        self, application: Application, limits: ServerLimits, token: str = ""
    ) -> None:
        self._application = application
        self._limits = limits
        self._token = token
        self._bodies: set[_Body] = set()
        self._n_bytes = 0
        self._is_high = False
        self._giving: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or hand on the life span of the process."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if not self._is_known(scope):
            text = f"a token is asked for; set {TOKEN} where the client runs"
            await write_text(send, 401, text)
            return
        body = _Body(task=asyncio.current_task())
        self._bodies.add(body)

        async def counted() -> Any:
            try:
                message = await receive()
            except asyncio.CancelledError:
                if not body.is_refused or body.task is None:
                    raise
                body.task.uncancel()
                raise _too_many(self._limits) from None
            self._take(body, len(message.get("body", b"")))
            body.is_arriving = bool(message.get("more_body"))
            return message

        try:
            await self._application(scope, counted, send)
        finally:
            self._bodies.remove(body)
            self._n_bytes -= body.n_bytes
            if self._is_high and self._giving is None:
                loop = asyncio.get_running_loop()
                self._giving = loop.call_later(_CALM_S, self._calm)

    def _calm(self) -> None:
        """Hand memory back, unless bodies still lie in it; then look again."""
        loop = asyncio.get_running_loop()
        if self._n_bytes > _HIGH_BYTES // 4:
            self._giving = loop.call_later(_CALM_S, self._calm)
            return
        self._is_high, self._giving = False, None
        loop.run_in_executor(None, _give_back)

    def _is_known(self, scope: Scope) -> bool:
        if not self._token or (scope["method"], scope["path"]) == ("GET", "/health"):
            return True
        said = header(scope, b"authorization").encode("latin-1")
        return hmac.compare_digest(said, f"Bearer {self._token}".encode())

    def _take(self, body: _Body, n_bytes: int) -> None:
        """Count bytes; over the bound, somebody who is still sending is refused."""
        body.n_bytes += n_bytes
        self._n_bytes += n_bytes
        self._is_high = self._is_high or self._n_bytes > _HIGH_BYTES
        while self._n_bytes > self._limits.max_flight_bytes:
            arriving = [b for b in self._bodies if b.is_arriving and not b.is_refused]
            largest = max(arriving, key=lambda one: one.n_bytes, default=body)
            largest.is_refused = True
            self._n_bytes -= largest.n_bytes
            largest.n_bytes = 0
            if largest is body or largest.task is None:
                raise _too_many(self._limits)
            largest.task.cancel()


def keep_no_large_memory() -> None:
    """Have what a large image took go back to the system as soon as it is free.

    The GNU allocator keeps larger and larger blocks otherwise, in an arena a thread.
    """
    with contextlib.suppress(OSError, AttributeError):  # glibc has this
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_M_ARENA_MAX, 1)


_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # <malloc.h>
_LARGE_BYTES = 4 << 20


def _give_back() -> None:
    """Hand memory of bodies that are gone back to the system.

    A node lets its allocator keep much, so that images of the usual sizes cost no page
    faults; after a flood of bodies that would be kept for ever.
    """
    with contextlib.suppress(OSError, AttributeError):  # glibc has this
        ctypes.CDLL(None).malloc_trim(0)


def _too_many(limits: ServerLimits) -> HttpError:
    text = f"bodies of all requests have more than {limits.max_flight_bytes} bytes"
    return HttpError(503, text)


def token_for(host: str) -> str:
    """The token that a server on an address asks for; empty for none.

    ConfigError if the address can be reached from elsewhere, and there is no token.
    """
    token = os.environ.get(TOKEN, "")
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here and not token:
        message = f"a server on {host} can be reached from elsewhere and has no token"
        hint = f"set the environment variable {TOKEN} here and where its clients run, "
        raise ConfigError(message, f"{hint}or listen on 127.0.0.1")
    return token


def allow_connections() -> None:
    """As many open files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
