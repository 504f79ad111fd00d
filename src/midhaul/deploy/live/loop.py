"""Control loop in real time: the same decisions as a simulated gateway takes.

At the begin of each rate period: who leaves goes, who arrives comes, at the begin of a
slot the placement is planned and its pulls are queued, and then the uplink is divided.
Pulls and moves happen in between. A placement that takes long is followed from the rate
period on in which it is there: the uplink is divided meanwhile.

Of the uplink a forecast is counted on, and the *backlog*, which is what waits for it as
the bridge counts it, takes some of that back.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from midhaul.deploy.control import State, make_room, plan_rates, plan_slot
from midhaul.deploy.live.pulls import Pulls
from midhaul.deploy.live.tables import EVICTIONS, Mark, Notes
from midhaul.deploy.store.store_index import StoreState, load_index
from midhaul.deploy.uplink_control import BackPressure, EwmaForecast, forecast_named

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from midhaul.deploy.control import Policy
    from midhaul.deploy.enforcement.lab import Traffic
    from midhaul.deploy.enforcement.rate_map import RateMap
    from midhaul.deploy.live.pulls import PullModel
    from midhaul.deploy.live.site import Site
    from midhaul.deploy.live.situation import GatewaySituation
    from midhaul.deploy.live.tables import Records
    from midhaul.deploy.networks import Network
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic, ContainerImage, Gateway
    from midhaul.runs.progress import Task


class PendingPlacement:
    """At most one placement that is being planned, of the slot that asked for it.

    A slot waits ``patience_s`` for its placement.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._task: asyncio.Task[Placement] | None = None
        self._slot_s = 0.0

    async def ask(
        self, slot_s: float, plan: Callable[[], Coroutine[Any, Any, Placement]]
    ) -> None:
        """Begin to plan, and wait a little; while one is planned, no other is."""
        if self._task is None:
            self._task, self._slot_s = asyncio.create_task(plan()), slot_s
            await asyncio.wait({self._task}, timeout=self._patience_s)

    def take(self) -> tuple[Placement, float] | None:
        """The placement and the begin of its slot, once; None while there is none."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        return task.result(), self._slot_s

    async def close(self) -> None:
        """Give up what is being planned."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in the bridge's lanes or was sent but not acknowledged.

    ``left_bps`` is the rate at which messages were acknowledged since the last look.
    """

    waiting_bits: float
    left_bps: float


class BacklogMeter:
    """Reads the counters that the bridge writes to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._up_s = self._bytes_out = 0.0

    def read(self) -> Backlog | None:
        """What waits now; None where the counters cannot be read or are old."""
        try:
            stats = json.loads(self._file.read_text(encoding="utf-8"))
            up_s, bytes_out = float(stats["up_s"]), float(stats["total"]["bytes_out"])
            n_bytes = stats["bytes_waiting"] + stats["bytes_in_flight"]
        except (OSError, ValueError, KeyError):
            return None
        passed_s, before = up_s - self._up_s, self._bytes_out
        if passed_s == 0:
            return None
        self._up_s, self._bytes_out = up_s, bytes_out
        left_bps = 8 * (bytes_out - before) / passed_s if passed_s > 0 else 0.0
        return Backlog(waiting_bits=8.0 * n_bytes, left_bps=max(0.0, left_bps))


_MOST_RESERVED = 0.5  # share of the uplink; with less, pulls slow down by themselves
_SEEN_S = 1.0
_TRIED = 0.25  # share of the usual rate that a link which carried nothing is tried with


class LiveUplink:
    """The uplink as the loop knows it: the rate periods that have ended, and the queue.

    Of the period that goes on, ``assumed_bps`` was forecast, ``reserved_bps`` of it is
    kept free for acknowledgements of pulls, and ``free_bps`` all messages together may
    send.
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        *,
        duration_s: float,
        deadline_s: float,
        stats_file: Path,
    ) -> None:
        self._network, self._policy = network, policy
        self._pressure = BackPressure(deadline_s)
        self._meter = BacklogMeter(stats_file)
        self._waiting_bits = 0.0
        self.assumed_bps = self.reserved_bps = self.free_bps = 0.0
        period_s = policy.rate_period_s
        first_bps = network.mean_uplink_bps(0.0, _SEEN_S)

        def coming_bps(number: int) -> float:
            ends_s = min((number + 1) * period_s, duration_s)
            return network.mean_uplink_bps(number * period_s, ends_s)

        self._usual = EwmaForecast(first_bps)
        self._last_bps = first_bps
        self._forecast = forecast_named(
            policy.forecast,
            max_over_share=policy.max_over_share,
            first_bps=first_bps,
            coming_bps=coming_bps,
        )

    @property
    def n_steps_down(self) -> int:
        """How often knobs went down within the period."""
        return self._pressure.n_steps_down

    @property
    def drained_bps(self) -> float:
        """What messages may leave at together, those that wait included.

        A promise bounds what is offered, not how fast leaves what was offered before:
        that follows acknowledgements, so no queue grows of it beyond the window of the
        bridge. After a fall the forecast is a small part of what the link carries, and
        messages would outlive their deadline beside a link that is free.
        """
        if not self._policy.has_back_pressure:
            return self.free_bps
        usual_bps = self._usual.next_bps
        carries_bps = max(min(self._last_bps, usual_bps), _TRIED * usual_bps)
        given_bps = carries_bps * self._policy.uplink_share
        return max(self.free_bps, given_bps - self.reserved_bps)

    def ended(self, begins_s: float, ends_s: float) -> None:
        """A rate period has ended: what it could carry is known now."""
        carried_bps = self._network.mean_uplink_bps(begins_s, ends_s)
        self._forecast.observe(carried_bps)
        self._usual.observe(carried_bps)
        self._last_bps = carried_bps

    def begin(self) -> None:
        """Begin a rate period: say what to count on."""
        is_steady = self._network.trace is None
        self.assumed_bps = (
            self._network.uplink_bps if is_steady else self._forecast.next_bps
        )
        self._pressure.begin()

    def reserve(self, acks_bps: float) -> None:
        """Keep free what acknowledgements take, if the uplink has it.

        Messages get the rest.
        """
        policy = self._policy
        self.reserved_bps = min(acks_bps, _MOST_RESERVED * self.assumed_bps)
        claim_bps = 0.0
        if policy.has_back_pressure:
            claim_bps = self._pressure.claim_bps(
                self._waiting_bits, policy.rate_period_s
            )
        given_bps = self.assumed_bps * policy.uplink_share
        self.free_bps = max(0.0, given_bps - self.reserved_bps - claim_bps)

    def look(self, granted_bps: float) -> float | None:
        """The share of the grant that may be offered now.

        None where that is as it was.
        """
        backlog = self._meter.read()
        if backlog is None or not self._policy.has_back_pressure:
            return None
        self._waiting_bits = backlog.waiting_bits
        before = self._pressure.share
        share = self._pressure.look(
            granted_bps=granted_bps,
            waiting_bits=backlog.waiting_bits,
            left_bps=backlog.left_bps,
        )
        return None if share == before else share

    def pullable_bps(self, pull_bps: float, ack_share: float) -> float:
        """How fast a pull goes whose acknowledgements share the uplink with messages.

        Otherwise it goes at ``pull_bps``; ``ack_share`` is bytes up for each byte down.
        """
        carries_bps = min(self._last_bps, self._usual.next_bps)
        given_bps = (1 - _MOST_RESERVED) * self.assumed_bps * self._policy.uplink_share
        acks_bps = max(0.0, carries_bps - given_bps)
        return max(1.0, min(pull_bps, acks_bps / ack_share))


_LOOK_S = 1.0  # how often the loop looks at what waits
_PATIENCE_S = 0.5  # for a placement, before the uplink is divided without it


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionSetting:
    """What a repetition is given: images with their real digests, and who comes when.

    Pulls can begin ``slack_s`` after the begin of a slot; ``has_ack_reserve`` says
    whether acknowledgements of pulls are reserved for.
    """

    policy: Policy
    model: PullModel
    gateway: Gateway
    network: Network
    images: Mapping[str, ContainerImage]
    analytics: Sequence[Analytic]
    duration_s: float
    slack_s: float
    has_ack_reserve: bool
    deadline_s: float


class Loop:
    """One repetition; nobody is there at first."""

    def __init__(
        self,
        setting: RepetitionSetting,
        site: Site,
        situation: GatewaySituation,
        records: Records,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._setting = setting
        self._site = site
        self._who = situation
        self._records = records
        self._clock = clock
        self._notes = Notes(records, situation, setting.network, clock)
        self._turn = asyncio.Lock()
        self._uplink = LiveUplink(
            setting.network,
            setting.policy,
            duration_s=setting.duration_s,
            deadline_s=setting.deadline_s,
            stats_file=site.stats_file,
        )
        self._granted_bps = 0.0
        self._pending = PendingPlacement(_PATIENCE_S)
        self.pulls = Pulls(site, situation, records, clock=clock, start=self._start)

    async def run(self, task: Task) -> None:
        """Decide until the end of the repetition.

        A NodeError if a process has ended.
        """
        setting = self._setting
        period_s = setting.policy.rate_period_s
        n_per_slot = round(setting.policy.slot_s / period_s)
        coming = sorted(setting.analytics, key=lambda a: a.arrival_s)
        pulling = asyncio.create_task(self.pulls.live())
        looking = asyncio.create_task(self._look())
        mark: Mark | None = None
        number = 0
        try:
            while number * period_s < setting.duration_s:
                begins_s = number * period_s
                await asyncio.sleep(max(0.0, begins_s - self._clock()))
                late_s = self._clock() - begins_s
                now_s, traffic = await self._link()
                if mark is not None:
                    self._uplink.ended(begins_s - period_s, begins_s)
                    n_down = self._uplink.n_steps_down
                    self._notes.close(mark, now_s, traffic, n_down)
                for task_of_ours in (pulling, looking):
                    if task_of_ours.done():
                        task_of_ours.result()
                self._site.check()
                async with self._turn:
                    await self._come_and_go(coming, begins_s)
                    self._uplink.begin()
                if number % n_per_slot == 0:
                    await self._pending.ask(begins_s, self._plan)
                async with self._turn:
                    await self._follow()
                    facts = await self._divide(begins_s)
                mark = Mark(at_s=now_s, late_s=late_s, traffic=traffic, facts=facts)
                if number % n_per_slot == 0:
                    self._records.flush(self._clock())
                number += 1
                task.advance(min(period_s, setting.duration_s - begins_s))
            await asyncio.sleep(max(0.0, setting.duration_s - self._clock()))
            self._site.publisher.send({"do": "assign", "assigned": {}})
            if mark is not None:
                n_down = self._uplink.n_steps_down
                self._notes.close(mark, *await self._link(), n_down)
        finally:
            pulling.cancel()
            looking.cancel()
            await asyncio.wait({pulling, looking})
            await self._pending.close()
            self._notes.moves(setting.duration_s)

    async def _link(self) -> tuple[float, Traffic]:
        """What the link has carried, and when, in the middle of the asking."""
        begin_s = self._clock()
        traffic = await asyncio.to_thread(self._site.lab.traffic)
        return (begin_s + self._clock()) / 2, traffic

    async def _come_and_go(self, coming: list[Analytic], now_s: float) -> None:
        for analytic, was_on_gateway in self._who.departed(now_s):
            if was_on_gateway:
                await self._site.puller.call(do="release", image=analytic.image)
                await self._site.gateway.call(do="end", analytic=analytic.name)
        while coming and coming[0].arrival_s <= now_s:
            analytic = coming.pop(0)
            if analytic.departure_s > now_s:
                self._who.admit(analytic)
        self._rate_map.write(self._site.map_file)  # opens lanes

    async def _plan(self) -> Placement:
        """Decide what moves in the slot that begins now."""
        setting, policy = self._setting, self._setting.policy
        pull_bps = self._uplink.pullable_bps(
            setting.gateway.downlink_bps, setting.model.most_ack_share
        )
        state = await self._state(self._free_s())
        gateway = replace(setting.gateway, downlink_bps=pull_bps)
        state = replace(state, gateway=gateway)
        begin = time.perf_counter()
        placement = await asyncio.to_thread(plan_slot, state, policy)
        took_s = time.perf_counter() - begin
        self._notes.decided(
            "placement", took_s, len(state.in_cloud), placement.value, placement.bound
        )
        return placement

    async def _follow(self) -> None:
        """Make room for a placement that is there, and queue its pulls."""
        found = self._pending.take()
        if found is None:
            return
        placement, slot_s = found
        policy, free_s = self._setting.policy, self._free_s()
        state = await self._state(free_s)
        begin = time.perf_counter()
        victims = make_room(state, placement, policy)
        if victims:
            took_s = time.perf_counter() - begin
            self._notes.decided("eviction", took_s, len(victims), None, None)
            found = await self._site.puller.call(do="delete", digests=list(victims))
            for digest, n_bytes in found.get("deleted", ()):
                self._records.add(
                    EVICTIONS,
                    at_s=self._clock(),
                    digest=digest,
                    uncompressed_bytes=n_bytes,
                )
        self._queue(placement, slot_s, free_s)

    def _free_s(self) -> float:
        """When the pulls of a placement can begin."""
        now_s = self._clock()
        return now_s + max(self._setting.slack_s, self.pulls.backlog_s(now_s))

    def _queue(self, placement: Placement, slot_s: float, free_s: float) -> None:
        """Queue what a placement asks for, of those who are still there."""
        policy, images = self._setting.policy, self._setting.images
        placed = [
            a for a in self._who.in_cloud.values() if a.name in placement.gateway_of
        ]
        wanted = dict.fromkeys(analytic.image for analytic in placed)
        self.pulls.add(placement, wanted, slot_s, free_s)
        for analytic in placed:
            startup_s = policy.startup.of(images[analytic.image])
            starts_s = self.pulls.planned_end_s(analytic.image, free_s) + startup_s
            self._who.plan_move(analytic, slot_s, starts_s)

    async def _start(self, analytic: Analytic) -> None:
        """Start an analytic whose image is there now."""
        async with self._turn:
            if analytic.name in self._who.moving:
                await self._begin(analytic)
                self._apply()

    async def _begin(self, analytic: Analytic) -> None:
        held = await self._site.puller.call(do="hold", image=analytic.image)
        if "error" in held:
            self._who.give_up(analytic.image)
            return
        workload = self._who.workloads[analytic.name]
        order = {"analytic": analytic.name, "workload": workload}
        await self._site.gateway.call(do="start", **order)
        self._who.begin_on_gateway(analytic, self._clock())

    async def _divide(self, now_s: float) -> dict[str, Any]:
        """Divide the uplink, and tell the bridge and the sensors."""
        self._uplink.reserve(self._acks_bps)
        state = await self._grant(now_s, 1.0)
        granted = self._who.grants.values()
        self._granted_bps = sum(grant.rate_bps for grant in granted)
        return self._notes.facts(
            now_s,
            state.store.uncompressed_bytes,
            assumed_bps=self._uplink.assumed_bps,
            reserved_bps=self._uplink.reserved_bps,
        )

    async def _grant(self, now_s: float, share: float) -> State:
        """Divide a share of what is free of the uplink."""
        policy = self._setting.policy
        free_bps = self._uplink.free_bps * share
        state = await self._state(now_s)
        if len(self._who):
            begin = time.perf_counter()
            demands, answer = await asyncio.to_thread(
                plan_rates, state, policy, free_bps / policy.uplink_share
            )
            took_s = time.perf_counter() - begin
            self._notes.decided(
                "rates", took_s, len(demands), answer.value, answer.bound
            )
            self._who.take_rates(demands, answer, now_s)
        rate_map = self._rate_map
        rate_map.write(self._site.map_file)
        await self._site.lanes_open(rate_map.rates_bps)
        self._apply()
        return state

    async def _look(self) -> None:
        """Lower knobs while messages wait for the uplink, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            async with self._turn:
                share = self._uplink.look(self._granted_bps)
                if share is not None:
                    await self._grant(self._clock(), share)

    @property
    def _acks_bps(self) -> float:
        """What acknowledgements of pulls take of the uplink from now on."""
        if not (self._setting.has_ack_reserve and self.pulls.is_busy):
            return 0.0
        model = self._setting.model
        return model.most_ack_share * self._setting.network.downlink_bps

    @property
    def _rate_map(self) -> RateMap:
        return self._who.rate_map(self._uplink.drained_bps)

    def _apply(self) -> None:
        """Tell the bridge and the sensors who has what."""
        self._rate_map.write(self._site.map_file)
        assigned = self._who.assigned(self._setting.duration_s)
        self._site.publisher.send({"do": "assign", "assigned": assigned})

    async def _state(self, now_s: float) -> State:
        found = await self._site.puller.call(do="state")
        stored = load_index(found["index"].encode(), "the layer store")
        who = self._who
        return State(
            now_s=now_s,
            gateway=self._setting.gateway,
            images=self._setting.images,
            in_cloud=tuple(who.in_cloud.values()),
            moving=tuple(who.moving.values()),
            on_gateway=tuple(who.on_gateway.values()),
            store=StoreState(
                layers=stored.layers,
                images=stored.images,
                held=frozenset(found["held"]),
                past_pulls=stored.past_pulls,
            ),
        )
