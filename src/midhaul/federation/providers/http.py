"""A provider behind HTTP: any node of midhaul, asked at ``/infer``."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError, require
from midhaul.federation.providers.answers import (
    MAX_ENTRIES,
    Words,
    detections_of,
    entries_of,
    entry,
)
from midhaul.federation.providers.base import (
    UNSENT,
    Failure,
    MalformedAnswerError,
    failure_of_http,
    one_line,
    unreachable,
)
from midhaul.federation.providers.endpoints import checked_endpoint, from_environment
from midhaul.federation.providers.vendor import ImageLimits
from midhaul.wire.client import payload
from midhaul.wire.message import Item, pack_request, unpack_parts, unpack_rows

if TYPE_CHECKING:
    from typing import Self

    import aiohttp

    from midhaul.federation.providers.answers import AnswerEntry, ReadAnswer
    from midhaul.federation.providers.vendor import Size
    from midhaul.model import Prediction

_OK = 200
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How a node is asked.

    Attributes:
        url: of the node, such as ``http://127.0.0.1:8000``.
        is_trusted: plain HTTP to another machine is meant (a private network).
        max_image_bytes: larger images are not sent.
        max_answer_bytes: larger answers are not read.
        n_connections: most calls at the same time.
        token_env: environment variable with a token to send; none where empty.
    """

    url: str
    is_trusted: bool = False
    max_image_bytes: int = 20_000_000
    max_answer_bytes: int = 16_000_000
    n_connections: int = 64
    token_env: str = ""


class HttpProvider:
    """Asks a node over HTTP.

    ConfigError where the URL is neither HTTPS nor on loopback, and not trusted;
    PrerequisiteError without aiohttp or the token.
    """

    def __init__(self, settings: HttpSettings, *, name: str) -> None:
        require("aiohttp", "serve")
        if settings.is_trusted and settings.url.startswith("http://"):
            self._url = settings.url.rstrip("/")
        else:
            self._url = checked_endpoint(settings.url)
        self._settings = settings
        self._headers = _headers(settings.token_env)
        self._name = name
        self._words = Words()
        self._limits = ImageLimits(
            formats=("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"),
            max_bytes=settings.max_image_bytes,
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the pool of connections."""
        aiohttp = require("aiohttp", "serve")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.n_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[_sent_marks()],
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that it has answered so far."""
        return self._words.names

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Ask about one image; see :class:`~..base.Provider`."""
        checked = self._limits.check(data, item)
        if isinstance(checked, Failure):
            return checked.prediction(self._name, item, 0.0)
        begin = time.perf_counter()
        found = await self._ask(data, item, checked, timeout_s)
        return found.prediction(self._name, item, time.perf_counter() - begin)

    async def _ask(
        self, data: bytes, item: str, size: Size, timeout_s: float
    ) -> ReadAnswer | Failure:
        import aiohttp  # noqa: PLC0415 (optional; checked when the provider was made)

        if self._session is None:
            message = f"enter provider {self._name} first: async with"
            raise RuntimeError(message)
        request = pack_request([Item(image=item, data=data)])
        progress = _Progress()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(
                    f"{self._url}/infer",
                    data=payload(request.body),
                    headers={**request.headers, **self._headers},
                    allow_redirects=False,
                    trace_request_ctx=progress,
                ) as response,
            ):
                body = await self._body(response)
                if response.status != _OK:
                    text = body.decode(errors="replace")
                    headers = dict(response.headers)
                    return failure_of_http(response.status, text, headers)
            return self._read(body, size)
        except asyncio.CancelledError as error:
            if not progress.is_sent:
                error.add_note(UNSENT)
            raise
        except MalformedAnswerError as error:
            return Failure(status="malformed", message=one_line(error))
        except (aiohttp.ClientError, OSError) as error:
            return _failure_of(error, timeout_s, is_sent=progress.is_sent)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body, and no more of it than is allowed."""
        parts: list[bytes] = []
        n_bytes = 0
        async for part in response.content.iter_chunked(_CHUNK_BYTES):
            n_bytes += len(part)
            if n_bytes > self._settings.max_answer_bytes:
                message = f"an answer of more than {self._settings.max_answer_bytes} B"
                raise MalformedAnswerError(message)
            parts.append(part)
        return b"".join(parts)

    def _read(self, body: bytes, size: Size) -> ReadAnswer:
        try:
            _, answers = unpack_parts(body)
            rows = [unpack_rows(part) for part, _ in answers]
        except DataError as error:
            raise MalformedAnswerError(error.message) from error
        if len(answers) != 1 or len(rows[0]) > MAX_ENTRIES:
            message = f"{len(answers)} answers to one image, or too many boxes"
            raise MalformedAnswerError(message)
        ((_, names),) = answers

        def read(row: list[float]) -> list[AnswerEntry]:
            x1, y1, x2, y2, score, label = row
            if not 0 <= label < len(names):
                message = f"label {label:g} is none of the {len(names)} that it names"
                raise MalformedAnswerError(message)
            return [entry(names[int(label)], score, (x1, y1, x2, y2))]

        entries = entries_of(rows[0].tolist(), read)
        return detections_of(entries, self._words, *size)


def _headers(token_env: str) -> dict[str, str]:
    if not token_env:
        return {}
    token = from_environment(token_env, what="a token")
    return {"Authorization": f"Bearer {token}"}


@dataclass(slots=True)
class _Progress:
    """How far a request has got.

    Attributes:
        is_sent: its headers were handed to a connection that stands.
    """

    is_sent: bool = False


def _sent_marks() -> aiohttp.TraceConfig:
    """What tells the progress of a request when it is sent."""
    aiohttp = require("aiohttp", "serve")

    async def mark(_session: object, context: Any, _params: object) -> None:
        context.trace_request_ctx.is_sent = True

    marks = aiohttp.TraceConfig()
    marks.on_request_headers_sent.append(mark)
    return marks


def _failure_of(error: Exception, timeout_s: float, *, is_sent: bool) -> Failure:
    """What became of a call that ended in an exception."""
    is_late = isinstance(error, TimeoutError)
    if not is_sent and is_late:
        return unreachable(f"no connection within {timeout_s:g} s")
    text = one_line(error) or type(error).__name__
    if not is_sent or _is_of_tls(error):
        return unreachable(text)
    if is_late:
        message = f"no answer within {timeout_s:g} s"
        return Failure(status="timeout", message=message)
    return Failure(status="unavailable", message=text)


def _is_of_tls(error: BaseException) -> bool:
    """Whether TLS was refused: in its version 1.3 that is heard behind the request."""
    while not isinstance(error, ssl.SSLError):
        if error.__cause__ is None:
            return False
        error = error.__cause__
    return True
