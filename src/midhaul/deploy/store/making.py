"""Container images that midhaul makes: real layers of given sizes, always the same.

A layer is a gzip of a tar with one file: noise, which does not compress, up to the
compressed size that is asked, then zeros, which compress a thousandfold, up to the
uncompressed size. Its content follows from its digest in the plan and a seed, so equal
layers stay equal. All times are zero: with the time of its making in the header of a
gzip, no two images would share a layer.

They are pushed to a registry, and of their layers those that it has not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store.client import Ask, together
from midhaul.deploy.store.failures import check_status
from midhaul.deploy.store.manifests import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Reference,
    digest_of,
    parse_reference,
)
from midhaul.deploy.store.store import store_errors
from midhaul.errors import DataError, NodeError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Callable,
        Generator,
        Mapping,
        MutableMapping,
    )
    from pathlib import Path
    from typing import Any

    import aiohttp

    from midhaul.deploy.store.client import RegistryClient

_Kind = Literal["head", "noise", "zeros"]
_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 512
_STORED_BYTES = 0xFFFF
_ZEROS_PER_BYTE = 1_000
_HEAD_BYTES = 130
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_CREATED = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLayer:
    """A layer as a file.

    Attributes:
        digest: of the compressed file.
        diff_id: digest of the tar inside.
        compressed_bytes: size of the file.
        uncompressed_bytes: size of the tar inside.
        path: the file.
    """

    digest: str
    diff_id: str
    compressed_bytes: int
    uncompressed_bytes: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeImage:
    """An image that can be pushed.

    Attributes:
        name: as in the plan.
        layers: from the base upwards.
        config: its configuration, JSON.
        manifest: its OCI manifest, JSON.
    """

    name: str
    layers: tuple[MadeLayer, ...]
    config: bytes
    manifest: bytes

    @property
    def config_digest(self) -> str:
        """Digest of the configuration."""
        return digest_of(self.config)

    @property
    def manifest_digest(self) -> str:
        """Digest of the manifest."""
        return digest_of(self.manifest)

    @property
    def image(self) -> ContainerImage:
        """The image as a plan sees it, with real digests and sizes."""
        return ContainerImage(
            name=self.name,
            layers=tuple(
                Layer(
                    digest=layer.digest,
                    compressed_bytes=layer.compressed_bytes,
                    uncompressed_bytes=layer.uncompressed_bytes,
                )
                for layer in self.layers
            ),
        )


def make_images(
    images: Mapping[str, ContainerImage],
    folder: Path,
    *,
    scale: float = 1.0,
    seed: int = 0,
    architecture: str = "amd64",
) -> dict[str, MadeImage]:
    """Make images of the sizes that a plan has, or of a share of them.

    Sizes are met to within 2 %, or 700 bytes (compressed) and 2,048 bytes
    (uncompressed) where those are more: a layer with one file cannot be smaller. A
    layer that is asked to shrink when it is unpacked does not.

    Args:
        images: by name; layers with the same digest are made once.
        folder: where the files go.
        scale: by which all sizes are multiplied.
        seed: another seed makes other layers of the same sizes.
        architecture: what the images say they are for.

    Returns:
        The images, under the names given.

    Raises:
        DataError: the scale is not above zero.
        StoreError: the folder cannot be written.
    """
    if not 0 < scale < float("inf"):
        message = f"expected a scale above 0 for the images, found {scale}"
        raise DataError(message)
    wanted = {
        layer.digest: layer for image in images.values() for layer in image.layers
    }
    with store_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        layers = {
            digest: _make_layer(layer, folder, scale, seed)
            for digest, layer in wanted.items()
        }
    return {
        name: _compose(
            name, tuple(layers[layer.digest] for layer in image.layers), architecture
        )
        for name, image in images.items()
    }


def _make_layer(layer: Layer, folder: Path, scale: float, seed: int) -> MadeLayer:
    key = hashlib.sha256(f"{seed} {layer.digest}".encode()).digest()
    compressed = round(layer.compressed_bytes * scale)
    uncompressed = round(layer.uncompressed_bytes * scale)
    n_noise, n_zeros = _split(compressed, uncompressed)
    temporary = folder / f".{key.hex()[:16]}.part"
    whole, inner = hashlib.sha256(), hashlib.sha256()
    n_whole = n_inner = 0
    gzip = _Gzip()
    with temporary.open("wb") as file:
        for kind, piece in _tar(key, n_noise, n_zeros):
            inner.update(piece)
            n_inner += len(piece)
            packed = gzip.add(piece, kind)
            whole.update(packed)
            n_whole += file.write(packed)
        packed = gzip.end()
        whole.update(packed)
        n_whole += file.write(packed)
    path = folder / whole.hexdigest()
    temporary.replace(path)
    return MadeLayer(
        digest=f"sha256:{whole.hexdigest()}",
        diff_id=f"sha256:{inner.hexdigest()}",
        compressed_bytes=n_whole,
        uncompressed_bytes=n_inner,
        path=path,
    )


def _split(compressed: int, uncompressed: int) -> tuple[int, int]:
    """Bytes of noise and of zeros in the file of a layer."""
    room = max(0, compressed - _HEAD_BYTES)
    content = max(room, uncompressed - 3 * _BLOCK_BYTES)
    # noise + zeros = content, noise + zeros / ZEROS_PER_BYTE = room
    n_noise = max(0, (_ZEROS_PER_BYTE * room - content) // (_ZEROS_PER_BYTE - 1))
    return n_noise, content - n_noise


def _tar(key: bytes, n_noise: int, n_zeros: int) -> Generator[tuple[_Kind, bytes]]:
    """Pieces of a tar with one file; each with what it is."""
    member = tarfile.TarInfo(f"midhaul/{key.hex()[:32]}")
    member.size = n_noise + n_zeros
    yield "head", member.tobuf(format=tarfile.GNU_FORMAT)
    bits = np.random.SFC64(int.from_bytes(key[:16], "big"))
    rest = n_noise
    while rest:
        n_bytes = min(rest, _PIECE_BYTES)
        noise = bits.random_raw(-(-n_bytes // 8)).astype("<u8").tobytes()
        yield "noise", noise[:n_bytes]
        rest -= n_bytes
    rest = n_zeros + -(n_noise + n_zeros) % _BLOCK_BYTES + 2 * _BLOCK_BYTES
    while rest:
        n_bytes = min(rest, _PIECE_BYTES)
        yield "zeros", bytes(n_bytes)
        rest -= n_bytes


class _Gzip:
    """A gzip in which noise is stored and all else is compressed.

    Pieces of deflate that end on a byte can follow each other (RFC 1951). Storing noise
    is much faster than finding out that it does not compress, and zeros of one length
    are packed once.
    """

    def __init__(self) -> None:
        self._crc = self._n_bytes = 0
        self._zeros: dict[int, bytes] = {}

    def add(self, piece: bytes, kind: _Kind) -> bytes:
        """What goes into the file for the next piece."""
        packed = b"" if self._n_bytes else _GZIP_HEAD
        self._crc = zlib.crc32(piece, self._crc)
        self._n_bytes += len(piece)
        if kind == "noise":
            return packed + _stored(piece)
        if kind == "head":
            return packed + _deflated(piece)
        if len(piece) not in self._zeros:
            self._zeros[len(piece)] = _deflated(piece)
        return packed + self._zeros[len(piece)]

    def end(self) -> bytes:
        """What ends the file: an empty last block, the checksum and the length."""
        tail = struct.pack("<LL", self._crc, self._n_bytes & 0xFFFFFFFF)
        return b"\x03\x00" + tail


def _stored(piece: bytes) -> bytes:
    """Blocks of deflate that are not compressed."""
    blocks: list[bytes] = []
    for start in range(0, len(piece), _STORED_BYTES):
        block = piece[start : start + _STORED_BYTES]
        blocks.append(struct.pack("<BHH", 0, len(block), 0xFFFF - len(block)))
        blocks.append(block)
    return b"".join(blocks)


def _deflated(piece: bytes) -> bytes:
    """Blocks of deflate that end on a byte, none of them the last one."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(piece) + stream.flush(zlib.Z_FULL_FLUSH)


def _compose(name: str, layers: tuple[MadeLayer, ...], architecture: str) -> MadeImage:
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": _CREATED,
            "config": {"Labels": {"org.opencontainers.image.title": name}},
            "rootfs": {"type": "layers", "diff_ids": [x.diff_id for x in layers]},
            "history": [{"created": _CREATED, "created_by": "midhaul"} for _ in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": digest_of(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": OCI_LAYER,
                    "digest": layer.digest,
                    "size": layer.compressed_bytes,
                }
                for layer in layers
            ],
        }
    )
    return MadeImage(name=name, layers=layers, config=config, manifest=manifest)


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


_HTTP_CREATED = 201
_PUSHED_PIECE_BYTES = 1 << 18
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
        if answer.status == _HTTP_CREATED:
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
            while piece := file.read(_PUSHED_PIECE_BYTES):
                yield piece

    return read
