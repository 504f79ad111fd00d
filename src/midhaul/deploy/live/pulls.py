"""The pulls of a live run, one after another, and the moves that follow from them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.tables import LIVE_PULLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from midhaul.deploy.live.records import Records
    from midhaul.deploy.live.site import Site
    from midhaul.deploy.live.situation import Situation
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic


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
        situation: Situation,
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
