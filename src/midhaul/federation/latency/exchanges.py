"""Requests and their connections as values: times, and how they went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "small", "failed", "aborted", "cut", "early", "ambiguous"]
"""How a request went.

``small`` uploads less than what counts as a request, ``failed`` was answered with an
error, ``aborted`` was not answered, ``cut`` is not captured as a whole, ``early`` was
answered before it was sent as a whole, ``ambiguous`` may be several at once.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Which requests count.

    Attributes:
        min_upload_bytes: what a request sends at least.
        min_answer_bytes: what a good answer has at least.
    """

    min_upload_bytes: int = 512
    min_answer_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request with its answer. Times in ns; None where they cannot be known.

    Attributes:
        number: within its connection, from 0.
        stream: of HTTP/2, where it is known; 0 else.
        started_ns: when its first byte was sent, since 1970.
        status: how it went.
        reason: why not otherwise; empty when ok.
        code: HTTP status where it is in the clear; 0 else.
        upload_bytes: bytes sent, with their heads.
        answer_bytes: bytes of the answer, with their heads.
        upload_ns: from its first to its last byte sent.
        rtt_ns: round trip of its last byte, by the estimator.
        inference_ns: from its arrival to the first byte of the answer.
        inference_low_ns: not less than that.
        inference_high_ns: not more than that.
        download_ns: from the first to the last byte of the answer.
        n_repeated: segments of it that were sent again.
        asked_ns: when its last byte was sent, where nothing answers it and it counts.
        given_up_ns: when its connection ended; 0 where it was waited for until the end
            of the capture.
    """

    number: int
    stream: int
    started_ns: int
    status: Status
    reason: str
    code: int
    upload_bytes: int
    answer_bytes: int
    upload_ns: int | None = None
    rtt_ns: int | None = None
    inference_ns: int | None = None
    inference_low_ns: int | None = None
    inference_high_ns: int | None = None
    download_ns: int | None = None
    n_repeated: int = 0
    asked_ns: int | None = None
    given_up_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A connection in words, with its requests.

    Attributes:
        file: number of the capture that it begins in.
        first_ns: when it was first seen, since 1970.
        client: address and port.
        server: address and port.
        server_address: the server's address as bytes.
        server_name: as the client asked for it (SNI); empty when not known.
        status: ``ok``, ``cut`` or ``unsupported``.
        reason: why; empty when ok.
        protocol: ``tls``, ``http/1.1``, ``http/2`` or empty.
        tls: version of TLS; empty when not known.
        http: version of HTTP; empty when not known.
        is_resumed: whether a TLS session was.
        is_opened: whether a key log opened its records.
        n_early_bytes: application data in 0-RTT.
        connect_ns: SYN to SYN-ACK, repeated SYNs included; None when not seen.
        tls_ns: from its hello to where the client could send; None when not seen.
        rtt_ns: the least round trip; 0 when not known.
        n_packets: segments.
        n_repeated: segments with data that were there already.
        n_missing_bytes: bytes that were acknowledged and not captured.
        exchanges: its requests.
    """

    file: int
    first_ns: int
    client: str
    server: str
    server_address: bytes
    server_name: str
    status: Literal["ok", "cut", "unsupported"]
    reason: str
    protocol: str
    tls: str
    http: str
    is_resumed: bool
    is_opened: bool
    n_early_bytes: int
    connect_ns: int | None
    tls_ns: int | None
    rtt_ns: int
    n_packets: int
    n_repeated: int
    n_missing_bytes: int
    exchanges: tuple[Exchange, ...]
