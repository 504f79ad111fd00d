"""What a server lets its clients cost; the file of each server has these keys."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Self

from annotated_types import Ge, Gt


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a server lets clients cost.

    Attributes:
        max_head_bytes: longer heads of requests are refused. A head is the request line
            and the headers; trailers count as well.
        max_url_bytes: longer URLs are refused. The path and the query count.
        head_timeout_s: how long the head of a request may take. It begins with its
            first byte, or with the connection.
        max_flight_bytes: bodies of all requests together; beyond it, the largest of
            those that still arrive are refused.
        max_connections: open at once, or fewer where the system allows fewer files;
            beyond them, the one that has been silent for the longest time is closed.
        answer_timeout_s: how long a client may take nothing of its answer.
    """

    max_head_bytes: Annotated[int, Ge(1024)] = 32_768
    max_url_bytes: Annotated[int, Ge(128)] = 8192
    head_timeout_s: Annotated[float, Gt(0)] = 10.0
    max_flight_bytes: Annotated[int, Ge(1)] = 150_000_000
    max_connections: Annotated[int, Ge(1)] = 10_000
    answer_timeout_s: Annotated[float, Gt(0)] = 30.0

    @classmethod
    def of(cls, settings: object) -> Self:
        """The limits among the settings of a server, which bear the same names."""
        return cls(**{one.name: getattr(settings, one.name) for one in fields(cls)})
