"""What happens to the picture of a layer store: pulls, uses and deletions.

The same bookkeeping as a layer store on a disk does, on values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.deploy.registry.store_index import StoredImage, StoredLayer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from midhaul.deploy.problem import ContainerImage, Layer
    from midhaul.deploy.registry.store_index import StoreState


def with_layer(state: StoreState, layer: Layer, now_s: float) -> StoreState:
    """After the pull of a layer that was not there."""
    past = dict(state.past_pulls)
    stored = StoredLayer(
        digest=layer.digest,
        compressed_bytes=layer.compressed_bytes,
        uncompressed_bytes=layer.uncompressed_bytes,
        pulled_s=now_s,
        last_used_s=now_s,
        n_pulls=past.pop(layer.digest, 0) + 1,
    )
    layers = {**state.layers, layer.digest: stored}
    return replace(state, layers=layers, past_pulls=past)


def with_image(state: StoreState, image: ContainerImage, now_s: float) -> StoreState:
    """After the pull of an image; layers that were there stay as they are."""
    for layer in image.layers:
        if layer.digest not in state.layers:
            state = with_layer(state, layer, now_s)
    before = state.images.get(image.name)
    stored = StoredImage(
        name=image.name,
        digests=tuple(layer.digest for layer in image.layers),
        pulled_s=now_s,
        last_used_s=now_s,
        n_uses=before.n_uses if before else 0,
        n_pulls=before.n_pulls + 1 if before else 1,
    )
    return replace(state, images={**state.images, image.name: stored})


def with_use(
    state: StoreState, name: str, now_s: float, *, n_new: int = 1
) -> StoreState:
    """After an image was taken into use, or out of it with ``n_new`` of 0."""
    image, layers = state.images[name], dict(state.layers)
    for digest in image.digests:
        layer = layers[digest]
        layers[digest] = replace(layer, last_used_s=now_s, n_uses=layer.n_uses + n_new)
    image = replace(image, last_used_s=now_s, n_uses=image.n_uses + n_new)
    return replace(state, layers=layers, images={**state.images, name: image})


def holding(
    state: StoreState, images: Mapping[str, ContainerImage], names: Iterable[str]
) -> StoreState:
    """The same store while just these images are in use."""
    digests = {layer.digest for name in names for layer in images[name].layers}
    return replace(state, held=frozenset(digests & state.layers.keys()))


def without(state: StoreState, digests: Collection[str]) -> StoreState:
    """After the deletion of layers; images without any layer are forgotten."""
    gone = set(digests)
    if not gone:
        return state
    past = dict(state.past_pulls)
    past |= {digest: state.layers[digest].n_pulls for digest in gone}
    layers = {d: layer for d, layer in state.layers.items() if d not in gone}
    images = {
        name: image
        for name, image in state.images.items()
        if any(digest in layers for digest in image.digests)
    }
    return replace(state, layers=layers, images=images, past_pulls=past)
