"""An MQTT bridge that paces: it forwards topics at the rates that a plan grants them.

It subscribes at a local broker, queues what comes by lane
(:mod:`midhaul.deploy.enforcement.pacer`), and publishes to a remote broker no faster
than the rate map allows. What is named in ``down`` goes the other way, unpaced. Either
broker may go away and come back: the bridge reconnects with growing, random pauses;
what was sent and not acknowledged is sent again, before all else; what comes meanwhile
waits within stated bounds, on disk, and what does not fit is counted.

Messages keep their quality of service. At least once (QoS 1) means that a message whose
acknowledgement was lost arrives twice; exactly once (QoS 2) holds through restarts of
the bridge as long as both brokers keep their sessions. While the bridge is away from a
broker, that broker keeps messages for it, under its name and within its own bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from midhaul.deploy.enforcement.bridge_ends import BridgeEnd, login_of, stay_connected
from midhaul.deploy.enforcement.bridge_loops import (
    Neighbours,
    Reach,
    check_one_broker,
    is_one_address,
)
from midhaul.deploy.enforcement.bridge_queue import UNPACED_BPS, BridgeQueue
from midhaul.deploy.enforcement.bridge_store import IN_MEMORY, BridgeStore
from midhaul.deploy.enforcement.rate_map import RateMap, read_rate_map, replace_text
from midhaul.errors import MidhaulError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    import numpy as np

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig
    from midhaul.deploy.enforcement.bridge_ends import EndName
    from midhaul.deploy.enforcement.bridge_queue import Flow
    from midhaul.deploy.enforcement.mqtt.connection import Login

_LOG = logging.getLogger(__name__)
_CLOSES_S = 1.0


class Bridge:
    """A pacing bridge; :meth:`run` is its life.

    Its rate map is read here; ``rng`` draws the pauses between attempts to connect.
    ``secrets`` has passwords by ``local`` and ``remote``, and those of private keys by
    ``local_key`` and ``remote_key``.

    Raises:
        DataError: there is no usable rate map.
        ConfigError: a certificate or a password cannot be read.
        LoopError: messages would go round in circles.
        StoreError: its queue cannot be opened, or another bridge has it.
    """

    def __init__(
        self,
        config: BridgeConfig,
        *,
        clock: Callable[[], float],
        rng: np.random.Generator,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._config, self._clock, self._rng = config, clock, rng
        self._file = Path(config.rates)
        self._seen = _version(self._file)
        self._begin_s = clock()
        self._n_maps, self._map_error = 0, ""
        rate_map = read_rate_map(self._file)
        known = secrets or {}
        logins = {
            "local": login_of(config, "local", known),
            "remote": login_of(config, "remote", known),
        }
        self._store = BridgeStore(
            config.queue_file or IN_MEMORY, survives=config.queue_survives
        )
        try:
            self._set_up(rate_map, logins)
        except BaseException:
            self._store.abort()
            raise

    def _set_up(self, rate_map: RateMap, logins: Mapping[str, Login]) -> None:
        config, store = self._config, self._store
        identity = store.fact("identity") or uuid.uuid4().hex[:12]
        store.keep("identity", identity)
        numbers = itertools.count(store.last_number() + 1)

        def queue(flow: Flow) -> BridgeQueue:
            return BridgeQueue(
                config,
                flow,
                store,
                identity=identity,
                numbers=numbers,
                clock=self._clock,
                calendar=time.time,
            )

        self._up, self._down = queue("up"), queue("down")
        down = {rule.topic: UNPACED_BPS for rule in config.down}
        self._down.adopt(RateMap(rates_bps=down))
        neighbours = Neighbours(identity, config.name, time.time())
        self._reaches = neighbours.reaches
        self._adopt(rate_map)
        self._up.restore()
        self._down.restore()

        def end(name: EndName, takes: BridgeQueue, gives: BridgeQueue) -> BridgeEnd:
            return BridgeEnd(
                name,
                config,
                logins[name],
                takes=takes,
                gives=gives,
                store=store,
                neighbours=neighbours,
                on_change=self._tell_state,
            )

        self._local = end("local", self._up, self._down)
        self._remote = end("remote", self._down, self._up)

    def _adopt(self, rate_map: RateMap) -> None:
        """Take over a rate map.

        A LoopError where messages would go round in circles.
        """
        taken, down = tuple(rate_map.rates_bps), tuple(self._down.rate_map.rates_bps)
        local = Reach(takes=taken, gives=self._down.gives(down))
        remote = Reach(takes=down, gives=self._up.gives(taken))
        if is_one_address(self._config):
            check_one_broker(local, remote)
        self._reaches.update(local=local, remote=remote)
        self._up.adopt(rate_map)
        self._n_maps += 1
        self._map_error = ""

    def stats(self) -> dict[str, Any]:
        """All counters, as what JSON can hold."""
        up, down = self._up.stats.plain(), self._down.stats.plain()
        total = up["total"]
        return {
            "up_s": round(self._clock() - self._begin_s, 3),
            **{name: total[name] for name in ("n_in", "n_out", "n_dropped")},
            "n_queued": total["n_queued"],
            "n_in_flight": self._up.n_in_flight,
            "bytes_in_flight": self._up.bytes_in_flight,
            "bytes_waiting": self._up.bytes_waiting,
            "n_maps": self._n_maps,
            "map_error": self._map_error,
            "local": asdict(self._local.counts),
            "remote": asdict(self._remote.counts),
            "total": total,
            "topics": up["topics"],
            "lanes": self._up.lanes(),
            "down": down,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until told to stop, then send what waits for up to ``drain_s``.

        A LoopError where messages would go round, a StoreError where its queue is not
        written.
        """
        tasks = [asyncio.create_task(self._stay(one)) for one in self._ends]
        tasks.append(asyncio.create_task(self._watch()))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when="FIRST_COMPLETED")
            if stopping.done():
                await self._drain()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.wait({*tasks, stopping}, timeout=_CLOSES_S)
            self._close()
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise _leaf(error)

    @property
    def _ends(self) -> tuple[BridgeEnd, BridgeEnd]:
        return self._local, self._remote

    async def _stay(self, end: BridgeEnd) -> None:
        await stay_connected(
            end.session, end.counts, end.name, rng=self._rng, clock=self._clock
        )

    async def _drain(self) -> None:
        """Send what waits, where somebody is there or it would be lost."""
        is_kept = self._store.is_on_disk
        flows = {self._up: self._remote, self._down: self._local}
        waits: list[Coroutine[Any, Any, None]] = []
        for end in self._ends:
            end.is_stopping = True
        for flow, end in flows.items():
            if end.counts.is_connected or not is_kept:
                waits.append(flow.drained())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_s):
                await asyncio.gather(*waits)

    def _close(self) -> None:
        if not self._store.is_on_disk:
            self._up.abandon()
            self._down.abandon()
        self._write_stats()
        self._store.close()

    async def _watch(self) -> None:
        """Take over a rate map that has changed, and tell the counters."""
        while True:
            self._up.expire()
            self._down.expire()
            self._store.commit()
            text = self._write_stats()
            if self._config.stats_topic:
                await self._local.say(self._config.stats_topic, text)
            await asyncio.sleep(self._config.watch_s)
            self._store.tidy()
            version = _version(self._file)
            if version == self._seen:
                continue
            self._seen = version
            try:
                self._adopt(read_rate_map(self._file))
            except MidhaulError as error:
                _LOG.warning("the rate map before holds: %s", error.message)
                self._map_error = error.message
                continue
            await self._local.refresh()

    async def _tell_state(self) -> None:
        """Say at both brokers whether the remote one is reached."""
        is_up = self._remote.counts.is_connected
        await self._local.say_state(is_up=is_up)
        await self._remote.say_state(is_up=is_up)

    def _write_stats(self) -> str:
        """Write the counters to their file; what they are."""
        text = json.dumps(self.stats())
        if self._config.stats:
            try:
                replace_text(Path(self._config.stats), text + "\n")
            except OSError as error:  # a full disk must not stop messages
                _LOG.warning("the counters cannot be written: %s", error)
        return text


def _leaf(error: BaseException) -> BaseException:
    """What is the matter: the first error in groups that a user can mend, or any."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_leaf(one) for one in cast("Sequence[BaseException]", error.exceptions)]
    return next((one for one in leaves if isinstance(one, MidhaulError)), leaves[0])


def _version(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
