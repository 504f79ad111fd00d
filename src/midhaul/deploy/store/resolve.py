"""Resolving an image: reference and platform to one manifest and its configuration.

What a reader of images needs of whoever asks registries for it is a protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from midhaul.deploy.store.failures import Patience
from midhaul.deploy.store.manifests import (
    ImageConfig,
    ImageManifest,
    Platform,
    parse_config,
    parse_manifest,
    parse_platform,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from midhaul.deploy.store.client import Fetched
    from midhaul.deploy.store.manifests import Descriptor, Index, Reference


class ImageSource(Protocol):
    """Fetches manifests, configurations and parts of layers.

    Every method raises DataError for what is not there or is wrong, NodeError where a
    registry does not answer as it should, and PrerequisiteError where it denies access.
    """

    @property
    def private_registries(self) -> Collection[str]:
        """Registries that were told a user and a password."""
        ...

    async def manifest(
        self, reference: Reference, wanted: str | None = None
    ) -> Fetched:
        """A manifest or an index, verified; ``wanted`` is another of its repository."""
        ...

    async def small_blob(self, reference: Reference, blob: Descriptor) -> bytes:
        """A blob that fits into memory, such as a configuration, verified."""
        ...

    async def blob_bytes(self, reference: Reference, digest: str) -> int | None:
        """Size of a blob that the registry has; None if it has not, -1 if untold."""
        ...

    async def blob_part(
        self, reference: Reference, blob: Descriptor, first: int, last: int
    ) -> bytes | None:
        """Bytes ``first`` to ``last`` of a blob; None where parts are not given."""
        ...


_T = TypeVar("_T")
_MAX_DEPTH = 3
_MAX_UNNAMED = 8
"""So many manifests of an index are looked into where it names no platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a reference means on a platform.

    Attributes:
        reference: as it was asked.
        manifest: for the platform.
        digest: of the manifest.
        index_digest: of the index that it was found in; empty where there is none.
        config: of the image.
        platform: what the image is for: the one asked, or an older variant.
        is_named: false where neither index nor configuration names a platform, so that
            the image was taken to be for the one asked.
        remark: what was odd about the way to it; empty for nothing.
        n_bytes: of all that was fetched for this.
    """

    reference: Reference
    manifest: ImageManifest
    digest: str
    index_digest: str
    config: ImageConfig
    platform: Platform
    is_named: bool
    remark: str
    n_bytes: int


class NotOfferedError(DataError):
    """An image is there, and not for the platform that was asked for."""


async def resolve(
    source: ImageSource,
    reference: Reference,
    platform: str,
    patience: Patience | None = None,
) -> Resolved:
    """Find the manifest of an image for a platform, through an index if there is one.

    An entry of an index need not name a platform (OCI image index, property
    ``platform``). Where no named one fits, the configurations of up to 8 unnamed ones
    tell; a single one that says nothing either is taken.

    A DataError says that there is no such image, or that its manifest is wrong; a
    NotOfferedError that it is not for this platform.
    """
    search = _Search(source, reference, parse_platform(platform), patience)
    found = await search.find(reference.wanted, _MAX_DEPTH)
    actual = found.offered or found.config.platform or search.asked
    if not search.asked.runs(actual):
        message = f"{reference} is for {actual} only, not for {search.asked}"
        raise NotOfferedError(message, "choose that platform, or another image")
    return Resolved(
        reference=reference,
        manifest=found.manifest,
        digest=found.digest,
        index_digest=search.index_digest,
        config=found.config,
        platform=actual,
        is_named=bool(found.offered or found.config.platform),
        remark=search.remark,
        n_bytes=search.n_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    manifest: ImageManifest
    digest: str
    config: ImageConfig
    offered: Platform | None


class _Search:
    """One reference's way through its indexes."""

    def __init__(
        self,
        source: ImageSource,
        reference: Reference,
        asked: Platform,
        patience: Patience | None,
    ) -> None:
        self.asked = asked
        self.index_digest = self.remark = ""
        self.n_bytes = 0
        self._source = source
        self._reference = reference
        self._where = str(reference)
        self._patience = patience or Patience()

    async def find(
        self, wanted: str, depth: int, offered: Platform | None = None
    ) -> _Found:
        """The image behind a tag or a digest; ``offered`` is what an index says."""
        if not depth:
            message = f"{self._where}: expected a manifest, found an index of indexes"
            raise DataError(message)
        fetched = await self._again(
            lambda: self._source.manifest(self._reference, wanted)
        )
        self.n_bytes += len(fetched.body)
        found = parse_manifest(fetched.body, self._where)
        if isinstance(found, ImageManifest):
            body = await self._again(
                lambda: self._source.small_blob(self._reference, found.config)
            )
            self.n_bytes += len(body)
            config = parse_config(body, f"configuration of {self._where}")
            return _Found(
                manifest=found, digest=fetched.digest, config=config, offered=offered
            )
        self.index_digest = self.index_digest or fetched.digest
        best = found.best(self.asked)
        if best is None:
            return await self._unnamed(found, depth)
        return await self.find(best[1], depth - 1, best[0])

    async def _unnamed(self, index: Index, depth: int) -> _Found:
        """The entry that fits among those for which the index names no platform."""
        others = {str(platform) for platform, _ in index.manifests}
        is_alone = not others and len(index.unnamed) == 1
        for digest in index.unnamed[:_MAX_UNNAMED]:
            try:
                found = await self.find(digest, depth - 1)
            except DataError:
                if is_alone:
                    raise
                continue  # an attachment, not an image
            actual = found.offered or found.config.platform
            if is_alone or (actual is not None and self.asked.runs(actual)):
                says = f"its configuration says {actual}" if actual else "nothing does"
                self.remark = f"{self._where}: its index names no platform, {says}"
                return found
            others |= {str(actual)} if actual else set()
        offered = ", ".join(sorted(others)) or "none"
        message = f"{self._where} is not offered for {self.asked}, only for: {offered}"
        raise NotOfferedError(message, "choose one of these platforms")

    async def _again(self, work: Callable[[], Awaitable[_T]]) -> _T:
        return await self._patience(self._reference.registry, work)


def no_layer(reference: Reference, layer: Descriptor) -> DataError:
    """The error for a layer that a manifest lists and its registry has not."""
    message = f"the manifest of {reference} lists layer {layer.digest}, "
    message += f"which registry {reference.registry} does not have"
    hint = "push the image again"
    if layer.is_foreign:
        hint = f"it is a foreign layer; get it from {', '.join(layer.urls) or 'afar'}"
    return DataError(message, hint)
