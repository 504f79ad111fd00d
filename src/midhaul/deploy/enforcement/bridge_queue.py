"""Queue of a bridge's direction: what came, waits, was sent, is not acknowledged yet.

Nothing here talks to a broker. What is decided here is asked of the store, and holds as
soon as the store has committed it.

The *in-flight window* says how much may be on its way at once, by what is not
acknowledged.

A rate is granted before anybody knows what the link will carry. Where it carries less,
messages that have left the pacer wait in the buffers of the kernel and of the link, in
the order in which they left: none of them can be dropped any more, and what is small
and new waits behind what is large and old. So beyond a time's worth of the granted rate
messages stay in their lanes until others are acknowledged, and the backlog is where it
can be seen.

This is a window as in V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988,
of a fixed time at a known rate: it is not probed for, as the plan says what the rate
is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from midhaul.deploy.curves.transport import publish_bytes
from midhaul.deploy.enforcement.bridge_loops import MOST_HOPS, hops, passed_on
from midhaul.deploy.enforcement.bridge_store import OTHERS, FlowStats, Stored
from midhaul.deploy.enforcement.mqtt.connection import FAILED, MOST_MID
from midhaul.deploy.enforcement.mqtt.packets import (
    Prop,
    Publish,
    first_of,
    properties_bytes,
)
from midhaul.deploy.enforcement.pacer import Bounds, LaneCounts, Pacer, Waiting
from midhaul.deploy.enforcement.rate_map import (
    LONGEST_TOPIC,
    RateMap,
    covers,
    matches,
    overlap,
    renamed,
    renamed_filter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig, TopicRule
    from midhaul.deploy.enforcement.bridge_store import BridgeStore, Cause
    from midhaul.deploy.enforcement.mqtt.connection import Connection


def has_room(n_bytes: int, uplink_bps: float, window_s: float | None) -> bool:
    """Whether one more message may leave.

    ``n_bytes`` is on the wire, of all messages that are not acknowledged; one may
    always be on its way, however large. ``window_s`` is the time's worth of what was
    granted together that may be, at least a round trip; None and an infinite rate are
    no bound.
    """
    if not n_bytes or window_s is None or math.isinf(uplink_bps):
        return True
    return 8 * n_bytes < uplink_bps * window_s


Flow = Literal["up", "down"]
Qos = Literal[0, 1, 2]

UNPACED_BPS = 1e15
"""The rate of lanes that are not paced."""

NO_LANE = "(none)"
"""The lane of what waits and belongs to no filter any more."""

_LATENESS_S = 0.02  # timers of an event loop on a busy machine
_EXPIRY_BYTES = 5
_MOST_NAMES = 10_000  # topics whose lane is remembered
_MOST_BYTES = (1 << 28) - LONGEST_TOPIC
_BATCH_BYTES = 1_000_000


class BridgeQueue:
    """The messages of a bridge in one direction.

    ``numbers`` counts messages, in both directions; ``clock`` is monotonic,
    ``calendar`` seconds since 1970. ``gone_lanes`` is what happened in lanes that are
    not there any more.
    """

    def __init__(
        self,
        config: BridgeConfig,
        flow: Flow,
        store: BridgeStore,
        *,
        identity: str,
        numbers: Iterator[int],
        clock: Callable[[], float],
        calendar: Callable[[], float],
    ) -> None:
        self._config, self._flow, self._store = config, flow, store
        self._identity, self._numbers = identity, numbers
        self._clock, self._calendar = clock, calendar
        self._rules: Sequence[TopicRule] = config.up if flow == "up" else config.down
        self._lanes: dict[str, str] = {}
        self._coming: list[Stored] = []
        self._taken: dict[int, Waiting[Stored]] = {}
        self._sent: dict[int, tuple[int, Stored]] = {}
        self._number_of: dict[int, int] = {}
        self._released: set[int] = set()
        self._mids = itertools.cycle(range(1, MOST_MID + 1))
        self._most_in_flight = config.max_in_flight
        self._news, self._progress = asyncio.Event(), asyncio.Event()
        self._orphaned_s = math.inf
        self._pacer = Pacer[Stored](
            now_s=clock(),
            bounds=Bounds(
                n_messages=config.max_queue_messages,
                n_bytes=config.max_queue_bytes,
                drop=config.drop,
            ),
            lateness_s=_LATENESS_S,
            is_work_conserving=config.is_work_conserving,
        )
        self.stats = FlowStats(store.counts(flow), clock())
        self.rate_map = RateMap(rates_bps={})
        self.gone_lanes = LaneCounts()
        store.also(self._changed)

    # What is to be forwarded, and how fast.

    def adopt(self, rate_map: RateMap) -> None:
        """Take over a rate map; it holds from now on."""
        self.rate_map = rate_map
        self._lanes.clear()
        moved: list[Waiting[Stored]] = []
        for lane in set(self._pacer.rates_bps) - set(rate_map.rates_bps):
            counts, waiting = self._pacer.remove(lane)
            self.gone_lanes.add(counts)
            moved += waiting
        rates_bps = {**rate_map.rates_bps, NO_LANE: 0.0}
        uplink_bps = rate_map.uplink_bps
        self._pacer.set_rates(rates_bps, self._clock(), uplink_bps=uplink_bps)
        self._put_back(moved)

    def restore(self) -> None:
        """Take up what was kept before the bridge was started."""
        for stored in self._store.messages(self._flow):
            if stored.mid is not None:
                self._sent[stored.number] = (stored.mid, stored)
                self._number_of[stored.mid] = stored.number
            if stored.is_released and stored.mid is not None:
                self._released.add(stored.mid)
                self._taken[stored.number] = self._waiting(stored)
                continue
            if stored.mid is not None:
                self._count_resent(stored, is_unsure=stored.qos == 1)
            self._coming.append(stored)
        self.admit()

    def gives(self, filters: Sequence[str]) -> tuple[str, ...]:
        """Filters that hold all topics which come out of some filters."""
        found: dict[str, None] = {}
        for name in filters:
            rules: list[TopicRule | None] = []
            for rule in self._rules:
                rules += [rule] if overlap(name, rule.topic) else []
                if covers(rule.topic, name):
                    break
            else:
                rules.append(None)
            found |= {renamed_filter(name, *self._prefixes(one)): None for one in rules}
        return tuple(found)

    # What comes.

    def put(self, message: Publish) -> None:
        """Take a message that came; it is counted, whatever becomes of it."""
        counts = self.stats.of(message.topic, self._clock())
        counts.n_in += 1
        counts.n_queued += 1
        counts.bytes_in += message.n_bytes
        # A broker that missed an acknowledgement sends again what is kept already.
        counts.n_maybe_twice += message.is_dup and message.qos == 1
        rule = self._rule(message.topic)
        remote_topic = self._renamed(message.topic, rule)
        if (cause := self._objection(message, remote_topic)) is not None:
            counts.drop(cause)
            return
        most = self._config.qos if rule is None else min(self._config.qos, rule.qos)
        qos = cast("Qos", max(min(message.qos, most), self._config.least_qos))
        properties = passed_on(
            message.properties, self._identity, is_marked=self._config.is_loop_checked
        )
        expiry_s = first_of(message.properties, Prop.MESSAGE_EXPIRY, -1)
        n_more = len(properties_bytes(properties)) + _EXPIRY_BYTES * (expiry_s >= 0)
        now_s = self._calendar()
        stored = Stored(
            number=next(self._numbers),
            flow=self._flow,
            topic=message.topic,
            qos=qos,
            is_retained=message.is_retained,
            came_s=now_s,
            expiry_s=now_s + expiry_s if expiry_s >= 0 else None,
            n_bytes=publish_bytes(message.n_bytes + n_more, remote_topic, qos=qos),
            n_payload_bytes=message.n_bytes,
        )
        self._store.add(stored, properties, message.payload)
        self._coming.append(stored)

    def _objection(self, message: Publish, remote_topic: str) -> Cause | None:
        if message.is_cut or message.n_bytes > self._config.max_message_bytes:
            return "too_large"
        passed = hops(message.properties)
        if self._identity in passed or len(passed) >= MOST_HOPS:
            return "looped"
        n_topic = len(remote_topic.encode())
        if not 0 < n_topic <= LONGEST_TOPIC or message.n_bytes > _MOST_BYTES:
            return "no_name"
        return "no_lane" if self._lane_of(message.topic) == NO_LANE else None

    def admit(self) -> None:
        """What came is kept now, and waits in its lanes from now on."""
        coming, self._coming = self._coming, []
        for stored in coming:
            one = self._waiting(stored)
            dropped = self._pacer.offer(one.lane, stored, one.n_bytes, one.came_s)
            self._drop(dropped, "full")
        if coming:
            self._news.set()

    # What leaves.

    def limit(self, most_in_flight: int) -> None:
        """The other broker takes so many messages at once."""
        self._most_in_flight = min(self._config.max_in_flight, most_in_flight)

    async def next(self) -> list[Waiting[Stored]]:
        """The next messages that may leave, as soon as one may and there is room."""
        while True:
            if not self._has_room:
                self._progress.clear()
                await self._progress.wait()
                continue
            if found := self._due():
                return found
            self._news.clear()
            wait_s = self._pacer.next_s() - self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s if math.isfinite(wait_s) else None):
                    await self._news.wait()

    def _due(self) -> list[Waiting[Stored]]:
        found: list[Waiting[Stored]] = []
        n_bytes = 0
        while self._has_room and n_bytes < _BATCH_BYTES:
            waiting = self._pacer.take(self._clock())
            if waiting is None:
                break
            self._taken[waiting.message.number] = waiting
            found.append(waiting)
            n_bytes += waiting.n_bytes
        return found

    @property
    def _has_room(self) -> bool:
        return len(self._taken) < self._most_in_flight and has_room(
            self.bytes_in_flight, self.rate_map.uplink_bps, self._config.max_in_flight_s
        )

    def ready(
        self,
        waiting: Waiting[Stored],
        properties: list[Any],
        payload: bytes,
        connection: Connection,
    ) -> Publish | None:
        """A message as it is sent over a connection; None where it is dropped."""
        stored = waiting.message
        expiry_s = self._rest_s(stored)
        if expiry_s is not None and expiry_s <= 0:
            self._finish(stored.number)
            self._drop([waiting], "expired")
            return None
        kept = [(key, _plain(value)) for key, value in properties]
        if expiry_s is not None:
            kept.append((int(Prop.MESSAGE_EXPIRY), max(1, math.ceil(expiry_s))))
        qos = min(stored.qos, connection.most_qos)
        is_dup = stored.number in self._sent
        message = Publish(
            topic=self._renamed(stored.topic, self._rule(stored.topic)),
            payload=payload,
            qos=qos,
            is_retained=stored.is_retained and connection.has_retain,
            is_dup=is_dup and qos > 0,
            mid=self._mid(stored) if qos else 0,
            properties=tuple(kept),
        )
        if not connection.takes(message):
            self._finish(stored.number)
            self._drop([waiting], "too_large")
            return None
        return message

    def _rest_s(self, stored: Stored) -> float | None:
        return None if stored.expiry_s is None else stored.expiry_s - self._calendar()

    def _mid(self, stored: Stored) -> int:
        """The packet id of a message, the same as before where it has one."""
        known = self._sent.get(stored.number)
        if known is not None:
            return known[0]
        mid = next(mid for mid in self._mids if mid not in self._number_of)
        self._sent[stored.number], self._number_of[mid] = (mid, stored), stored.number
        self._store.sent(stored.number, mid)
        return mid

    def arrived(self, number: int) -> None:
        """A message is with the other broker, or was handed over at QoS 0."""
        waiting = self._taken.get(number)
        if waiting is None:
            return
        stored = waiting.message
        self._finish(number)
        self._store.remove(number)
        delay_s = self._clock() - waiting.came_s
        counts = self.stats.of(stored.topic, self._clock())
        counts.n_queued -= 1
        counts.n_out += 1
        counts.bytes_out += stored.n_payload_bytes
        counts.delay_s += delay_s
        counts.max_delay_s = max(counts.max_delay_s, delay_s)

    def acknowledged(self, mid: int, reason: int) -> None:
        """PUBACK, or PUBCOMP; reasons of failure mean that a message was refused."""
        number = self._number_of.get(mid)
        if number is None or number not in self._taken:
            return
        if reason >= FAILED and mid not in self._released:
            waiting = self._taken[number]
            self._finish(number)
            self._drop([waiting], "refused")
        else:
            self.arrived(number)

    def recorded(self, mid: int, reason: int) -> bool:
        """PUBREC; whether PUBREL has to follow."""
        number = self._number_of.get(mid)
        if number is None or number not in self._taken:
            return reason < FAILED
        if reason >= FAILED:
            self.acknowledged(mid, reason)
            return False
        self._released.add(mid)
        self._store.released(number)
        return True

    def _finish(self, number: int) -> None:
        self._taken.pop(number, None)
        mid, _ = self._sent.pop(number, (None, None))
        if mid is not None:
            self._number_of.pop(mid, None)
            self._released.discard(mid)
        self._progress.set()

    # When connections come and go.

    def return_unsent(self) -> None:
        """Queue again, before all else, what was sent and not acknowledged."""
        unsent = [
            waiting
            for number, waiting in self._taken.items()
            if number not in self._sent or self._sent[number][0] not in self._released
        ]
        for waiting in unsent:
            stored = waiting.message
            del self._taken[stored.number]
            if stored.number in self._sent:
                self._count_resent(stored, is_unsure=stored.qos == 1)
        self._put_back(unsent)
        self._progress.set()

    def resume(self, *, is_present: bool) -> list[int]:
        """The other broker is back: packet ids for which PUBREL has to be sent.

        Where it has kept the session it knows packet ids.
        """
        self._progress.set()
        if is_present:
            return sorted(self._released)
        unsent = [self._taken.pop(self._number_of[mid]) for mid in self._released]
        for stored in (waiting.message for waiting in unsent):
            self._count_resent(stored, is_unsure=False)
        for _, stored in self._sent.values():
            if stored.qos > 1:  # of the others, that is counted already
                self.stats.of(stored.topic, self._clock()).n_maybe_twice += 1
        self._released.clear()
        self._sent.clear()
        self._number_of.clear()
        self._store.forget_mids(self._flow)
        self._put_back(unsent)
        return []

    def _count_resent(self, stored: Stored, *, is_unsure: bool) -> None:
        counts = self.stats.of(stored.topic, self._clock())
        counts.n_resent += 1
        counts.n_maybe_twice += is_unsure

    def _put_back(self, unsent: list[Waiting[Stored]]) -> None:
        here = [replace(one, lane=self._lane_of(one.message.topic)) for one in unsent]
        self._drop(self._pacer.put_back(here), "full")
        self._news.set()

    # What goes away.

    def expire(self) -> None:
        """Drop what is too old to be sent, and forget what has been silent."""
        now_s, calendar_s = self._clock(), self._calendar()
        expired = self._pacer.discard(
            lambda one: one.expiry_s is not None and one.expiry_s <= calendar_s
        )
        self._drop(expired, "expired")
        is_orphaned = self._pacer.n_waiting(NO_LANE) > 0
        self._orphaned_s = min(self._orphaned_s, now_s) if is_orphaned else math.inf
        if now_s - self._orphaned_s >= self._config.idle_s:
            orphans = self._pacer.discard(self._is_orphan)
            self._drop(orphans, "no_lane")
        for topic in self.stats.fold(now_s - self._config.idle_s):
            self._lanes.pop(topic, None)
            self._store.ask(
                "DELETE FROM counts WHERE flow = ? AND topic = ?", (self._flow, topic)
            )

    def _is_orphan(self, stored: Stored) -> bool:
        return self._lane_of(stored.topic) == NO_LANE

    def abandon(self) -> None:
        """Count as dropped what waits, and what is not acknowledged, at the end."""
        taken, self._taken = list(self._taken.values()), {}
        self._drop(taken, "stopped")
        self._drop(self._pacer.discard(lambda _: True), "stopped")

    def _drop(self, dropped: list[Waiting[Stored]], cause: Cause) -> None:
        for stored in (waiting.message for waiting in dropped):
            self.stats.of(stored.topic, self._clock()).drop(cause)
            self._store.remove(stored.number)
            mid, _ = self._sent.pop(stored.number, (None, None))
            if mid is not None:
                self._number_of.pop(mid, None)
        if dropped:
            self._progress.set()

    async def drained(self) -> None:
        """Wait until nothing waits and all is acknowledged."""
        while len(self._pacer) or self._taken:
            self._progress.clear()
            await self._progress.wait()

    # What can be seen.

    def lanes(self) -> dict[str, dict[str, Any]]:
        """What happens in each lane, and happened in those that are gone."""
        rates_bps = self._pacer.rates_bps
        found = {
            name: {
                "rate_bps": rates_bps[name],
                "n_waiting": self._pacer.n_waiting(name),
                **asdict(counts),
            }
            for name, counts in self._pacer.counts.items()
            if name != NO_LANE or self._pacer.n_waiting(name)
        }
        if self.gone_lanes != LaneCounts():
            gone = {"rate_bps": 0.0, "n_waiting": 0, **asdict(self.gone_lanes)}
            found[OTHERS] = gone
        return found

    @property
    def n_in_flight(self) -> int:
        """Messages that were sent and are not acknowledged yet."""
        return len(self._taken)

    @property
    def bytes_in_flight(self) -> int:
        """What they take on the wire."""
        return sum(waiting.n_bytes for waiting in self._taken.values())

    @property
    def bytes_waiting(self) -> int:
        """What all that waits in lanes takes on the wire."""
        return self._pacer.n_bytes

    def _changed(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for topic, counts in self.stats.changed().items():
            yield (
                "INSERT OR REPLACE INTO counts VALUES (?, ?, ?)",
                (self._flow, topic, json.dumps(counts.plain())),
            )

    # Names.

    def _waiting(self, stored: Stored) -> Waiting[Stored]:
        """A stored message as it waits, on the monotonic clock."""
        age_s = max(0.0, self._calendar() - stored.came_s)
        return Waiting(
            lane=self._lane_of(stored.topic),
            number=0,
            message=stored,
            n_bytes=stored.n_bytes,
            came_s=self._clock() - age_s,
        )

    def _lane_of(self, topic: str) -> str:
        if topic not in self._lanes:
            if len(self._lanes) >= _MOST_NAMES:
                self._lanes.clear()
            self._lanes[topic] = self.rate_map.lane_of(topic) or NO_LANE
        return self._lanes[topic]

    def _rule(self, topic: str) -> TopicRule | None:
        return next((one for one in self._rules if matches(one.topic, topic)), None)

    def _renamed(self, topic: str, rule: TopicRule | None) -> str:
        """A topic's name at the other broker."""
        return renamed(topic, *self._prefixes(rule))

    def _prefixes(self, rule: TopicRule | None) -> tuple[str, str]:
        """What begins topics here, and what stands in its place at the other broker."""
        local, remote = self._config.local_prefix, self._config.remote_prefix
        if rule is not None:
            local = local if rule.local_prefix is None else rule.local_prefix
            remote = remote if rule.remote_prefix is None else rule.remote_prefix
        return (local, remote) if self._flow == "up" else (remote, local)


def _plain(value: Any) -> Any:
    """A property's value as it was before it was JSON."""
    return tuple(value) if isinstance(value, list) else value
