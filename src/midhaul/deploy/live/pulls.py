"""Pulls of a live run: how long they take here, and carrying them out one by one.

A small image and a large one of many layers are pulled over the shaped link before the
begin. Two points give a line: ``seconds = fixed_s + 8 * bytes / pull_bps``. The same
pulls say how much of the *uplink* a pull takes: TCP acknowledges every second packet,
which at 100 Mbit/s is some 2 Mbit/s and nothing that a gateway with 5 Mbit/s may leave
out.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.tables import LIVE_PULLS
from midhaul.deploy.problem import ContainerImage, Layer
from midhaul.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from midhaul.deploy.live.site import Site
    from midhaul.deploy.live.situation import GatewaySituation
    from midhaul.deploy.live.tables import Records
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic

ACK_SHARE = 66 / (2 * 1514)
"""An acknowledgement over two full packets, Ethernet headers included (RFC 9293)."""

_N_LAYERS = 20
_SMALL_BYTES = 20_000
_LEAST_LARGE_BYTES = 1_000_000
_RATIO = 1.85
_SMALL, _LARGE = "calibrate-small", "calibrate-large"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullModel:
    """What was measured: rate of a pull, unpacking included, and its time beside bytes.

    ``start_s`` is from the end of a pull until the analytic's program is loaded.
    ``ack_share`` is bytes on the uplink for each byte on the downlink; a busy machine
    acknowledges more at once, so it may have more at another time.
    """

    pull_bps: float
    fixed_s: float
    start_s: float
    ack_share: float

    @property
    def most_ack_share(self) -> float:
        """What has to be reckoned with: one acknowledgement for two packets."""
        return max(self.ack_share, ACK_SHARE)


def calibration_images(
    images: Collection[ContainerImage], scale: float
) -> dict[str, ContainerImage]:
    """The two images, the larger one as large as the usual one of the others."""
    usual = sum(image.compressed_bytes for image in images) / len(images)
    large = max(usual, _LEAST_LARGE_BYTES / scale)
    return {
        _SMALL: _image(_SMALL, 1, _SMALL_BYTES / scale),
        _LARGE: _image(_LARGE, _N_LAYERS, large),
    }


async def calibrate(site: Site) -> PullModel:
    """Pull both images, load a program, and clean up.

    A NodeError where a pull fails.
    """
    small = await _pull(site, _SMALL)
    before = await asyncio.to_thread(site.lab.traffic)
    large = await _pull(site, _LARGE)
    after = await asyncio.to_thread(site.lab.traffic)
    begin = time.monotonic()
    await site.gateway.call(do="start", analytic="calibration", workload="images")
    await site.gateway.call(do="end", analytic="calibration")
    start_s = time.monotonic() - begin
    n_bits = 8.0 * (large[1] - small[1])
    pull_bps = n_bits / max(large[0] - small[0], 1e-3)
    return PullModel(
        pull_bps=pull_bps,
        fixed_s=max(0.0, small[0] - 8 * small[1] / pull_bps),
        start_s=start_s,
        ack_share=(after.up_bytes - before.up_bytes)
        / max(1, after.down_bytes - before.down_bytes),
    )


async def _pull(site: Site, image: str) -> tuple[float, int]:
    """Seconds and bytes of a pull; its layers are deleted again."""
    found = await site.puller.call(do="pull", image=image)
    if "error" in found:
        message = f"the pull of {image} failed before the begin: {found['error']}"
        raise NodeError(message, f"see {site.registry.log}")
    state = await site.puller.call(do="state")
    digests = [layer["digest"] for layer in json.loads(state["index"])["layers"]]
    await site.puller.call(do="delete", digests=digests)
    return found["ends_s"] - found["begins_s"], int(found["pulled_bytes"])


def _image(name: str, n: int, n_bytes: float) -> ContainerImage:
    size = max(1, round(n_bytes / n))
    return ContainerImage(
        name=name,
        layers=tuple(
            Layer(
                digest=f"{name}-{number}",
                compressed_bytes=size,
                uncompressed_bytes=round(size * _RATIO),
            )
            for number in range(n)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A pull that a placement asks for; times on the experiment's clock."""

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

    ``start`` starts an analytic on the gateway once its image is there.
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
        self, placement: Placement, images: Iterable[str], now_s: float, begins_s: float
    ) -> None:
        """Queue the pulls of a placement, from when the link down is free.

        An image whose layers are all present is asked for as well, before the others:
        the store has to know it before it can be held.
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
