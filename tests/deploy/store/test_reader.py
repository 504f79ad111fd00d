"""The reader: from a registry to container images that can be planned with."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from tests.deploy.store.stub import (
    INDEX,
    LAYER,
    MANIFEST,
    Stub,
    answers,
    descriptor,
    digest_of,
    manifest,
    packed,
)

from midhaul.deploy import catalogue
from midhaul.deploy.catalogue import UNCOMPRESSED_RATIO
from midhaul.deploy.store import read_images, write_layers
from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.failures import Patience, RegistryRetries
from midhaul.deploy.store.reader import ImageRecord, read_image
from midhaul.errors import DataError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE, TOP = b"base" * 1_000, b"top" * 2_000
LARGE = random.Random(1).randbytes(30_000)
N_BASE = len(packed(BASE))
ONCE = Patience(RegistryRetries(n_most=0))
CONFIG = {"os": "linux", "architecture": "amd64"}


def read(stub: Stub, **options: Any) -> ImageRecord:
    """Read the image ``latest`` of a stub."""

    async def run() -> ImageRecord:
        async with stub, RegistryClient(environ={}) as client:
            return await read_image(client, stub.reference, patience=ONCE, **options)

    return asyncio.run(run())


def test_an_image_has_its_layers_with_sizes() -> None:
    """Small layers are counted; where no parts are given, others are estimated."""
    stub = Stub()
    digest = stub.add_image([LARGE, TOP], "latest")
    record = read(stub)
    sizes = [len(packed(LARGE)), len(packed(TOP))]
    assert [layer.compressed_bytes for layer in record.image.layers] == sizes
    assert [layer.uncompressed_bytes for layer in record.image.layers] == [
        math.ceil(sizes[0] * UNCOMPRESSED_RATIO),
        len(TOP),
    ]
    assert record.estimated == {digest_of(packed(LARGE))}
    assert record.has_estimates
    assert [layer.is_estimated for layer in record.image.layers] == [True, False]
    assert record.manifest_digest == record.image.manifest_digest == digest
    assert record.index_digest == ""
    assert record.platform == "linux/amd64"
    assert record.image.name == stub.reference


def test_known_sizes_take_the_place_of_estimates() -> None:
    """By the digest of a layer, or by that of its content (diff id)."""
    stub = Stub()
    stub.add_image([BASE, TOP], "latest")
    known = {digest_of(packed(BASE)): 11, digest_of(TOP): 22}
    record = read(stub, known_bytes=known)
    assert [layer.uncompressed_bytes for layer in record.image.layers] == [11, 22]
    assert not record.has_estimates


def test_a_layer_that_is_not_compressed_needs_no_estimate() -> None:
    """Its size on the network is its size unpacked."""
    stub = Stub()
    stub.add_image([BASE], "latest", media_type=LAYER.removesuffix("+gzip"))
    record = read(stub)
    assert record.image.layers[0].uncompressed_bytes == len(BASE)
    assert not record.has_estimates


def test_an_index_leads_to_the_image_of_a_platform() -> None:
    """Another platform, another image; one that is not offered is an error."""
    stub = Stub()
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": stub.add_image([content], os="linux", architecture=arch),
            "size": 1,
            "platform": {"os": "linux", "architecture": arch, "variant": variant},
        }
        for content, arch, variant in ((BASE, "amd64", ""), (TOP, "arm", "v7"))
    ]
    stub.add_manifest({"mediaType": INDEX, "manifests": entries}, "latest")
    record = read(stub, platform="linux/arm/v7")
    assert record.image.layers[0].digest == digest_of(packed(TOP))
    assert record.platform == "linux/arm"
    with pytest.raises(DataError, match="only for: linux/amd64, linux/arm"):
        read(stub, platform="linux/s390x")


def test_an_index_of_indexes_has_an_end() -> None:
    """A registry cannot send the reader in circles."""
    stub = Stub()
    digest = digest_of(b"")
    for _ in range(6):
        entry = {"digest": digest, "size": 1,
                 "platform": {"os": "linux", "architecture": "amd64"}}  # fmt: skip
        digest = stub.add_manifest({"mediaType": INDEX, "manifests": [entry]}, "latest")
    with pytest.raises(DataError, match="an index of indexes"):
        read(stub)


def test_an_image_of_another_platform_is_refused() -> None:
    """Without an index, the configuration tells what the image is for."""
    stub = Stub()
    stub.add_image([BASE], "latest", architecture="arm64")
    with pytest.raises(DataError, match="is for linux/arm64 only, not for linux/amd64"):
        read(stub)


def test_a_layer_that_the_registry_does_not_have_is_named() -> None:
    """Image, layer and registry are in the message."""
    stub = Stub()
    stub.add_image([BASE, TOP], "latest")
    missing = digest_of(packed(TOP))
    del stub.blobs[missing]
    with pytest.raises(DataError, match=f"lists layer {missing}, which registry"):
        read(stub)
    assert len(read(stub, is_checked=False).image.layers) == 2


def test_a_layer_of_another_size_is_named() -> None:
    """The registry and the manifest must agree."""
    stub = Stub()
    layer = {**descriptor(stub, packed(BASE)), "size": 5}
    stub.add_manifest(manifest(stub, [layer], CONFIG), "latest")
    with pytest.raises(DataError, match="says 5 bytes for layer"):
        read(stub)


def test_a_layer_that_is_listed_twice_is_pulled_once() -> None:
    """Also where its diff ids are counted twice."""
    stub = Stub()
    stub.add_image([BASE, TOP, BASE], "latest")
    record = read(stub, known_bytes={digest_of(BASE): 1, digest_of(TOP): 2})
    assert [layer.uncompressed_bytes for layer in record.image.layers] == [1, 2]


def test_a_foreign_layer_is_counted_and_marked() -> None:
    """The registry is not asked for it."""
    stub = Stub()
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    foreign = {"mediaType": kind, "digest": digest_of(b"?"), "size": 9,
               "urls": ["https://elsewhere/x"]}  # fmt: skip
    content = manifest(stub, [foreign, descriptor(stub, packed(BASE))], CONFIG)
    stub.add_manifest(content, "latest")
    record = read(stub)
    assert record.foreign == {digest_of(b"?")}
    assert record.image.layers[0].compressed_bytes == 9


def test_a_layer_of_zero_bytes_is_read() -> None:
    """It costs nothing, and an estimate of nothing is nothing."""
    stub = Stub()
    content = manifest(stub, [descriptor(stub, b"")], CONFIG)
    stub.add_manifest(content, "latest")
    assert read(stub).image.uncompressed_bytes == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda stub: stub.add_manifest(manifest(stub, [], CONFIG), "latest"),
         "has no layers"),
        (lambda stub: stub.faults.append(answers(200, b"<html>")), "expected digest"),
        (lambda stub: stub.faults.extend([None, answers(200, bytes(N_BASE))]),
         "layer of .* expected digest"),
        (lambda stub: stub.blobs.clear(), "answered 404 for blob"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_image_is_said(
    change: Callable[[Stub], object], match: str
) -> None:
    """No layers, a configuration that was changed or is not there."""
    stub = Stub()
    stub.add_image([BASE], "latest")
    change(stub)
    with pytest.raises(DataError, match=match):
        read(stub)


def test_a_ratio_below_one_is_refused() -> None:
    """Unpacking makes nothing smaller."""
    with pytest.raises(DataError, match="at least 1"):
        read(Stub(), ratio=0.5)


def test_many_images_are_read_without_asyncio() -> None:
    """The planner calls a function; each reference is read once."""
    stub = Stub()
    stub.add_image([BASE], "latest", "one")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(stub.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        names = [stub.reference, f"{stub.address}/a/b:one", stub.reference]
        records = read_images(names)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(stub.__aexit__())
        loop.close()
    assert list(records) == names[:2]
    assert stub.asked["GET latest"] == 1


def test_what_was_read_is_kept_in_a_table_that_plans_read(tmp_path: Path) -> None:
    """The images are the same again, and the table says which sizes are estimates."""
    stub = Stub()
    stub.add_image([LARGE, TOP], "latest")
    record = read(stub, known_bytes={digest_of(TOP): 22})
    file = tmp_path / "layers.parquet"
    write_layers([record], file)
    assert catalogue.read_images(file) == {record.image.name: record.image}
    assert pq.read_table(file)["is_estimated"].to_pylist() == [True, False]
    with pytest.raises(StoreError, match="cannot write"):
        write_layers([record], tmp_path / "none" / "layers.parquet")
