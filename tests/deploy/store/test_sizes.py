"""What a layer takes unpacked, from its first and last bytes."""

from __future__ import annotations

import asyncio
import gzip
import io
import random
import shutil
import subprocess
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.store.stub import LAYER, Stub, descriptor, digest_of, manifest

from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.failures import Patience, RegistryRetries
from midhaul.deploy.store.reader import ImageRecord, read_image
from midhaul.deploy.store.sizes import gzip_size, zstd_bytes

WRAP = 2**32
ZSTD = LAYER.replace("gzip", "zstd")


def tar_of(n_random: int, n_zeros: int = 0) -> bytes:
    """A layer: some noise, some zeros."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        content = random.Random(n_random).randbytes(n_random) + bytes(n_zeros)
        info = tarfile.TarInfo("file")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def read(layers: list[tuple[bytes, str]], **options: bool) -> ImageRecord:
    """Read an image with packed layers of some media types."""
    stub = Stub(**({"has_ranges": True} | options))
    content = manifest(
        stub,
        [descriptor(stub, packed, kind) for packed, kind in layers],
        {"os": "linux", "architecture": "amd64"},
    )
    stub.add_manifest(content, "latest")

    async def run() -> ImageRecord:
        async with stub, RegistryClient(environ={}) as client:
            patience = Patience(RegistryRetries(n_most=0))
            return await read_image(client, stub.reference, patience=patience)

    return asyncio.run(run())


def test_gzip_layers_have_their_exact_sizes() -> None:
    """Small ones are counted, large ones end in their length; most is not fetched."""
    tars = [tar_of(100), tar_of(200_000, 900_000), tar_of(10, 3_000_000)]
    record = read([(gzip.compress(tar), LAYER) for tar in tars])
    sizes = [layer.uncompressed_bytes for layer in record.image.layers]
    assert sizes == [len(tar) for tar in tars]
    assert not record.estimated


def test_a_registry_without_ranges_leaves_estimates() -> None:
    """They are marked, layer by layer; nothing is fetched to its end."""
    packed = gzip.compress(tar_of(200_000))
    record = read([(packed, LAYER)], has_ranges=False)
    assert record.estimated == {digest_of(packed)}


@pytest.mark.parametrize(
    "members",
    [
        [(200_000, 0), (0, 0)],  # an empty one at the end, as eStargz and bgzip have
        [(100, 0), (300_000, 0)],  # ends within the first bytes
        [(200_000, 0), (100, 0)],  # a last one that is too small to be all
    ],
)
def test_several_members_are_not_taken_for_one(members: list[tuple[int, int]]) -> None:
    """The last length is that of the last member only."""
    parts = [tar_of(n, z) if n or z else b"" for n, z in members]
    packed = b"".join(map(gzip.compress, parts))
    record = read([(packed, LAYER)])
    assert record.estimated == {digest_of(packed)}


def test_what_is_no_gzip_is_an_estimate() -> None:
    """The media type promised one."""
    packed = random.Random(0).randbytes(50_000)
    assert read([(packed, LAYER)]).estimated == {digest_of(packed)}


def test_an_annotation_tells_the_size_of_many_members() -> None:
    """Builders of eStargz write it into the manifest."""
    stub = Stub(has_ranges=True)
    parts = [tar_of(90_000), tar_of(80_000)]
    layer = descriptor(stub, b"".join(map(gzip.compress, parts)))
    notes = {"io.containers.estargz.uncompressed-size": "123456"}
    config = {"os": "linux", "architecture": "amd64"}
    stub.add_manifest(
        manifest(stub, [{**layer, "annotations": notes}], config), "latest"
    )

    async def run() -> ImageRecord:
        async with stub, RegistryClient(environ={}) as client:
            return await read_image(client, stub.reference)

    record = asyncio.run(run())
    assert record.image.uncompressed_bytes == 123_456
    assert not record.estimated


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_zstd_layers_have_their_exact_sizes_where_frames_tell() -> None:
    """A frame made from a file knows its size; one from a pipe does not."""
    tars = [tar_of(200_000, 900_000), tar_of(400_000)]

    def zstd(tar: bytes, *options: str) -> bytes:
        argv = ["zstd", "-q", "-c", *options]
        return subprocess.run(argv, input=tar, capture_output=True, check=True).stdout

    told = [zstd(tar, f"--stream-size={len(tar)}") for tar in tars]
    untold, double = zstd(tars[0]), told[1] + told[0]
    record = read([(packed, ZSTD) for packed in (*told, untold, double)])
    sizes = [layer.uncompressed_bytes for layer in record.image.layers]
    assert sizes[:2] == [len(tar) for tar in tars]
    assert record.estimated == {digest_of(untold), digest_of(double)}


def test_a_skippable_frame_is_no_size() -> None:
    """Parallel zstd writes one first."""
    head = b"\x50\x2a\x4d\x18" + bytes(30)
    assert zstd_bytes(head, 100_000) is None


@given(st.integers(20_000, 10**10), st.floats(1.0, 30.0), st.floats(1.0, 1000.0))
@settings(max_examples=300)
def test_a_size_that_is_called_exact_is_the_only_usual_one(
    n_bytes: int, ratio: float, head_ratio: float
) -> None:
    """Whatever was packed: exact means right, where its ratio is at most 10."""
    true = int(n_bytes * ratio)
    found = gzip_size(true % WRAP, n_bytes, head_ratio, 1.85)
    assert found is not None
    assert (found.n_bytes - true) % WRAP == 0
    if found.is_exact and ratio <= 10:
        assert found.n_bytes == true


def test_the_length_wraps_at_four_gigabytes() -> None:
    """What is larger is the likely multiple, and an estimate where others could be."""
    large = gzip_size((5 * 10**9) % WRAP, 27 * 10**8, 1.8, 1.85)
    assert (large.n_bytes, large.is_exact) == (5 * 10**9, False) if large else False
    small = gzip_size(7 * 10**7, 3 * 10**7, 2.5, 1.85)
    assert (small.n_bytes, small.is_exact) == (7 * 10**7, True) if small else False
    zeros = gzip_size((5 * 10**9) % WRAP, 5 * 10**6, 1000.0, 1.85)
    assert zeros is not None
    assert not zeros.is_exact


def test_a_stored_layer_is_larger_than_its_content() -> None:
    """Noise does not shrink: its length is below that of the gzip, and right."""
    tar = tar_of(300_000)
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    packed = packer.compress(tar) + packer.flush()
    assert len(packed) > len(tar)
    record = read([(packed, LAYER)])
    assert record.image.uncompressed_bytes == len(tar)
    assert not record.estimated
