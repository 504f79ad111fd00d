"""Pushes to a registry with locks, and to one that leads elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.deploy.store.stub import Stub

from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.making import MadeImage, PushRecord, make_images, push_image
from midhaul.errors import NodeError, PrerequisiteError

if TYPE_CHECKING:
    from pathlib import Path


def made(folder: Path) -> MadeImage:
    """An image of two layers."""
    layers = tuple(
        Layer(digest=f"{n}", compressed_bytes=n, uncompressed_bytes=n)
        for n in (3_000, 600_000)
    )
    return make_images({"a": ContainerImage(name="a", layers=layers)}, folder)["a"]


async def push(stub: Stub, image: MadeImage) -> PushRecord:
    """Push an image to a running stub."""
    async with RegistryClient(environ={}) as client:
        return await push_image(client, image, stub.reference)


@pytest.mark.parametrize("is_token_needed", [True, False])
def test_an_image_is_pushed_to_where_the_registry_says(
    tmp_path: Path, *, is_token_needed: bool
) -> None:
    """The place may be a path with a query; each blob is sent once, whole."""
    image = made(tmp_path)

    async def run() -> None:
        async with Stub(is_token_needed=is_token_needed) as stub:
            record = await push(stub, image)
            assert record.n_pushed == 3
            assert stub.manifests["latest"][1] == image.manifest
            for layer in image.layers:
                assert stub.blobs[layer.digest] == layer.path.read_bytes()
            assert (await push(stub, image)).n_present == 3

    asyncio.run(run())


def test_a_token_does_not_go_to_an_upload_elsewhere(tmp_path: Path) -> None:
    """Bytes may go to a store of the registry, and what opens the registry not."""
    image = made(tmp_path)

    async def run() -> None:
        async with Stub(is_token_needed=True) as stub, Stub() as store:
            stub.place = f"http://{store.address}/v2/a/b/blobs/uploads/1?state=x%3D"
            await push(stub, image)
            assert len(store.blobs) == 3
            assert {said for _, said in store.seen} == {None}

    asyncio.run(run())


def test_a_registry_that_names_no_place_is_said(tmp_path: Path) -> None:
    """And so is one that denies the right to push."""
    image = made(tmp_path)

    async def run() -> None:
        async with Stub(place="") as stub:
            with pytest.raises(NodeError, match="named no place"):
                await push(stub, image)
        async with Stub(is_basic=True, user="me") as stub:
            with pytest.raises(PrerequisiteError, match="denies access"):
                await push(stub, image)

    asyncio.run(run())
