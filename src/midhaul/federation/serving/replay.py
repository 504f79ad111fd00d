"""Replay under faults, in virtual time: a federation over recorded answers.

Requests arrive as they like (a Poisson process, open loop): a slow federation does not
slow them down. Providers answer what was recorded, as late as it was recorded or drawn;
timers, retries, breakers, limits, budgets and the ledger are those of the service
itself. As time is virtual, hours pass in seconds and a seed gives the same run to the
digit; the federation's own work takes no time here.

*Virtual time* is an asyncio event loop whose time does not pass but jumps to the next
timer.

A wait of an hour takes microseconds, and nothing but waits takes any time: what is
computed between them takes none. So latencies come out as they were put in, whatever
the machine and its load, and a run of one seed gives the same numbers everywhere. Only
coroutines may run in it: a thread or a socket would be at work while time jumps, and is
refused.

A *fault plan* says what goes wrong when: phases with faults and prices.

Its rows are each request, and each policy in each phase.
"""

from __future__ import annotations

import asyncio
import selectors
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from midhaul.federation.money.budget import BudgetGuard, Budgets
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.prices import PriceList
from midhaul.federation.providers.faults import Fault, FaultyProvider
from midhaul.federation.providers.local import DrawnLatency, RecordedProvider
from midhaul.federation.recordings.problem import Answers
from midhaul.federation.recordings.vocabulary import Vocabulary
from midhaul.federation.serving.engine import Federation
from midhaul.federation.serving.settings import (
    CacheSettings,
    FederationSettings,
    ProviderSettings,
)
from midhaul.federation.serving.trained_parts import Knowledge
from midhaul.machine.coroutines import run_coroutine
from midhaul.model import Detections
from midhaul.stats import claimed_quantile, known

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.providers.local import Latency
    from midhaul.federation.recordings.problem import Recording
    from midhaul.federation.serving.request import FederatedAnswer
    from midhaul.npz_state import State

Value = TypeVar("Value")


class _Jumping(selectors.DefaultSelector):
    """A selector that, instead of waiting, lets the time jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Whatever is ready now; otherwise the time moves on."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            message = (
                "nothing is left to do, and somebody still waits: for a thread, a "
                "socket, or each other; in virtual time only coroutines may run"
            )
            raise RuntimeError(message)
        self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that begins at 0 s and whose time jumps; see the module."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Raise, as threads do not go with a time that jumps."""
        del executor, args
        message = f"{func!r} wants a thread; in virtual time only coroutines may run"
        raise RuntimeError(message)


def run_virtual(
    main: Callable[[Callable[[], float]], Coroutine[Any, Any, Value]],
) -> Value:
    """Run a coroutine in virtual time, made by ``main`` of the clock of its loop."""
    found: list[Value] = []

    async def keep() -> None:
        # Not as the task's result: the runner writes out that one, arrays and all,
        # when it restores the handler of SIGINT.
        found.append(await main(asyncio.get_running_loop().time))

    run_coroutine(keep(), VirtualLoop)
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A time in which the same things go wrong.

    Attributes:
        begins_s: of the replay's clock.
        ends_s: of the same; the next phase begins here.
        faults: by name of the provider; their own times are of no account.
        prices_usd: prices from here on, by name of the provider.
    """

    name: str
    begins_s: float
    ends_s: float
    faults: Mapping[str, Fault] = field(default_factory=dict[str, Fault])
    prices_usd: Mapping[str, float] = field(default_factory=dict[str, float])

    def rows(self) -> list[dict[str, object]]:
        """The phase, as the table ``fault_phases`` has it."""
        same: dict[str, object] = {
            "phase": self.name,
            "begins_s": self.begins_s,
            "ends_s": self.ends_s,
        }
        rows: list[dict[str, object]] = [
            {**same, "provider": name, "fault": fault.kind, "share": fault.share}
            for name, fault in self.faults.items()
        ]
        rows += [
            {**same, "provider": name, "fault": "price", "price_usd": usd}
            for name, usd in self.prices_usd.items()
        ]
        return rows or [{**same, "provider": "", "fault": ""}]


def faults_of(phases: Sequence[Phase], provider: str) -> tuple[Fault, ...]:
    """All faults of one provider, each with the times of its phase."""
    return tuple(
        replace(fault, begins_s=phase.begins_s, ends_s=phase.ends_s)
        for phase in phases
        for name, fault in phase.faults.items()
        if name == provider
    )


def standard_phases(
    victim: str, *, phase_s: float, price_usd: float
) -> tuple[Phase, ...]:
    """One thing after another happens to one provider, with rests between.

    Its price is ``price_usd`` in the last phase but one, then its old one again.
    """
    plan: tuple[tuple[str, Fault | None], ...] = (
        ("healthy", None),
        ("time-outs", Fault(kind="timeout", share=0.5)),
        ("rest 1", None),
        ("HTTP 429", Fault(kind="throttled", share=0.5, retry_after_s=1.0)),
        ("rest 2", None),
        ("outage", Fault(kind="unavailable")),
        ("rest 3", None),
        ("slow", Fault(kind="slow", factor=5.0)),
        ("silently worse", Fault(kind="degraded", drop=0.5, swap=0.5, jitter=0.2)),
    )
    phases = [
        Phase(
            name=name,
            begins_s=i * phase_s,
            ends_s=(i + 1) * phase_s,
            faults={} if fault is None else {victim: fault},
        )
        for i, (name, fault) in enumerate(plan)
    ]
    end_s = len(plan) * phase_s
    phases.append(
        Phase(
            name="dearer",
            begins_s=end_s,
            ends_s=end_s + phase_s,
            prices_usd={victim: price_usd},
        )
    )
    return tuple(phases)


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
        items: ``(r,)`` number of the item of each request, in the recording.
        arrivals_s: ``(r,)`` when they came.
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
    same attempts at the same items. The truth of the recording is not shown to anybody.
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


def qualities_of(
    replay: FaultReplay, recording: Recording
) -> Float64[np.ndarray, " r"]:
    """Quality of each request's answer, 0 to 1; NaN where there is none."""
    from midhaul.federation.quality import item_quality  # noqa: PLC0415 - loads numba

    n, r = len(recording), len(replay.answers)
    found = np.full(r, np.nan)
    for begin in range(0, r, n):  # an item comes once in each pass over the recording
        rows = np.arange(begin, min(begin + n, r))
        part = recording.take(replay.items[rows])
        fused = _as_answers([replay.answers[row] for row in rows.tolist()])
        found[rows] = np.where(fused.is_missing, np.nan, item_quality(part, fused))
    return found


def request_rows(
    replay: FaultReplay,
    recording: Recording,
    phases: Sequence[Phase],
    qualities: Float64[np.ndarray, " r"],
) -> list[dict[str, object]]:
    """Rows of the table ``fault_requests``."""
    which = _phase_of(replay, phases)
    rows: list[dict[str, object]] = []
    for number, answer in enumerate(replay.answers):
        sent = [call for call in answer.calls if not call.not_sent]
        quality = float(qualities[number])
        rows.append(
            {
                "policy": replay.policy,
                "phase": phases[which[number]].name,
                "number": number,
                "item": recording.items[replay.items[number]],
                "arrival_s": float(replay.arrivals_s[number]),
                "latency_s": answer.latency_s,
                "status": answer.status,
                "reason": answer.reason,
                "n_rounds": len(answer.rounds),
                "n_calls": len(sent),
                "n_failed": sum(call.status != "ok" for call in sent),
                "asked": "+".join(answer.asked),
                "cost_usd": answer.cost_usd,
                "quality": None if np.isnan(quality) else quality,
            }
        )
    return rows


def summary_rows(
    replay: FaultReplay, phases: Sequence[Phase], qualities: Float64[np.ndarray, " r"]
) -> list[dict[str, object]]:
    """Rows of the table ``fault_summary``; phases without a request are left out."""
    which = _phase_of(replay, phases)
    rows: list[dict[str, object]] = []
    for number, phase in enumerate(phases):
        requests = np.flatnonzero(which == number)
        if len(requests):
            rows.append(
                {
                    "policy": replay.policy,
                    "phase": phase.name,
                    "begins_s": phase.begins_s,
                    "ends_s": phase.ends_s,
                    **_summary(
                        [replay.answers[row] for row in requests.tolist()],
                        qualities[requests],
                    ),
                }
            )
    return rows


def _summary(
    answers: Sequence[FederatedAnswer], qualities: Float64[np.ndarray, " k"]
) -> dict[str, Any]:
    is_answered = np.array([answer.is_answered for answer in answers])
    waits_s = np.array([answer.latency_s for answer in answers])
    # Without an answer a request waited at least as long as any that has one.
    longest_s = float(waits_s.max())
    waits_s[~is_answered] = longest_s
    calls = [call for one in answers for call in one.calls if not call.not_sent]
    n_failed = sum(call.status != "ok" for call in calls)
    good = qualities[is_answered]
    return {
        "n_requests": len(answers),
        "answered": float(is_answered.mean()),
        "complete": float(np.mean([one.status == "complete" for one in answers])),
        **{
            f"latency_p{percentile}_s": known(
                claimed_quantile(waits_s, percentile / 100)
            )
            for percentile in (50, 95, 99)
        },
        "latency_known_below_s": None if is_answered.all() else longest_s,
        "quality": float(np.where(is_answered, qualities, 0.0).mean()),
        "quality_answered": float(good.mean()) if len(good) else None,
        "cost_usd": float(np.mean([answer.cost_usd for answer in answers])),
        "n_calls": len(calls) / len(answers),
        "failed_calls": n_failed / len(calls) if calls else 0.0,
    }


def _phase_of(replay: FaultReplay, phases: Sequence[Phase]) -> np.ndarray:
    begins = np.array([phase.begins_s for phase in phases])
    return np.searchsorted(begins, replay.arrivals_s, side="right") - 1


def _as_answers(answers: Sequence[FederatedAnswer]) -> Answers:
    """The answers to several requests as one struct of arrays."""
    given = [(i, one.answer) for i, one in enumerate(answers) if one.answer is not None]
    boxes = [
        one.boxes
        if isinstance(one, Detections)
        else np.zeros((len(one), 4), np.float32)
        for _, one in given
    ]
    is_missing = np.ones(len(answers), bool)
    is_missing[[i for i, _ in given]] = False
    return Answers.of_rows(
        np.repeat([i for i, _ in given], [len(one) for _, one in given]).astype(
            np.int64
        ),
        len(answers),
        np.concatenate([one.labels for _, one in given] or [np.zeros(0, np.int32)]),
        np.concatenate([one.scores for _, one in given] or [np.zeros(0, np.float32)]),
        np.concatenate(boxes or [np.zeros((0, 4), np.float32)]),
        is_missing=is_missing,
    )
