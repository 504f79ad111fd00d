"""Who is charged for what, and what a request without an answer ends in."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.federation.serving.scenes import InTurn, Scripted, Step, federation_of

from midhaul.federation.money.budget import Budgets
from midhaul.federation.money.prices import charged_statuses
from midhaul.federation.providers.base import UNSENT
from midhaul.federation.serving import (
    FederationSettings,
    ProviderSettings,
    RetrySettings,
)
from midhaul.federation.serving.replay import run_virtual
from midhaul.services.federation_application import status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.serving import FederatedAnswer
    from midhaul.model import Prediction

ONCE = RetrySettings(attempts=1)
PRICES = {"a": 0.001, "b": 0.001, "dear": 0.5}


def served(
    *providers: Scripted, n_requests: int = 1, deadline_s: float = 60.0, **more: Any
) -> tuple[list[FederatedAnswer], float]:
    """Answers to some requests one after another, and what was spent in all."""

    async def main(
        clock: Callable[[], float],
    ) -> tuple[list[FederatedAnswer], float]:
        async with federation_of(
            providers, clock, prices_usd=PRICES, **more
        ) as federation:
            found = [
                await federation.answer(
                    str(i).encode(), item=str(i), deadline_s=deadline_s
                )
                for i in range(n_requests)
            ]
            return found, federation.guard.spent_usd

    return run_virtual(main)


@pytest.mark.parametrize("status", ["unreachable", "denied"])
def test_who_cannot_be_had_costs_nothing_and_is_left_alone_at_once(status: str) -> None:
    """One such call opens the breaker, whoever else is asked goes on answering."""
    dead, good = Scripted("dear", Step(status=status)), Scripted("a")
    found, spent_usd = served(dead, good, n_requests=4)
    assert dead.n_calls == 1
    assert spent_usd == pytest.approx(4 * PRICES["a"])
    assert [one.status for one in found] == ["partial"] * 4
    asked = {"unreachable": ("a",), "denied": ("dear", "a")}[status]
    assert found[0].asked == asked
    assert found[1].asked == ("a",)
    assert found[1].open_breakers == ("dear",)


def test_a_provider_that_is_back_is_asked_again() -> None:
    """The breaker that one refused connection opened closes as every other."""
    a = Scripted("a", Step(status="unreachable"), Step())

    async def main(clock: Callable[[], float]) -> list[str]:
        async with federation_of([a], clock, prices_usd=PRICES) as federation:
            found = []
            for i in range(4):
                answer = await federation.answer(str(i).encode(), item=str(i))
                found.append(answer.status)
                await asyncio.sleep(ProviderSettings().breaker.open_s)
            return found

    assert run_virtual(main) == ["failed", "complete", "complete", "complete"]


@pytest.mark.parametrize("error", [ConnectionRefusedError(), socket.gaierror(-2, "?")])
def test_what_a_strangers_provider_raises_may_say_it_too(error: Exception) -> None:
    """A refused connection and an unknown name never reached anybody."""
    found, spent_usd = served(Scripted("a", Step(raises=error)))
    assert found[0].calls[0].status == "unreachable"
    assert (found[0].asked, spent_usd) == ((), 0.0)


@pytest.mark.parametrize(
    ("charged", "status", "usd"),
    [
        (("ok", "5xx"), "unavailable", 0.001),
        (("ok", "5xx"), "timeout", 0.0),
        (("ok", "5xx"), "malformed", 0.0),
        (("ok", "429"), "throttled", 0.001),
        (("ok", "4xx"), "refused", 0.001),
        (("ok", "4xx"), "denied", 0.001),
        (("ok", "unreachable"), "unreachable", 0.0),
        (None, "timeout", 0.001),
        (None, "refused", 0.0),
    ],
)
def test_a_list_says_which_failures_are_billed(
    charged: Any, status: Any, usd: float
) -> None:
    """By status or by HTTP's word for it; what reached nobody never is."""
    told = None if charged is None else {"a": charged_statuses(charged)}
    once = {"a": ProviderSettings(retry=ONCE)}
    a = Scripted("a", Step(status=status))
    _, spent_usd = served(a, charged=told, limits=once)
    assert spent_usd == usd


@pytest.mark.parametrize(
    ("steps", "item_usd", "deadline_s", "code", "reason"),
    [
        ({"a": Step(latency_s=9.0), "dear": Step()}, 0.01, 1.0, 504, "deadline"),
        ({"a": Step(latency_s=9.0), "dear": Step()}, 0.01, 60.0, 504, "timeouts"),
        ({"a": Step(latency_s=9.0)}, None, 60.0, 504, "timeouts"),
        ({"a": Step(status="refused"), "dear": Step()}, 0.01, 60.0, 502, "failures"),
        ({"a": Step(status="unreachable")}, None, 60.0, 502, "failures"),
        ({"dear": Step()}, 0.01, 60.0, 402, "budget"),
        ({"a": Step(), "dear": Step()}, 0.0001, 60.0, 402, "budget"),
        (
            {"a": Step(latency_s=9.0), "b": Step(status="refused")},
            None, 60.0, 502, "failures",
        ),
    ],
)  # fmt: skip
def test_money_and_time_are_told_apart(
    steps: dict[str, Step],
    item_usd: float | None,
    deadline_s: float,
    code: int,
    reason: str,
) -> None:
    """402 where nothing but money was missing, 504 where time ran out, else 502."""
    (answer,), _ = served(
        *(Scripted(name, step) for name, step in steps.items()),
        budgets=Budgets(item_usd=item_usd),
        deadline_s=deadline_s,
    )
    assert (status_of(answer), answer.reason) == (code, reason)


class Connecting(Scripted):
    """A provider whose connection takes for ever, and that says so when it is left."""

    async def predict(self, data: bytes, *, item: str, timeout_s: float) -> Prediction:
        """Never."""
        self.times_s.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError as error:
            error.add_note(UNSENT)
            raise
        return await super().predict(data, item=item, timeout_s=timeout_s)


def test_a_client_in_a_hurry_does_not_close_a_provider_to_others() -> None:
    """A deadline that no connection keeps tells nothing; seconds without one do."""
    for deadline_s, is_open in ((0.05, False), (8.0, True)):
        found, _ = served(Connecting("a"), n_requests=2, deadline_s=deadline_s)
        assert found[0].calls[0].status == "unreachable"
        assert bool(found[1].open_breakers) == is_open, deadline_s


def test_nobody_pays_for_a_connection_that_does_not_come_about() -> None:
    """Whether the time is over, or a second call is quicker, or the client leaves."""
    (answer,), spent_usd = served(Connecting("a"))
    assert [call.status for call in answer.calls] == ["unreachable"]
    assert (answer.asked, spent_usd) == ((), 0.0)

    class Second(Connecting):
        async def predict(self, *args: Any, **more: Any) -> Prediction:
            if self.times_s:
                return await Scripted.predict(self, *args, **more)
            return await super().predict(*args, **more)

    hedged = {"a": ProviderSettings(hedge_after_s=0.2)}
    (answer,), spent_usd = served(Second("a"), limits=hedged)
    assert answer.status == "complete"
    assert {call.status: call.price_usd for call in answer.calls} == {
        "ok": 0.001,
        "cancelled": 0.0,
    }
    assert spent_usd == pytest.approx(0.001)

    async def leave(clock: Callable[[], float]) -> float:
        async with federation_of(
            [Connecting("a")], clock, prices_usd=PRICES
        ) as federation:
            task = asyncio.create_task(federation.answer(b"x", item="1"))
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.5)
            return federation.guard.spent_usd

    assert run_virtual(leave) == 0.0


def test_a_cached_answer_still_says_who_was_asked() -> None:
    """Whoever made it has asked them."""

    async def main(clock: Callable[[], float]) -> tuple[FederatedAnswer, ...]:
        providers = [Scripted("a"), Scripted("b", Step(status="unreachable"))]
        async with federation_of(
            providers, clock, prices_usd=PRICES, policy=InTurn([1, 0]),
            settings=FederationSettings(),
        ) as federation:  # fmt: skip
            first = await federation.answer(b"x", item="1")
            again = await federation.answer(b"y", item="1")
            return first, again, await federation.answer(b"y", item="1")

    first, again, _ = run_virtual(main)
    assert first.rounds == (("b",), ("a",))
    assert first.asked == again.asked == ("a",)
