"""Pushes images that midhaul made to a registry, layers that it has not only."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.registry.answers import check_status
from midhaul.deploy.registry.exchange import Ask, together
from midhaul.deploy.registry.manifests import OCI_MANIFEST
from midhaul.deploy.registry.reference import Reference, parse_reference
from midhaul.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, MutableMapping
    from pathlib import Path
    from typing import Any

    import aiohttp

    from midhaul.deploy.registry.client import RegistryClient
    from midhaul.deploy.registry.making import MadeImage

_CREATED = 201
_PIECE_BYTES = 1 << 18
_N_AT_ONCE = 4
_BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRecord:
    """How the push of an image went.

    Attributes:
        reference: where it is now.
        manifest_digest: of its manifest.
        pushed_bytes: layers and configuration that were sent.
        n_pushed: blobs that were sent.
        n_mounted: blobs that the registry took over from another repository.
        n_present: blobs that the repository had.
    """

    reference: str
    manifest_digest: str
    pushed_bytes: int
    n_pushed: int
    n_mounted: int
    n_present: int


async def push_image(
    client: RegistryClient,
    made: MadeImage,
    reference: str | Reference,
    shared: MutableMapping[str, str] | None = None,
) -> PushRecord:
    """Push one image.

    Args:
        client: of registries, entered.
        made: what to push.
        reference: where to, with a tag.
        shared: by digest, the repository of the same registry that has a blob; it is
            taken over from there, and this push adds its own. Give one mapping to all
            pushes to a registry.

    Raises:
        NodeError: the registry does not answer as it should.
        PrerequisiteError: it denies the right to push.
        DataError: it refuses the image.
    """
    if isinstance(reference, str):
        reference = parse_reference(reference)
    shared = {} if shared is None else shared
    blobs: dict[str, tuple[int, Callable[[], Any]]] = {
        layer.digest: (layer.compressed_bytes, _reader(layer.path))
        for layer in made.layers
    }
    blobs[made.config_digest] = len(made.config), lambda: made.config
    slots = asyncio.Semaphore(_N_AT_ONCE)

    async def push(digest: str) -> str:
        async with slots:
            return await _push_blob(client, reference, digest, *blobs[digest], shared)

    done = dict(zip(blobs, await together(map(push, blobs)), strict=True))
    shared.update(dict.fromkeys(blobs, reference.repository))
    ways = list(done.values())
    ask = Ask(
        method="PUT",
        path=f"manifests/{reference.wanted}",
        is_write=True,
        headers={"Content-Type": OCI_MANIFEST},
        body=lambda: made.manifest,
    )
    async with client.request(reference, ask) as answer:
        check_status(answer, reference, "a pushed manifest")
    return PushRecord(
        reference=str(reference),
        manifest_digest=made.manifest_digest,
        pushed_bytes=sum(blobs[d][0] for d, way in done.items() if way == "pushed"),
        n_pushed=ways.count("pushed"),
        n_mounted=ways.count("mounted"),
        n_present=ways.count("present"),
    )


async def _push_blob(
    client: RegistryClient,
    reference: Reference,
    digest: str,
    n_bytes: int,
    body: Callable[[], Any],
    shared: MutableMapping[str, str],
) -> str:
    """Bring one blob into a repository; returns how."""
    if await client.blob_bytes(reference, digest, is_write=True) is not None:
        return "present"
    source = shared.get(digest)
    parameters = {"mount": digest, "from": source} if source else {}
    begin = Ask(
        method="POST", path="blobs/uploads/", is_write=True, parameters=parameters
    )
    async with client.request(reference, begin) as answer:
        check_status(answer, reference, f"an upload of {digest}")
        if answer.status == _CREATED:
            return "mounted"
        place = _location(answer, reference)
    mark = "&" if "?" in place else "?"
    send = Ask(
        method="PUT",
        path=f"{place}{mark}digest={digest}",
        is_write=True,
        headers={"Content-Type": _BINARY, "Content-Length": str(n_bytes)},
        body=body,
    )
    async with client.request(reference, send) as answer:
        check_status(answer, reference, f"the upload of {digest}")
    return "pushed"


def _location(answer: aiohttp.ClientResponse, reference: Reference) -> str:
    """Where a registry wants the bytes, as a whole URL."""
    text = answer.headers.get("Location", "")
    if not text:
        message = f"registry {reference.registry} named no place for an upload"
        raise NodeError(message)
    if "://" in text:
        return text
    return f"{answer.url.origin()}/{text.removeprefix('/')}"


def _reader(path: Path) -> Callable[[], AsyncGenerator[bytes]]:
    async def read() -> AsyncGenerator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    return read
