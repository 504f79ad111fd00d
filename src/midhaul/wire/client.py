"""The one HTTP client: sends images to a node and hands back what became of them."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import aiohttp

from midhaul import documents
from midhaul.errors import DataError, NodeError
from midhaul.wire.message import Item, pack_request, unpack_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from midhaul.model import Detections

TOKEN = "MIDHAUL_TOKEN"  # noqa: S105  the name of a variable
"""Environment variable with the token that servers ask for and clients send."""

_QUIET = ("Accept", "Accept-Encoding", "User-Agent")
_PIECEWISE_BYTES = 1 << 20
_MAX_ERROR_CHARACTERS = 500
_MAX_ANSWER_BYTES = 1 << 26  # a node's answer has a few KB an image
_KEEPALIVE_S = 30.0
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a request. A failure is a value.

    Attributes:
        status: ``ok``, ``timeout``, ``refused`` (no connection), ``broken`` (the
            connection or the answer) or ``http-CODE``.
        error: one line of what the node or the client said; None when ok.
        meta: durations in ns and byte counts under the names of the columns of the
            table ``requests``; ``images`` holds one mapping per image.
        detections: boxes per image, in the order asked, px of the image sent.
        sent_bytes: body sent.
        received_bytes: body of the answer.
    """

    status: str
    error: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    detections: tuple[Detections, ...] = ()
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def is_ok(self) -> bool:
        """True when the node answered with detections."""
        return self.status == "ok"


class Client:
    """Keeps connections to nodes open; proxies of the environment are ignored.

    Requests bear the token of the environment variable :data:`TOKEN`, if it is set.

    An asynchronous context manager, to be entered inside a running event loop.

    Args:
        connections: most connections open at once; 0 for any number.
    """

    def __init__(self, *, connections: int = 0) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the pool of connections."""
        token = os.environ.get(TOKEN)
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"} if token else None,
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=_KEEPALIVE_S
            ),
            auto_decompress=False,  # nodes compress nothing, bombs may come
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_QUIET,
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
        await self.close()

    async def close(self) -> None:
        """Close every connection; doing it twice is harmless."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def infer(
        self, url: str, images: Sequence[tuple[str, bytes]], *, timeout_s: float
    ) -> Answer:
        """Ask a node what is on some images.

        Args:
            url: of the node, such as ``http://127.0.0.1:8000``.
            images: id and encoded bytes of each.
            timeout_s: from now to the last byte of the answer.
        """
        items = [Item(image=image, data=data) for image, data in images]
        return await self.send(url, items, timeout_s=timeout_s)

    async def send(
        self, url: str, items: Sequence[Item], *, timeout_s: float
    ) -> Answer:
        """Send images, results or both; what an edge sends to its cloud."""
        request = pack_request(items)
        sent_bytes = len(request.body)
        try:
            async with self._open.post(
                f"{url}/infer",
                data=payload(request.body),
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                body = await _body(response)
                code = response.status
        except TimeoutError:
            error = f"no answer from {url} within {timeout_s:g} s"
            return Answer(status="timeout", error=error, sent_bytes=sent_bytes)
        except aiohttp.ClientConnectorError as problem:
            error = f"{url} cannot be reached: {_line(problem)}"
            return Answer(status="refused", error=error, sent_bytes=sent_bytes)
        except (aiohttp.ClientError, OSError) as problem:
            error = f"the connection to {url} broke: {_line(problem)}"
            return Answer(status="broken", error=error, sent_bytes=sent_bytes)
        return _read(url, code, body, sent_bytes)

    async def get(
        self, url: str, what: str, *, timeout_s: float
    ) -> tuple[int, dict[str, Any]]:
        """``GET`` the ``health`` or ``info`` of a node.

        Returns:
            The HTTP status and the JSON object answered.

        Raises:
            NodeError: there is no answer, or it is no JSON object.
        """
        return await self._json("GET", f"{url}/{what}", None, timeout_s)

    async def configure(
        self, url: str, settings: Mapping[str, Any], *, timeout_s: float
    ) -> dict[str, Any]:
        """``PUT`` the variable settings of a node; it has loaded its detector after.

        Returns:
            What the node says of itself now.

        Raises:
            NodeError: it does not answer, or refuses the settings.
        """
        code, said = await self._json("PUT", f"{url}/settings", settings, timeout_s)
        if code != _OK:
            message = f"{url} refused its settings: {said.get('error', code)}"
            raise NodeError(message)
        return said

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "enter the client first: async with Client() as client"
            raise RuntimeError(message)
        return self._session

    async def _json(
        self, method: str, url: str, body: Mapping[str, Any] | None, timeout_s: float
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with self._open.request(
                method, url, json=body, timeout=aiohttp.ClientTimeout(total=timeout_s)
            ) as response:
                said: object = documents.parse_json(await _body(response))
                if not isinstance(said, dict):
                    message = "it says something else than a JSON object"
                    raise ValueError(message)  # noqa: TRY004, TRY301 - told below
                return response.status, cast("dict[str, Any]", said)
        except TimeoutError as error:
            message = f"no answer from {url} within {timeout_s:g} s"
            raise NodeError(message) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            message = f"{url} does not answer: {_line(error)}"
            raise NodeError(message) from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole body; one that is longer than any answer breaks the connection."""
    size = response.content_length
    if size is not None and size <= _MAX_ANSWER_BYTES:
        return await response.read()
    parts: list[bytes] = []
    n_left = _MAX_ANSWER_BYTES - (size or 0)
    while n_left > 0 and (part := await response.content.readany()):
        parts.append(part)
        n_left -= len(part)
    if n_left <= 0:
        message = f"an answer has more than {_MAX_ANSWER_BYTES} bytes"
        raise aiohttp.ClientPayloadError(message)
    return b"".join(parts)


def payload(body: bytes) -> bytes | io.BytesIO:
    """Large bodies go out in pieces, so that the event loop is not held up."""
    return body if len(body) < _PIECEWISE_BYTES else io.BytesIO(body)


def _read(url: str, code: int, body: bytes, sent_bytes: int) -> Answer:
    received_bytes = len(body)
    if code != _OK:
        text = body.decode(errors="replace").strip().split("\n")[0]
        return Answer(
            status=f"http-{code}",
            error=text[:_MAX_ERROR_CHARACTERS] or f"{url} answered {code}",
            sent_bytes=sent_bytes,
            received_bytes=received_bytes,
        )
    try:
        meta, detections = unpack_answer(body)
    except DataError as problem:
        error = f"{url} answered something else than an answer: {problem.message}"
        return Answer(
            status="broken",
            error=error,
            sent_bytes=sent_bytes,
            received_bytes=received_bytes,
        )
    return Answer(
        status="ok",
        meta=meta,
        detections=detections,
        sent_bytes=sent_bytes,
        received_bytes=received_bytes,
    )


def _line(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__).split("\n")[0]
