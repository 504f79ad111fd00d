"""Images that midhaul makes: real gzips of real tars, of the sizes that were asked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store.making import make_images
from midhaul.errors import DataError


def image(name: str, *sizes: tuple[int, int]) -> ContainerImage:
    """An image whose layers are named by their sizes."""
    return ContainerImage(
        name=name,
        layers=tuple(
            Layer(digest=f"{c}/{u}", compressed_bytes=c, uncompressed_bytes=u)
            for c, u in sizes
        ),
    )


def test_a_layer_is_a_gzip_of_a_tar(tmp_path: Path) -> None:
    """With one file, and no time anywhere."""
    made = make_images({"a": image("a", (10_000, 25_000))}, tmp_path)["a"]
    (layer,) = made.layers
    packed = layer.path.read_bytes()
    assert packed[4:8] == bytes(4)
    content = gzip.decompress(packed)
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (layer.compressed_bytes, layer.uncompressed_bytes) == (
        len(packed),
        len(content),
    )
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        (member,) = tar.getmembers()
        assert (member.mtime, member.size) == (0, 25_000 - 3 * 512)
    assert tmp_path.joinpath(layer.digest.removeprefix("sha256:")) == layer.path


@given(
    compressed=st.integers(0, 3_000_000),
    ratio=st.floats(0.5, 50),
    scale=st.sampled_from([1.0, 0.05]),
)
@settings(max_examples=25, deadline=None)
def test_sizes_are_met(compressed: int, ratio: float, scale: float) -> None:
    """Within 2 %, or a few hundred bytes where a tar cannot be smaller."""
    wanted = round(compressed * ratio)
    asked = image("a", (compressed, wanted))
    with tempfile.TemporaryDirectory() as folder:
        (layer,) = make_images({"a": asked}, Path(folder), scale=scale)["a"].layers
        gzip.decompress(layer.path.read_bytes())
    assert layer.compressed_bytes == pytest.approx(
        compressed * scale, rel=0.02, abs=700
    )
    assert layer.uncompressed_bytes == pytest.approx(
        max(wanted, compressed) * scale, rel=0.02, abs=2_048
    )


def test_the_same_plan_gives_the_same_images(tmp_path: Path) -> None:
    """Whenever and wherever they are made; another seed gives others."""
    plan = {"a": image("a", (5_000, 9_000), (70_000, 90_000))}
    first = make_images(plan, tmp_path / "1")["a"]
    again = make_images(plan, tmp_path / "2")["a"]
    other = make_images(plan, tmp_path / "3", seed=1)["a"]
    assert first.manifest == again.manifest
    assert not {x.digest for x in first.layers} & {x.digest for x in other.layers}


def test_equal_layers_of_a_plan_stay_equal(tmp_path: Path) -> None:
    """What two images share, they share in the registry."""
    base, own = (5_000, 9_000), (6_000, 9_000)
    made = make_images({"a": image("a", base), "b": image("b", base, own)}, tmp_path)
    assert made["a"].layers[0] == made["b"].layers[0]
    assert made["b"].image.layers[0].digest == made["b"].layers[0].digest
    assert len(list(tmp_path.iterdir())) == 2


def test_configuration_and_manifest_describe_the_layers(tmp_path: Path) -> None:
    """As the OCI image specification wants it."""
    made = make_images({"a": image("a", (5_000, 9_000))}, tmp_path, architecture="arm")
    config, manifest = json.loads(made["a"].config), json.loads(made["a"].manifest)
    assert config["rootfs"]["diff_ids"] == [made["a"].layers[0].diff_id]
    assert (config["os"], config["architecture"]) == ("linux", "arm")
    assert manifest["config"]["digest"] == made["a"].config_digest
    assert manifest["layers"][0]["size"] == made["a"].layers[0].compressed_bytes


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_must_be_above_zero(tmp_path: Path, scale: float) -> None:
    """Images of nothing cannot be made."""
    with pytest.raises(DataError, match="scale above 0"):
        make_images({}, tmp_path, scale=scale)
