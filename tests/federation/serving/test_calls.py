"""Retries, breakers, limits and hedges of one provider; in virtual time."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation.serving.scenes import Scripted, Step, federation_of

from midhaul.federation.money.budget import Budgets
from midhaul.federation.serving import (
    BreakerSettings,
    CacheSettings,
    FederationSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.federation.serving.caller import Breaker, Limiter, Retries
from midhaul.federation.serving.engine import AnswerCache
from midhaul.federation.serving.replay import run_virtual
from midhaul.model import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.serving import FederatedAnswer

NEVER_OPEN = BreakerSettings(n_calls=10**9)


def limits(**settings: object) -> dict[str, ProviderSettings]:
    """Settings of the provider ``a``."""
    return {"a": ProviderSettings(**settings)}  # type: ignore[arg-type]


def ask(a: Scripted, *, deadline_s: float = 60.0, **more: object) -> FederatedAnswer:
    """One request to one provider."""

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a], clock, **more) as federation:
            return await federation.answer(b"x", item="1", deadline_s=deadline_s)

    return run_virtual(main)


def failed(status: str = "unavailable", retry_after_s: float = 0.0) -> Prediction:
    """A failed call."""
    return Prediction(
        provider="a", item="1", status=status, answer=None, latency_s=0.0,
        price_usd=0.0, retry_after_s=retry_after_s,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["unavailable", "throttled"])
def test_a_passing_failure_is_tried_again(status: str) -> None:
    """Each attempt is recorded and paid as its provider bills it."""
    a = Scripted("a", Step(status=status), Step(status=status), Step())
    answer = ask(a)
    assert [call.status for call in answer.calls] == [status, status, "ok"]
    assert [call.attempt for call in answer.calls] == [1, 2, 3]
    assert answer.status == "complete"
    billed = {"unavailable": 0.003, "throttled": 0.001}[status]
    assert answer.cost_usd == pytest.approx(billed)


@pytest.mark.parametrize("status", ["refused", "malformed"])
def test_what_would_fail_again_is_not_tried_again(status: str) -> None:
    """A refused image stays refused."""
    assert ask(Scripted("a", Step(status=status))).calls[0].status == status


def test_retry_after_is_waited_for() -> None:
    """Not only by the call that was told, but by all others of the provider."""
    a = Scripted(
        "a", Step(status="throttled", retry_after_s=7.0, latency_s=0.0), Step()
    )

    async def main(clock: Callable[[], float]) -> None:
        async with federation_of([a], clock) as federation:
            await asyncio.gather(
                federation.answer(b"x", deadline_s=30),
                _later(1.0, lambda: federation.answer(b"y", deadline_s=30)),
            )

    run_virtual(main)
    assert a.times_s[0] == 0
    assert min(a.times_s[1:]) >= 7.0


async def _later(wait_s: float, make: Callable[[], object]) -> object:
    await asyncio.sleep(wait_s)
    return await make()  # type: ignore[misc]


def test_a_retry_that_would_come_too_late_is_not_waited_for() -> None:
    """The failure is told at once instead."""
    a = Scripted("a", Step(status="throttled", retry_after_s=100.0, latency_s=0.5))
    answer = ask(a, deadline_s=10.0)
    assert answer.status == "failed"
    assert answer.latency_s == pytest.approx(0.5)


@given(
    n_made=st.integers(1, 9), cap_s=st.floats(0.01, 5), after_s=st.floats(0, 100),
    seed=st.integers(0, 100),
)  # fmt: skip
def test_waits_have_full_jitter(
    n_made: int, cap_s: float, after_s: float, seed: int
) -> None:
    """From 0 to the doubled base or the cap, on top of what the provider asks for."""
    settings = RetrySettings(attempts=10, base_s=0.1, cap_s=cap_s)
    retries = Retries(settings, np.random.default_rng(seed))
    wait_s = retries.wait_s(n_made, failed(retry_after_s=after_s))
    assert wait_s is not None
    assert after_s <= wait_s <= after_s + min(cap_s, 0.1 * 2 ** (n_made - 1))


def test_retries_stop_when_nothing_succeeds() -> None:
    """The stock is used up once; then each success pays for a fifth of a retry."""
    retries = Retries(RetrySettings(burst=3, share=0.2), np.random.default_rng(0))
    for _ in range(3):
        assert retries.wait_s(1, failed()) is not None
        retries.take()
    assert retries.wait_s(1, failed()) is None
    for _ in range(6):
        retries.succeeded()
    assert retries.wait_s(1, failed()) is not None
    retries.take()
    assert retries.wait_s(1, failed()) is None


def test_a_breaker_opens_and_probes_and_closes() -> None:
    """Nobody is asked while it is open; probes decide afterwards."""
    settings = BreakerSettings(n_calls=4, open_s=10.0, n_probes=2)
    a = Scripted("a", *[Step(status="malformed")] * 4, Step())
    no_cache = FederationSettings(cache=CacheSettings(n_answers=0))

    async def main(clock: Callable[[], float]) -> list[str]:
        seen: list[str] = []
        async with federation_of(
            [a], clock, limits=limits(breaker=settings), settings=no_cache
        ) as federation:
            (caller,) = federation.callers

            async def once() -> None:
                answer = await federation.answer(b"x")
                said = answer.calls[-1].not_sent or answer.calls[-1].status
                seen.append(f"{said} {caller.breaker.state}")

            for _ in range(5):
                await once()
            assert (await federation.answer(b"x")).retry_after_s > 0
            assert (await federation.answer(b"x")).open_breakers == ("a",)
            await asyncio.sleep(10.0)
            await once()
            await once()
        return seen

    assert run_virtual(main) == [
        *["malformed closed"] * 3, "malformed open", "breaker open", "ok half_open",
        "ok closed",
    ]  # fmt: skip


def test_half_open_lets_only_its_probes_through() -> None:
    """Of many requests at once, as many calls as there are probes."""
    settings = BreakerSettings(n_calls=1, open_s=10.0, n_probes=3)
    a = Scripted("a", Step(status="malformed"), Step(latency_s=1.0))

    async def main(clock: Callable[[], float]) -> None:
        async with federation_of(
            [a], clock, limits=limits(breaker=settings)
        ) as federation:
            await federation.answer(b"x")
            await asyncio.sleep(10.0)
            many = [federation.answer(b"", item=str(i)) for i in range(50)]
            found = await asyncio.gather(*many)
            assert sum(one.is_answered for one in found) == 3
            assert federation.open_breakers == ()

    run_virtual(main)
    assert a.n_calls == 4


def test_a_failed_probe_opens_again_and_a_cancelled_one_decides_nothing() -> None:
    """A probe whose caller left gives its place back."""
    now = [0.0]
    breaker = Breaker(
        BreakerSettings(n_calls=1, open_s=10.0, n_probes=1), lambda: now[0]
    )
    first = breaker.admit()
    assert first is not None
    breaker.record(first, "timeout")
    assert breaker.state == "open"
    assert breaker.retry_after_s == 10.0
    now[0] = 10.0
    probe = breaker.admit()
    assert probe is not None
    assert breaker.admit() is None
    breaker.forgive(probe)
    again = breaker.admit()
    assert again is not None
    breaker.record(again, "unavailable")
    assert breaker.state == "open"
    assert breaker.n_opened == 2


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60))
def test_a_breaker_opens_exactly_at_its_rate(ends: list[tuple[float, bool]]) -> None:
    """Against a count of the window from scratch, until it opens the first time."""
    settings = BreakerSettings(window_s=15.0, n_calls=5, failure_rate=0.6)
    now = [0.0]
    breaker = Breaker(settings, lambda: now[0])
    past: list[tuple[float, bool]] = []
    for gap_s, is_failure in ends:
        now[0] += gap_s
        admitted = breaker.admit()
        assert admitted is not None
        breaker.record(admitted, "timeout" if is_failure else "ok")
        past.append((now[0], is_failure))
        window = [bad for at, bad in past if at >= now[0] - 15.0]
        is_open = len(window) >= 5 and sum(window) >= 0.6 * len(window)
        assert (breaker.state == "open") == is_open
        if is_open:
            return


def test_answers_from_before_an_opening_do_not_close_it() -> None:
    """A late success belongs to another time."""
    breaker = Breaker(BreakerSettings(n_calls=1, n_probes=1), lambda: 0.0)
    early, late = breaker.admit(), breaker.admit()
    assert early is not None
    assert late is not None
    breaker.record(early, "timeout")
    breaker.record(late, "ok")
    assert breaker.state == "open"


@pytest.mark.parametrize(("block_s", "state"), [(0.0, "open"), (0.3, "closed")])
def test_a_busy_process_does_not_blame_providers(block_s: float, state: str) -> None:
    """A time-out that is noticed late opens no breaker; others do."""
    a = Scripted("a", Step(latency_s=60.0))
    settings = limits(timeout_s=0.1, breaker=BreakerSettings(n_calls=1))

    async def main() -> str:
        async with federation_of([a], time.monotonic, limits=settings) as federation:
            asking = asyncio.create_task(federation.answer(b"x"))
            for _ in range(50):  # until the call is made
                await asyncio.sleep(0)
            assert a.n_calls == 1
            time.sleep(block_s)  # noqa: ASYNC251  the loop is to be held up
            assert (await asking).calls[0].status == "timeout"
            return federation.callers[0].breaker.state

    assert asyncio.run(main()) == state


def test_never_more_calls_at_once_than_places() -> None:
    """The others wait their turn, and the wait is told."""
    a = Scripted("a", Step(latency_s=1.0))

    async def main(clock: Callable[[], float]) -> list[float]:
        async with federation_of(
            [a],
            clock,
            limits=limits(n_at_once=4),
            settings=FederationSettings(n_at_once=100),
        ) as federation:
            many = [federation.answer(b"", item=str(i)) for i in range(12)]
            found = await asyncio.gather(*many)
            return sorted(one.calls[0].wait_s for one in found)

    assert run_virtual(main) == pytest.approx([0.0] * 4 + [1.0] * 4 + [2.0] * 4)
    assert a.most_open == 4


def test_a_place_that_comes_too_late_is_a_failure_that_costs_nothing() -> None:
    """And it is told as such, not as a failure of the provider."""
    a = Scripted("a", Step(latency_s=3.0))

    async def main(clock: Callable[[], float]) -> list[FederatedAnswer]:
        async with federation_of([a], clock, limits=limits(n_at_once=1)) as federation:
            many = [
                federation.answer(b"", item=str(i), deadline_s=4.0) for i in range(2)
            ]
            return await asyncio.gather(*many)

    first, second = run_virtual(main)
    assert first.status == "complete"
    assert second.status == "late"
    assert second.calls[-1].not_sent == "limits" or second.calls[-1].status == "timeout"


@given(
    rate_hz=st.floats(0.5, 50), burst=st.integers(1, 5),
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=25),
)  # fmt: skip
def test_no_more_calls_begin_than_the_rate_allows(
    rate_hz: float, burst: int, gaps: list[float]
) -> None:
    """In any stretch of time: the burst, and the rate times the stretch."""

    async def main(clock: Callable[[], float]) -> list[float]:
        limiter = Limiter(n_at_once=100, rate_hz=rate_hz, burst=burst, clock=clock)
        begun: list[float] = []

        async def enter(at_s: float) -> None:
            await asyncio.sleep(at_s)
            assert await limiter.enter(math.inf)
            begun.append(clock())

        await asyncio.gather(*(enter(at) for at in np.cumsum(gaps).tolist()))
        return sorted(begun)

    begun = run_virtual(main)
    for i, first in enumerate(begun):
        for j in range(i, len(begun)):
            assert j - i + 1 <= burst + rate_hz * (begun[j] - first) + 1e-6


def test_a_hedge_takes_the_first_answer_and_pays_both() -> None:
    """The slow call is cancelled, and settled."""
    a = Scripted("a", Step(latency_s=4.0), Step(latency_s=0.5))
    answer = ask(a, limits=limits(hedge_after_s=1.0))
    assert answer.status == "complete"
    assert answer.latency_s == pytest.approx(1.5)
    assert answer.cost_usd == pytest.approx(0.002)
    assert [(c.is_hedge, c.status) for c in answer.calls] == [
        (True, "ok"),
        (False, "cancelled"),
    ]


def test_a_quick_answer_needs_no_hedge() -> None:
    """One call."""
    assert len(ask(Scripted("a"), limits=limits(hedge_after_s=1.0)).calls) == 1


def test_a_hedge_that_the_budget_refuses_hurts_nobody() -> None:
    """The first call's answer is waited for."""
    a = Scripted("a", Step(latency_s=2.0))
    answer = ask(a, limits=limits(hedge_after_s=1.0), budgets=Budgets(run_usd=0.001))
    assert answer.status == "complete"
    assert answer.cost_usd == pytest.approx(0.001)


@given(
    data=st.data(), n_requests=st.integers(1, 12), calls=st.integers(0, 20),
    hedge=st.sampled_from([None, 0.05]),
)  # fmt: skip
def test_no_budget_is_exceeded_whatever_happens(
    data: st.DataObject, n_requests: int, calls: int, hedge: float | None
) -> None:
    """Any mixture of failures, retries, hedges, deadlines and leaving clients."""
    statuses = st.sampled_from(["ok", "unavailable", "throttled", "malformed"])
    step = st.builds(Step, status=statuses, latency_s=st.floats(0.0, 2.0))
    providers = [
        Scripted(name, *data.draw(st.lists(step, min_size=1, max_size=4)))
        for name in "ab"
    ]
    leaving = data.draw(st.lists(st.integers(0, n_requests - 1), max_size=3))
    budget_usd = calls * 0.001

    async def main(clock: Callable[[], float]) -> None:
        every = ProviderSettings(hedge_after_s=hedge, n_at_once=3, breaker=NEVER_OPEN)
        async with federation_of(
            providers, clock, budgets=Budgets(run_usd=budget_usd, item_usd=0.004),
            limits={"a": every, "b": every},
        ) as federation:  # fmt: skip
            tasks = [
                asyncio.create_task(
                    federation.answer(b"", item=str(i % 4), deadline_s=2.0 + i)
                )
                for i in range(n_requests)
            ]
            await asyncio.sleep(0.3)
            for i in leaving:
                tasks[i].cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)
            assert federation.guard.spent_usd <= budget_usd + 1e-12
            for one in found:
                if isinstance(one, BaseException):
                    assert isinstance(one, asyncio.CancelledError)
            made = sum(p.n_calls for p in providers)
            assert federation.guard.ledger.spending.of_run("test").n_calls <= made
            assert max(p.most_open for p in providers) <= 3

    run_virtual(main)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 5))
def test_a_cache_keeps_the_keys_used_last(keys: list[int], size: int) -> None:
    """Against a list that is moved about by hand."""
    cache: AnswerCache[int] = AnswerCache(CacheSettings(n_answers=size), lambda: 0.0)
    kept: list[int] = []
    for key in keys:
        assert (cache.get(key) is not None) == (key in kept)
        cache.put(key, key)
        kept = [*(k for k in kept if k != key), key][-size:] if size else []
        assert len(cache) == len(kept)


@pytest.mark.parametrize(
    ("deadline_s", "took_s", "is_open"),
    [(0.004, 0.0019, False), (0.5, 0.46, False), (0.5, 0.001, True)],
)
def test_a_connection_that_the_deadline_cut_is_not_the_providers_fault(
    deadline_s: float, took_s: float, *, is_open: bool
) -> None:
    """Timers count whole milliseconds: they may end before the time that they have."""
    a = Scripted("a", Step(status="unreachable", latency_s=took_s))
    answer = ask(a, deadline_s=deadline_s, limits=limits())
    assert [call.status for call in answer.calls] == ["unreachable"]
    assert answer.open_breakers == (("a",) if is_open else ())
