"""A federation asks, waits, fails over, pays and tells; in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.federation.serving.scenes import (
    InTurn,
    Scripted,
    Step,
    everybody,
    federation_of,
)

from midhaul.errors import ConfigError
from midhaul.federation.money.budget import Budgets
from midhaul.federation.money.prices import PriceList
from midhaul.federation.serving import (
    CacheSettings,
    FederationSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.federation.serving.replay import run_virtual
from midhaul.model import Tags

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.serving import FederatedAnswer
    from midhaul.model import Prediction

ONCE = ProviderSettings(retry=RetrySettings(attempts=1))
NO_CACHE = FederationSettings(cache=CacheSettings(n_answers=0))


def answered(answer: FederatedAnswer) -> list[str]:
    """Labels of an answer."""
    assert answer.answer is not None
    return [answer.answer.names[label] for label in answer.answer.labels.tolist()]


def statuses(answer: FederatedAnswer) -> list[tuple[str, str]]:
    """Who was called and how it went."""
    return [(call.provider, call.not_sent or call.status) for call in answer.calls]


def test_providers_of_a_round_are_asked_at_the_same_time() -> None:
    """The answer takes as long as the slowest of them, and costs the sum."""
    a, b = Scripted("a", Step(latency_s=0.1)), Scripted("b", Step(latency_s=0.3))

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a, b], clock) as federation:
            return await federation.answer(b"image", item="1")

    answer = run_virtual(main)
    assert answer.status == "complete"
    assert answer.reason == ""
    assert answer.latency_s == pytest.approx(0.3)
    assert answer.cost_usd == pytest.approx(0.002)
    assert answer.rounds == (("a", "b"),)
    assert answered(answer) == ["cat", "cat"]
    assert [call.latency_s for call in answer.calls] == pytest.approx([0.1, 0.3])


def test_rounds_follow_each_other_and_the_policy_sees_failures_as_missing() -> None:
    """A cascade goes on to the next provider where one fails."""
    a, b = Scripted("a", Step(status="refused")), Scripted("b")
    policy = InTurn([0, 1])

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a, b], clock, policy=policy) as federation:
            return await federation.answer(b"image", item="1")

    answer = run_virtual(main)
    assert policy.seen == [0, 1, 3]
    assert answer.rounds == (("a",), ("b",))
    assert answer.status == "partial"
    assert answer.reason == "failures"
    assert [call.round for call in answer.calls] == [1, 2]
    assert answer.cost_usd == pytest.approx(0.001), "who refuses does not bill"


def test_where_nobody_answered_the_fallback_is_tried_by_price() -> None:
    """A policy that gives up after one failure still gets an answer."""
    a = Scripted("a", Step(status="malformed"))
    b, c = Scripted("b"), Scripted("c")

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        prices = {"a": 0.001, "b": 0.003, "c": 0.002}
        async with federation_of(
            [a, b, c], clock, policy=InTurn([0]), prices_usd=prices
        ) as federation:
            return await federation.answer(b"image", item="1")

    answer = run_virtual(main)
    assert answer.rounds == (("a",), ("c",))
    assert (answer.status, answer.reason) == ("partial", "fallback")
    assert b.n_calls == 0


def test_when_all_fail_the_answer_says_how() -> None:
    """No answer, but every call with its message."""
    a = Scripted("a", Step(status="malformed"))
    b = Scripted("b", Step(raises=RuntimeError("a bug of somebody else")))

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        limits = {"b": ONCE}
        async with federation_of([a, b], clock, limits=limits) as federation:
            return await federation.answer(b"image", item="1")

    answer = run_virtual(main)
    assert answer.status == "failed"
    assert answer.answer is None
    assert statuses(answer) == [("a", "malformed"), ("b", "unavailable")]
    assert answer.calls[1].message == "RuntimeError: a bug of somebody else"


def test_a_deadline_answers_with_what_is_there() -> None:
    """The slow provider is given up, its call is paid, and the answer says why."""
    a, b = Scripted("a", Step(latency_s=0.1)), Scripted("b", Step(latency_s=9.0))

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a, b], clock) as federation:
            return await federation.answer(b"image", item="1", deadline_s=1.0)

    answer = run_virtual(main)
    assert (answer.status, answer.reason) == ("partial", "deadline")
    assert answered(answer) == ["cat"]
    assert answer.latency_s == pytest.approx(0.98)
    assert answer.cost_usd == pytest.approx(0.002)
    assert statuses(answer) == [("a", "ok"), ("b", "timeout")]


def test_a_deadline_without_an_answer_is_late() -> None:
    """Nobody is asked after it, and it does not count against the provider."""
    a = Scripted("a", Step(latency_s=3.0))

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a], clock) as federation:
            for i in range(30):
                await federation.answer(b"", item=str(i), deadline_s=1.0)
            assert federation.open_breakers == ()
            return await federation.answer(b"image", item="1", deadline_s=1.0)

    answer = run_virtual(main)
    assert answer.status == "late"
    assert a.n_calls == 31


def test_an_image_that_waits_to_be_measured_is_late_at_its_deadline() -> None:
    """Large ones are measured one at a time, however long that takes."""
    a = Scripted("a")

    async def measure(_data: bytes) -> tuple[float, float]:
        await asyncio.sleep(30)
        return 64.0, 64.0

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a], clock, measure=measure) as federation:
            return await federation.answer(b"image", deadline_s=1.0)

    answer = run_virtual(main)
    assert (answer.status, answer.reason) == ("late", "deadline")
    assert answer.latency_s == pytest.approx(0.98)
    assert a.n_calls == 0


def test_a_budget_that_is_too_small_answers_with_what_was_bought() -> None:
    """The refused call is told, the policy goes on, nothing is overdrawn."""
    a, b = Scripted("a"), Scripted("b")

    async def main(clock: Callable[[], float]) -> tuple[FederatedAnswer, ...]:
        budgets = Budgets(run_usd=0.003)
        async with federation_of(
            [a, b], clock, budgets=budgets, settings=NO_CACHE
        ) as federation:
            found = [await federation.answer(b"", item=str(i)) for i in range(3)]
            assert federation.guard.spent_usd == pytest.approx(0.003)
            return tuple(found)

    first, second, third = run_virtual(main)
    assert first.status == "complete"
    assert (second.status, second.reason) == ("partial", "budget")
    assert statuses(second) == [("b", "budget"), ("a", "ok")]
    assert third.status == "no_budget"
    assert third.answer is None
    assert "budget of the run" in third.calls[0].message


def test_a_request_may_have_a_budget_of_its_own() -> None:
    """Reservations of the request together stay below it; a retry needs its own."""
    a = Scripted("a", Step(status="unavailable"), Step())

    async def main(clock: Callable[[], float]) -> tuple[FederatedAnswer, ...]:
        async with federation_of([a], clock, settings=NO_CACHE) as federation:
            return (
                await federation.answer(b"x", item="1", budget_usd=0.0015),
                await federation.answer(b"x", item="1", budget_usd=0.0015),
            )

    first, second = run_virtual(main)
    assert statuses(first) == [("a", "unavailable"), ("a", "budget")]
    assert first.status == "no_budget"
    assert first.cost_usd == pytest.approx(0.001)
    assert second.status == "complete"


def test_equal_requests_share_one_set_of_calls() -> None:
    """One pays, the others share; later ones are served from the cache."""
    a = Scripted("a")

    async def main(clock: Callable[[], float]) -> tuple[list[FederatedAnswer], int]:
        async with federation_of([a], clock) as federation:
            many = [federation.answer(b"image", item=f"i{i}") for i in range(50)]
            found = list(await asyncio.gather(*many))
            found.append(await federation.answer(b"image", item="later"))
            return found, federation.n_cached

    found, n_cached = run_virtual(main)
    assert a.n_calls == 1
    assert n_cached == 1
    assert sum(answer.cost_usd for answer in found) == pytest.approx(0.001)
    assert [answer.is_shared for answer in found] == [False, *[True] * 49, False]
    assert [answer.is_cached for answer in found] == [*[False] * 50, True]
    assert found[-1].item == "later"
    assert found[-1].rounds == (("a",),)
    assert all(answered(answer) == ["cat"] for answer in found)


def test_a_cached_answer_grows_old() -> None:
    """After its age the providers are asked again."""
    a = Scripted("a")
    settings = FederationSettings(cache=CacheSettings(n_answers=1, max_age_s=5.0))

    async def main(clock: Callable[[], float]) -> list[bool]:
        async with federation_of([a], clock, settings=settings) as federation:
            cached = []
            for wait_s, data in ((0, b"x"), (1, b"x"), (6, b"x"), (0, b"y"), (0, b"x")):
                await asyncio.sleep(wait_s)
                cached.append((await federation.answer(data)).is_cached)
            return cached

    assert run_virtual(main) == [False, True, False, False, False]


def test_an_answer_that_is_not_whole_is_not_kept() -> None:
    """A failure now must not be the answer of the next hour."""
    a, b = Scripted("a"), Scripted("b", Step(status="malformed"), Step())

    async def main(clock: Callable[[], float]) -> list[str]:
        async with federation_of([a, b], clock) as federation:
            return [(await federation.answer(b"x")).status for _ in range(3)]

    assert run_virtual(main) == ["partial", "complete", "complete"]
    assert a.n_calls == 2


def test_a_client_that_leaves_is_paid_for_and_hurts_nobody_else() -> None:
    """Its call in flight is settled; who shares it still gets the answer."""
    a = Scripted("a", Step(latency_s=1.0))

    async def main(clock: Callable[[], float]) -> None:
        async with federation_of([a], clock) as federation:
            first = asyncio.create_task(federation.answer(b"x", item="1"))
            second = asyncio.create_task(federation.answer(b"x", item="2"))
            await asyncio.sleep(0.5)
            first.cancel()
            assert (await second).status == "complete"
            assert a.n_calls == 1
            lonely = asyncio.create_task(federation.answer(b"y", item="3"))
            await asyncio.sleep(0.5)
            lonely.cancel()
            await asyncio.sleep(0.01)
            assert federation.n_under_way == 0
            assert a.n_open == 0
            assert federation.guard.spent_usd == pytest.approx(0.002)

    run_virtual(main)


def test_closing_drains_and_then_cancels() -> None:
    """Requests that end in time are answered; the calls of the others are settled."""
    a = Scripted("a", Step(latency_s=1.0), Step(latency_s=3.0))

    async def main(clock: Callable[[], float]) -> None:
        async with federation_of([a], clock) as federation:
            quick = asyncio.create_task(federation.answer(b"x"))
            slow = asyncio.create_task(federation.answer(b"y"))
            await asyncio.sleep(0.5)
            await federation.close(drain_s=1.0)
            assert (await quick).status == "complete"
            with pytest.raises(asyncio.CancelledError):
                await slow
            assert (await federation.answer(b"z")).reason == "closing"
            assert not a.is_open
            assert federation.guard.spent_usd == pytest.approx(0.002)

    run_virtual(main)


def test_requests_wait_in_line() -> None:
    """Only so many are worked on; who waits until its deadline is late, and free."""
    a = Scripted("a", Step(latency_s=1.0))
    settings = FederationSettings(n_at_once=2, margin_s=0.0)

    async def main(clock: Callable[[], float]) -> list[FederatedAnswer]:
        async with federation_of([a], clock, settings=settings) as federation:
            return await asyncio.gather(
                *(federation.answer(b"", item=str(i), deadline_s=2.5) for i in range(7))
            )

    found = run_virtual(main)
    assert a.most_open == 2
    assert [one.status for one in found] == ["complete"] * 4 + ["late"] * 3
    assert [one.cost_usd for one in found[-1:]] == [0.0]
    assert found[-1].rounds == ()


def test_prices_may_change_while_calls_are_under_way() -> None:
    """A call keeps the price it was reserved at; the next one has the new one."""
    a = Scripted("a", Step(latency_s=1.0))

    async def main(clock: Callable[[], float]) -> list[float]:
        budgets = Budgets(item_usd=0.02)
        async with federation_of([a], clock, budgets=budgets) as federation:
            first = asyncio.create_task(federation.answer(b"x", item="1"))
            await asyncio.sleep(0.5)
            federation.change_prices(PriceList.flat({"a": 0.01}))
            second = await federation.answer(b"y", item="2")
            third = await federation.answer(b"z", item="2")
            fourth = await federation.answer(b"z", item="2")
            return [one.cost_usd for one in (await first, second, third, fourth)]

    assert run_virtual(main) == pytest.approx([0.001, 0.01, 0.01, 0.0])


def test_unknown_labels_and_oddities_are_told_and_counted() -> None:
    """Each answer names them; the tally of the federation adds them up."""
    a = Scripted("a", Step(labels=("cat", "zebra", "unicorn")))

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([a], clock) as federation:
            await federation.answer(b"x", item="1")
            answer = await federation.answer(b"y", item="2")
            report = federation.tally.report()
            assert {(u.word, u.count) for u in report.unknown_labels} == {
                ("zebra", 2),
                ("unicorn", 2),
            }
            return answer

    answer = run_virtual(main)
    assert answered(answer) == ["cat"]
    assert answer.unknown_labels == (("a", "zebra"), ("a", "unicorn"))
    assert answer.findings == {"a: unknown label": 2}


def test_tags_where_boxes_are_wanted_are_a_failure_that_is_told() -> None:
    """They cannot be fused; the finding says so."""

    class Tagger(Scripted):
        async def predict(
            self, data: bytes, *, item: str, timeout_s: float
        ) -> Prediction:
            found = await super().predict(data, item=item, timeout_s=timeout_s)
            tags = Tags(
                scores=np.ones(1, np.float32),
                labels=np.zeros(1, np.int32),
                names=("cat",),
            )
            return type(found)(
                provider=found.provider, item=item, status="ok", answer=tags,
                latency_s=0.1, price_usd=0.0,
            )  # fmt: skip

    async def main(clock: Callable[[], float]) -> FederatedAnswer:
        async with federation_of([Tagger("a")], clock) as federation:
            return await federation.answer(b"x", item="1")

    answer = run_virtual(main)
    assert answer.status == "failed"
    assert answer.findings == {"a: boxes are wanted, and the answer has none": 1}


def test_settings_that_do_not_fit_are_refused() -> None:
    """Unknown names, and deadlines that are none."""
    a = Scripted("a")

    async def main(clock: Callable[[], float]) -> None:
        for more in (
            {"limits": {"b": ONCE}},
            {"settings": FederationSettings(fallback=("b",))},
        ):
            with pytest.raises(ConfigError, match="no provider b"):
                async with federation_of([a], clock, **more):
                    pass
        with pytest.raises(ConfigError, match="unique"):
            async with federation_of([a, a], clock):
                pass
        async with federation_of([a], clock) as federation:
            for deadline_s in (0.0, -1.0, float("nan")):
                with pytest.raises(ConfigError, match="deadline"):
                    await federation.answer(b"", deadline_s=deadline_s)

    run_virtual(main)


def test_the_same_seed_gives_the_same_run() -> None:
    """Times, costs and calls, to the digit."""

    async def main(clock: Callable[[], float]) -> list[tuple[float, float, int]]:
        steps = [Step(status="unavailable", latency_s=0.01), Step(latency_s=0.2)]
        a, b = Scripted("a", *steps), Scripted("b", *steps)
        async with federation_of([a, b], clock, policy=everybody(2)) as federation:
            many = [federation.answer(b"", item=str(i)) for i in range(20)]
            found = await asyncio.gather(*many)
            return [(o.latency_s, o.cost_usd, len(o.calls)) for o in found]

    assert run_virtual(main) == run_virtual(main)
