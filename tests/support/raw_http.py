"""Requests to a node as bytes, and what a server should do with any bytes."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

from tests.support.bad_files import ALL

from midhaul.wire.message import pack

PATIENCE_S = 30.0
_GOOD = re.compile(rb"HTTP/1\.1 [1-4]\d\d |HTTP/1\.1 50[1-4] ")


def request(method: str, path: str, body: bytes = b"", *lines: str) -> bytes:
    """A whole request."""
    head = (f"{method} {path} HTTP/1.1", "host: x", *lines)
    length = f"content-length: {len(body)}"
    return "\r\n".join((*head, length, "", "")).encode() + body


def requests() -> list[bytes]:
    """Requests from which changes begin."""
    frames = "content-type: application/x-midhaul-frames"
    meta = {"images": [{"image": "a", "has_data": True}]}
    found = [
        request("GET", "/health"),
        request("GET", "/info"),
        request("GET", "/nowhere?a=%ff"),
        request("POST", "/infer", pack(meta, [b"x"]), frames),
        request("POST", "/infer", b"GIF89a", "x-midhaul-image: %00"),
        request("PUT", "/settings", b'{"forward_below": 0.5}'),
        request("PUT", "/settings", b'{"preprocessing": {"max_side_px": 9}}'),
        b"POST /infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        request("POST", "/infer", b"x", "expect: 100-continue", "connection: upgrade"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    small = [data for data in ALL.values() if len(data) < 3000]
    return found + [request("PUT", "/settings", data) for data in small]


def problem_of(url: str, data: bytes) -> str:
    """What a server does with bytes that it should not; empty where all is well."""
    try:
        said = said_to(url, data)
    except TimeoutError:
        return "the connection stays open"
    if said and not _GOOD.match(said):
        return f"answers {said[:200]!r}"
    return ""


def is_healthy(url: str) -> bool:
    """Whether a node answers."""
    return said_to(url, request("GET", "/health")).startswith(b"HTTP/1.1 200 ")


def said_to(url: str, data: bytes) -> bytes:
    """What a server says to bytes that are all there is."""
    place = urlsplit(url)
    address = (place.hostname or "", place.port or 0)
    said = b""
    with socket.create_connection(address, PATIENCE_S) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                said += piece
        except (ConnectionError, BrokenPipeError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
    return said
