"""Index of a layer store: its layers, its images, and how both were used.

*Transitions* are what happens to it: pulls, uses and deletions.

The same bookkeeping as a layer store on a disk does, on values.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.deploy.store.manifests import check_digest
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from midhaul.deploy.problem import ContainerImage, Layer

_VERSION = 1
_HINT = "delete the folder; its layers are pulled again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer that is on the disk, whole and verified.

    Attributes:
        digest: its name.
        compressed_bytes: what its pull carried, and what its file takes.
        uncompressed_bytes: what it takes unpacked.
        pulled_s: when it was pulled, on the store's clock.
        last_used_s: when an image with it was last held or released; the time of the
            pull before that.
        n_uses: how often an image with it was held.
        n_pulls: how often it was pulled, deletions in between.
    """

    digest: str
    compressed_bytes: int
    uncompressed_bytes: int
    pulled_s: float
    last_used_s: float
    n_uses: int = 0
    n_pulls: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image that was pulled; some of its layers may have been deleted since.

    Attributes:
        name: as the puller was told.
        digests: its layers from the base upwards, present or not.
        pulled_s: when it was last pulled.
        last_used_s: when it was last held or released; the time of the pull before.
        n_uses: how often it was held.
        n_pulls: how often it was pulled, with or without missing layers.
    """

    name: str
    digests: tuple[str, ...]
    pulled_s: float
    last_used_s: float
    n_uses: int = 0
    n_pulls: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """A picture of a layer store at one moment: all that an eviction policy needs.

    Attributes:
        layers: present layers by digest.
        images: known images by name; an image none of whose layers is present is
            forgotten.
        held: digests that are in use; they cannot be deleted.
        past_pulls: by digest, how often layers that are not present now were pulled.
    """

    layers: Mapping[str, StoredLayer] = field(default_factory=dict[str, StoredLayer])
    images: Mapping[str, StoredImage] = field(default_factory=dict[str, StoredImage])
    held: frozenset[str] = frozenset()
    past_pulls: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def compressed_bytes(self) -> int:
        """What the files of all present layers take."""
        return sum(layer.compressed_bytes for layer in self.layers.values())

    @property
    def uncompressed_bytes(self) -> int:
        """What all present layers take unpacked."""
        return sum(layer.uncompressed_bytes for layer in self.layers.values())

    def users(self, digest: str) -> tuple[str, ...]:
        """Names of the known images that have a layer."""
        return tuple(n for n, image in self.images.items() if digest in image.digests)

    def is_whole(self, name: str) -> bool:
        """True if all layers of an image are present."""
        image = self.images.get(name)
        return image is not None and all(d in self.layers for d in image.digests)


def dump_index(state: StoreState) -> bytes:
    """The text of an index; what is held is not in it, as it ends with the process."""
    content = {
        "version": _VERSION,
        "layers": [asdict(layer) for layer in state.layers.values()],
        "images": [asdict(image) for image in state.images.values()],
        "past_pulls": dict(state.past_pulls),
    }
    return json.dumps(content, indent=1).encode()


def load_index(text: bytes, where: str) -> StoreState:
    """Read an index; a DataError where it is none, or of another version."""
    try:
        content = cast("dict[str, Any]", documents.parse_json(text))
        version = content["version"]
        layers = [StoredLayer(**entry) for entry in content["layers"]]
        images = [
            replace(StoredImage(**entry), digests=tuple(entry["digests"]))
            for entry in content["images"]
        ]
        past = {str(k): int(v) for k, v in content["past_pulls"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{where}: expected the index of a layer store, found {error!r}"
        raise DataError(message, _HINT) from error
    if version != _VERSION:
        message = f"{where}: expected version {_VERSION} of the index, found {version}"
        raise DataError(message, _HINT)
    for layer in layers:
        check_digest(layer.digest, where)
    return StoreState(
        layers={layer.digest: layer for layer in layers},
        images={image.name: image for image in images},
        past_pulls=past,
    )


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
    digests = tuple(layer.digest for layer in image.layers)
    return with_name(state, image.name, digests, now_s)


def with_name(
    state: StoreState, name: str, digests: tuple[str, ...], now_s: float
) -> StoreState:
    """After an image was pulled whose layers are there."""
    before = state.images.get(name)
    stored = StoredImage(
        name=name,
        digests=digests,
        pulled_s=now_s,
        last_used_s=now_s,
        n_uses=before.n_uses if before else 0,
        n_pulls=before.n_pulls + 1 if before else 1,
    )
    return replace(state, images={**state.images, name: stored})


def with_use(
    state: StoreState,
    name: str,
    now_s: float,
    *,
    n_new: int = 1,
    digests: tuple[str, ...] | None = None,
) -> StoreState:
    """After an image was taken into use, or out of it with ``n_new`` of 0.

    Its layers are ``digests`` where its name may have moved on while it was held.
    """
    layers, images = dict(state.layers), dict(state.images)
    for digest in images[name].digests if digests is None else digests:
        n_uses = layers[digest].n_uses + n_new
        layers[digest] = replace(layers[digest], last_used_s=now_s, n_uses=n_uses)
    if image := images.get(name):
        n_uses = image.n_uses + n_new
        images[name] = replace(image, last_used_s=now_s, n_uses=n_uses)
    return replace(state, layers=layers, images=images)


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
