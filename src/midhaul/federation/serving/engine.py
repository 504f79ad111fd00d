"""Engine of a federation: asks, waits, pays, retries, fuses, tells; its cache.

The *cache* has answers by content, and one set of calls for equal requests at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from midhaul.errors import ConfigError
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.serving.caller import Caller, Limiter
from midhaul.federation.serving.online_feedback import Lessons
from midhaul.federation.serving.request import FederationRequest, NoObserver, Purse
from midhaul.federation.serving.rounds import (
    AnswerParser,
    Rounds,
    as_answer,
    concluded,
    fallback_order,
    late,
    passed_on,
    refused,
)
from midhaul.federation.serving.settings import (
    FederationSettings,
    ProviderSettings,
    check_names,
)
from midhaul.federation.serving.trained_parts import Sheet, features_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
    from typing import Self

    from jaxtyping import Float64

    from midhaul.federation.money.budget import BudgetGuard
    from midhaul.federation.money.prices import PriceList
    from midhaul.federation.providers.base import Provider
    from midhaul.federation.serving.request import FederatedAnswer, Observer
    from midhaul.federation.serving.settings import CacheSettings
    from midhaul.federation.serving.trained_parts import Knowledge

Value = TypeVar("Value")


class AnswerCache(Generic[Value]):
    """The answers used last, none of them too old."""

    def __init__(self, settings: CacheSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        """Number of answers, too old ones included."""
        return len(self._kept)

    def get(self, key: Hashable) -> Value | None:
        """The answer of a key; None where there is none that is young enough."""
        found = self._kept.get(key)
        if found is None:
            return None
        made_s, value = found
        if self._clock() - made_s > self._settings.max_age_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep an answer; the one not used for the longest time may have to go."""
        if self._settings.n_answers <= 0:
            return
        self._kept[key] = (self._clock(), value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._settings.n_answers:
            self._kept.popitem(last=False)


class Flights(Generic[Value]):
    """Work under way, shared by everybody who wants the same.

    Work goes on as long as somebody waits for it, and is cancelled with the last one.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Value]] = {}
        self._n_waiting: dict[asyncio.Task[Value], int] = {}

    def __len__(self) -> int:
        """Pieces of work under way."""
        return len(self._n_waiting)

    async def join(
        self, key: Hashable, work: Callable[[], Coroutine[None, None, Value]]
    ) -> tuple[Value, bool]:
        """Wait for the work of a key; begin it where nobody has.

        Gives its value, and true where somebody else had begun it.
        """
        task = self._tasks.get(key)
        is_shared = task is not None
        if task is None:
            task = asyncio.create_task(work())
            self._tasks[key] = task
            self._n_waiting[task] = 0
            task.add_done_callback(lambda done: self._end(key, done))
        self._n_waiting[task] += 1
        try:
            return await asyncio.shield(task), is_shared
        except asyncio.CancelledError:
            if task in self._n_waiting and self._n_waiting[task] == 1:
                if self._tasks.get(key) is task:
                    del self._tasks[key]  # who comes now begins anew
                task.cancel()
            raise
        finally:
            if task in self._n_waiting:
                self._n_waiting[task] -= 1

    async def close(self, *, drain_s: float) -> None:
        """Wait ``drain_s`` for all work, and cancel what has not ended by then."""
        if self._n_waiting and drain_s > 0:
            await asyncio.wait(list(self._n_waiting), timeout=drain_s)
        tasks = list(self._n_waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Hashable, task: asyncio.Task[Value]) -> None:
        self._n_waiting.pop(task, None)
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it


_LARGE_BYTES = 1 << 20


class Federation:
    """Answers items by asking some of several priced providers.

    An asynchronous context manager, to be entered inside a running event loop; it opens
    and closes its providers. The ledger behind the guard is its owner's to close.

    Args:
        providers: in the order of the policy's bits.
        knowledge: whom to ask, and how answers are fused.
        guard: of the budgets; every attempt reserves its money there.
        prices: of all providers, the list that the guard has.
        settings: deadlines, fallback, cache.
        limits: by name of the provider, how it is called; defaults for all others.
        observer: told of every call and answer.
        clock: seconds.

    Raises:
        ConfigError: providers are not unique, or settings name one that is not there.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        knowledge: Knowledge,
        guard: BudgetGuard,
        prices: PriceList,
        *,
        settings: FederationSettings | None = None,
        limits: Mapping[str, ProviderSettings] | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.providers = tuple(provider.name for provider in providers)
        self.knowledge = knowledge
        self.guard = guard
        self.settings = settings or FederationSettings()
        self.tally = FindingCounter()
        self._opened = tuple(providers)
        self._prices = prices
        self._limits = dict(limits or {})
        self._observer: Observer = observer or NoObserver()
        self._clock = clock
        check_names(self.providers, self._limits, self.settings)
        for name in self.providers:
            prices.of(name)
        self._reader = AnswerParser(
            knowledge.task, knowledge.vocabulary, knowledge.rules, self.tally
        )
        self._cache: AnswerCache[FederatedAnswer] = AnswerCache(
            self.settings.cache, clock
        )
        self._flights: Flights[FederatedAnswer] = Flights()
        self.lessons = Lessons(
            knowledge.policy,
            in_thread=self.settings.learns_in_thread,
            settings=self.settings.learning,
            clock=clock,
            save=knowledge.save,
        )
        self._n_made = 0
        self._stack = contextlib.AsyncExitStack()
        self._is_closing = False
        self.callers: tuple[Caller, ...] = ()

    async def __aenter__(self) -> Self:
        """Open all providers."""
        async with contextlib.AsyncExitStack() as stack:
            for provider in self._opened:
                await stack.enter_async_context(provider)
            self._stack = stack.pop_all()
        self.callers = tuple(
            Caller(
                provider,
                self._limits.get(provider.name) or ProviderSettings(),
                self.guard,
                observer=self._observer,
                rng=np.random.default_rng([self.settings.seed, number]),
                clock=self._clock,
            )
            for number, provider in enumerate(self._opened)
        )
        places = 2 * sum(caller.settings.n_at_once for caller in self.callers)
        self._line = Limiter(
            n_at_once=self.settings.n_at_once or places,
            rate_hz=math.inf,
            burst=1,
            clock=self._clock,
        )
        self.lessons.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """As :meth:`close`, without waiting for answers."""
        await self.close(drain_s=0.0)

    async def close(self, *, drain_s: float = 10.0) -> None:
        """Take no new request, end those under way, and close all providers.

        Args:
            drain_s: how long requests under way may take; then they are cancelled, and
                the calls in flight are settled.
        """
        self._is_closing = True
        await self._flights.close(drain_s=drain_s)
        await self.lessons.stop()
        await self._stack.aclose()

    @property
    def open_breakers(self) -> tuple[str, ...]:
        """Providers whose breaker is not closed now."""
        return tuple(c.name for c in self.callers if c.breaker.state != "closed")

    @property
    def n_cached(self) -> int:
        """Answers in the cache."""
        return len(self._cache)

    @property
    def n_under_way(self) -> int:
        """Different requests being answered now."""
        return len(self._flights)

    def change_prices(self, prices: PriceList) -> None:
        """Take other prices from the next call on; calls under way keep theirs."""
        self.guard.change_prices(prices)
        self._prices = prices

    def prices_usd(self) -> Float64[np.ndarray, " p"]:
        """``(M,)`` what the next call of each provider can cost at most, in USD."""
        spending = self.guard.ledger.spending
        with self.guard.ledger.lock:
            month = spending.day(self.guard.ledger.now_s())[:7]
            totals = [
                spending.of_provider_month(name, month) for name in self.providers
            ]
        return np.array(
            [
                self._prices.most_usd(name, total.n_calls, total.n_open)
                for name, total in zip(self.providers, totals, strict=True)
            ]
        )

    async def answer(
        self,
        data: bytes,
        *,
        item: str = "",
        deadline_s: float | None = None,
        budget_usd: float = math.inf,
        size_px: tuple[float, float] | None = None,
    ) -> FederatedAnswer:
        """Answer one item.

        Args:
            data: the encoded image (or other input), as it is sent to providers.
            item: its id; the begin of its hash where empty.
            deadline_s: from now; the federation's own when None.
            budget_usd: what this request may spend, beside all other budgets.
            size_px: width and height of the image, to keep boxes on it; measured
                when None, where somebody knows how to.

        Returns:
            The answer, or how it failed. Failures are values.

        Raises:
            ConfigError: the deadline or the budget is not positive.
            DataError: the image cannot be read.
        """
        begun = self._clock()
        time_s = self.settings.deadline_s if deadline_s is None else deadline_s
        if not time_s > 0 or not budget_usd >= 0:
            message = f"a deadline of {time_s} s and a budget of {budget_usd} USD"
            raise ConfigError(message, "the deadline is above 0, the budget not below")
        digest = await _digest(data)
        item = item or digest.hex()[:16]
        version = self.settings.version, self.lessons.n_changes
        key = (digest, "" if data else item, version)
        cached = self._cache.get(key)
        if cached is not None:
            latency_s = self._clock() - begun
            return self._tell(passed_on(cached, item, latency_s, is_cached=True))
        if self._is_closing:
            return self._tell(refused(item, self._clock() - begun))

        async def work() -> FederatedAnswer:
            request = FederationRequest(
                data=data,
                item=item,
                begun_s=begun,
                deadline_s=begun + time_s - min(self.settings.margin_s, time_s / 2),
                purse=Purse(budget_usd),
            )
            if not await self._line.enter(request.deadline_s - self._clock()):
                return late(item, self._clock() - begun)
            try:
                made = await self._work(request, digest, size_px)
            finally:
                self._line.leave()
            if made.status == "complete":
                self._cache.put(key, made)
            return made

        made, is_shared = await self._flights.join((key, time_s, budget_usd), work)
        if is_shared:
            made = passed_on(made, item, self._clock() - begun, is_cached=False)
        return self._tell(made)

    async def _work(
        self,
        request: FederationRequest,
        digest: bytes,
        size_px: tuple[float, float] | None,
    ) -> FederatedAnswer:
        if size_px is None and self.knowledge.measure is not None:
            try:
                async with asyncio.timeout(request.deadline_s - self._clock()):
                    size_px = await self.knowledge.measure(request.data)
            except TimeoutError:
                return late(request.item, self._clock() - request.begun_s)
        prices_usd = self.prices_usd()
        sheet = Sheet(
            self.knowledge,
            item=request.item,
            providers=self.providers,
            prices_usd=prices_usd,
            features=await features_of(self.knowledge, request.item, request.data),
            size_px=size_px,
        )
        rounds = Rounds(
            self.callers,
            self._reader,
            sheet,
            request,
            size_px=size_px,
            clock=self._clock,
        )
        chance = int.from_bytes(digest[:8], "big")
        rng = np.random.default_rng([self.settings.seed, chance])
        order = fallback_order(self.providers, self.settings.fallback, prices_usd)
        reason = await rounds.run(rng, order)
        fused = sheet.fused() if sheet.n_answered else None
        answer_id, is_audit = "", False
        if fused is not None:
            self._n_made += 1
            if self.lessons.takes_feedback:
                answer_id = f"{digest.hex()[:16]}-{self._n_made}"
            end = rounds.blameless(sheet.situation)
            is_audit = bool(np.any(self.lessons.is_audit(end)))
            self.lessons.give(answer_id, end, fused)
            if fused.is_missing[0]:
                fused = None
        made = concluded(
            request,
            rounds,
            reason,
            None
            if fused is None
            else as_answer(fused, self.knowledge.task, self.knowledge.vocabulary.names),
            now_s=self._clock(),
            open_breakers=self.open_breakers,
        )
        return replace(made, answer_id=answer_id, is_audit=is_audit)

    def _tell(self, answer: FederatedAnswer) -> FederatedAnswer:
        self._observer.answered(answer)
        return answer


async def _digest(data: bytes) -> bytes:
    """The SHA-256 of a body; that of a large one is not taken on the event loop."""
    if len(data) < _LARGE_BYTES:
        return hashlib.sha256(data).digest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).digest())
