"""What is sent to a registry, what is taken back, and how much of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    import aiohttp

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLimits:
    """How much of a registry's time and text is taken.

    Attributes:
        connect_s: longest wait for a connection.
        read_s: longest silence while an answer is read.
        manifest_bytes: largest manifest or configuration.
        n_redirects: most redirects that one request follows.
        n_connections: most connections open at once.
        helper_s: longest wait for a credential helper.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    manifest_bytes: int = 4 << 20
    n_redirects: int = 5
    n_connections: int = 16
    helper_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to a registry.

    Attributes:
        method: ``GET``, ``HEAD``, ``POST`` or ``PUT``.
        path: below ``/v2/REPOSITORY/``, or a whole URL that the registry named.
        is_write: true where it needs the right to push.
        headers: in addition to the usual ones.
        parameters: of the query.
        body: makes the body anew for each attempt.
    """

    method: str
    path: str
    is_write: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A manifest, verified.

    Attributes:
        body: as the registry sent it.
        digest: of the body.
    """

    body: bytes
    digest: str


async def bounded(answer: aiohttp.ClientResponse, most_bytes: int, what: str) -> bytes:
    """The body of an answer that must be small.

    Raises:
        DataError: it is not.
    """
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            message = f"{what}: expected at most {most_bytes} bytes, found more"
            raise DataError(message)
    return bytes(body)


async def together(works: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Do some things at once; the first that fails ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
