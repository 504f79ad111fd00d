"""Repetition of a live run: from its first process to its last row.

*Faults* break on purpose meanwhile, and come back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.control import State, plan_rates, plan_slot
from midhaul.deploy.live.inputs import (
    analytics_from,
    gateway_of,
    policy_of,
    requests_of,
    workload_of,
)
from midhaul.deploy.live.loop import Loop, RepetitionSetting
from midhaul.deploy.live.pulls import calibrate
from midhaul.deploy.live.site import Site
from midhaul.deploy.live.situation import GatewaySituation
from midhaul.deploy.live.tables import REPEATS, Records
from midhaul.deploy.networks import replay
from midhaul.deploy.placement.mincut import load_kernels
from midhaul.machine.processes import cpu_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from midhaul.deploy.enforcement.lab import Lab
    from midhaul.deploy.live.config import FaultConfig, LiveConfig
    from midhaul.deploy.live.pulls import PullModel
    from midhaul.deploy.live.workload import MeasuredCurves
    from midhaul.deploy.networks import Network
    from midhaul.deploy.problem import Analytic, ContainerImage
    from midhaul.deploy.store.server import RegistryServer
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run


async def break_things(
    faults: Sequence[FaultConfig], site: Site, clock: Callable[[], float]
) -> int:
    """Let every fault happen at its time on the experiment's clock, and count them."""
    for fault in sorted(faults, key=lambda one: one.at_s):
        await asyncio.sleep(max(0.0, fault.at_s - clock()))
        if fault.what == "registry":
            await asyncio.to_thread(site.registry.kill)
            await asyncio.sleep(fault.down_s)
            await asyncio.to_thread(site.registry.start)
            continue
        is_near = fault.what == "gateway-broker"
        broker = site.gateway_broker if is_near else site.cloud_broker
        await asyncio.to_thread(broker.restart, down_s=fault.down_s)
    return len(faults)


_SETUP_NS = 500_000_000
_PHASE_S = 0.5  # lanes of a new analytic are open by then
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all repetitions share: the link, the registry, which runs, and its images.

    ``scratch`` is for what goes at the end, ``network`` the link as it is planned with.
    """

    lab: Lab
    registry: RegistryServer
    scratch: Path
    images: Mapping[str, ContainerImage]
    curves: Mapping[str, MeasuredCurves]
    network: Network


async def run_repeat(
    config: LiveConfig, place: Place, repeat: int, run: Run, progress: Progress
) -> None:
    """Run one repetition and write its rows.

    A NodeError where a process does not live.
    """
    lines = _Lines()
    site = Site(
        config,
        place.lab,
        place.registry,
        folder=place.scratch / f"repeat-{repeat}",
        logs=run.file(f"live/{repeat}/rates.json").parent.resolve(),
        seed=config.seed,
        threshold=place.curves["images"].threshold,
        take=lines.take,
    )
    try:
        with progress.task(f"start processes of repetition {repeat}", 2) as task:
            await site.start()
            task.advance()
            model = await calibrate(site)
            task.advance()
        await _run(config, place, site, model, lines, repeat, run, progress)
    finally:
        await site.stop()


class _Lines:
    """Where workers' lines go: nowhere before the begin."""

    def __init__(self) -> None:
        self.records: Records | None = None

    def take(self, line: dict[str, object]) -> None:
        if self.records is not None:
            self.records.take(line)


async def _run(
    config: LiveConfig,
    place: Place,
    site: Site,
    model: PullModel,
    lines: _Lines,
    repeat: int,
    run: Run,
    progress: Progress,
) -> None:
    requests = requests_of(config, place.images, repeat)
    analytics = analytics_from(config, requests, place.curves)
    setting = RepetitionSetting(
        policy=policy_of(config, model),
        model=model,
        gateway=gateway_of(config, model),
        network=place.network,
        images=place.images,
        analytics=analytics,
        duration_s=config.duration_s,
        slack_s=config.planning.slack_s,
        has_ack_reserve=config.planning.has_ack_reserve,
        deadline_s=config.deadline_s,
    )
    await asyncio.to_thread(_warm_up, setting)
    begin_ns = time.monotonic_ns() + _SETUP_NS
    records = Records(run, repeat, begin_ns, config.deadline_s)
    records.weights = {a.name: a.weight for a in analytics}
    records.planned_quality = _planned(place.curves)
    lines.records = records

    def clock() -> float:
        return (time.monotonic_ns() - begin_ns) / 1e9

    situation = GatewaySituation(
        begin_ns,
        _phases(analytics, np.random.default_rng([config.seed, 3, repeat])),
        {a.name: workload_of(config, a.image) for a in analytics},
        config.deadline_s,
    )
    await site.puller.call(do="begin", begin_ns=begin_ns)
    loop = Loop(setting, site, situation, records, clock=clock)
    before = cpu_time()
    breaking = asyncio.create_task(break_things(config.faults, site, clock))
    over = threading.Event()
    replaying = asyncio.create_task(_replay(place, over, begin_ns, config.duration_s))
    try:
        name = f"repetition {repeat}, seconds"
        with progress.task(name, config.duration_s) as task:
            await loop.run(task)
        busy = cpu_time().busy_since(before)
        await _wait_for_answers(records, config.deadline_s)
    finally:
        over.set()
        breaking.cancel()
        await asyncio.wait({breaking, replaying})
        records.flush(float("inf"))
    late = records.late_s or [0.0]
    records.add(
        REPEATS,
        duration_s=config.duration_s,
        pull_bps=model.pull_bps,
        pull_fixed_s=model.fixed_s,
        ack_share=model.ack_share,
        late_p99_s=float(np.percentile(late, 99)),
        busy=busy,
        n_restarts=0 if breaking.cancelled() else breaking.result(),
    )
    records.flush(float("inf"))


async def _replay(
    place: Place, over: threading.Event, begin_ns: int, duration_s: float
) -> None:
    """Let the uplink follow its trace, if it has one."""
    trace = place.network.trace
    if trace is not None:
        await asyncio.sleep(max(0.0, (begin_ns - time.monotonic_ns()) / 1e9))
        await asyncio.to_thread(
            replay,
            trace,
            place.lab.set_uplink,
            duration_s=duration_s,
            clock=time.monotonic,
            sleep=over.wait,
        )


async def _wait_for_answers(records: Records, deadline_s: float) -> None:
    """Wait for messages on their way, no longer than until they are missing."""
    end_s = time.monotonic() + deadline_s
    while records.n_open and time.monotonic() < end_s:  # noqa: ASYNC110  rarely long
        await asyncio.sleep(_POLL_S)


def _planned(
    curves: Mapping[str, MeasuredCurves],
) -> dict[tuple[str, str], dict[float, float]]:
    """By workload and place, what its curve says of each knob."""
    return {
        (name, place): dict(
            zip(curve.knobs.tolist(), curve.qualities.tolist(), strict=True)
        )
        for name, one in curves.items()
        for place, curve in (("cloud", one.cloud), ("gateway", one.gateway))
    }


def _phases(
    analytics: Sequence[Analytic], rng: np.random.Generator
) -> dict[str, float]:
    """From the arrival of each analytic to its first message, left to chance."""
    return {a.name: _PHASE_S + float(rng.uniform(0, 1)) / _hz(a) for a in analytics}


def _hz(analytic: Analytic) -> float:
    curve = analytic.cloud_curve
    return 1.0 if curve is None else curve.message_hz


def _warm_up(setting: RepetitionSetting) -> None:
    """Decide once before the begin, so that nothing is compiled later."""
    load_kernels()
    state = State(
        now_s=0.0,
        gateway=setting.gateway,
        images=setting.images,
        in_cloud=tuple(setting.analytics[:8]),
    )
    if state.in_cloud:
        plan_slot(state, setting.policy)
        plan_rates(state, setting.policy, setting.network.uplink_bps)
