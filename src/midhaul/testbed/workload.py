"""The workload: runs the load generator against nodes over HTTP, on its own loop."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

import uvloop

from midhaul.testbed.clock import precise_clock
from midhaul.testbed.load import generate
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import numpy as np

    from midhaul.testbed.load import Load
    from midhaul.testbed.records import RequestRecord
    from midhaul.testbed.running import Guard
    from midhaul.testbed.scenarios import Scenario, Stop
    from midhaul.testbed.target import Reply
    from midhaul.testbed.warmup import Warmup
    from midhaul.wire import Answer


class HttpTarget:
    """Nodes that answer over HTTP, and the images to ask them about.

    Args:
        client: an open client.
        urls: address by name of the node.
        images: encoded bytes by id.
    """

    def __init__(
        self, client: Client, urls: Mapping[str, str], images: Mapping[str, bytes]
    ) -> None:
        self._client = client
        self._urls = urls
        self._images = images

    async def send(
        self, node: str, images: Sequence[str], *, timeout_s: float
    ) -> Answer:
        """Ask a node about some images."""
        items = [(image, self._images[image]) for image in images]
        return await self._client.infer(self._urls[node], items, timeout_s=timeout_s)


def run_load(  # noqa: PLR0913
    scenario: Scenario,
    urls: Mapping[str, str],
    images: Mapping[str, bytes],
    order: Sequence[str],
    *,
    stop: Stop,
    rng: np.random.Generator,
    timeout_s: float,
    warmup: Warmup | None = None,
    guard: Guard | None = None,
    on_done: Callable[[RequestRecord, Reply], None] | None = None,
) -> Load:
    """Send a load to nodes over HTTP and wait for all of its answers.

    Blocks its thread, in which an event loop of its own runs. Garbage collection rests
    meanwhile: its pauses would make sends late.

    Args:
        scenario: how the workload behaves.
        urls: address by name of the node; they take turns in this order.
        images: encoded bytes by id.
        order: ids in the order in which they are asked.
        stop: when enough judged requests were sent.
        rng: chance of the arrivals.
        timeout_s: after which a request counts as failed.
        warmup: when the cell counts as steady; without one, it counts from the begin.
        guard: when to end early.
        on_done: called with each finished request and its answer.
    """

    async def work() -> Load:
        async with Client() as client:
            with precise_clock() as clock:
                return await generate(
                    scenario,
                    HttpTarget(client, urls, images),
                    order,
                    stop=stop,
                    nodes=tuple(urls),
                    rng=rng,
                    clock=clock,
                    timeout_s=timeout_s,
                    warmup=warmup,
                    guard=guard,
                    on_done=on_done,
                )

    with _no_garbage_collection():
        return uvloop.run(work())


@contextlib.contextmanager
def _no_garbage_collection() -> Generator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
