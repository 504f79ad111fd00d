"""Reads images from registries into a plan: layers, and what they take on a disk.

A manifest says what a layer takes on the network, not what it takes on a disk. That is
taken from where it is known (an engine, a layer store, the layer itself where it is not
compressed), from the ends of the layer (:mod:`midhaul.deploy.store.sizes`), and else
estimated with one ratio, and marked. What was read is a table of layers in the end,
which plans read again.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from midhaul import documents
from midhaul.deploy.catalogue import UNCOMPRESSED_RATIO, read_platforms
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store.access import Access
from midhaul.deploy.store.client import Fetched, RegistryClient, together
from midhaul.deploy.store.failures import Patience, all_of
from midhaul.deploy.store.manifests import parse_platform, parse_reference
from midhaul.deploy.store.resolve import Resolved, no_layer, resolve
from midhaul.deploy.store.sizes import UnpackedSize, unpacked_size
from midhaul.deploy.store.skopeo import SkopeoSource
from midhaul.deploy.store.store import store_errors
from midhaul.errors import DataError, MidhaulError, NodeError, PrerequisiteError
from midhaul.machine.coroutines import run_coroutine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from midhaul.deploy.store.manifests import Descriptor, Reference
    from midhaul.deploy.store.resolve import ImageSource

_N_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image of a registry, and how much of it is known.

    Attributes:
        image: for a plan, under the reference as it was written.
        reference: in full.
        platform: what the image is for.
        asked_platform: what was asked for, which runs it.
        manifest_digest: of the manifest for this platform.
        index_digest: of the index that it was found in; empty where there is none.
        estimated: digests of the layers whose uncompressed size is an estimate.
        foreign: digests of the layers that this registry may not have.
        is_private: true where the registry was told a user and a password.
        is_named: false where nothing says what platform the image is for.
        remark: what was odd about it; empty for nothing.
    """

    image: ContainerImage
    reference: str
    platform: str
    manifest_digest: str
    asked_platform: str = ""
    index_digest: str = ""
    estimated: frozenset[str] = field(default_factory=frozenset[str])
    foreign: frozenset[str] = field(default_factory=frozenset[str])
    is_private: bool = False
    is_named: bool = True
    remark: str = ""

    @property
    def has_estimates(self) -> bool:
        """True if the uncompressed size of some layer is an estimate."""
        return bool(self.estimated)


class ImageReader:
    """Reads images, and remembers what it was told: nothing is asked for twice.

    Args:
        source: of manifests and layers.
        known_bytes: uncompressed bytes by digest of a layer or of its uncompressed
            content (diff id), from an engine or a store.
        ratio: uncompressed over compressed bytes, where nothing better is known.
        is_checked: whether the registry is asked if it has each layer.
        patience: how registries that fail are asked again.
        access: mirrors of registries; none by default.

    Raises:
        DataError: the ratio is below 1.
    """

    def __init__(
        self,
        source: ImageSource,
        *,
        known_bytes: Mapping[str, int] | None = None,
        ratio: float = UNCOMPRESSED_RATIO,
        is_checked: bool = True,
        patience: Patience | None = None,
        access: Access | None = None,
    ) -> None:
        if not ratio >= 1:
            message = f"expected a ratio of at least 1 for unpacked layers, not {ratio}"
            raise DataError(message)
        self._source = _Remembering(source)
        self._known = known_bytes or {}
        self._ratio = ratio
        self._is_checked = is_checked
        self._patience = patience or Patience()
        self._access = access or Access()
        self._down: dict[str, str] = {}
        self._slots = asyncio.Semaphore(_N_AT_ONCE)
        self._sizes: dict[str, UnpackedSize | None] = {}
        self._silent: set[str] = set()

    async def read(self, reference: str, platform: str) -> ImageRecord:
        """Read one image for one platform.

        Args:
            reference: e.g. ``debian:12``.
            platform: e.g. ``linux/arm/v7``.

        Raises:
            DataError: there is no such image, it is wrong, or a layer of it is missing.
            NodeError: the registry does not answer as it should.
            PrerequisiteError: it wants a user and a password.
        """
        *mirrors, own = self._access.places(parse_reference(reference))
        for place in mirrors:
            if place.registry in self._down:
                continue
            try:
                return await self._read_at(place, own, reference, platform)
            except NodeError as error:
                self._down[place.registry] = error.message
            except MidhaulError:
                continue  # it is not there, or not for us: the registry itself knows
        return await self._read_at(own, own, reference, platform)

    @property
    def mirrors_down(self) -> Mapping[str, str]:
        """Mirrors that failed, and how."""
        return self._down

    async def _read_at(
        self, place: Reference, own: Reference, reference: str, platform: str
    ) -> ImageRecord:
        """Read an image at its registry, or at a mirror of that."""
        found = await resolve(self._source, place, platform, self._patience)
        if not found.manifest.layers:
            message = f"{found.reference} has no layers: there is nothing to pull"
            raise DataError(message)
        if self._is_checked:
            await self._check_layers(found)
        estimated: set[str] = set()
        layers: list[Layer] = []
        for layer, size in zip(
            found.manifest.layers, await self._all_sizes(found), strict=True
        ):
            if not size.is_exact:
                estimated.add(layer.digest)
            layers.append(
                Layer(
                    digest=layer.digest,
                    compressed_bytes=layer.n_bytes,
                    uncompressed_bytes=size.n_bytes,
                    is_estimated=not size.is_exact,
                )
            )
        image = ContainerImage(
            name=reference,
            layers=tuple(layers),
            manifest_digest=found.digest,
            index_digest=found.index_digest,
        )
        return ImageRecord(
            image=image,
            reference=str(own),
            platform=str(found.platform),
            asked_platform=str(parse_platform(platform)),
            manifest_digest=found.digest,
            index_digest=found.index_digest,
            estimated=frozenset(estimated),
            foreign=frozenset(x.digest for x in found.manifest.layers if x.is_foreign),
            is_private=own.registry in self._source.private_registries,
            is_named=found.is_named,
            remark=found.remark,
        )

    async def _check_layers(self, found: Resolved) -> None:
        """Ask the registry for every layer that it must have."""
        where = found.reference

        async def size(layer: Descriptor) -> int | None:
            async with self._slots:
                return await self._patience(
                    where.registry, lambda: self._source.blob_bytes(where, layer.digest)
                )

        layers = [layer for layer in found.manifest.layers if not layer.is_foreign]
        sizes = await together(map(size, layers))
        for layer, n_bytes in zip(layers, sizes, strict=True):
            if n_bytes is None:
                raise no_layer(where, layer)
            if n_bytes not in {-1, layer.n_bytes}:
                message = f"the manifest of {where} says {layer.n_bytes} bytes "
                message += f"for layer {layer.digest}, the registry says {n_bytes}"
                raise DataError(message, "push the image again")

    async def _all_sizes(self, found: Resolved) -> list[UnpackedSize]:
        """What each layer of an image takes unpacked."""
        manifest, diff_ids = found.manifest, found.config.diff_ids
        names = {layer.digest: [layer.digest] for layer in manifest.layers}
        if len(diff_ids) == len(manifest.positions):
            for position, diff_id in zip(manifest.positions, diff_ids, strict=True):
                names[manifest.layers[position].digest].append(diff_id)

        async def size(layer: Descriptor) -> UnpackedSize:
            told = next(
                (self._known[n] for n in names[layer.digest] if n in self._known),
                layer.n_bytes if layer.compression is None else layer.unpacked_bytes,
            )
            if told is not None:
                return UnpackedSize(n_bytes=told, is_exact=True)
            read = await self._size_in(found.reference, layer)
            return read or UnpackedSize(
                n_bytes=math.ceil(layer.n_bytes * self._ratio), is_exact=False
            )

        return await together(map(size, manifest.layers))

    async def _size_in(
        self, reference: Reference, layer: Descriptor
    ) -> UnpackedSize | None:
        """What the bytes of a layer tell; a registry that fails at it is left alone."""
        async with self._slots:
            if layer.digest in self._sizes:
                return self._sizes[layer.digest]
            if layer.is_foreign or reference.registry in self._silent:
                return None
            try:
                found = await self._patience(
                    reference.registry,
                    lambda: unpacked_size(self._source, reference, layer, self._ratio),
                )
            except (NodeError, PrerequisiteError):
                # Manifests come from the registry, layers often from elsewhere.
                self._silent.add(reference.registry)
                return None
            self._sizes[layer.digest] = found
            return found


class _Remembering:
    """A source that gives what it gave before again."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._manifests: dict[tuple[str, str, str], Fetched] = {}
        self._blobs: dict[str, bytes] = {}
        self._sizes: dict[tuple[str, str, str], int | None] = {}
        self.blob_part = source.blob_part

    @property
    def private_registries(self) -> Collection[str]:
        return self._source.private_registries

    async def manifest(
        self, reference: Reference, wanted: str | None = None
    ) -> Fetched:
        key = reference.registry, reference.repository, wanted or reference.wanted
        if key not in self._manifests:
            self._manifests[key] = await self._source.manifest(reference, wanted)
        return self._manifests[key]

    async def small_blob(self, reference: Reference, blob: Descriptor) -> bytes:
        if blob.digest not in self._blobs:
            found = await self._source.small_blob(reference, blob)
            self._blobs[blob.digest] = found
        return self._blobs[blob.digest]

    async def blob_bytes(self, reference: Reference, digest: str) -> int | None:
        key = reference.registry, reference.repository, digest
        if key not in self._sizes:
            self._sizes[key] = await self._source.blob_bytes(reference, digest)
        return self._sizes[key]


async def read_image(
    client: ImageSource,
    reference: str,
    *,
    platform: str = "linux/amd64",
    known_bytes: Mapping[str, int] | None = None,
    ratio: float = UNCOMPRESSED_RATIO,
    is_checked: bool = True,
    patience: Patience | None = None,
) -> ImageRecord:
    """Read one image.

    Args:
        client: of registries, entered.
        reference: e.g. ``debian:12``.
        platform: e.g. ``linux/arm/v7``.
        known_bytes: as of :class:`ImageReader`, like what follows.
        ratio: as above.
        is_checked: as above.
        patience: as above.

    Raises:
        DataError, NodeError, PrerequisiteError: as :meth:`ImageReader.read`.
    """
    reader = ImageReader(
        client,
        known_bytes=known_bytes,
        ratio=ratio,
        is_checked=is_checked,
        patience=patience,
    )
    return await reader.read(reference, platform)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of many images, and what was not.

    Attributes:
        records: by reference and platform, both as they were asked for.
        problems: by the same, why an image was not read.
        mirrors_down: mirrors that failed, and how.
    """

    records: Mapping[tuple[str, str], ImageRecord]
    problems: Mapping[tuple[str, str], MidhaulError]
    mirrors_down: Mapping[str, str] = field(default_factory=dict[str, str])


def read_wanted(
    wanted: Iterable[tuple[str, str]],
    *,
    known_bytes: Mapping[str, int] | None = None,
    ratio: float = UNCOMPRESSED_RATIO,
    access: Access | None = None,
    with_skopeo: bool = False,
    is_checked: bool = True,
) -> Reading:
    """Read images for platforms; one that cannot be read does not end the others.

    Args:
        wanted: reference and platform of each image.
        known_bytes: as of :class:`ImageReader`.
        ratio: as of :class:`ImageReader`.
        access: how registries are reached.
        with_skopeo: whether skopeo asks them.
        is_checked: as of :class:`ImageReader`.

    Raises:
        PrerequisiteError: skopeo is to ask, and not installed.
    """
    way = access or Access()

    async def read() -> Reading:
        opening = SkopeoSource(way) if with_skopeo else RegistryClient(access=way)
        async with opening as opened:
            reader = ImageReader(
                opened,
                known_bytes=known_bytes,
                ratio=ratio,
                is_checked=is_checked,
                access=way,
            )
            records: dict[tuple[str, str], ImageRecord] = {}
            problems: dict[tuple[str, str], MidhaulError] = {}
            for reference, platform in dict.fromkeys(wanted):
                key = reference, platform
                try:
                    records[key] = await reader.read(reference, platform)
                except MidhaulError as error:
                    problems[key] = error
            return Reading(
                records=records, problems=problems, mirrors_down=reader.mirrors_down
            )

    return run_coroutine(read())


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
        known_bytes: as of :class:`ImageReader`.
        ratio: as of :class:`ImageReader`.
        plain_http: registries that are asked by plain HTTP.
        is_checked: as of :class:`ImageReader`.

    Returns:
        The records, under the references as they were given.

    Raises:
        DataError, NodeError, PrerequisiteError: some cannot be read; all of them are
            in the message.
    """
    parse_platform(platform)
    found = read_wanted(
        [(reference, platform) for reference in references],
        known_bytes=known_bytes,
        ratio=ratio,
        access=Access(plain_http=frozenset(plain_http)),
        is_checked=is_checked,
    )
    if bad := {reference: error for (reference, _), error in found.problems.items()}:
        raise all_of(bad, len(bad) + len(found.records))
    return {reference: record for (reference, _), record in found.records.items()}


_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("position", pa.int32()),
        ("digest", pa.string()),
        ("compressed_bytes", pa.int64()),
        ("uncompressed_bytes", pa.int64()),
        ("is_estimated", pa.bool_()),
        ("is_foreign", pa.bool_()),
        ("platform", pa.string()),
        ("asked_platform", pa.string()),
        ("manifest_digest", pa.string()),
        ("index_digest", pa.string()),
        ("reference", pa.string()),
        ("is_private", pa.bool_()),
        ("is_named", pa.bool_()),
        ("remark", pa.string()),
    ]
)


def write_layers(records: Iterable[ImageRecord], file: Path) -> None:
    """Write one row for each layer of each image, for ``catalogue.read_images``.

    A plan from a file needs no registry, and stays what it is when a tag moves on.

    Args:
        records: what was read.
        file: Parquet; replaced if it is there.

    Raises:
        StoreError: it cannot be written.
    """
    rows = [
        {
            "image": record.image.name,
            "position": position,
            "digest": layer.digest,
            "compressed_bytes": layer.compressed_bytes,
            "uncompressed_bytes": layer.uncompressed_bytes,
            "is_estimated": layer.digest in record.estimated,
            "is_foreign": layer.digest in record.foreign,
            "platform": record.platform,
            "asked_platform": record.asked_platform or record.platform,
            "manifest_digest": record.manifest_digest,
            "index_digest": record.index_digest,
            "reference": record.reference,
            "is_private": record.is_private,
            "is_named": record.is_named,
            "remark": record.remark,
        }
        for record in records
        for position, layer in enumerate(record.image.layers)
    ]
    with store_errors(file):
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), file)


def read_layers(file: Path) -> list[ImageRecord]:
    """Read what :func:`write_layers` has written; nothing where it has not.

    A file that a killed program left half written, or another program's, is no
    loss: its images are read anew.

    Args:
        file: Parquet.
    """
    try:
        table = documents.read_parquet(file)
        if not set(_SCHEMA.names) <= set(table.column_names) or not table.num_rows:
            return []
        rows = table.to_pylist()
        images = read_platforms(file)
    except (OSError, ValueError, DataError):
        return []
    found: dict[tuple[str, str], ImageRecord] = {}
    for row in rows:
        key = row["image"], row["asked_platform"]
        record = found.get(key) or ImageRecord(
            image=images[row["platform"]][row["image"]],
            reference=row["reference"],
            platform=row["platform"],
            asked_platform=row["asked_platform"],
            manifest_digest=row["manifest_digest"],
            index_digest=row["index_digest"],
            is_private=row["is_private"],
            is_named=row["is_named"],
            remark=row["remark"],
        )
        found[key] = replace(
            record,
            estimated=record.estimated
            | ({row["digest"]} if row["is_estimated"] else set()),
            foreign=record.foreign | ({row["digest"]} if row["is_foreign"] else set()),
        )
    return list(found.values())
