"""The little of HTTP that a node needs, on bare ASGI: read a body, write an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_DRAINED_TIMES = 4
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
    if size <= _PIECE_BYTES:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)  # others go on meanwhile


def _append(pieces: list[bytes | bytearray], chunk: bytes) -> None:
    """Keep a chunk.

    Tiny ones in a list would take far more than their bytes, and one array of all would
    be copied as it grows: so there are pieces, of a size at which neither matters. A
    whole one is made of bytes, which can be joined without the interpreter's lock.
    """
    if not pieces or isinstance(pieces[-1], bytes):
        pieces.append(bytearray())
    last = pieces[-1]
    last += chunk
    if len(last) >= _PIECE_BYTES:
        pieces[-1] = bytes(last)


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
