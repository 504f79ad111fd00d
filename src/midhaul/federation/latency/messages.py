"""A request or an answer, as every reader of a protocol finds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request or an answer.

    Attributes:
        stream: number of the HTTP/2 stream; 0 for HTTP/1.1 and where not known.
        first_ns: when its first byte was seen.
        last_ns: when its last byte was.
        begin: offset of its first byte in the TCP stream, at most.
        end: offset behind its last byte, at least.
        n_bytes: bytes on the wire of TCP, heads and sealing included.
        code: HTTP status; 0 for requests and where not known.
        is_whole: true when its end was seen.
    """

    stream: int = 0
    first_ns: int
    last_ns: int
    begin: int
    end: int
    n_bytes: int
    code: int = 0
    is_whole: bool = True
