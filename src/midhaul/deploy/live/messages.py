"""What is published: a line of JSON that says which message this is, then its body."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

from midhaul.errors import DataError

UP = "live/up"
"""Messages for the cloud; the last level is the lane of an analytic."""
HERE = "live/here"
"""Messages for an analytic on the gateway."""
RESULT = "live/result"
"""Answers of an analytic on the gateway, for the cloud."""

N_CONTENTS = 96
"""Different messages of a workload; an analytic begins at one of them and goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which message this is.

    Attributes:
        analytic: whose.
        workload: of what sort it is.
        number: its number among those of the analytic.
        content: what it shows.
        place: where its analytic runs, ``cloud`` or ``gateway``.
        knob: how much of it is sent; None where no rate was granted.
        planned_ns: planned send, on the machine's monotonic clock.
        sent_ns: actual send; None where there was none.
    """

    analytic: str
    workload: str
    number: int
    content: int
    place: str
    knob: float | None
    planned_ns: int
    sent_ns: int | None


def content_of(analytic: str, number: int) -> int:
    """What the message of some number shows."""
    return (zlib.crc32(analytic.encode()) + number) % N_CONTENTS


def pack(header: Header, body: bytes) -> bytes:
    """A message as it is published."""
    head = json.dumps(asdict(header), separators=(",", ":"))
    return head.encode() + b"\n" + body


def unpack(payload: bytes) -> tuple[Header, bytes]:
    """Header and body of a message.

    Raises:
        DataError: this is none of ours.
    """
    head, _, body = payload.partition(b"\n")
    try:
        return Header(**json.loads(head)), body
    except (ValueError, TypeError) as error:
        message = f"expected a message with a header, found {payload[:40]!r}"
        raise DataError(message) from error


def encode_answer(answer: object) -> bytes:
    """An answer as the body of a result."""
    return json.dumps(answer, separators=(",", ":")).encode()
