"""Container images to plan with: from a table of layers, or made up.

A table has one row for each layer of each image: ``image``, ``position`` (from the base
upwards), ``digest``, and its size as ``compressed_bytes`` and ``uncompressed_bytes``,
or as ``size_bytes``, which is compressed.

The made-up images look like the 24 of the seed (github.com/rita33cool1/
IoT-System-Gateway): 12 audio classifiers and 12 object detectors of 16 to 24 layers and
757 to 2,257 MB, about a third of whose bytes are shared.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul import documents
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UNCOMPRESSED_RATIO = 1.85
"""Uncompressed over compressed bytes of the seed's 247 layers together."""

_KNOWN_OF_SOME = ("platform", "manifest_digest", "index_digest", "is_estimated")
_HINT = (
    "columns: image, position, digest, and compressed_bytes with or without "
    "uncompressed_bytes, or size_bytes"
)
_SMALLEST_BYTES = 757_000_000
_LARGEST_BYTES = 2_257_000_000
_N_EACH = 12
_N_BASES = 4
_BASE_BYTES = 440_000_000
_N_PAIRS = 4
_PAIR_BYTES = 600_000_000


def read_images(
    file: Path, *, uncompressed_ratio: float = UNCOMPRESSED_RATIO
) -> dict[str, ContainerImage]:
    """Read container images from a Parquet table of layers.

    A layer that an image lists twice is kept where it first stands. Of a layer that has
    several sizes the largest is taken, as a size that was noted during a pull is too
    small; :func:`conflicting_digests` tells which these are. Of an image that is there
    for several platforms the first is taken; :func:`read_platforms` has all.

    Args:
        file: the table.
        uncompressed_ratio: uncompressed over compressed bytes, where only these are
            known.

    Returns:
        By name, in the order of the table.

    Raises:
        DataError: the table cannot be read, a column is missing or not of its type, or
            an image or a layer cannot be.
    """
    found: dict[str, ContainerImage] = {}
    by_platform = read_platforms(file, uncompressed_ratio=uncompressed_ratio)
    for images in by_platform.values():
        for name, image in images.items():
            found.setdefault(name, image)
    return found


def read_platforms(
    file: Path, *, uncompressed_ratio: float = UNCOMPRESSED_RATIO
) -> dict[str, dict[str, ContainerImage]]:
    """Container images of a table of layers, by platform (empty where none) and name.

    Its columns ``platform``, ``manifest_digest``, ``index_digest`` and ``is_estimated``
    may be missing; the order is the table's, and errors are those of
    :func:`read_images`.
    """
    rows = _rows(file)
    sizes: dict[str, Layer] = {}
    for row in rows:
        layer = _layer(row, uncompressed_ratio, file)
        sizes[layer.digest] = _larger(sizes.get(layer.digest, layer), layer)
    keys = [(str(row.get("platform") or ""), str(row["image"])) for row in rows]
    stacks: dict[tuple[str, str], dict[str, Layer]] = {key: {} for key in keys}
    first = dict(zip(reversed(keys), reversed(rows), strict=True))
    for key, row in sorted(
        zip(keys, rows, strict=True), key=lambda pair: pair[1]["position"]
    ):
        digest = str(row["digest"])
        stacks[key].setdefault(digest, sizes[digest])
    found: dict[str, dict[str, ContainerImage]] = {}
    for (platform, name), stack in stacks.items():
        row = first[platform, name]
        found.setdefault(platform, {})[name] = ContainerImage(
            name=name,
            layers=tuple(stack.values()),
            manifest_digest=str(row.get("manifest_digest") or ""),
            index_digest=str(row.get("index_digest") or ""),
        )
    return found


def conflicting_digests(file: Path) -> tuple[str, ...]:
    """Digests to which a table gives several sizes, which one content cannot have."""
    seen: dict[str, set[tuple[int, int]]] = {}
    for row in _rows(file):
        layer = _layer(row, UNCOMPRESSED_RATIO, file)
        size = (layer.compressed_bytes, layer.uncompressed_bytes)
        seen.setdefault(layer.digest, set()).add(size)
    return tuple(sorted(digest for digest, sizes in seen.items() if len(sizes) > 1))


def _rows(file: Path) -> list[dict[str, Any]]:
    """Rows with image, position, digest, compressed and perhaps uncompressed bytes."""
    with documents.expected(f"{file}: expected a Parquet table of layers:", _HINT):
        table = documents.read_parquet(file)
    names = set(table.column_names)
    size = "compressed_bytes" if "compressed_bytes" in names else "size_bytes"
    if missing := {"image", "position", "digest", size} - names:
        message = f"{file}: columns {sorted(missing)} are missing"
        raise DataError(message, _HINT)
    kept = {c: c for c in ("image", "position", "digest", "uncompressed_bytes")}
    kept = {c: name for c, name in kept.items() if c in names} | {
        size: "compressed_bytes"
    }
    n_needed = len(kept)
    kept |= {c: c for c in _KNOWN_OF_SOME if c in names}
    table = table.select(list(kept)).rename_columns(list(kept.values()))
    if any(column.null_count for column in table.columns[:n_needed]):
        message = f"{file}: expected a value in every row, found nulls"
        raise DataError(message, _HINT)
    if not table.num_rows:
        message = f"{file}: expected at least one container image, found none"
        raise DataError(message, _HINT)
    return table.to_pylist()


def _larger(one: Layer, other: Layer) -> Layer:
    if one == other:
        return one
    return Layer(
        digest=one.digest,
        compressed_bytes=max(one.compressed_bytes, other.compressed_bytes),
        uncompressed_bytes=max(one.uncompressed_bytes, other.uncompressed_bytes),
        is_estimated=one.is_estimated or other.is_estimated,
    )


def _layer(row: Mapping[str, Any], ratio: float, file: Path) -> Layer:
    compressed = row["compressed_bytes"]
    uncompressed = row.get("uncompressed_bytes")
    if not isinstance(compressed, int) or isinstance(compressed, bool):
        message = f"{file}: expected sizes as whole numbers, found {compressed!r}"
        raise DataError(message, _HINT)
    is_estimated = uncompressed is None or bool(row.get("is_estimated"))
    if uncompressed is None:
        uncompressed = math.ceil(compressed * ratio)
    return Layer(
        digest=str(row["digest"]),
        compressed_bytes=compressed,
        uncompressed_bytes=uncompressed,
        is_estimated=is_estimated,
    )


def builtin_images(*, scale: float = 1.0, seed: int = 0) -> dict[str, ContainerImage]:
    """Make up 24 images: ``audio1`` to ``audio12`` and ``yolo1`` to ``yolo12``.

    Four stacks of base layers are shared by six images each, and four heavy stacks
    (a framework) by one image of each sort; all other layers are private.

    Args:
        scale: factor on all sizes.
        seed: of what is left to chance; equal seeds give equal digests.

    Raises:
        DataError: the scale is not above 0.
    """
    if not (math.isfinite(scale) and scale > 0):
        message = f"expected a scale above 0, found {scale}"
        raise DataError(message)
    rng = np.random.default_rng([seed, 24])
    names = [f"{sort}{n + 1}" for n in range(_N_EACH) for sort in ("audio", "yolo")]
    targets = np.linspace(_SMALLEST_BYTES, _LARGEST_BYTES, len(names))
    order = rng.permutation(len(names))
    bases = [
        _stack(f"base-{i}", _BASE_BYTES, int(rng.integers(7, 10)), scale, seed, rng)
        for i in range(_N_BASES)
    ]
    shared = {
        number: list(bases[place % _N_BASES]) for place, number in enumerate(order)
    }
    # Heavy stacks are shared by the largest images, one of each sort.
    by_size = sorted(range(len(names)), key=lambda number: -targets[order[number]])
    sorts = [[n for n in by_size if n % 2 == sort][:_N_PAIRS] for sort in (0, 1)]
    for pair, members in enumerate(zip(*sorts, strict=True)):
        heavy = _stack(f"heavy-{pair}", _PAIR_BYTES, 3, scale, seed, rng)
        for number in members:
            shared[number] += heavy
    images: dict[str, ContainerImage] = {}
    for number, name in enumerate(names):
        stack = shared[number]
        rest = targets[order[number]] - sum(x.compressed_bytes for x in stack) / scale
        n = int(rng.integers(16, 25)) - len(stack)
        own = _stack(name, float(rest), max(4, n), scale, seed, rng)
        images[name] = ContainerImage(name=name, layers=(*stack, *own))
    return images


def _stack(
    name: str, n_bytes: float, n: int, scale: float, seed: int, rng: np.random.Generator
) -> list[Layer]:
    """Layers of very different sizes that have some bytes together."""
    shares = rng.lognormal(0.0, 1.5, n)
    ratios = rng.normal(UNCOMPRESSED_RATIO, 0.2, n).clip(1.2, 2.6)
    layers: list[Layer] = []
    for number, (share, ratio) in enumerate(
        zip(shares / shares.sum(), ratios, strict=True)
    ):
        size = max(1, round(n_bytes * scale * share))
        text = f"midhaul {seed} {scale} {name} {number}"
        layers.append(
            Layer(
                digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
                compressed_bytes=size,
                uncompressed_bytes=math.ceil(size * ratio),
            )
        )
    return layers


def in_compressed_bytes(
    images: Mapping[str, ContainerImage],
) -> dict[str, ContainerImage]:
    """The same images with compressed bytes counted on the disk as well.

    Which is wrong, and what some studies do; it is here to repeat theirs.
    """
    return {
        name: ContainerImage(
            name=name,
            layers=tuple(
                Layer(
                    digest=layer.digest,
                    compressed_bytes=layer.compressed_bytes,
                    uncompressed_bytes=layer.compressed_bytes,
                )
                for layer in image.layers
            ),
        )
        for name, image in images.items()
    }
