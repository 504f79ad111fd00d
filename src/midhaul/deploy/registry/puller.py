"""Pulls container images into a layer store: verified, resumed, and paced if asked.

A layer is hashed while it is written. It becomes present only when its digest is the
one of the manifest; a pull that broke goes on where it stopped, with a range request.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from midhaul.deploy.registry.answers import check_status
from midhaul.deploy.registry.download import Download, Pace
from midhaul.deploy.registry.exchange import Ask, together
from midhaul.deploy.registry.patience import Patience, Retries
from midhaul.deploy.registry.pull_record import LayerPull, PullRecord
from midhaul.deploy.registry.reference import Reference, parse_reference
from midhaul.deploy.registry.resolve import Resolved, no_layer, resolve
from midhaul.deploy.registry.store_files import store_errors
from midhaul.deploy.registry.unpack import count_uncompressed
from midhaul.errors import DataError, NodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from midhaul.deploy.registry.client import RegistryClient
    from midhaul.deploy.registry.manifests import Descriptor
    from midhaul.deploy.registry.store import LayerStore

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
        retries: Retries | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._client = client
        self._rng = rng
        self._slots = asyncio.Semaphore(n_parallel)
        self._pace = Pace(rate_bps)
        self._retries = retries or Retries()
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
