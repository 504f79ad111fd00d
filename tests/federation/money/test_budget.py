"""Budgets hold at every instant, whoever spends at the same time, and after kills."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from midhaul.errors import ConfigError, StoreError
from midhaul.federation.money.budget import BudgetGuard, Budgets, Refusal, Reservation
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.ledger_file import (
    budget_nusd,
    entries_of,
    price_nusd,
    read_ledger,
    usd_of,
)
from midhaul.federation.money.prices import PriceList, ProviderPrices, Tier

DAY_S = 86_400.0
MIDNIGHT_S = 1_700_006_400.0  # 15 November 2023, UTC


class Clock:
    """A clock that a test sets."""

    def __init__(self, now_s: float = MIDNIGHT_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """What time it is."""
        return self.now_s


def guard_of(
    file: Path, budgets: Budgets, clock: Clock | None = None, **options: Any
) -> BudgetGuard:
    """A guard of a run ``r`` over a ledger that is not synced."""
    ledger = Ledger.open(file, sync="never", clock=clock or Clock())
    return BudgetGuard(ledger, budgets, run="r", **options)


def given(answer: Reservation | Refusal) -> Reservation:
    """What is no refusal."""
    assert isinstance(answer, Reservation), answer
    return answer


def refused(answer: Reservation | Refusal) -> Refusal:
    """What is one."""
    assert isinstance(answer, Refusal), answer
    return answer


def test_money_is_whole_and_rounds_to_the_safe_side() -> None:
    """Prices go up, budgets go down, and the noise of floats is neither."""
    assert price_nusd(0.1 + 0.2) == 300_000_000 == budget_nusd(0.1 + 0.2)
    assert price_nusd(1e-10) == 1
    assert budget_nusd(1.9999999999) == 1_999_999_999
    assert price_nusd(1e-7) == 100
    assert usd_of(price_nusd(0.00225)) == 0.00225
    for wrong in (-1e-9, math.nan, math.inf):
        with pytest.raises(ConfigError, match="finite"):
            price_nusd(wrong)


def test_the_last_cent_can_be_spent_and_not_a_call_more(tmp_path: Path) -> None:
    """A thousand calls of a tenth of a cent are exactly a dollar."""
    guard = guard_of(tmp_path / "l", Budgets(run_usd=1.0))
    for _ in range(1000):
        guard.settle(given(guard.reserve("aws", "photo", 0.001)))
    last = refused(guard.reserve("aws", "photo", 1e-9))
    assert (last.limit, last.left_usd, last.retry_after_s) == ("run", 0.0, math.inf)
    assert "budget of the run has 0 USD left" in last.message
    assert guard.spent_usd == 1.0
    assert guard.left_usd() == 0
    given(guard.reserve("aws", "photo", 0.0))
    guard.ledger.close()


def test_reserved_money_is_spent_until_it_is_released(tmp_path: Path) -> None:
    """What is on its way may still be charged."""
    guard = guard_of(tmp_path / "l", Budgets(run_usd=0.003))
    first = given(guard.reserve("aws", "a", 0.002))
    assert refused(guard.reserve("aws", "b", 0.002)).left_usd == 0.001
    guard.release(first)
    second = given(guard.reserve("aws", "b", 0.002))
    assert guard.settle(second, 0.0005) == 0.0005
    given(guard.reserve("aws", "c", 0.0025))
    guard.ledger.close()


def test_each_limit_refuses_with_its_name(tmp_path: Path) -> None:
    """Run, item, day and provider, and when it is worth asking again."""
    clock = Clock(MIDNIGHT_S + 3 * DAY_S / 4)
    budgets = Budgets(
        run_usd=10, day_usd=0.03, item_usd=0.01, provider_day_usd={"aws": 0.02}
    )
    guard = guard_of(tmp_path / "l", budgets, clock)
    guard.settle(given(guard.reserve("aws", "a", 0.01)))
    assert refused(guard.reserve("google", "a", 0.001)).limit == "item"
    guard.settle(given(guard.reserve("aws", "b", 0.01)))
    no = refused(guard.reserve("aws", "c", 0.001))
    assert (no.limit, no.retry_after_s) == ("provider", DAY_S / 4)
    guard.settle(given(guard.reserve("google", "c", 0.01)))
    no = refused(guard.reserve("google", "d", 0.001))
    assert (no.limit, no.retry_after_s) == ("day", DAY_S / 4)
    clock.now_s += no.retry_after_s
    given(guard.reserve("aws", "d", 0.01))
    guard.forget("a")
    given(guard.reserve("google", "a", 0.001))
    guard.ledger.close()


def test_a_pace_spreads_the_day(tmp_path: Path) -> None:
    """At noon half of the budget is free, and what may be spent ahead."""
    clock = Clock(MIDNIGHT_S)
    budgets = Budgets(day_usd=0.1, pace_ahead=0.1)
    guard = guard_of(tmp_path / "l", budgets, clock)
    guard.settle(given(guard.reserve("aws", "a", 0.01)))
    no = refused(guard.reserve("aws", "b", 0.02))
    assert (no.limit, no.left_usd) == ("pace", 0.0)
    assert no.retry_after_s == pytest.approx(0.2 * DAY_S)
    clock.now_s += no.retry_after_s + 1
    given(guard.reserve("aws", "b", 0.02))
    clock.now_s = MIDNIGHT_S + DAY_S - 1
    assert refused(guard.reserve("aws", "c", 0.08)).limit == "day"
    with pytest.raises(ConfigError, match="pace_ahead"):
        Budgets(pace_ahead=0.5)
    guard.ledger.close()


def test_a_call_ends_once_and_never_above_its_reservation(tmp_path: Path) -> None:
    """Misuse raises before anything is written."""
    guard = guard_of(tmp_path / "l", Budgets(run_usd=1))
    one = given(guard.reserve("aws", "a", 0.001))
    with pytest.raises(ValueError, match="reserve the highest price"):
        guard.settle(one, 0.002)
    guard.settle(one)
    for end in (guard.settle, guard.release):
        with pytest.raises(ValueError, match="before"):
            end(one)
    guard.ledger.close()


def test_what_a_price_list_bills_is_charged(tmp_path: Path) -> None:
    """A call that was throttled or never sent is given back."""
    prices = PriceList.flat({"aws": 0.001})
    guard = guard_of(tmp_path / "l", Budgets(run_usd=1), prices=prices)
    for status, usd in (("ok", 0.001), ("timeout", 0.001), ("unavailable", 0.001)):
        assert guard.conclude(given(guard.reserve("aws", "a")), status) == usd  # type: ignore[arg-type]
    for status in ("throttled", "not_sent", "refused"):
        assert guard.conclude(given(guard.reserve("aws", "a")), status) == 0  # type: ignore[arg-type]
    assert guard.spent_usd == 0.003
    with pytest.raises(ConfigError, match="no price of provider azure"):
        guard.reserve("azure", "a")
    entry = guard.ledger.spending.of_provider_month("aws", "2023-11")
    assert entry.n_calls == 3
    guard.ledger.close()


def test_prices_change_while_calls_are_under_way(tmp_path: Path) -> None:
    """What was reserved before is charged as reserved; the ledger knows which list."""
    cheap, dear = PriceList.flat({"aws": 0.001}), PriceList.flat({"aws": 0.003})
    guard = guard_of(tmp_path / "l", Budgets(run_usd=0.004), prices=cheap)
    before = given(guard.reserve("aws", "a"))
    guard.change_prices(dear)
    after = given(guard.reserve("aws", "a"))
    assert refused(guard.reserve("aws", "a")).price_usd == 0.003
    assert guard.conclude(before, "ok") == 0.001
    assert guard.conclude(after, "ok") == 0.003
    guard.ledger.close()
    lists = {one.price_list for one in entries_of(tmp_path / "l")}
    assert lists == {cheap.version, dear.version}


def test_a_provider_that_is_not_listed_can_have_a_price_of_its_own(
    tmp_path: Path,
) -> None:
    """Reserved with a price, it is billed as usual."""
    prices = PriceList.flat({"aws": 0.001})
    guard = guard_of(tmp_path / "l", Budgets(run_usd=1), prices=prices)
    assert guard.conclude(given(guard.reserve("mine", "a", 0.5)), "timeout") == 0.5
    assert guard.conclude(given(guard.reserve("mine", "a", 0.5)), "throttled") == 0
    assert guard.next_usd("aws") == 0.001
    guard.ledger.close()


def test_a_guard_without_prices_asks_for_one(tmp_path: Path) -> None:
    """Nobody spends what nobody knows."""
    guard = guard_of(tmp_path / "l", Budgets())
    with pytest.raises(ConfigError, match="needs a price"):
        guard.reserve("aws", "a")
    assert guard.left_usd() == math.inf
    guard.ledger.close()


def test_free_calls_run_out_under_concurrency_as_well(tmp_path: Path) -> None:
    """Ten free calls are free once, also while none of them has come back."""
    tariff = ProviderPrices(tiers=(Tier(price=0.01),), free_units=10)
    prices = PriceList(providers={"google": tariff})
    guard = guard_of(tmp_path / "l", Budgets(run_usd=0.05), prices=prices)
    held = [given(guard.reserve("google", f"{i}")) for i in range(15)]
    assert [one.price_usd for one in held] == [0.0] * 10 + [0.01] * 5
    assert refused(guard.reserve("google", "more")).limit == "run"
    for one in reversed(held):
        guard.conclude(one, "ok")
    assert guard.spent_usd == pytest.approx(tariff.calls_usd(15))
    guard.ledger.close()


def test_a_run_that_goes_on_remembers_what_it_spent(tmp_path: Path) -> None:
    """Its budget, and those of its items, hold across processes."""
    file = tmp_path / "l"
    budgets = Budgets(run_usd=0.05, item_usd=0.02)
    guard = guard_of(file, budgets)
    guard.settle(given(guard.reserve("aws", "a", 0.015)))
    guard.release(given(guard.reserve("aws", "a", 0.005)))
    given(guard.reserve("aws", "b", 0.02))  # nobody says what became of it
    guard.ledger.close()
    again = guard_of(file, budgets)
    assert again.spent_usd == 0.035
    assert refused(again.reserve("aws", "a", 0.006)).limit == "item"
    assert refused(again.reserve("aws", "b", 0.001)).limit == "item"
    given(again.reserve("aws", "a", 0.005))
    other = BudgetGuard(again.ledger, budgets, run="another")
    given(other.reserve("aws", "a", 0.02))
    again.ledger.close()


def test_threads_together_spend_the_budget_and_no_more(tmp_path: Path) -> None:
    """Eight threads, two guards of one day, and somebody who looks all the time."""
    ledger = Ledger.open(tmp_path / "l", sync="never", clock=Clock())
    day = Budgets(day_usd=0.5)
    guards = [BudgetGuard(ledger, day, run=name) for name in ("one", "two")]
    most = 0
    is_done = threading.Event()

    def look() -> None:
        nonlocal most
        while not is_done.is_set():
            with ledger.lock:
                now = ledger.spending.of_day("2023-11-15").committed_nusd
            most = max(most, now)

    def spend(guard: BudgetGuard, number: int) -> None:
        while isinstance(one := guard.reserve("aws", "a", 0.0007), Reservation):
            if (one.call + number) % 3:
                guard.settle(one, 0.0005)
            else:
                guard.release(one)

    watcher = threading.Thread(target=look)
    threads = [
        threading.Thread(target=spend, args=(guards[i % 2], i)) for i in range(8)
    ]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    is_done.set()
    watcher.join()
    total = ledger.spending.of_day("2023-11-15")
    assert total.n_open == 0
    assert max(most, total.charged_nusd) <= 500_000_000
    assert total.charged_nusd > 499_000_000
    ledger.close()
    assert read_ledger(tmp_path / "l").spending.total() == total


def test_ten_thousand_tasks_at_once_stay_within_their_budget(tmp_path: Path) -> None:
    """With retries and a second provider, in one event loop."""
    guard = guard_of(tmp_path / "l", Budgets(run_usd=2.5, item_usd=0.002))
    made = 0

    async def request(number: int) -> None:
        nonlocal made
        for provider, price in (("aws", 0.001), ("aws", 0.001), ("google", 0.00225)):
            one = await guard.reserve_async(provider, f"{number % 5000}", price)
            if isinstance(one, Refusal):
                continue
            await asyncio.sleep(0)
            if number % 7 == 0:
                guard.release(one)
            else:
                made += one.price_nusd
                guard.settle(one)

    async def all_of_them() -> None:
        await asyncio.gather(*(request(i) for i in range(10_000)))

    asyncio.run(all_of_them())
    assert made == guard.ledger.spending.of_run("r").charged_nusd
    assert 2_000_000_000 < made <= 2_500_000_000
    guard.ledger.close()


def test_a_reservation_that_cannot_be_synced_is_taken_back(tmp_path: Path) -> None:
    """The call is not made, so the money is free again."""
    real = os.fdatasync

    def broken(descriptor: int) -> None:
        message = f"the disk of {descriptor} is gone"
        raise OSError(5, message)

    with Ledger.open(tmp_path / "l", sync="always") as ledger:
        guard = BudgetGuard(ledger, Budgets(run_usd=1), run="r")
        os.fdatasync = broken
        try:
            with pytest.raises(StoreError, match="cannot be synced"):
                guard.reserve("aws", "a", 0.5)
            with pytest.raises(StoreError, match="cannot be synced"):
                asyncio.run(guard.reserve_async("aws", "a", 0.5))
        finally:
            os.fdatasync = real
        assert guard.spent_usd == 0


PRICES = st.integers(0, 40_000_000).map(usd_of)
LIMITS = {"run": 200_000_000, "day": 90_000_000, "item": 45_000_000, "aws": 60_000_000}


class Spender(RuleBasedStateMachine):
    """A guard against a plain list of calls, through crashes and midnights."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock(MIDNIGHT_S + 1000)
        self.budgets = Budgets(
            run_usd=0.2, day_usd=0.09, item_usd=0.045, provider_day_usd={"aws": 0.06}
        )
        self.calls: dict[int, dict[str, Any]] = {}
        self.given: dict[int, Reservation] = {}
        self.open()

    def open(self) -> None:
        """Open the ledger."""
        self.guard = guard_of(self.folder / "l", self.budgets, self.clock)

    def spent(self, **of: object) -> int:
        """What the calls of a provider, day or item may cost."""
        return sum(
            call["nusd"]
            for call in self.calls.values()
            if all(call[key] == value for key, value in of.items())
        )

    @property
    def day(self) -> int:
        """Number of the day."""
        return int(self.clock.now_s // DAY_S)

    @rule(
        provider=st.sampled_from(["aws", "google"]),
        item=st.sampled_from(["a", "b", "c"]),
        price=PRICES,
    )
    def reserve(self, provider: str, item: str, price: float) -> None:
        """A call is allowed exactly when no budget would be exceeded."""
        nusd = price_nusd(price)
        is_within = (
            self.spent() + nusd <= LIMITS["run"]
            and self.spent(day=self.day) + nusd <= LIMITS["day"]
            and self.spent(item=item) + nusd <= LIMITS["item"]
            and (
                provider != "aws"
                or self.spent(day=self.day, provider="aws") + nusd <= LIMITS["aws"]
            )
        )
        answer = self.guard.reserve(provider, item, price)
        assert isinstance(answer, Reservation) == is_within, answer
        if isinstance(answer, Reservation):
            assert answer.call not in self.calls
            self.given[answer.call] = answer
            self.calls[answer.call] = {
                "nusd": nusd,
                "provider": provider,
                "item": item,
                "day": self.day,
            }

    @precondition(lambda self: self.given)
    @rule(data=st.data(), part=st.sampled_from([None, 0.0, 0.5, 1.0]))
    def settle(self, data: st.DataObject, part: float | None) -> None:
        """A call costs what was reserved, or less."""
        call = data.draw(st.sampled_from(sorted(self.given)))
        one = self.given.pop(call)
        price = None if part is None else usd_of(int(one.price_nusd * part))
        self.guard.settle(one, price)
        if price is not None:
            self.calls[call]["nusd"] = price_nusd(price)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A call was not made."""
        call = data.draw(st.sampled_from(sorted(self.given)))
        self.guard.release(self.given.pop(call))
        del self.calls[call]

    @rule(hours=st.sampled_from([1, 11, 24]))
    def wait(self, hours: int) -> None:
        """Time goes on, over midnight at times."""
        self.clock.now_s += 3600 * hours

    @rule(torn=st.binary(max_size=3))
    def crash(self, torn: bytes) -> None:
        """The process ends at once, maybe in the middle of a line; another begins."""
        os.write(self.guard.ledger._descriptor, b"")
        os.close(self.guard.ledger._descriptor)
        self.guard.ledger._descriptor = -1
        with (self.folder / "l").open("ab") as stream:
            stream.write(torn.replace(b"\n", b""))
        self.given.clear()  # and their calls count as made
        self.open()

    @invariant()
    def budgets_hold(self) -> None:
        """At every instant; and the file agrees, to the last nano-dollar."""
        contents = read_ledger(self.folder / "l")
        assert contents.damage == ""
        assert contents.spending.total().committed_nusd == self.spent()
        assert contents.spending.total().n_open == len(self.given)
        assert self.spent() <= LIMITS["run"]
        for call in self.calls.values():
            assert self.spent(day=call["day"]) <= LIMITS["day"]
            assert self.spent(item=call["item"]) <= LIMITS["item"]

    def teardown(self) -> None:
        """Leave nothing."""
        self.guard.ledger.close()
        shutil.rmtree(self.folder)


TestSpender = Spender.TestCase
TestSpender.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
