"""Providers: priced sources of predictions, and how a call to one fails.

A failure is told in the words of predictions, whoever the vendor is.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from midhaul.model import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from midhaul.model import PredictionStatus


class Provider(Protocol):
    """Answers one item at a time; the conformance suite is ``providers.checks``.

    A provider is opened with ``async with`` and closed with it.
    """

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close it."""
        ...

    @property
    def name(self) -> str:
        """Unique name, as ledgers and tables show it."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Its label set, in its own words; grows where it cannot be known before."""
        ...

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Ask about one item.

        Args:
            data: the encoded image (or other input), as it is sent.
            item: id of the item, which recorded providers answer by.
            timeout_s: when to give up.

        Returns:
            The answer, or how it failed. ``price_usd`` is 0 here: what a call costs is
            the price list's business, whoever is the provider. Failures of the far end
            are values; nothing is raised for them.
        """
        ...


_TOO_MANY = 429
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_REQUEST_TIMEOUT = 408
_REDIRECT = 300
_DENIED = frozenset({401, 402, 403, 404, 405, 407, 410, 421})
_GATEWAY_TIMEOUT = 504
_MAX_CHARACTERS = 300
_MAX_RETRY_AFTER_S = 86_400.0
_SHORTEST_SECRET = 4


UNSENT = "nothing was sent yet"
"""The note on an exception that ends a call before its provider heard of it."""


class MalformedAnswerError(ValueError):
    """An answer that cannot be read; becomes the status ``malformed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a call failed.

    Attributes:
        status: in the words of predictions; never ``ok``.
        message: one line, without credentials.
        retry_after_s: when the vendor asks not to be called earlier; 0 otherwise.
        is_sent: false where the vendor has not heard of the call.
    """

    status: PredictionStatus
    message: str
    retry_after_s: float = 0.0
    is_sent: bool = True

    def prediction(self, provider: str, item: str, latency_s: float) -> Prediction:
        """The failure as the answer to an item."""
        return Prediction(
            provider=provider,
            item=item,
            status=self.status,
            answer=None,
            latency_s=latency_s,
            price_usd=0.0,
            message=self.message,
            retry_after_s=self.retry_after_s,
            is_sent=self.is_sent,
        )


def unreachable(message: object) -> Failure:
    """No connection came about, so the vendor has not heard of the call."""
    return Failure(status="unreachable", message=one_line(message), is_sent=False)


def was_unsent(error: BaseException) -> bool:
    """True where an exception ended a call before its provider heard of it."""
    found: BaseException | None = error
    while found is not None:
        if UNSENT in getattr(found, "__notes__", ()):
            return True
        found = found.__cause__
    return False


def failure_of_http(
    code: int, message: str, headers: Mapping[str, str] | None = None
) -> Failure:
    """What an HTTP status means.

    One that is no error has a body that cannot be read; ``headers`` tell
    ``Retry-After``.
    """
    text = f"HTTP {code}: {one_line(message)}" if message else f"HTTP {code}"
    wait_s = retry_after_s(headers)
    if code == _TOO_MANY:
        return Failure(status="throttled", message=text, retry_after_s=wait_s)
    if code in (_REQUEST_TIMEOUT, _GATEWAY_TIMEOUT):
        return Failure(status="timeout", message=text)
    if code >= _SERVER_ERROR:
        return Failure(status="unavailable", message=text, retry_after_s=wait_s)
    if code in _DENIED or _REDIRECT <= code < _CLIENT_ERROR:
        return Failure(status="denied", message=text)
    if code >= _CLIENT_ERROR:
        return Failure(status="refused", message=text)
    return Failure(status="malformed", message=text)


def retry_after_s(headers: Mapping[str, str] | None) -> float:
    """Seconds that ``Retry-After`` asks to wait; 0 where it is absent or unreadable.

    It is a number of seconds, or a date that is taken relative to the answer's own
    ``Date``, as clocks differ.
    """
    lower = {key.lower(): value for key, value in (headers or {}).items()}
    text = lower.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, lower.get("date", ""))
    if not math.isfinite(seconds):
        return 0.0
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_S)


def one_line(message: object) -> str:
    """The first line of a message, cut to a length that logs can stand."""
    lines = str(message).strip().splitlines() or [""]
    return lines[0][:_MAX_CHARACTERS]


def redacted(message: str, secrets: Iterable[str]) -> str:
    """A message with every secret in it blacked out."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            message = message.replace(secret, "•••")
    return message


def field_of(answer: Any, *path: str | int) -> Any:
    """A field deep in an answer, or MalformedAnswerError."""
    found = answer
    try:
        for step in path:
            found = found[step]
    except (KeyError, IndexError, TypeError) as error:
        where = ".".join(str(step) for step in path)
        message = f"the answer has no {where}"
        raise MalformedAnswerError(message) from error
    return found


def _until(date: str, now: str) -> float:
    """Seconds from one HTTP date to another; NaN where one is none."""
    try:
        then = parsedate_to_datetime(date)
        start = parsedate_to_datetime(now) if now else dt.datetime.now(dt.UTC)
        return (then - start).total_seconds()
    except (TypeError, ValueError):
        return math.nan
