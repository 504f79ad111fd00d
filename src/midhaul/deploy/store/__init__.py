"""Container registries: read them, pull from them, push to them, store their layers.

What a gateway does with a container image, from top to bottom::

    async with RegistryClient(plain_http=("10.0.0.1:5000",)) as client:
        with LayerStore(folder) as store:
            puller = Puller(store, client, rng=rng, rate_bps=100e6)
            record = await puller.pull("10.0.0.1:5000/yolo:1", name="yolo")
            store.hold("yolo")                    # its layers cannot be deleted now
            ...
            store.release("yolo")
            for digest in policy(store.state(), n_bytes):  # an eviction policy
                store.delete(digest)

and where the images of an experiment come from::

    made = make_images(images, folder / "made", scale=1 / 20)   # by name of the image
    with RegistryServer(folder / "registry") as server:
        async with RegistryClient(plain_http=(server.address,)) as client:
            for name, image in made.items():
                await push_image(client, image, f"{server.address}/{name}:1", shared)

A plan with images of one's own reads them first: ``read_images(["debian:12", …])``
(any registry) or ``read_engine()`` (a local Docker engine), and ``write_layers`` keeps
them in a file. Names are imported when they are first used: aiohttp may be missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.deploy.store.access import Access
    from midhaul.deploy.store.client import RegistryClient
    from midhaul.deploy.store.engine import EngineImage, known_bytes, read_engine
    from midhaul.deploy.store.exchange import ExchangeLimits
    from midhaul.deploy.store.failures import Patience, RegistryRetries, all_of
    from midhaul.deploy.store.making import (
        MadeImage,
        MadeLayer,
        PushRecord,
        make_images,
        push_image,
    )
    from midhaul.deploy.store.manifests import Platform
    from midhaul.deploy.store.puller import LayerPull, Puller, PullRecord
    from midhaul.deploy.store.reader import (
        ImageReader,
        ImageRecord,
        Reading,
        read_image,
        read_images,
        read_wanted,
    )
    from midhaul.deploy.store.reference import Reference, parse_reference
    from midhaul.deploy.store.resolve import NotOfferedError
    from midhaul.deploy.store.server import RegistryServer
    from midhaul.deploy.store.skopeo import SkopeoSource
    from midhaul.deploy.store.store import LayerStore
    from midhaul.deploy.store.store_index import StoredImage, StoredLayer, StoreState
    from midhaul.deploy.store.table import read_layers, write_layers

__all__ = [
    "Access",
    "EngineImage",
    "ExchangeLimits",
    "ImageReader",
    "ImageRecord",
    "LayerPull",
    "LayerStore",
    "MadeImage",
    "MadeLayer",
    "NotOfferedError",
    "Patience",
    "Platform",
    "PullRecord",
    "Puller",
    "PushRecord",
    "Reading",
    "Reference",
    "RegistryClient",
    "RegistryRetries",
    "RegistryServer",
    "SkopeoSource",
    "StoreState",
    "StoredImage",
    "StoredLayer",
    "all_of",
    "known_bytes",
    "make_images",
    "parse_reference",
    "push_image",
    "read_engine",
    "read_image",
    "read_images",
    "read_layers",
    "read_wanted",
    "write_layers",
]

_MODULES = {
    "Access": "access",
    "EngineImage": "engine",
    "ImageReader": "reader",
    "ImageRecord": "reader",
    "LayerPull": "puller",
    "LayerStore": "store",
    "ExchangeLimits": "exchange",
    "MadeImage": "making",
    "MadeLayer": "making",
    "NotOfferedError": "resolve",
    "Patience": "failures",
    "Platform": "manifests",
    "PullRecord": "puller",
    "Puller": "puller",
    "PushRecord": "making",
    "Reading": "reader",
    "Reference": "reference",
    "RegistryClient": "client",
    "RegistryServer": "server",
    "RegistryRetries": "failures",
    "SkopeoSource": "skopeo",
    "StoreState": "store_index",
    "StoredImage": "store_index",
    "StoredLayer": "store_index",
    "all_of": "failures",
    "known_bytes": "engine",
    "make_images": "making",
    "parse_reference": "reference",
    "push_image": "making",
    "read_engine": "engine",
    "read_image": "reader",
    "read_images": "reader",
    "read_layers": "table",
    "read_wanted": "reader",
    "write_layers": "table",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
