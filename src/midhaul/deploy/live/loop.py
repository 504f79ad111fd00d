"""Control loop in real time: the same decisions as a simulated gateway takes.

At the begin of each rate period: who leaves goes, who arrives comes, at the begin of a
slot the placement is planned and its pulls are queued, and then the uplink is divided.
Pulls and moves happen in between. A placement that takes long is followed from the rate
period on in which it is there: the uplink is divided meanwhile.

Its pulls happen one after another, and moves follow from them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from midhaul.deploy.control import State, make_room, plan_rates, plan_slot
from midhaul.deploy.live.decision_log import Mark, Notes
from midhaul.deploy.live.pending import PendingPlacement
from midhaul.deploy.live.tables import EVICTIONS, LIVE_PULLS
from midhaul.deploy.live.uplink import LiveUplink
from midhaul.deploy.store.store_index import StoreState, load_index

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from midhaul.deploy.control import Policy
    from midhaul.deploy.enforcement.lab import Traffic
    from midhaul.deploy.enforcement.rate_map import RateMap
    from midhaul.deploy.live.calibration import PullModel
    from midhaul.deploy.live.decision_log import Records
    from midhaul.deploy.live.site import Site
    from midhaul.deploy.live.situation import GatewaySituation
    from midhaul.deploy.networks import Network
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic, ContainerImage, Gateway
    from midhaul.runs.progress import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A pull that a placement asks for; times on the experiment's clock.

    Attributes:
        image: what.
        slot_s: begin of the slot.
        planned_begins_s: planned begin.
        planned_ends_s: planned end.
        planned_bytes: what it carries, as planned.
    """

    image: str
    slot_s: float
    planned_begins_s: float
    planned_ends_s: float
    planned_bytes: int

    @property
    def planned_s(self) -> float:
        """How long it takes, as planned."""
        return self.planned_ends_s - self.planned_begins_s


class Pulls:
    """Carries out jobs in order, until cancelled.

    Args:
        site: whose puller does it.
        situation: who waits for what.
        records: where pulls are noted.
        clock: seconds on the experiment's clock.
        start: what starts an analytic on the gateway once its image is there.
    """

    def __init__(
        self,
        site: Site,
        situation: GatewaySituation,
        records: Records,
        *,
        clock: Callable[[], float],
        start: Callable[[Analytic], Awaitable[None]],
    ) -> None:
        self._site = site
        self._situation = situation
        self._records = records
        self._clock = clock
        self._start = start
        self._jobs: deque[Job] = deque()
        self._news = asyncio.Event()
        self._now: Job | None = None
        self._now_begins_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether something is pulled or about to be."""
        return self._now is not None or bool(self._jobs)

    def backlog_s(self, now_s: float) -> float:
        """How long it takes, about, until the link down is free."""
        rest_s = sum(job.planned_s for job in self._jobs)
        if self._now is not None:
            ends_s = self._now_begins_s + self._now.planned_s
            rest_s += max(0.2, ends_s - now_s)
        return rest_s

    def planned_end_s(self, image: str, otherwise_s: float) -> float:
        """When the job of an image ends, as planned; else what is given."""
        jobs = [*self._jobs, *([] if self._now is None else [self._now])]
        ends = [job.planned_ends_s for job in jobs if job.image == image]
        return ends[0] if ends else otherwise_s

    def add(
        self,
        placement: Placement,
        images: Iterable[str],
        now_s: float,
        begins_s: float,
    ) -> None:
        """Queue the pulls of a placement.

        An image whose layers are all present is asked for as well, before the others:
        the store has to know it before it can be held.

        Args:
            placement: its pulls come in their order.
            images: all that it needs.
            now_s: begin of the slot.
            begins_s: when the link down is free.
        """
        jobs = [
            Job(
                image=pull.image,
                slot_s=now_s,
                planned_begins_s=begins_s + pull.begins_s,
                planned_ends_s=begins_s + pull.ends_s,
                planned_bytes=pull.compressed_bytes,
            )
            for pull in placement.pulls
        ]
        known = {job.image for job in [*jobs, *self._jobs]}
        known |= set() if self._now is None else {self._now.image}
        at_once = [
            Job(
                image=image,
                slot_s=now_s,
                planned_begins_s=begins_s,
                planned_ends_s=begins_s,
                planned_bytes=0,
            )
            for image in images
            if image not in known
        ]
        self._jobs.extend([*at_once, *jobs])
        self._news.set()

    async def live(self) -> None:
        """Pull, and start who waits; until cancelled."""
        while True:
            while self._jobs:
                self._now = self._jobs.popleft()
                self._now_begins_s = self._clock()
                try:
                    await self._carry_out(self._now)
                finally:
                    self._now = None
            self._news.clear()
            await self._news.wait()

    async def _carry_out(self, job: Job) -> None:
        row: dict[str, Any] = {
            "image": job.image,
            "slot_s": job.slot_s,
            "planned_begins_s": job.planned_begins_s,
            "planned_ends_s": job.planned_ends_s,
            "planned_bytes": job.planned_bytes,
            "error": "",
            "is_wasted": True,
            "pulled_bytes": 0,
        }
        if not self._situation.waiting_for(job.image):
            self._records.add(LIVE_PULLS, **row)  # they left before it began
            return
        row["begins_s"] = self._now_begins_s
        found = await self._site.puller.call(do="pull", image=job.image)
        if "error" in found:
            row["error"] = found["error"]
            self._situation.give_up(job.image)
        else:
            names = ("ends_s", "pulled_bytes", "resumed_bytes", "n_retries")
            row |= {name: found[name] for name in names}
            for analytic in self._situation.waiting_for(job.image):
                row["is_wasted"] = False
                await self._start(analytic)
        self._records.add(LIVE_PULLS, **row)


_LOOK_S = 1.0  # how often the loop looks at what waits
_PATIENCE_S = 0.5  # for a placement, before the uplink is divided without it


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionSetting:
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
        deadline_s: a message that is scored later is late.
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

        Raises:
            NodeError: a process has ended.
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
            "placement",
            took_s,
            len(state.in_cloud),
            placement.value,
            placement.bound,
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
