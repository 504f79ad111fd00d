"""The gateway's side of the registry: pulls, holds and deletes when it is told to.

It alone has the layer store open, and runs in the gateway's namespace, so that layers
come over the shaped link. Orders are carried out side by side: a hold does not wait for
a pull.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.live.channel import orders, tell
from midhaul.deploy.registry.client import RegistryClient
from midhaul.deploy.registry.patience import Retries
from midhaul.deploy.registry.puller import Puller
from midhaul.deploy.registry.store import LayerStore
from midhaul.deploy.registry.store_index import dump_index
from midhaul.errors import MidhaulError

if TYPE_CHECKING:
    from pathlib import Path
_RETRIES = Retries(n_most=40, first_s=0.1, longest_s=1.0)


class Clock:
    """Seconds on the experiment's clock, whose zero is told later."""

    def __init__(self) -> None:
        self.begin_ns = 0

    def __call__(self) -> float:
        """The time."""
        return (time.monotonic_ns() - self.begin_ns) / 1e9


class Gateway:
    """What the orders act on.

    Args:
        store: of the layers.
        puller: into it.
        registry: ``host:port``.
        clock: seconds on the clock of the experiment.
    """

    def __init__(
        self,
        store: LayerStore,
        puller: Puller,
        registry: str,
        clock: Clock,
    ) -> None:
        self._store = store
        self._puller = puller
        self._registry = registry
        self._clock = clock

    async def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order and say how it went."""
        found: dict[str, Any] = {}
        try:
            match order["do"]:
                case "begin":
                    self._clock.begin_ns = order["begin_ns"]
                case "pull":
                    found = await self._pull(order["image"])
                case "hold":
                    await asyncio.to_thread(self._store.hold, order["image"])
                case "release":
                    await asyncio.to_thread(self._store.release, order["image"])
                case "delete":
                    found = {"deleted": await asyncio.to_thread(self._delete, order)}
                case _:
                    state = self._store.state()
                    found = {
                        "index": dump_index(state).decode(),
                        "held": sorted(state.held),
                    }
        except MidhaulError as error:
            found = {"error": error.message}
        except Exception as error:  # noqa: BLE001  whoever waits for it has to hear
            found = {"error": repr(error)}
        tell(reply=order["id"], **found)

    async def _pull(self, image: str) -> dict[str, Any]:
        begins_s = self._clock()
        record = await self._puller.pull(f"{self._registry}/{image}:1", name=image)
        return {
            "begins_s": begins_s,
            "ends_s": self._clock(),
            "pulled_bytes": record.pulled_bytes,
            "resumed_bytes": record.resumed_bytes,
            "n_retries": record.n_retries,
        }

    def _delete(self, order: dict[str, Any]) -> list[tuple[str, int]]:
        return [(digest, self._store.delete(digest)) for digest in order["digests"]]


async def pull(folder: Path, registry: str, seed: int) -> None:
    """The life of the process.

    Args:
        folder: of the layer store.
        registry: ``host:port``.
        seed: of the waits between attempts.
    """
    clock = Clock()
    rng = np.random.default_rng([seed, 7])
    with LayerStore(folder, clock=clock) as store:
        async with RegistryClient(plain_http=(registry,)) as client:
            puller = Puller(store, client, rng=rng, retries=_RETRIES, clock=clock)
            gateway = Gateway(store, puller, registry, clock)
            tell(ready=True)
            tasks: set[asyncio.Task[None]] = set()
            async for order in orders():
                task = asyncio.create_task(gateway.obey(order))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
