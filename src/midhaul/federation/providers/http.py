"""A provider behind HTTP: any node of midhaul, asked at ``/infer``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.errors import DataError, require
from midhaul.federation.providers.answers import (
    MAX_ENTRIES,
    Entry,
    Words,
    detections_of,
)
from midhaul.federation.providers.endpoints import checked_endpoint
from midhaul.federation.providers.failures import (
    Failure,
    MalformedAnswerError,
    failure_of_http,
    one_line,
)
from midhaul.federation.providers.image_limits import ImageLimits
from midhaul.model import Prediction
from midhaul.wire.message import Item, pack_request, unpack_answer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import aiohttp

    from midhaul.federation.providers.image_limits import Size
    from midhaul.model import Detections

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
    """

    url: str
    is_trusted: bool = False
    max_image_bytes: int = 20_000_000
    max_answer_bytes: int = 16_000_000
    n_connections: int = 64


class HttpProvider:
    """Asks a node over HTTP.

    Args:
        settings: how.
        name: its name.

    Raises:
        ConfigError: the URL is neither HTTPS nor on loopback, and not trusted.
        PrerequisiteError: aiohttp is missing.
    """

    def __init__(self, settings: HttpSettings, *, name: str) -> None:
        require("aiohttp", "serve")
        if settings.is_trusted and settings.url.startswith("http://"):
            self._url = settings.url.rstrip("/")
        else:
            self._url = checked_endpoint(settings.url)
        self._settings = settings
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
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        latency_s = time.perf_counter() - begin
        if isinstance(found, Failure):
            return found.prediction(self._name, item, latency_s)
        return Prediction(
            provider=self._name,
            item=item,
            status="ok",
            answer=found,
            latency_s=latency_s,
            price_usd=0.0,
        )

    async def _ask(
        self, data: bytes, item: str, size: Size, timeout_s: float
    ) -> Detections | Failure:
        import aiohttp  # noqa: PLC0415 (optional; checked when the provider was made)

        if self._session is None:
            message = f"enter provider {self._name} first: async with"
            raise RuntimeError(message)
        request = pack_request([Item(image=item, data=data)])
        try:
            async with self._session.post(
                f"{self._url}/infer",
                data=request.body,
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                body = await self._body(response)
                if response.status != _OK:
                    text = body.decode(errors="replace")
                    headers = dict(response.headers)
                    return failure_of_http(response.status, text, headers)
            return self._read(body, size)
        except TimeoutError:
            message = f"no answer within {timeout_s:g} s"
            return Failure(status="timeout", message=message)
        except MalformedAnswerError as error:
            return Failure(status="malformed", message=one_line(error))
        except (aiohttp.ClientError, OSError) as error:
            text = one_line(error) or type(error).__name__
            return Failure(status="unavailable", message=text)

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

    def _read(self, body: bytes, size: Size) -> Detections:
        try:
            _, answers = unpack_answer(body)
        except DataError as error:
            raise MalformedAnswerError(error.message) from error
        if len(answers) != 1 or len(answers[0]) > MAX_ENTRIES:
            message = f"{len(answers)} answers to one image, or too many boxes"
            raise MalformedAnswerError(message)
        (found,) = answers
        rows = zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(),
            strict=True,
        )  # fmt: skip
        entries = [
            Entry(label=found.names[label], score=score, box=tuple(box))
            for box, score, label in rows
        ]
        if any(not 0 <= one.score <= 1 for one in entries):
            message = "a score is not within 0 to 1"
            raise MalformedAnswerError(message)
        return detections_of(entries, self._words, *size)
