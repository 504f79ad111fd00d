"""Vendors' HTTP interfaces on loopback, with recorded answers and faults on demand.

The answers have the shape that the vendors document; the numbers in them are made up.
A real HTTP server speaks: the official SDKs cannot tell.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Generator

AWS: dict[str, Any] = {
    "LabelModelVersion": "3.0",
    "Labels": [
        {
            "Name": "Car",
            "Confidence": 98.87,
            "Categories": [{"Name": "Vehicles and Automotive"}],
            "Aliases": [{"Name": "Automobile"}],
            "Parents": [{"Name": "Transportation"}, {"Name": "Vehicle"}],
            "Instances": [
                {
                    "BoundingBox": {
                        "Left": 0.25,
                        "Top": 0.5,
                        "Width": 0.5,
                        "Height": 0.25,
                    },
                    "Confidence": 97.5,
                },
                {
                    "BoundingBox": {
                        "Left": -0.01,
                        "Top": 0.0,
                        "Width": 0.11,
                        "Height": 0.1,
                    },
                    "Confidence": 61.0,
                },
            ],
        },
        {
            "Name": "Vehicle",
            "Confidence": 98.87,
            "Categories": [{"Name": "Vehicles and Automotive"}],
            "Aliases": [],
            "Parents": [{"Name": "Transportation"}],
            "Instances": [],
        },
        {
            "Name": "Person",
            "Confidence": 88.5,
            "Categories": [{"Name": "Person Description"}],
            "Aliases": [{"Name": "Human"}],
            "Parents": [],
            "Instances": [
                {
                    "BoundingBox": {
                        "Left": 0.1,
                        "Top": 0.2,
                        "Width": 0.1,
                        "Height": 0.3,
                    },
                    "Confidence": 88.5,
                }
            ],
        },
    ],
}
AZURE_OBJECTS: dict[str, Any] = {
    "modelVersion": "2023-10-01",
    "metadata": {"width": 200, "height": 100},
    "objectsResult": {
        "values": [
            {
                "boundingBox": {"x": 50, "y": 50, "w": 100, "h": 25},
                "tags": [{"name": "car", "confidence": 0.912}],
            },
            {
                "boundingBox": {"x": 20, "y": 20, "w": 20, "h": 30},
                "tags": [{"name": "person", "confidence": 0.544}],
            },
        ]
    },
}
AZURE_TAGS: dict[str, Any] = {
    "modelVersion": "2023-10-01",
    "metadata": {"width": 200, "height": 100},
    "tagsResult": {
        "values": [
            {"name": "land vehicle", "confidence": 0.995},
            {"name": "car", "confidence": 0.99},
            {"name": "outdoor", "confidence": 0.71},
        ]
    },
}
GOOGLE_OBJECTS: dict[str, Any] = {
    "responses": [
        {
            "localizedObjectAnnotations": [
                {
                    "mid": "/m/0k4j",
                    "name": "Car",
                    "score": 0.9,
                    "boundingPoly": {
                        "normalizedVertices": [
                            {"x": 0.25, "y": 0.5},
                            {"x": 0.75, "y": 0.5},
                            {"x": 0.75, "y": 0.75},
                            {"x": 0.25, "y": 0.75},
                        ]
                    },
                },
                {  # a coordinate of 0 is left out
                    "mid": "/m/01g317",
                    "name": "Person",
                    "score": 0.6,
                    "boundingPoly": {
                        "normalizedVertices": [
                            {},
                            {"x": 0.1},
                            {"x": 0.1, "y": 0.2},
                            {"y": 0.2},
                        ]
                    },
                },
            ]
        }
    ]
}
GOOGLE_LABELS: dict[str, Any] = {
    "responses": [
        {
            "labelAnnotations": [
                {
                    "mid": "/m/0k4j",
                    "description": "Car",
                    "score": 0.97,
                    "topicality": 0.4,
                },
                {
                    "mid": "/m/07yv9",
                    "description": "Vehicle",
                    "score": 0.95,
                    "topicality": 0.3,
                },
            ]
        }
    ]
}
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Vendor:
    """A server and how it answers.

    Attributes:
        answer: JSON to answer.
        fault: ``throttled``, ``error``, ``refused``, ``html``, ``html-error``,
            ``truncated``, ``reset``, ``slow``, ``nothing``, or an HTTP status;
            empty to answer.
        slow_s: how long ``slow`` takes.
        content_type: of answers and errors.
        raw: bytes to answer instead of JSON.
        error: JSON to answer where the fault is an error.
        seen: path, headers and body of each request.
        url: where it listens.
    """

    answer: dict[str, Any]
    fault: str = ""
    slow_s: float = 1.0
    content_type: str = "application/json"
    raw: bytes = b""
    error: dict[str, Any] = field(default_factory=dict[str, Any])
    seen: list[tuple[str, dict[str, str], bytes]] = field(
        default_factory=list[tuple[str, dict[str, str], bytes]]
    )
    url: str = ""


@contextlib.contextmanager
def serve(vendor: Vendor) -> Generator[Vendor]:
    """The vendor's server, for as long as the context lasts."""

    class Handler(_Handler):
        speaks: ClassVar[Vendor] = vendor

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    vendor.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield vendor
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    speaks: ClassVar[Vendor]

    def do_POST(self) -> None:  # noqa: C901 - one line a fault
        """Answer, or fail as told."""
        vendor = self.speaks
        body = self._body()
        vendor.seen.append((self.path, dict(self.headers), body))
        said = vendor.raw or json.dumps(vendor.answer).encode()
        match vendor.fault:
            case "throttled":
                self._send(429, json.dumps(vendor.error).encode(), {"Retry-After": "7"})
            case "error":
                self._send(500, json.dumps(vendor.error).encode())
            case "refused":
                self._send(400, json.dumps(vendor.error).encode())
            case "html":
                self._send(200, HTML, {"Content-Type": "text/html"})
            case "html-error":
                self._send(502, HTML, {"Content-Type": "text/html"})
            case "truncated":
                self._send(200, said[: len(said) // 2])
            case "nothing":
                self._send(200, b"")
            case "reset":
                self._reset()
            case "slow":
                time.sleep(vendor.slow_s)
                with contextlib.suppress(OSError):
                    self._send(200, said)
            case code if code.isdecimal():
                self._send(int(code), json.dumps(vendor.error).encode())
            case _:
                self._send(200, said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts: list[bytes] = []
        while n_bytes := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(n_bytes))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(
        self, code: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(code)
        wanted = {"Content-Type": self.speaks.content_type} | (headers or {})
        for key, value in wanted.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """End the connection with a reset instead of an answer."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()
