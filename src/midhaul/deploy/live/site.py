"""Site of a live run: the link, the registry with its images, brokers and workers.

A worker process is what the orchestrator sees of it: orders go in, lines come out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.deploy.enforcement.lab import ADDRESSES, Broker
from midhaul.deploy.enforcement.rate_map import RateMap
from midhaul.deploy.store.client import RegistryClient
from midhaul.deploy.store.making import make_images, push_image
from midhaul.deploy.store.server import RegistryServer
from midhaul.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping, Sequence

    from midhaul.deploy.enforcement.lab import Lab
    from midhaul.deploy.live.config import LiveConfig
    from midhaul.deploy.problem import ContainerImage
    from midhaul.runs.progress import Progress

    Take = Callable[[dict[str, Any]], None]

_LONGEST_LINE = 1 << 24
_READY_S = 60.0
_STOP_S = 10.0


class Child:
    """One worker; ``take`` is called with each line of it that is no reply.

    ``role`` is also its name, ``command`` what stands before the program, such as a
    namespace's, and ``log`` the file for what it writes to stderr.
    """

    def __init__(
        self,
        role: str,
        options: dict[str, Any],
        *,
        command: Sequence[str],
        log: Path,
        take: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.role = role
        self.log = log
        program = [sys.executable, "-m", "midhaul.deploy.live.worker"]
        self._argv = [*command, *program, role, json.dumps(options)]
        self._take = take
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._n_calls = 0
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Start it and wait until it is ready.

        A NodeError if it does not get so far.
        """
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read())
        ready = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(self.ended.wait())
        await asyncio.wait(
            {ready, ended}, timeout=_READY_S, return_when="FIRST_COMPLETED"
        )
        ended.cancel()
        if not ready.done():
            ready.cancel()
            raise self._failure("is not ready")  # noqa: EM101  it is a part of it

    def send(self, order: dict[str, Any]) -> None:
        """Give an order that has no reply; a NodeError where the process has ended."""
        process = self._process
        if process is None or process.stdin is None or self.ended.is_set():
            raise self._failure("takes no orders")  # noqa: EM101  it is a part of it
        process.stdin.write(json.dumps(order).encode() + b"\n")

    async def call(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its reply.

        A NodeError if the process ends before.
        """
        self._n_calls += 1
        number = self._n_calls
        future = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        self.send({**order, "id": number})
        return await future

    def check(self) -> None:
        """Refuse to go on without it, with a NodeError."""
        if self.ended.is_set():
            raise self._failure("has ended")  # noqa: EM101  it is a part of it

    async def stop(self) -> None:
        """Close its stdin and wait; kill it if that does not help."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self) -> None:
        process = self._process
        try:
            if process is not None and process.stdout is not None:
                async for line in process.stdout:
                    self._handle(json.loads(line))
        finally:
            self.ended.set()
            for future in self._replies.values():
                if not future.done():
                    future.set_exception(self._failure("has ended"))

    def _handle(self, line: dict[str, Any]) -> None:
        if "reply" in line:
            future = self._replies.pop(line["reply"])
            if not future.done():
                future.set_result(line)
        elif "ready" in line:
            self._ready.set()
        elif self._take is not None:
            self._take(line)

    def _failure(self, what: str) -> NodeError:
        try:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            said = ""
        last = said.rpartition("\n")[2] or "it said nothing"
        return NodeError(f"worker {self.role} {what}: {last}", f"see {self.log}")


MQTT_PORT = 1883
REGISTRY_PORT = 5000
_PREFIX = "midhaul-live-"
_WATCH_S = 0.1
_IN_FLIGHT_S = 1.0
_OPENS_S = 2.0
_POLL_S = 0.02


@contextlib.contextmanager
def scratch() -> Generator[Path]:
    """A folder for what is large: made images, the registry's data, layer stores.

    It goes at the end; that of a killed run goes when the next one begins.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def publish_images(
    images: Mapping[str, ContainerImage],
    folder: Path,
    *,
    scale: float,
    seed: int,
    progress: Progress,
) -> dict[str, ContainerImage]:
    """Make images and push them into a registry's folder: their real digests and sizes.

    The registry listens on loopback meanwhile; later it is started inside the cloud.
    """
    shared: dict[str, str] = {}
    made: dict[str, ContainerImage] = {}
    # One after another, so that the layers of all need not be on the disk twice.
    with (
        RegistryServer(folder) as server,
        progress.task("make and push container images", len(images)) as task,
    ):
        async with RegistryClient(plain_http=(server.address,)) as client:
            for name, image in images.items():
                place = folder / "made"
                one = await asyncio.to_thread(
                    make_images, {name: image}, place, scale=scale, seed=seed
                )
                reference = f"{server.address}/{name}:1"
                await push_image(client, one[name], reference, shared)
                made[name] = one[name].image
                await asyncio.to_thread(shutil.rmtree, place)
                task.advance()
    return made


class Site:
    """The processes of one repetition.

    What is in ``folder`` goes at the end, ``logs`` and the rate map there stay.
    ``take`` is called with each line of the publisher and of the cloud's consumer.
    """

    def __init__(
        self,
        config: LiveConfig,
        lab: Lab,
        registry: RegistryServer,
        *,
        folder: Path,
        logs: Path,
        seed: int,
        threshold: float,
        take: Take,
    ) -> None:
        self.lab, self.registry = lab, registry
        self.map_file = logs / "rates.json"
        self.stats_file = logs / "bridge-stats.json"
        self._logs = logs
        near, far = lab.command("gateway"), lab.command("cloud")
        self.gateway_broker = Broker(
            logs / "gateway-broker", port=MQTT_PORT, command=near
        )
        self.cloud_broker = Broker(
            logs / "cloud-broker", host=ADDRESSES["cloud"], port=MQTT_PORT, command=far
        )
        inside = {"host": "127.0.0.1", "port": MQTT_PORT}
        outside = {"host": ADDRESSES["cloud"], "port": MQTT_PORT}
        common = {"workload": config.workload.model_dump(mode="json"), "seed": seed}
        consuming = {**common, "threshold": threshold}
        store = {
            "folder": str(folder / "store"),
            "registry": registry.address,
            "seed": seed,
        }

        def child(
            name: str,
            role: str,
            options: dict[str, Any],
            command: list[str],
            take: Take | None = None,
        ) -> Child:
            log = logs / f"{name}.log"
            return Child(role, options, command=command, log=log, take=take)

        expiry = {
            "expiry_s": config.deadline_s if config.planning.has_back_pressure else None
        }
        publishing = common | inside | expiry
        self.publisher = child("publisher", "publish", publishing, near, take)
        self.cloud = child(
            "cloud-consumer",
            "consume",
            consuming | outside | {"place": "cloud"},
            far,
            take,
        )
        self.gateway = child(
            "gateway-consumer",
            "consume",
            consuming | inside | {"place": "gateway"},
            near,
        )
        has_back_pressure = config.planning.has_back_pressure
        bridge_file = self._bridge_file(
            inside, outside, has_back_pressure=has_back_pressure
        )
        bridge = {"file": str(bridge_file)}
        self.bridge = child("bridge", "bridge", bridge, near)
        self.puller = child("puller", "pull", store, near)

    async def start(self) -> None:
        """Start brokers and workers, until all are ready; a NodeError if one is not."""
        await asyncio.to_thread(self.gateway_broker.start)
        await asyncio.to_thread(self.cloud_broker.start)
        RateMap(rates_bps={}).write(self.map_file)
        await asyncio.gather(*(child.start() for child in self._children))

    async def stop(self) -> None:
        """End everything, whatever has ended already."""
        await asyncio.gather(
            *(child.stop() for child in self._children), return_exceptions=True
        )
        await asyncio.to_thread(self.gateway_broker.stop)
        await asyncio.to_thread(self.cloud_broker.stop)

    def check(self) -> None:
        """Refuse to go on without one of the workers, with a NodeError."""
        for child in self._children:
            child.check()

    async def lanes_open(self, lanes: Collection[str]) -> None:
        """Wait until the bridge has subscribed to all lanes, but not for ever.

        What is published before nobody would forward.
        """
        end_s = time.monotonic() + _OPENS_S
        while time.monotonic() < end_s:
            with contextlib.suppress(OSError, ValueError):
                stats = json.loads(self.stats_file.read_text(encoding="utf-8"))
                if stats["lanes"].keys() >= set(lanes):
                    return
            await asyncio.sleep(_POLL_S)

    @property
    def _children(self) -> tuple[Child, ...]:
        near = (self.publisher, self.gateway, self.bridge, self.puller)
        return (*near, self.cloud)

    def _bridge_file(
        self,
        inside: dict[str, Any],
        outside: dict[str, Any],
        *,
        has_back_pressure: bool,
    ) -> Path:
        file = self._logs / "bridge.json"
        config = {
            "name": "midhaul-live",
            "rates": str(self.map_file.resolve()),
            "stats": str(self.stats_file.resolve()),
            "stats_topic": "",
            # What is measured here is the link; a busy disk must not slow it down.
            "queue_file": ":memory:",
            "max_queue_messages": 100,
            "max_queue_bytes": 16_000_000,
            "local": inside,
            "remote": outside,
            "max_in_flight_s": _IN_FLIGHT_S if has_back_pressure else None,
            "watch_s": _WATCH_S,
            "drain_s": 0.0,
            # A lane whose rate has just been lowered works off its past in what others
            # leave; the uplink's own cap is never exceeded.
            "is_work_conserving": True,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(config, indent=2), encoding="utf-8")
        return file
