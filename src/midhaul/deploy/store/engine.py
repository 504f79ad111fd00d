"""Reads what a local Docker engine has: real sizes of unpacked layers.

An engine names layers by the digest of their uncompressed content (diff id) and tells
their sizes in the history of an image. It does not tell what a registry would send.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import aiohttp

from midhaul.deploy.catalogue import UNCOMPRESSED_RATIO
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.errors import DataError, NodeError, PrerequisiteError
from midhaul.machine.coroutines import run_coroutine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SOCKET = Path("/var/run/docker.sock")
_OK, _MISSING = 200, 404
_TIMEOUT_S = 30.0
_MAX_BYTES = 64 << 20
_METADATA = (
    *("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image that an engine has.

    Attributes:
        name: one of its tags, or its id.
        platform: what it is for, e.g. ``linux/arm64/v8``.
        diff_ids: digests of its uncompressed layers, from the base upwards.
        layer_bytes: their sizes, in the same order; empty where the history of the
            image does not tell which size belongs to which layer.
        uncompressed_bytes: of the whole image, as the engine says.
    """

    name: str
    platform: str
    diff_ids: tuple[str, ...]
    layer_bytes: tuple[int, ...]
    uncompressed_bytes: int

    def image(self, ratio: float = UNCOMPRESSED_RATIO) -> ContainerImage:
        """The image as a plan sees it, with compressed sizes estimated by a ratio.

        Raises:
            DataError: the sizes of its layers are not known.
        """
        if not self.layer_bytes:
            message = f"the engine does not tell the layer sizes of {self.name}"
            raise DataError(message, "read the image from its registry")
        sizes = dict(zip(self.diff_ids, self.layer_bytes, strict=True))
        layers = tuple(
            Layer(
                digest=digest,
                compressed_bytes=round(n_bytes / ratio),
                uncompressed_bytes=n_bytes,
                is_estimated=True,
            )
            for digest, n_bytes in sizes.items()
        )
        return ContainerImage(name=self.name, layers=layers)


def known_bytes(images: Iterable[EngineImage]) -> dict[str, int]:
    """Sizes of unpacked layers by diff id, for the reader of registries."""
    return {
        digest: n_bytes
        for image in images
        if image.layer_bytes
        for digest, n_bytes in zip(image.diff_ids, image.layer_bytes, strict=True)
    }


def read_engine(
    names: Sequence[str] | None = None, *, socket: Path = _SOCKET
) -> dict[str, EngineImage]:
    """Read images of a local Docker engine.

    Args:
        names: tags or ids; all tagged images by default.
        socket: where the engine listens.

    Returns:
        The images by name.

    Raises:
        PrerequisiteError: there is no engine, or it must not be asked.
        DataError: it has no such image, or answers what no engine answers.
        NodeError: it fails.
    """

    async def read() -> dict[str, EngineImage]:
        connector = aiohttp.UnixConnector(path=str(socket))
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=False
        ) as session:
            wanted = await _tags(session) if names is None else list(names)
            return {name: await _image(session, name) for name in wanted}

    try:
        return run_coroutine(read())
    except (aiohttp.ClientConnectorError, FileNotFoundError, PermissionError) as error:
        message = f"no Docker engine answers at {socket}: {error}"
        hint = "start one (systemctl start docker) and be in the group docker, or read "
        raise PrerequisiteError(message, hint + "the images from a registry") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        message = f"the Docker engine at {socket} failed: {reason}"
        raise NodeError(message) from error


async def _tags(session: aiohttp.ClientSession) -> list[str]:
    found = await _get(session, "images/json")
    tags = [
        str(tag)
        for entry in _list(found, "images/json")
        for tag in entry.get("RepoTags") or []
    ]
    return sorted({tag for tag in tags if "<none>" not in tag})


async def _image(session: aiohttp.ClientSession, name: str) -> EngineImage:
    path = f"images/{quote(name, safe='')}"
    found = await _get(session, f"{path}/json", name)
    history = _list(await _get(session, f"{path}/history", name), name)
    if not isinstance(found, dict):
        raise _strange(name)
    found = cast("dict[str, Any]", found)
    try:
        diff_ids = tuple(map(str, found["RootFS"].get("Layers") or ()))
        entries = [
            (int(e["Size"]), str(e.get("CreatedBy", ""))) for e in reversed(history)
        ]
        parts = (found["Os"], found["Architecture"], found.get("Variant"))
        return EngineImage(
            name=name,
            platform="/".join(str(part) for part in parts if part),
            diff_ids=diff_ids,
            layer_bytes=layer_sizes(entries, len(diff_ids)),
            uncompressed_bytes=int(found["Size"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _strange(name) from error


def layer_sizes(history: Sequence[tuple[int, str]], n_layers: int) -> tuple[int, ...]:
    """Bytes of each layer by the steps of a history; none where they cannot be matched.

    Steps (bytes and command, the oldest first) that only change the configuration have
    no layer; the engine shows them with zero bytes, as it shows a layer with nothing in
    it.
    """
    full = [n_bytes for n_bytes, _ in history if n_bytes]
    if len(full) == n_layers:
        return tuple(full)
    likely = [n for n, command in history if n or not _is_metadata(command)]
    return tuple(likely) if len(likely) == n_layers else ()


def _is_metadata(command: str) -> bool:
    words = command.partition("#(nop)")[2].split() or command.split()
    return bool(words) and words[0].upper() in _METADATA


async def _get(session: aiohttp.ClientSession, path: str, name: str = "") -> object:
    async with session.get(f"http://docker/{path}") as answer:
        if answer.status == _MISSING and name:
            message = f"the Docker engine has no image {name}"
            raise DataError(message, f"docker pull {name}")
        if answer.status != _OK:
            message = f"the Docker engine answered {answer.status} for {path}"
            raise NodeError(message)
        body = bytearray()
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > _MAX_BYTES:
                raise _strange(path)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _strange(path) from error


def _list(found: object, what: str) -> list[dict[str, Any]]:
    if not isinstance(found, list):
        raise _strange(what)
    entries = cast("list[Any]", found)
    if not all(isinstance(entry, dict) for entry in entries):
        raise _strange(what)
    return entries


def _strange(what: str) -> DataError:
    message = f"expected the answer of a Docker engine about {what}, found another"
    return DataError(message, "is this the socket of a Docker engine?")
