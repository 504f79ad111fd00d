"""Requests to a server as bytes, and what it should do with any bytes."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

import cv2
import numpy as np
from tests.support.bad_files import ALL

from midhaul.wire.message import pack

PATIENCE_S = 30.0
LARGEST_BYTES = 3000
_GOOD = re.compile(rb"HTTP/1\.1 [1-4]\d\d |HTTP/1\.1 50[1-4] ")


def request(method: str, path: str, body: bytes = b"", *lines: str) -> bytes:
    """A whole request."""
    head = (f"{method} {path} HTTP/1.1", "host: x", *lines)
    length = f"content-length: {len(body)}"
    return "\r\n".join((*head, length, "", "")).encode() + body


def requests() -> list[bytes]:
    """Requests to a node from which changes begin."""
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
    small = [data for data in ALL.values() if len(data) < LARGEST_BYTES]
    return found + [request("PUT", "/settings", data) for data in small]


def requests_to_a_federation() -> list[bytes]:
    """The same for a federation: options in the query and in headers, odd encodings."""
    image = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    found = [
        *(request("GET", f"/{what}") for what in ("health", "info", "metrics")),
        request("GET", "/%00%ff/..%2f?a=%"),
        request("POST", "/detect", image),
        request("POST", "/detect?item=street%201&deadline_s=5&budget_usd=0.1", image),
        request("POST", "/detect?item=%ED%A0%80&deadline_s=1e308", image),
        request("POST", "/detect?budget_usd=1e-320", image),
        request(
            "POST", "/detect", image, "x-midhaul-image: %C3%BC%ff",
            "x-midhaul-deadline-s: 0.5", "x-midhaul-budget-usd: 1e308",
        ),
        b"POST /detect HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        request("POST", "/detect", image, "expect: 100-continue"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        request("GET", "/health") * 3 + request("POST", "/detect", image),
    ]  # fmt: skip
    small = [data for data in ALL.values() if len(data) < LARGEST_BYTES]
    return found + [request("POST", "/detect", data) for data in small]


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
    """Whether a server answers."""
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
