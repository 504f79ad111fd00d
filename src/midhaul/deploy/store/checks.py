"""What every source of images must do, ours or a stranger's: the conformance suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.deploy.store.manifests import (
    ImageManifest,
    digest_of,
    parse_manifest,
    parse_reference,
)

if TYPE_CHECKING:
    from midhaul.deploy.store.resolve import ImageSource


async def check_image_source(source: ImageSource, text: str) -> None:
    """Hold an opened source against its protocol; a ValueError says what it breaks.

    It has the image for one platform, with a layer of two bytes or more.
    """
    reference = parse_reference(text)
    tagged = await source.manifest(reference)
    _demand(tagged.digest == digest_of(tagged.body), "a manifest with its own digest")
    again = await source.manifest(reference, tagged.digest)
    _demand(again.body == tagged.body, "the same manifest by its digest")
    manifest = parse_manifest(tagged.body, text)
    if not isinstance(manifest, ImageManifest):
        message = f"{text} is an index: check a source with an image of one platform"
        raise TypeError(message)
    config = await source.small_blob(reference, manifest.config)
    _demand(digest_of(config) == manifest.config.digest, "the configuration as it is")
    for layer in manifest.layers:
        size = await source.blob_bytes(reference, layer.digest)
        _demand(size in {-1, layer.n_bytes}, f"the size of {layer.digest}, or -1")
        part = await source.blob_part(reference, layer, 0, 1)
        last = layer.n_bytes - 1
        tail = await source.blob_part(reference, layer, last, last)
        _demand(part is None or len(part) == 2, "as many bytes as asked for, or None")  # noqa: PLR2004
        _demand(tail is None or len(tail) == 1, "the last byte, or None")


def _demand(is_met: bool, expected: str) -> None:  # noqa: FBT001 - ours
    if not is_met:
        message = f"expected {expected}"
        raise ValueError(message)
