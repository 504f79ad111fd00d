"""From a reference and a platform to one manifest and its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.registry.manifests import (
    ImageConfig,
    Manifest,
    Platform,
    parse_config,
    parse_manifest,
    parse_platform,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.deploy.registry.client import RegistryClient
    from midhaul.deploy.registry.manifests import Descriptor
    from midhaul.deploy.registry.reference import Reference

_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a reference means on a platform.

    Attributes:
        reference: as it was asked.
        manifest: for the platform.
        digest: of the manifest.
        config: of the image.
        platform: what the image is for: the one asked, or an older variant.
        n_bytes: of all that was fetched for this.
    """

    reference: Reference
    manifest: Manifest
    digest: str
    config: ImageConfig
    platform: Platform
    n_bytes: int


async def resolve(
    client: RegistryClient, reference: Reference, platform: str
) -> Resolved:
    """Find the manifest of an image for a platform, through an index if there is one.

    Args:
        client: of registries.
        reference: the image.
        platform: e.g. ``linux/arm/v7``.

    Raises:
        DataError: there is no such image, not for this platform, or its manifest is
            wrong.
        NodeError: the registry does not answer as it should.
        PrerequisiteError: it wants a user and a password.
    """
    asked, where = parse_platform(platform), str(reference)
    n_bytes, wanted, offered = 0, reference.wanted, None
    for _ in range(_MAX_DEPTH):
        fetched = await client.manifest(reference, wanted)
        n_bytes += len(fetched.body)
        found = parse_manifest(fetched.body, where)
        if isinstance(found, Manifest):
            break
        wanted = found.choose(asked, where)
        offered = next(p for p, digest in found.manifests if digest == wanted)
    else:
        message = f"{where}: expected a manifest, found an index of indexes"
        raise DataError(message)
    body = await client.small_blob(reference, found.config)
    config = parse_config(body, f"configuration of {where}")
    actual = offered or config.platform or asked
    if not asked.runs(actual):
        message = f"{where} is for {actual} only, not for {asked}"
        raise DataError(message, "choose that platform, or another image")
    return Resolved(
        reference=reference,
        manifest=found,
        digest=fetched.digest,
        config=config,
        platform=actual,
        n_bytes=n_bytes + len(body),
    )


def no_layer(reference: Reference, layer: Descriptor) -> DataError:
    """The error for a layer that a manifest lists and its registry has not."""
    message = f"the manifest of {reference} lists layer {layer.digest}, "
    message += f"which registry {reference.registry} does not have"
    hint = "push the image again"
    if layer.is_foreign:
        hint = f"it is a foreign layer; get it from {', '.join(layer.urls) or 'afar'}"
    return DataError(message, hint)
