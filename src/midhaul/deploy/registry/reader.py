"""Reads images from registries into a plan: layers, and what they take on a disk.

A manifest says what a layer takes on the network, not what it takes on a disk. That is
taken from where it is known (an engine, a layer store, the layer itself where it is not
compressed), and else estimated with one ratio, and marked.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.deploy.catalogue import UNCOMPRESSED_RATIO
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.registry.client import RegistryClient
from midhaul.deploy.registry.exchange import together
from midhaul.deploy.registry.reference import parse_reference
from midhaul.deploy.registry.resolve import Resolved, no_layer, resolve
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from midhaul.deploy.registry.manifests import Descriptor

_N_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image of a registry, and how much of it is known.

    Attributes:
        image: for a plan, under the reference as it was written.
        reference: in full.
        platform: what the image is for.
        manifest_digest: of the manifest for this platform.
        estimated: digests of the layers whose uncompressed size is an estimate.
        foreign: digests of the layers that this registry may not have.
    """

    image: ContainerImage
    reference: str
    platform: str
    manifest_digest: str
    estimated: frozenset[str] = field(default_factory=frozenset[str])
    foreign: frozenset[str] = field(default_factory=frozenset[str])

    @property
    def has_estimates(self) -> bool:
        """True if the uncompressed size of some layer is an estimate."""
        return bool(self.estimated)


async def read_image(
    client: RegistryClient,
    reference: str,
    *,
    platform: str = "linux/amd64",
    known_bytes: Mapping[str, int] | None = None,
    ratio: float = UNCOMPRESSED_RATIO,
    is_checked: bool = True,
) -> ImageRecord:
    """Read one image.

    Args:
        client: of registries, entered.
        reference: e.g. ``debian:12``.
        platform: e.g. ``linux/arm/v7``.
        known_bytes: uncompressed bytes by digest of a layer or of its uncompressed
            content (diff id), from an engine or a store.
        ratio: uncompressed over compressed bytes, where nothing better is known.
        is_checked: whether the registry is asked if it has each layer.

    Raises:
        DataError: there is no such image, it is wrong, or a layer of it is missing.
        NodeError: the registry does not answer as it should.
        PrerequisiteError: it wants a user and a password.
    """
    if not ratio >= 1:
        message = f"expected a ratio of at least 1 for unpacked layers, found {ratio}"
        raise DataError(message)
    found = await resolve(client, parse_reference(reference), platform)
    if is_checked:
        await _check_layers(client, found)
    layers, estimated = _sizes(found, known_bytes or {}, ratio)
    if not layers:
        message = f"{found.reference} has no layers: there is nothing to pull"
        raise DataError(message)
    return ImageRecord(
        image=ContainerImage(name=reference, layers=layers),
        reference=str(found.reference),
        platform=str(found.platform),
        manifest_digest=found.digest,
        estimated=estimated,
        foreign=frozenset(x.digest for x in found.manifest.layers if x.is_foreign),
    )


def read_images(
    references: Sequence[str],
    *,
    platform: str = "linux/amd64",
    known_bytes: Mapping[str, int] | None = None,
    ratio: float = UNCOMPRESSED_RATIO,
    plain_http: Collection[str] = (),
    is_checked: bool = True,
) -> dict[str, ImageRecord]:
    """Read images of any registries, for a program that is not asynchronous.

    Args:
        references: the images; each is read once.
        platform: which of their images.
        known_bytes: as in :func:`read_image`.
        ratio: as in :func:`read_image`.
        plain_http: registries that are asked by plain HTTP; loopback is anyway.
        is_checked: as in :func:`read_image`.

    Returns:
        The records, under the references as they were given.

    Raises:
        DataError, NodeError, PrerequisiteError: as :func:`read_image`.
    """

    async def read() -> dict[str, ImageRecord]:
        async with RegistryClient(plain_http=plain_http) as client:
            return {
                reference: await read_image(
                    client,
                    reference,
                    platform=platform,
                    known_bytes=known_bytes,
                    ratio=ratio,
                    is_checked=is_checked,
                )
                for reference in dict.fromkeys(references)
            }

    return asyncio.run(read())


def _sizes(
    found: Resolved, known: Mapping[str, int], ratio: float
) -> tuple[tuple[Layer, ...], frozenset[str]]:
    """Layers with their sizes, and which of those are estimates."""
    manifest, diff_ids = found.manifest, found.config.diff_ids
    names = {layer.digest: [layer.digest] for layer in manifest.layers}
    if len(diff_ids) == len(manifest.positions):
        for position, diff_id in zip(manifest.positions, diff_ids, strict=True):
            names[manifest.layers[position].digest].append(diff_id)
    layers: list[Layer] = []
    estimated: set[str] = set()
    for layer in manifest.layers:
        told = next((known[n] for n in names[layer.digest] if n in known), None)
        if told is None and layer.compression is None:
            told = layer.n_bytes
        if told is None:
            told = math.ceil(layer.n_bytes * ratio)
            estimated.add(layer.digest)
        layers.append(
            Layer(
                digest=layer.digest,
                compressed_bytes=layer.n_bytes,
                uncompressed_bytes=told,
            )
        )
    return tuple(layers), frozenset(estimated)


async def _check_layers(client: RegistryClient, found: Resolved) -> None:
    """Ask the registry for every layer that it must have."""
    slots = asyncio.Semaphore(_N_AT_ONCE)

    async def size(layer: Descriptor) -> int | None:
        async with slots:
            return await client.blob_bytes(found.reference, layer.digest)

    layers = [layer for layer in found.manifest.layers if not layer.is_foreign]
    sizes = await together(map(size, layers))
    for layer, n_bytes in zip(layers, sizes, strict=True):
        if n_bytes is None:
            raise no_layer(found.reference, layer)
        if n_bytes not in {-1, layer.n_bytes}:
            message = f"the manifest of {found.reference} says {layer.n_bytes} bytes "
            message += f"for layer {layer.digest}, the registry says {n_bytes}"
            raise DataError(message, "push the image again")
