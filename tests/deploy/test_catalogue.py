"""Container images from tables, and made-up ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midhaul.deploy.catalogue import (
    builtin_images,
    conflicting_digests,
    in_compressed_bytes,
    read_images,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, **columns: object) -> Path:
    """A table of layers."""
    file = folder / "images.parquet"
    pq.write_table(pa.table(cast("Any", columns)), file)
    return file


def test_built_in_images_look_like_the_seeds() -> None:
    """24 images of 16 to 24 layers and 757 to 2,257 MB, about a third shared."""
    images = builtin_images()
    sizes = [image.compressed_bytes / 1e6 for image in images.values()]
    assert len(images) == 24
    assert sum(name.startswith("audio") for name in images) == 12
    assert all(16 <= len(image.layers) <= 24 for image in images.values())
    assert (min(sizes), max(sizes)) == (pytest.approx(757), pytest.approx(2257))
    layers = {x.digest: x.compressed_bytes for i in images.values() for x in i.layers}
    shared = 1 - sum(layers.values()) / 1e6 / sum(sizes)
    assert 0.25 < shared < 0.4


def test_built_in_images_follow_their_seed_and_scale() -> None:
    """Equal seeds give equal layers; a scale makes every image smaller alike."""
    assert builtin_images(seed=3) == builtin_images(seed=3)
    assert builtin_images(seed=3) != builtin_images(seed=4)
    whole, small = builtin_images(), builtin_images(scale=0.01)
    for name, image in whole.items():
        assert small[name].compressed_bytes == pytest.approx(
            image.compressed_bytes / 100, rel=1e-4
        )
    with pytest.raises(DataError, match="scale above 0"):
        builtin_images(scale=0.0)


def test_layers_come_in_the_order_of_their_positions(tmp_path: Path) -> None:
    """Rows may come in any order, and a layer that is listed twice counts once."""
    file = write(
        tmp_path,
        image=["b", "a", "a", "a"],
        position=[0, 2, 0, 1],
        digest=["base", "base", "base", "top"],
        size_bytes=[100, 100, 100, 7],
    )
    images = read_images(file, uncompressed_ratio=1.5)
    assert list(images) == ["b", "a"]
    assert [layer.digest for layer in images["a"].layers] == ["base", "top"]
    assert images["a"].uncompressed_bytes == 150 + 11
    assert in_compressed_bytes(images)["a"].uncompressed_bytes == 107


def test_tables_that_are_none_are_refused(tmp_path: Path) -> None:
    """A missing column, a null, a size that is no number and no file are named."""
    good = {"image": ["a"], "position": [0], "digest": ["x"], "size_bytes": [1]}
    with pytest.raises(DataError, match=r"\['digest'\] are missing"):
        read_images(write(tmp_path, **{k: v for k, v in good.items() if k != "digest"}))
    with pytest.raises(DataError, match="found nulls"):
        read_images(write(tmp_path, **{**good, "digest": [None]}))
    with pytest.raises(DataError, match="sizes as whole numbers"):
        read_images(write(tmp_path, **{**good, "size_bytes": [1.5]}))
    with pytest.raises(DataError, match="at least one container image"):
        read_images(write(tmp_path, **{k: [] for k in good}))
    with pytest.raises(DataError, match="expected a Parquet table"):
        read_images(tmp_path / "nothing.parquet")


def test_a_layer_with_two_sizes_has_the_larger_one(tmp_path: Path) -> None:
    """A size that was noted during a pull is too small; the digest is told."""
    file = write(
        tmp_path,
        image=["a", "b", "b"],
        position=[0, 0, 1],
        digest=["base", "base", "top"],
        size_bytes=[100, 30, 5],
    )
    images = read_images(file, uncompressed_ratio=1.0)
    assert images["a"].layers[0] == images["b"].layers[0]
    assert images["b"].compressed_bytes == 105
    assert conflicting_digests(file) == ("base",)


def test_real_catalogues_are_read(data_dir: Path) -> None:
    """The seed's 24 images with both sizes, and Docker Hub's with one."""
    seed = read_images(data_dir / "iot_seed" / "images.parquet")
    assert len({x.digest for i in seed.values() for x in i.layers}) == 247
    conflicts = conflicting_digests(data_dir / "iot_seed" / "images.parquet")
    assert conflicts == ("4659d0174ec9", "a61b86390bd9")
    hub = read_images(data_dir / "dockerhub" / "amd64_2018.parquet")
    assert sum(len(image.layers) for image in hub.values()) <= 8626
    assert len(hub) == 1084
