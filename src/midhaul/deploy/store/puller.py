"""Puller of container images into a layer store: verified, resumed, paced if asked.

A layer is hashed while it is written. It becomes present only when its digest is the
one of the manifest; a pull that broke goes on where it stopped, with a range request.

How large a layer is when it is *unpacked* is counted, not written.

The bytes counted are those of the tar stream. The files in it take a little less or
more, by the headers of the tar and the blocks of the file system.

A *download* is one layer on its way to the disk: the file, its hash, and its pace.

A *record* says how a pull went.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from midhaul.deploy.store.client import Ask, together
from midhaul.deploy.store.failures import Patience, RegistryRetries, check_status
from midhaul.deploy.store.manifests import Reference, parse_reference
from midhaul.deploy.store.resolve import Resolved, no_layer, resolve
from midhaul.deploy.store.store import store_errors
from midhaul.errors import DataError, NodeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Self

    import numpy as np

    from midhaul.deploy.store.client import RegistryClient
    from midhaul.deploy.store.manifests import Compression, Descriptor
    from midhaul.deploy.store.store import LayerStore

_PIECE_BYTES = 1 << 20


async def count_uncompressed(
    path: Path, compression: Compression | None, what: str
) -> int:
    """Bytes of the tar stream in a file; runs in a thread, and ends when cancelled.

    Several members in a row are one stream, as pigz and eStargz write it. A DataError
    where the content is not what the compression says, or ends too early.
    """
    is_stopped = threading.Event()
    try:
        return await asyncio.to_thread(_count, path, compression, is_stopped)
    except OSError as error:
        message = f"{what}: expected {compression}, found something else ({error})"
        raise DataError(message, "the image was pushed like that; push it again") from (
            error
        )
    finally:
        is_stopped.set()


def _count(
    path: Path, compression: Compression | None, is_stopped: threading.Event
) -> int:
    if compression is None:
        return path.stat().st_size
    total = 0
    with pa.input_stream(str(path), compression=compression) as stream:
        while not is_stopped.is_set():
            piece = stream.read(_PIECE_BYTES)
            if not piece:
                break
            total += len(piece)
    return total


_PACED_S = 0.01
_MIN_PIECE_BYTES = 1 << 12


class Download:
    """A partial file that grows, and the hash of all that is in it.

    Args:
        path: of the partial file; what an earlier pull left is kept.
        layer: what it is to become.
        what: the layer and its image, for messages.

    Attributes:
        n_bytes: how far the file is.
        furthest: how far it has ever been.
        pulled_bytes: what came over the network.
        resumed_bytes: what of it an earlier pull had left.
        progress: called with the digest and the bytes that just came.
    """

    def __init__(self, path: Path, layer: Descriptor, what: str) -> None:
        self.n_bytes = self.furthest = 0
        self.pulled_bytes = 0
        self.resumed_bytes = 0
        self.progress: Callable[[str, int], None] | None = None
        self._path = path
        self._layer = layer
        self._what = what
        self._algorithm = layer.digest.partition(":")[0]
        self._hash = hashlib.new(self._algorithm)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self._path.open("a+b", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, and keep it."""
        self._open().close()

    def read_back(self) -> None:
        """Hash what an earlier pull has left; too much of it is thrown away."""
        file = self._open()
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            self._hash.update(piece)
            self.n_bytes += len(piece)
        if self.n_bytes > self._layer.n_bytes:
            self.restart()
        self.resumed_bytes = self.furthest = self.n_bytes

    def add(self, piece: bytes) -> None:
        """Append what just came; more than the manifest says is a DataError."""
        self.pulled_bytes += len(piece)
        if self.n_bytes + len(piece) > self._layer.n_bytes:
            self._path.unlink(missing_ok=True)
            message = f"{self._what}: expected {self._layer.n_bytes} bytes, found more"
            raise DataError(message, "the registry is broken, or something before it")
        view = memoryview(piece)
        while view:
            n_written = self._open().write(view)
            self._hash.update(view[:n_written])
            self.n_bytes += n_written
            self.furthest = max(self.furthest, self.n_bytes)
            view = view[n_written:]
        if self.progress is not None:
            self.progress(self._layer.digest, len(piece))

    def restart(self) -> None:
        """Throw away what is there."""
        self._open().truncate(0)
        self._hash = hashlib.new(self._algorithm)
        self.n_bytes = self.resumed_bytes = 0

    def verify(self) -> None:
        """Hold the content against the digest; another one is deleted: a DataError."""
        found = f"{self._algorithm}:{self._hash.hexdigest()}"
        if found != self._layer.digest:
            self._path.unlink(missing_ok=True)
            message = f"{self._what}: expected digest {self._layer.digest}, found "
            hint = "it was refused and deleted; the registry is broken, or something "
            raise DataError(message + found, hint + "between it and here changes bytes")

    def _open(self) -> IO[bytes]:
        if self._file is None:
            message = "Download is a context manager: enter it first"
            raise RuntimeError(message)
        return self._file


class Pace:
    """Holds readers back so that all together read at a rate.

    A link that is shaped by the kernel needs none; this is for those that are not. What
    the buffers of a connection hold comes at once, so the first seconds are faster.
    """

    def __init__(
        self, rate_bps: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not rate_bps > 0:
            message = f"expected a rate above 0 bit/s for pulls, found {rate_bps}"
            raise DataError(message)
        self._rate_bps = rate_bps
        self._clock = clock
        self._free_s = -math.inf

    @property
    def piece_bytes(self) -> int:
        """The largest piece to read at once: 10 ms of the rate."""
        if math.isinf(self._rate_bps):
            return _PIECE_BYTES
        piece = int(self._rate_bps * _PACED_S / 8)
        return min(_PIECE_BYTES, max(_MIN_PIECE_BYTES, piece))

    async def wait(
        self, n_bytes: int, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Wait until what was read has had its time."""
        if math.isinf(self._rate_bps):
            return
        now_s = self._clock()
        self._free_s = max(self._free_s, now_s) + 8 * n_bytes / self._rate_bps
        await sleep(self._free_s - now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPull:
    """How the pull of one layer went. Times are seconds after the begin of the pull.

    Attributes:
        digest: the layer.
        compressed_bytes: its size in the registry.
        uncompressed_bytes: its size unpacked.
        pulled_bytes: bytes that came over the network, those received twice as well.
        resumed_bytes: bytes that an earlier, unfinished pull had left.
        n_retries: attempts after the first.
        begins_s: when it was first asked for.
        ends_s: when its last byte was there, and verified.
        unpacks_s: when it was unpacked and present.
    """

    digest: str
    compressed_bytes: int
    uncompressed_bytes: int
    pulled_bytes: int
    resumed_bytes: int
    n_retries: int
    begins_s: float
    ends_s: float
    unpacks_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRecord:
    """How the pull of an image went.

    Attributes:
        name: of the image in the store.
        reference: where it came from.
        manifest_digest: of the manifest for the platform.
        platform: of the image.
        layers: the layers that were pulled; those that were present are not in it.
        n_present: layers that were present already.
        overhead_bytes: manifests and configuration.
        seconds: from the first request to the last layer unpacked.
    """

    name: str
    reference: str
    manifest_digest: str
    platform: str
    layers: tuple[LayerPull, ...]
    n_present: int
    overhead_bytes: int
    seconds: float

    @property
    def pulled_bytes(self) -> int:
        """Bytes of layers that came over the network."""
        return sum(layer.pulled_bytes for layer in self.layers)

    @property
    def resumed_bytes(self) -> int:
        """Bytes of layers that an earlier pull had left."""
        return sum(layer.resumed_bytes for layer in self.layers)

    @property
    def n_retries(self) -> int:
        """Attempts after the first, over all layers."""
        return sum(layer.n_retries for layer in self.layers)


_PARTIAL, _MISSING, _BAD_RANGE = 206, 404, 416


class Puller:
    """Pulls images into a store; several pulls may run at once and share layers.

    Args:
        store: where layers go.
        client: of registries, entered.
        rng: chance of the waits between attempts.
        n_parallel: most layers on the way at once, over all pulls; 1 takes one after
            another, from the base upwards.
        rate_bps: rate at which all pulls together read, bit/s.
        retries: how patient it is.
        clock: seconds, for the records.
    """

    def __init__(
        self,
        store: LayerStore,
        client: RegistryClient,
        *,
        rng: np.random.Generator,
        n_parallel: int = 1,
        rate_bps: float = math.inf,
        retries: RegistryRetries | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._client = client
        self._rng = rng
        self._slots = asyncio.Semaphore(n_parallel)
        self._pace = Pace(rate_bps)
        self._retries = retries or RegistryRetries()
        self._clock = clock
        self._turns: dict[str, asyncio.Lock] = {}

    async def pull(
        self,
        reference: str | Reference,
        *,
        name: str | None = None,
        platform: str = "linux/amd64",
        progress: Callable[[str, int], None] | None = None,
    ) -> PullRecord:
        """Pull what is missing of an image. Cancelled, it keeps the bytes it has.

        Args:
            reference: where it is.
            name: what the store calls it; the reference by default.
            platform: which of its images.
            progress: called with a digest and a number of bytes that just came.

        Raises:
            DataError: the image or a layer of it is not there, or not what its digest
                says.
            NodeError: the registry failed too often.
            PrerequisiteError: it wants a user and a password.
            StoreError: the disk is full.
        """
        if isinstance(reference, str):
            reference = parse_reference(reference)
        name, start_s = name or str(reference), self._clock()
        patience = Patience(self._retries, total_s=math.inf, rng=self._rng)
        image = await resolve(self._client, reference, platform, patience)
        layers = image.manifest.layers
        digests = [layer.digest for layer in layers]
        with self._store.reserve(digests):
            pulls = await self._all(image, start_s, progress)
            await asyncio.to_thread(self._store.register, name, digests)
        return PullRecord(
            name=name,
            reference=str(reference),
            manifest_digest=image.digest,
            platform=str(image.platform),
            layers=pulls,
            n_present=len(layers) - len(pulls),
            overhead_bytes=image.n_bytes,
            seconds=self._clock() - start_s,
        )

    async def _all(
        self,
        image: Resolved,
        start_s: float,
        progress: Callable[[str, int], None] | None,
    ) -> tuple[LayerPull, ...]:
        """Pull all missing layers; the first that fails ends the others."""
        pulls = await together(
            self._layer(image, layer, start_s, progress)
            for layer in image.manifest.layers
        )
        return tuple(pull for pull in pulls if pull is not None)

    async def _layer(
        self,
        image: Resolved,
        layer: Descriptor,
        start_s: float,
        progress: Callable[[str, int], None] | None,
    ) -> LayerPull | None:
        """Pull one layer, unless it is present or another pull brings it."""
        what = f"layer {layer.digest} of {image.reference}"
        async with self._turns.setdefault(layer.digest, asyncio.Lock()):
            if self._store.has(layer.digest):
                return None
            async with self._slots:
                begins_s = self._clock() - start_s
                path = self._store.partial(layer.digest)
                with store_errors(path), Download(path, layer, what) as download:
                    download.progress = progress
                    await asyncio.to_thread(download.read_back)
                    n_retries = await self._insistently(image, layer, download)
                    download.verify()
                ends_s = self._clock() - start_s
            try:
                n_bytes = await count_uncompressed(path, layer.compression, what)
            except DataError:
                path.unlink()
                raise
            await asyncio.to_thread(self._store.commit, layer.digest, n_bytes)
        return LayerPull(
            digest=layer.digest,
            compressed_bytes=layer.n_bytes,
            uncompressed_bytes=n_bytes,
            pulled_bytes=download.pulled_bytes,
            resumed_bytes=download.resumed_bytes,
            n_retries=n_retries,
            begins_s=begins_s,
            ends_s=ends_s,
            unpacks_s=self._clock() - start_s,
        )

    async def _insistently(
        self, image: Resolved, layer: Descriptor, download: Download
    ) -> int:
        """Read a layer to its end, whatever the registry does; returns the retries."""
        n_retries = n_failures = furthest = 0
        while True:
            try:
                await self._attempt(image.reference, layer, download)
            except NodeError as error:
                has_moved = download.furthest > furthest
                furthest = download.furthest
                n_failures = 1 if has_moved else n_failures + 1
                wait_s = self._retries.wait_after(error, n_failures, self._rng)
                n_retries += 1
            else:
                return n_retries
            await asyncio.sleep(wait_s)

    async def _attempt(
        self, reference: Reference, layer: Descriptor, download: Download
    ) -> None:
        """Ask for what is missing of a layer, and read until it is there or breaks."""
        if download.n_bytes == layer.n_bytes:
            return
        offset = download.n_bytes
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        ask = Ask(method="GET", path=f"blobs/{layer.digest}", headers=headers)
        async with self._client.request(reference, ask) as answer:
            if answer.status == _MISSING:
                raise no_layer(reference, layer)
            if answer.status == _BAD_RANGE:
                download.restart()
                message = f"registry {reference.registry} refuses to send the rest of "
                message += f"layer {layer.digest} of {reference}"
                raise NodeError(message)
            check_status(answer, reference, f"layer {layer.digest}")
            start = answer.headers.get("Content-Range", "").partition("-")[0]
            is_rest = answer.status == _PARTIAL and start == f"bytes {offset}"
            if offset and not is_rest:
                download.restart()
            async for piece in answer.content.iter_chunked(self._pace.piece_bytes):
                download.add(piece)
                await self._pace.wait(len(piece))
        if download.n_bytes < layer.n_bytes:
            message = f"registry {reference.registry} sent {download.n_bytes} of "
            message += f"{layer.n_bytes} bytes of layer {layer.digest} of {reference}"
            raise NodeError(message)
