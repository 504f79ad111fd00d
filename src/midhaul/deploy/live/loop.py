"""The control loop in real time: the same decisions as a simulated gateway takes.

At the begin of each rate period: who leaves goes, who arrives comes, at the begin of a
slot the placement is planned and its pulls are queued, and then the uplink is divided.
Pulls and moves happen in between.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.control import State, make_room, plan_rates, plan_slot
from midhaul.deploy.live.notes import Mark, Notes
from midhaul.deploy.live.pulls import Pulls
from midhaul.deploy.live.tables import EVICTIONS
from midhaul.deploy.registry.store_index import StoreState, load_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midhaul.deploy.control import Policy
    from midhaul.deploy.enforcement.lab import Traffic
    from midhaul.deploy.live.calibration import PullModel
    from midhaul.deploy.live.records import Records
    from midhaul.deploy.live.site import Site
    from midhaul.deploy.live.situation import Situation
    from midhaul.deploy.networks import Network
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic, ContainerImage, Gateway
    from midhaul.runs.progress import Task

_MOST_RESERVED = 0.5  # share of the uplink; with less, pulls slow down by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a repetition is given.

    Attributes:
        policy: how to decide.
        model: how pulls behave here.
        gateway: the whole of it.
        network: the link.
        images: with their real digests.
        analytics: who comes when.
        duration_s: when it ends.
        slack_s: from the begin of a slot until its pulls can begin.
        has_ack_reserve: whether acknowledgements of pulls are reserved for.
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


class Loop:
    """One repetition.

    Args:
        setting: what it is given.
        site: where it happens.
        situation: who is there; nobody at first.
        records: where it is noted.
        clock: seconds on the experiment's clock.
    """

    def __init__(
        self,
        setting: Setting,
        site: Site,
        situation: Situation,
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
        self._cap_bps = 0.0
        self.pulls = Pulls(site, situation, records, clock=clock, start=self._start)

    async def run(self, task: Task) -> None:
        """Decide until the end of the repetition.

        Raises:
            NodeError: a process has ended.
        """
        setting = self._setting
        period_s = setting.policy.rate_period_s
        n_per_slot = round(setting.policy.slot_s / period_s)
        coming = sorted(setting.analytics, key=lambda a: a.arrival_s)
        pulling = asyncio.create_task(self.pulls.live())
        mark: Mark | None = None
        number = 0
        try:
            while number * period_s < setting.duration_s:
                begins_s = number * period_s
                await asyncio.sleep(max(0.0, begins_s - self._clock()))
                late_s = self._clock() - begins_s
                now_s, traffic = await self._link()
                if mark is not None:
                    self._notes.close(mark, now_s, traffic)
                if pulling.done():
                    pulling.result()
                self._site.check()
                async with self._turn:
                    await self._come_and_go(coming, begins_s)
                    if number % n_per_slot == 0:
                        await self._plan(begins_s)
                    facts = await self._divide(begins_s)
                mark = Mark(at_s=now_s, late_s=late_s, traffic=traffic, facts=facts)
                if number % n_per_slot == 0:
                    self._records.flush(self._clock())
                number += 1
                task.advance(min(period_s, setting.duration_s - begins_s))
            await asyncio.sleep(max(0.0, setting.duration_s - self._clock()))
            self._site.publisher.send({"do": "assign", "assigned": {}})
            if mark is not None:
                self._notes.close(mark, *await self._link())
        finally:
            pulling.cancel()
            await asyncio.wait({pulling})
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
        self._who.rate_map(self._cap_bps).write(self._site.map_file)  # opens lanes

    async def _plan(self, now_s: float) -> None:
        """Decide what moves in the slot that begins now, and queue its pulls."""
        free_s = now_s + max(self._setting.slack_s, self.pulls.backlog_s(now_s))
        state = await self._state(free_s)
        policy = self._setting.policy
        begin = time.perf_counter()
        placement = await asyncio.to_thread(plan_slot, state, policy)
        took_s = time.perf_counter() - begin
        self._notes.decided(
            "placement",
            took_s,
            len(state.in_cloud),
            placement.value,
            placement.bound,
        )
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
        self._follow(placement, now_s, free_s)

    def _follow(self, placement: Placement, now_s: float, free_s: float) -> None:
        """Queue what a placement asks for."""
        policy, images = self._setting.policy, self._setting.images
        placed = [
            a for a in self._who.in_cloud.values() if a.name in placement.gateway_of
        ]
        wanted = dict.fromkeys(analytic.image for analytic in placed)
        self.pulls.add(placement, wanted, now_s, free_s)
        for analytic in placed:
            startup_s = policy.startup.of(images[analytic.image])
            starts_s = self.pulls.planned_end_s(analytic.image, now_s) + startup_s
            self._who.plan_move(analytic, now_s, starts_s)

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
        setting, policy = self._setting, self._setting.policy
        uplink_bps = float(setting.network.uplink_rates(now_s, now_s + 1e-3)[0][0])
        reserved_bps = self._reserve_bps(uplink_bps)
        free_bps = max(0.0, uplink_bps * policy.uplink_share - reserved_bps)
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
        self._cap_bps = free_bps
        rate_map = self._who.rate_map(free_bps)
        rate_map.write(self._site.map_file)
        await self._site.lanes_open(rate_map.rates_bps)
        self._apply()
        return self._notes.facts(now_s, reserved_bps, state.store.uncompressed_bytes)

    def _reserve_bps(self, uplink_bps: float) -> float:
        """What acknowledgements of pulls take of the uplink from now on."""
        if not (self._setting.has_ack_reserve and self.pulls.is_busy):
            return 0.0
        acks_bps = (
            self._setting.model.most_ack_share * self._setting.network.downlink_bps
        )
        return min(acks_bps, _MOST_RESERVED * uplink_bps)

    def _apply(self) -> None:
        """Tell the bridge and the sensors who has what."""
        self._who.rate_map(self._cap_bps).write(self._site.map_file)
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
