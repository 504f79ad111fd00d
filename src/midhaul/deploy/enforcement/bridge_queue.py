"""What a bridge holds between two brokers: queued, sent, and not acknowledged yet.

Nothing here talks to a broker, and only :meth:`BridgeQueue.next` waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.enforcement.bridge_stats import MAX_TOPICS, BridgeStats
from midhaul.deploy.enforcement.lanes import Bounds, Waiting
from midhaul.deploy.enforcement.pacer import Pacer
from midhaul.deploy.enforcement.wire_bytes import publish_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig
    from midhaul.deploy.enforcement.rate_map import RateMap

_LONGEST_TOPIC = 65_535  # bytes
_LATENESS_S = 0.02  # timers of an event loop on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message on its way.

    Attributes:
        topic: under which it came.
        remote_topic: under which it is published.
        payload: what it carries.
        is_retained: whether the remote broker is to keep it for later subscribers.
    """

    topic: str
    remote_topic: str
    payload: bytes
    is_retained: bool = False


class BridgeQueue:
    """The messages of a bridge.

    Args:
        config: bounds and prefixes.
        rate_map: the first one.
        clock: seconds on a monotonic clock.
    """

    def __init__(
        self, config: BridgeConfig, rate_map: RateMap, *, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._clock = clock
        self._begin_s = clock()
        self._lanes: dict[str, str | None] = {}
        self._in_flight: dict[int, Waiting[Message]] = {}
        self._news = asyncio.Event()
        self._progress = asyncio.Event()
        self._pacer = Pacer[Message](
            now_s=self._begin_s,
            bounds=Bounds(
                n_messages=config.max_queue_messages,
                n_bytes=config.max_queue_bytes,
                drop=config.drop,
            ),
            lateness_s=_LATENESS_S,
            is_work_conserving=config.is_work_conserving,
        )
        self.counts = BridgeStats()
        self.rate_map = rate_map
        self.adopt(rate_map)

    def adopt(self, rate_map: RateMap) -> None:
        """Take over a rate map; it holds from now on."""
        self.rate_map = rate_map
        self._lanes.clear()
        rates_bps, uplink_bps = rate_map.rates_bps, rate_map.uplink_bps
        self._pacer.set_rates(rates_bps, self._clock(), uplink_bps=uplink_bps)
        self.counts.n_maps += 1
        self.counts.map_error = ""
        self._news.set()

    def put(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        """Queue a message that came; it is counted, whatever becomes of it."""
        counts = self.counts.of(topic)
        counts.n_in += 1
        counts.bytes_in += len(payload)
        lane, remote_topic = self._lane_of(topic), self._mapped(topic)
        if len(payload) > self._config.max_message_bytes:
            counts.n_too_large += 1
            return
        has_name = 0 < len(remote_topic.encode()) <= _LONGEST_TOPIC
        if lane is None or not has_name:
            counts.n_dropped += 1
            return
        message = Message(
            topic=topic,
            remote_topic=remote_topic,
            payload=payload,
            is_retained=is_retained,
        )
        n_bytes = publish_bytes(len(payload), remote_topic, qos=self._config.qos)
        self._drop(self._pacer.offer(lane, message, n_bytes, self._clock()))
        self._news.set()

    async def next(self) -> Waiting[Message]:
        """The next message that may leave, as soon as it may; it is in flight then."""
        while True:
            waiting = self._pacer.take(self._clock())
            if waiting is not None:
                self._in_flight[waiting.number] = waiting
                return waiting
            self._news.clear()
            wait_s = self._pacer.next_s() - self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s if math.isfinite(wait_s) else None):
                    await self._news.wait()

    def acknowledge(self, waiting: Waiting[Message]) -> None:
        """A message has arrived."""
        del self._in_flight[waiting.number]
        delay_s = self._clock() - waiting.came_s
        counts = self.counts.of(waiting.message.topic)
        counts.n_out += 1
        counts.bytes_out += len(waiting.message.payload)
        counts.delay_s += delay_s
        counts.max_delay_s = max(counts.max_delay_s, delay_s)
        self._progress.set()

    def return_unsent(self) -> None:
        """Queue again, before all else, what was sent and not acknowledged."""
        unsent = list(self._in_flight.values())
        self._in_flight.clear()
        for waiting in unsent:
            self.counts.of(waiting.message.topic).n_resent += 1
        self._drop(self._pacer.put_back(unsent))

    async def drained(self) -> None:
        """Wait until nothing waits and all is acknowledged."""
        while len(self._pacer) or self._in_flight:
            self._progress.clear()
            await self._progress.wait()

    def plain(self) -> dict[str, Any]:
        """All counters, as what JSON can hold."""
        self.counts.n_in_flight = len(self._in_flight)
        return self.counts.plain(self._pacer, self._clock() - self._begin_s)

    def _lane_of(self, topic: str) -> str | None:
        if topic not in self._lanes:
            if len(self._lanes) >= MAX_TOPICS:
                self._lanes.clear()
            self._lanes[topic] = self.rate_map.lane_of(topic)
        return self._lanes[topic]

    def _mapped(self, topic: str) -> str:
        """A topic's name at the remote broker."""
        local = self._config.local_prefix
        if topic.startswith(local):
            return self._config.remote_prefix + topic.removeprefix(local)
        return topic

    def _drop(self, dropped: list[Waiting[Message]]) -> None:
        for waiting in dropped:
            self.counts.of(waiting.message.topic).n_dropped += 1
