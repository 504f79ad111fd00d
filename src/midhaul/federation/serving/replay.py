"""A federation over recorded answers while providers fail, in virtual time.

Requests arrive as they like (a Poisson process, open loop): a slow federation does not
slow them down. Providers answer what was recorded, as late as it was recorded or drawn;
timers, retries, breakers, limits, budgets and the ledger are those of the service
itself. As time is virtual, hours pass in seconds and a seed gives the same run to the
digit; the federation's own work takes no time here.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.budget import BudgetGuard, Budgets
from midhaul.federation.ledger import Ledger
from midhaul.federation.prices import PriceList
from midhaul.federation.providers.faults import FaultyProvider
from midhaul.federation.providers.recorded import DrawnLatency, RecordedProvider
from midhaul.federation.serving.engine import Federation
from midhaul.federation.serving.fault_plan import faults_of
from midhaul.federation.serving.knowledge import Knowledge
from midhaul.federation.serving.settings import (
    CacheSettings,
    FederationSettings,
    ProviderSettings,
)
from midhaul.federation.serving.virtual_time import run_virtual
from midhaul.federation.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.problem import Recording
    from midhaul.federation.providers.recorded import Latency
    from midhaul.federation.saving import State
    from midhaul.federation.serving.answer import FederatedAnswer
    from midhaul.federation.serving.fault_plan import Phase

_NO_CACHE = CacheSettings(n_answers=0)
_BEGIN_S = 1_000_008_000.0  # 4 o'clock, UTC: midnight is far


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """How requests come and how they are answered.

    Attributes:
        rate_hz: mean rate of requests.
        latency: how long calls take; drawn where the recording does not know.
        federation: deadline, fallback, cache. Items come again and again; without a
            cache, as it is unless said otherwise, each request is a new image.
        limits: by provider, how it is called.
        budgets: how much may be spent.
        seed: of arrivals, faults and whatever else is left to chance.
    """

    rate_hz: float = 10.0
    latency: Latency = field(default_factory=lambda: DrawnLatency(median_s=0.3))
    federation: FederationSettings = field(
        default_factory=lambda: FederationSettings(cache=_NO_CACHE)
    )
    limits: Mapping[str, ProviderSettings] = field(
        default_factory=dict[str, ProviderSettings]
    )
    budgets: Budgets = field(default_factory=Budgets)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaultReplay:
    """What became of every request of one policy.

    Attributes:
        policy: its name.
        items: ``(r,)`` number of the item of each request, in the recording.
        arrivals_s: ``(r,)`` when they came.
        answers: to each of them.
        spent_usd: what the ledger says in the end.
        n_calls: calls that the ledger has, billed or not.
    """

    policy: str
    items: Int64[np.ndarray, " r"]
    arrivals_s: Float64[np.ndarray, " r"]
    answers: tuple[FederatedAnswer, ...]
    spent_usd: float
    n_calls: int


def replay_under_faults(
    policy: SubsetPolicy,
    recording: Recording,
    features: Float32[np.ndarray, "n d"],
    fuser: Fuser,
    phases: Sequence[Phase],
    settings: ReplaySettings,
) -> FaultReplay:
    """Serve a policy while things go wrong.

    Two policies with the same settings meet the same arrivals, and faults that hit the
    same attempts at the same items.

    Args:
        policy: who is asked.
        recording: what providers answer; its truth is not shown to anybody.
        features: ``(n, d)`` of the items.
        fuser: what fuses the answers.
        phases: what goes wrong when, one after another.
        settings: how requests come and are answered.
    """
    items, arrivals_s = _arrivals(len(recording), phases[-1].ends_s, settings)
    knowledge = Knowledge(
        task=recording.task,
        vocabulary=Vocabulary(recording.names),
        policy=policy,
        fuser=fuser,
        features=_Known(recording.items, features),
    )

    async def main(clock: Callable[[], float]) -> FaultReplay:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ledger.tsv"
            with Ledger.open(
                file, sync="never", clock=lambda: _BEGIN_S + clock()
            ) as ledger:
                prices = PriceList.flat(_prices(recording))
                guard = BudgetGuard(
                    ledger, settings.budgets, run="replay", prices=prices
                )
                async with Federation(
                    _providers(recording, phases, settings, clock),
                    knowledge,
                    guard,
                    prices,
                    settings=replace(settings.federation, learns_in_thread=False),
                    limits=settings.limits,
                    clock=clock,
                ) as federation:
                    answers = await _serve(
                        federation, recording, phases, items, arrivals_s, clock
                    )
                total = ledger.spending.of_run("replay")
                return FaultReplay(
                    policy=policy.name,
                    items=items,
                    arrivals_s=arrivals_s,
                    answers=answers,
                    spent_usd=guard.spent_usd,
                    n_calls=total.n_calls,
                )

    return run_virtual(main)


async def _serve(
    federation: Federation,
    recording: Recording,
    phases: Sequence[Phase],
    items: Int64[np.ndarray, " r"],
    arrivals_s: Float64[np.ndarray, " r"],
    clock: Callable[[], float],
) -> tuple[FederatedAnswer, ...]:
    """Let all requests come at their times, and prices change at theirs."""

    async def change_prices() -> None:
        for phase in phases:
            await asyncio.sleep(phase.begins_s - clock())
            changed = {**_prices(recording), **phase.prices_usd}
            federation.change_prices(PriceList.flat(changed))

    is_cached = federation.settings.cache.n_answers > 0

    async def ask(number: int, item: int, arrival_s: float) -> FederatedAnswer:
        await asyncio.sleep(arrival_s - clock())
        name = recording.items[item]
        data = (name if is_cached else f"{name} {number}").encode()
        sizes = recording.sizes_px
        size = None if sizes is None else (float(sizes[item][0]), float(sizes[item][1]))
        return await federation.answer(data, item=name, size_px=size)

    async with asyncio.TaskGroup() as group:
        group.create_task(change_prices())
        pairs = zip(items.tolist(), arrivals_s.tolist(), strict=True)
        asked = [
            group.create_task(ask(number, item, arrival_s))
            for number, (item, arrival_s) in enumerate(pairs)
        ]
    return tuple(task.result() for task in asked)


def _arrivals(
    n_items: int, ends_s: float, settings: ReplaySettings
) -> tuple[Int64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Items in random order, again and again, at the times of a Poisson process."""
    rng = np.random.default_rng([settings.seed, 1])
    n = rng.poisson(settings.rate_hz * ends_s)
    arrivals_s = np.sort(rng.uniform(0.0, ends_s, n))
    passes = [rng.permutation(n_items) for _ in range(-(-n // n_items))]
    items = np.concatenate([*passes, np.zeros(0, np.int64)])[:n]
    return items.astype(np.int64), arrivals_s


def _providers(
    recording: Recording,
    phases: Sequence[Phase],
    settings: ReplaySettings,
    clock: Callable[[], float],
) -> list[FaultyProvider]:
    return [
        FaultyProvider(
            RecordedProvider(recording, name, latency=settings.latency),
            faults_of(phases, name),
            seed=settings.seed,
            clock=clock,
        )
        for name in recording.providers
    ]


def _prices(recording: Recording) -> dict[str, float]:
    prices = recording.prices_usd.tolist()
    return dict(zip(recording.providers, prices, strict=True))


class _Known:
    """Features that were extracted before, found by the id of the item."""

    is_of_images = False

    def __init__(
        self, items: tuple[str, ...], features: Float32[np.ndarray, "n d"]
    ) -> None:
        self._features = features
        self._places = {item: i for i, item in enumerate(items)}
        self.names = tuple(f"known_{i}" for i in range(features.shape[1]))

    def extract(
        self, recording: Recording, images: Sequence[bytes] = ()
    ) -> Float32[np.ndarray, "n d"]:
        """Look the items up."""
        del images
        return self._features[[self._places[item] for item in recording.items]]

    def state(self) -> State:
        """They belong to one replay, and are not saved."""
        return {"kind": "known"}
