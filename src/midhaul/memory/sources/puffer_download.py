"""Download of Puffer's days, which have gigabytes: goes on where it was broken off.

What has come stands in a file that ends with ``.part``, with the entity tag that the
server gave beside it; so the rest is asked for only while it is the same file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError, DataError, NodeError, require
from midhaul.machine.coroutines import run_coroutine
from midhaul.memory.sources.puffer import DayFiles

if TYPE_CHECKING:
    from pathlib import Path

PUFFER_URL = "https://storage.googleapis.com/puffer-data-release"
"""Where Puffer publishes its days."""

_OK, _PARTIAL, _NOT_FOUND, _NO_SUCH_RANGE = 200, 206, 404, 416
_PIECE_BYTES = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLimits:
    """What the download of a file may cost.

    Attributes:
        timeout_s: of the whole file.
        silence_s: how long nothing may come.
        max_bytes: of a file; what is larger is refused before it is written.
    """

    timeout_s: float = 3600.0
    silence_s: float = 30.0
    max_bytes: int = 8_000_000_000


def download_day(
    day: str,
    into: Path,
    *,
    base_url: str = PUFFER_URL,
    limits: DownloadLimits | None = None,
) -> DayFiles:
    """Download what was sent and what was acknowledged on a day.

    A file that is there already is not asked for again; one that was broken off is
    gone on with.

    Args:
        day: on which it begins, at 11 h UTC: ``2021-10-17``.
        into: folder of the files; it is made where it is missing.
        base_url: of the server.
        limits: of time and size, for each file.

    Returns:
        The files.

    Raises:
        ConfigError: the day is none.
        DataError: the server has no such day, or a file is larger than allowed.
        NodeError: the server does not answer, breaks off or is too slow; what has come
            is kept, and gone on with when it is called again.
        PrerequisiteError: aiohttp is not installed.
    """
    try:
        begin = date.fromisoformat(day)
        name = f"{begin}T11_{begin + timedelta(days=1)}T11"
    except (ValueError, OverflowError) as error:
        message = f"day: expected one such as 2021-10-17, found {day!r}"
        raise ConfigError(message, "a day begins at 11 h UTC") from error
    into.mkdir(parents=True, exist_ok=True)
    files = [into / f"video_{what}_{name}.csv" for what in ("sent", "acked")]
    for file in files:
        if not file.exists():
            url = f"{base_url.rstrip('/')}/{name}/{file.name}"
            run_coroutine(_download(url, file, limits or DownloadLimits()))
    return DayFiles(day=name, sent=files[0], acked=files[1])


async def _download(url: str, file: Path, limits: DownloadLimits) -> None:
    aiohttp = require("aiohttp", "memory")
    part, tag_file = (
        file.with_name(f"{file.name}.part"),
        file.with_name(f"{file.name}.etag"),
    )
    timeout = aiohttp.ClientTimeout(total=limits.timeout_s, sock_read=limits.silence_s)
    n_there = part.stat().st_size if part.exists() and tag_file.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if n_there:
        tag = tag_file.read_text(encoding="ascii")
        headers |= {"Range": f"bytes={n_there}-", "If-Range": tag}
    try:
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            session.get(url, headers=headers, timeout=timeout) as answer,
        ):
            n_bytes = await _receive(answer, part, tag_file, n_there, limits)
    except TimeoutError as error:
        message = f"{url} took longer than {limits.timeout_s:g} s, or fell silent"
        raise NodeError(message, "call it again to go on") from error
    except (aiohttp.ClientError, OSError) as error:
        message = f"{url} broke off: {error or type(error).__name__}"
        raise NodeError(message, "call it again to go on") from error
    if (found := part.stat().st_size) != n_bytes:
        message = f"{url}: expected {n_bytes:,} bytes, {found:,} came"
        raise NodeError(message, "call it again to go on")
    part.rename(file)
    tag_file.unlink(missing_ok=True)


async def _receive(
    answer: Any, part: Path, tag_file: Path, n_there: int, limits: DownloadLimits
) -> int:
    """Write what comes behind what is there; how many bytes the file has then."""
    if answer.status == _NOT_FOUND:
        message = f"{answer.url}: there is no such day"
        raise DataError(message, "days are published since 2019-01-26, a day late")
    if answer.status == _NO_SUCH_RANGE:
        if answer.headers.get("Content-Range") == f"bytes */{n_there}":
            return n_there  # all had come, but was not renamed
        _begin_anew(part)
        message = f"{answer.url} has another file than the one that was begun"
        raise NodeError(message, "call it again to begin anew")
    whole = answer.content_length
    span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    is_rest = answer.status == _PARTIAL and span and int(span[1]) == n_there
    if is_rest and span:
        whole = int(span[2])
    elif answer.status != _OK:
        message = f"{answer.url} answered {answer.status}"
        raise NodeError(message, "try again later")
    if whole is None:
        message = f"{answer.url} does not say how long the file is"
        raise NodeError(message, "give the URL of a server that does")
    if whole > limits.max_bytes:
        message = f"{answer.url} has {whole:,} bytes, allowed are {limits.max_bytes:,}"
        raise DataError(message, "raise max_bytes")
    _keep_tag(answer.headers.get("ETag", ""), tag_file)
    with part.open("ab" if is_rest else "wb") as target:
        n_left = whole - (n_there if is_rest else 0)
        async for piece in answer.content.iter_chunked(_PIECE_BYTES):
            target.write(piece[:n_left])
            n_left -= len(piece[:n_left])
    return whole


def _begin_anew(part: Path) -> None:
    part.unlink(missing_ok=True)


def _keep_tag(tag: str, file: Path) -> None:
    """Without a strong tag nobody knows that the rest is of the same file."""
    if tag.isascii() and tag.startswith('"'):
        file.write_text(tag, encoding="ascii")
    else:
        file.unlink(missing_ok=True)
