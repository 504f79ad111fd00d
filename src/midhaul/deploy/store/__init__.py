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

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
