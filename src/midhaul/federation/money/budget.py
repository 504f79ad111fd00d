"""Budget and reservations: no call is made that could take spending beyond it.

Money is reserved before a call, at the most that the call can cost, and settled or
released after it. Charged and reserved money together never exceed a budget at any
instant, whoever calls at the same time, and however often a call is retried, falls back
to another provider or moves to another price tier: each of these is a call of its own,
with a reservation of its own, checked where the money is spent.

A reservation is the leave (or not) to spend some of what may be spent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from midhaul.errors import ConfigError
from midhaul.federation.money.ledger_file import (
    Total,
    budget_nusd,
    entries_of,
    item_hash,
    item_totals,
    price_nusd,
    usd_of,
)
from midhaul.federation.money.prices import CHARGED

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from midhaul.federation.money.ledger import Ledger
    from midhaul.federation.money.prices import PriceList
    from midhaul.model import PredictionStatus

_DAY_S = 86_400

Limit = Literal["run", "day", "item", "provider", "pace"]
"""What a budget limits: the whole run, a day (UTC), one item, one provider's day, or
the day so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How much may be spent; None is no limit.

    Attributes:
        run_usd: over all days and restarts. It is of the run alone.
        day_usd: on a day, UTC. It is of all runs of the ledger.
        item_usd: on one item, retries included. Fallbacks are as well.
        provider_day_usd: on a day, by provider. It is of all runs of the ledger.
        pace_ahead: spread day_usd over the day, ahead by at most this share. None
            spends as requests come.
    """

    run_usd: Annotated[float | None, Ge(0)] = None
    day_usd: Annotated[float | None, Ge(0)] = None
    item_usd: Annotated[float | None, Ge(0)] = None
    provider_day_usd: Mapping[str, float] = field(default_factory=dict[str, float])
    pace_ahead: Annotated[float | None, Ge(0), Le(1)] = None

    def __post_init__(self) -> None:
        """Check that the pace has a day to spread."""
        if self.pace_ahead is None:
            return
        if self.day_usd is None or not 0 <= self.pace_ahead <= 1:
            message = f"pace_ahead is 0 to 1 of a day_usd, found {self.pace_ahead}"
            raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Leave to make one call.

    Attributes:
        price_nusd: the most that the call may cost.
        day: the day, UTC, on which it counts.
    """

    call: int
    provider: str
    item: str
    price_nusd: int
    day: str

    @property
    def price_usd(self) -> float:
        """The most that the call may cost, in USD."""
        return usd_of(self.price_nusd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No leave: a budget would be exceeded.

    Attributes:
        limit: which budget.
        provider: who was to be asked.
        item: id of the item.
        price_usd: what the call could cost.
        left_usd: what is left of the budget.
        retry_after_s: when the budget allows more: the next day, or when the pace has
            caught up; infinite for a run or an item.
    """

    limit: Limit
    provider: str
    item: str
    price_usd: float
    left_usd: float
    retry_after_s: float

    @property
    def message(self) -> str:
        """Why, in a sentence."""
        of = {
            "run": "the run",
            "day": "the day",
            "item": f"item {self.item}",
            "provider": f"{self.provider} on this day",
            "pace": "the day so far",
        }[self.limit]
        return (
            f"a call of {self.provider} costs up to {self.price_usd:.9g} USD, the "
            f"budget of {of} has {self.left_usd:.9g} USD left"
        )


def paced_nusd(day_nusd: int, ahead: float, now_s: float) -> int:
    """What may be spent of a day's budget until now, in nano-dollars.

    ``ahead`` is the share of it by which spending may be ahead of the time.
    """
    return int(day_nusd * min(1.0, now_s % _DAY_S / _DAY_S + ahead))


def wait_s(limit: Limit, lacking_nusd: int, day_nusd: int, now_s: float) -> float:
    """When a budget that refused allows more, in seconds from now.

    ``lacking_nusd`` is what it lacks, ``now_s`` is UTC, since 1970.
    """
    until_tomorrow_s = _DAY_S - now_s % _DAY_S
    if limit == "pace" and day_nusd:
        return min(until_tomorrow_s, _DAY_S * lacking_nusd / day_nusd)
    if limit in ("day", "pace", "provider"):
        return until_tomorrow_s
    return float("inf")


class BudgetGuard:
    """Gives and takes back reservations; thread-safe, and never waits for another call.

    Several guards of one process may share a ledger, one for each run; budgets of the
    day are of all of them.

    Args:
        ledger: where reservations are written before they are given.
        budgets: how much may be spent.
        run: who spends; what the ledger says of a run of the same name counts.
        prices: what calls cost that are reserved without a price.
    """

    def __init__(
        self,
        ledger: Ledger,
        budgets: Budgets,
        *,
        run: str,
        prices: PriceList | None = None,
    ) -> None:
        self.ledger = ledger
        self.budgets = budgets
        self.run = run
        self._prices = prices
        self._price_list = "none" if prices is None else prices.version
        self._run_nusd = _budget(budgets.run_usd)
        self._day_nusd = _budget(budgets.day_usd)
        self._item_nusd = _budget(budgets.item_usd)
        self._provider_nusd = {
            name: budget_nusd(usd) for name, usd in budgets.provider_day_usd.items()
        }
        self._items: dict[str, int] = {}
        self._given: dict[int, Reservation] = {}
        is_resumed = ledger.spending.of_run(run) != Total()
        if self._item_nusd is not None and is_resumed:
            self._items = item_totals(entries_of(ledger.file), run)

    def reserve(
        self, provider: str, item: str, price_usd: float | None = None
    ) -> Reservation | Refusal:
        """Ask for leave to make one call.

        Waits for the disk where the ledger syncs always; see :meth:`reserve_async`.

        Args:
            provider: who is to be asked.
            item: id of the item.
            price_usd: the most that the call can cost; what the price list says for
                its place in the month where it is None.

        Raises:
            StoreError: the ledger cannot be written, so the call must not be made.
            ConfigError: the price is negative or not finite, or nobody knows it.
        """
        answer = self._reserve(provider, item, price_usd)
        if isinstance(answer, Reservation):
            with self._taken_back_on_failure(answer):
                self.ledger.wait_synced(answer.call)
        return answer

    async def reserve_async(
        self, provider: str, item: str, price_usd: float | None = None
    ) -> Reservation | Refusal:
        """As :meth:`reserve`, and the event loop goes on while the disk works."""
        answer = self._reserve(provider, item, price_usd)
        if isinstance(answer, Reservation) and self.ledger.is_synced_always:
            with self._taken_back_on_failure(answer):
                await asyncio.to_thread(self.ledger.wait_synced, answer.call)
        return answer

    def settle(self, reservation: Reservation, price_usd: float | None = None) -> float:
        """Say that a call was made, whatever became of it.

        Args:
            reservation: of the call.
            price_usd: what it costs; all that was reserved where it is None.

        Returns:
            What was charged, in USD.

        Raises:
            ValueError: it was settled or released before, or costs more than was
                reserved.
        """
        price = reservation.price_nusd if price_usd is None else price_nusd(price_usd)
        if price > reservation.price_nusd:
            message = (
                f"call {reservation.call} costs {usd_of(price)} USD, and only "
                f"{reservation.price_usd} USD was reserved: reserve the highest price"
            )
            raise ValueError(message)
        self._end(reservation, price)
        return usd_of(price)

    def release(self, reservation: Reservation) -> None:
        """Say that a call was not made, or that its provider does not bill it.

        Raises:
            ValueError: it was settled or released before.
        """
        self._end(reservation, None)

    def conclude(
        self,
        reservation: Reservation,
        status: PredictionStatus,
        *,
        is_sent: bool = True,
    ) -> float:
        """Settle a call or release it, as its provider bills calls that went like this.

        Args:
            reservation: of the call.
            status: how the call went.
            is_sent: false where the provider has not heard of it and cannot bill.

        Returns:
            What was charged, in USD.

        Raises:
            ValueError: it was settled or released before.
        """
        tariff = self._prices and self._prices.providers.get(reservation.provider)
        if is_sent and status in (tariff.charged if tariff else CHARGED):
            return self.settle(reservation)
        self.release(reservation)
        return 0.0

    def change_prices(self, prices: PriceList) -> None:
        """Take other prices for the next calls; those under way keep theirs."""
        with self.ledger.lock:
            self._prices, self._price_list = prices, prices.version

    def forget(self, item: str) -> None:
        """Say that an item is done, so that its budget need not be kept in mind."""
        with self.ledger.lock:
            self._items.pop(item_hash(item), None)

    def left_usd(self, provider: str | None = None, item: str | None = None) -> float:
        """What the tightest budget has left now, in USD; infinite without any.

        Args:
            provider: with the budget of this provider.
            item: with the budget of this item.
        """
        with self.ledger.lock:
            now_s = self.ledger.now_s()
            lefts = [left for _, left in self._lefts(provider, item, now_s)]
        return usd_of(min(lefts)) if lefts else float("inf")

    def next_usd(self, provider: str) -> float:
        """The most that the next call can cost at its place in the month, in USD.

        Raises:
            ConfigError: there is no price list, or it does not have the provider.
        """
        if self._prices is None:
            message = f"a call of {provider} needs a price, and there is no price list"
            raise ConfigError(message)
        with self.ledger.lock:
            spending = self.ledger.spending
            month = spending.day(self.ledger.now_s())[:7]
            total = spending.of_provider_month(provider, month)
        return self._prices.most_usd(provider, total.n_calls, total.n_open)

    @property
    def spent_usd(self) -> float:
        """Charged and reserved by the run, in USD."""
        with self.ledger.lock:
            return usd_of(self.ledger.spending.of_run(self.run).committed_nusd)

    def _reserve(
        self, provider: str, item: str, price_usd: float | None = None
    ) -> Reservation | Refusal:
        with self.ledger.lock:
            now_s = self.ledger.now_s()
            if price_usd is None:
                price_usd = self.next_usd(provider)
            price = price_nusd(price_usd)
            for limit, left in self._lefts(provider, item, now_s):
                if price > left:
                    return Refusal(
                        limit=limit,
                        provider=provider,
                        item=item,
                        price_usd=usd_of(price),
                        left_usd=usd_of(max(0, left)),
                        retry_after_s=wait_s(
                            limit, price - left, self._day_nusd or 0, now_s
                        ),
                    )
            entry = self.ledger.reserve(
                run=self.run,
                provider=provider,
                item=item,
                price_nusd=price,
                price_list=self._price_list,
                time_s=now_s,
            )
            reservation = Reservation(
                call=entry.call,
                provider=provider,
                item=item,
                price_nusd=price,
                day=self.ledger.spending.day(entry.time_s),
            )
            self._given[entry.call] = reservation
            if self._item_nusd is not None:
                key = entry.item
                self._items[key] = self._items.get(key, 0) + price
            return reservation

    @contextlib.contextmanager
    def _taken_back_on_failure(self, reservation: Reservation) -> Generator[None]:
        """Nobody gets the reservation if the disk fails or the caller is cancelled."""
        try:
            yield
        except BaseException:
            self.release(reservation)
            raise

    def _end(self, reservation: Reservation, price: int | None) -> None:
        """Charge a price, or release where it is None."""
        with self.ledger.lock:
            if self._given.pop(reservation.call, None) is None:
                message = f"call {reservation.call} was settled or released before"
                raise ValueError(message)
            if price is None:
                self.ledger.release(reservation.call)
            else:
                self.ledger.charge(reservation.call, price)
            key = item_hash(reservation.item)
            if key in self._items:
                self._items[key] -= reservation.price_nusd - (price or 0)

    def _lefts(
        self, provider: str | None, item: str | None, now_s: float
    ) -> list[tuple[Limit, int]]:
        """What each budget has left, in nano-dollars."""
        spending = self.ledger.spending
        day = spending.day(now_s)
        lefts: list[tuple[Limit, int]] = []
        if self._run_nusd is not None:
            spent = spending.of_run(self.run).committed_nusd
            lefts.append(("run", self._run_nusd - spent))
        if self._item_nusd is not None and item is not None:
            lefts.append(
                ("item", self._item_nusd - self._items.get(item_hash(item), 0))
            )
        if self._day_nusd is not None:
            spent = spending.of_day(day).committed_nusd
            lefts.append(("day", self._day_nusd - spent))
            if self.budgets.pace_ahead is not None:
                paced = paced_nusd(self._day_nusd, self.budgets.pace_ahead, now_s)
                lefts.append(("pace", paced - spent))
        if provider in self._provider_nusd:
            spent = spending.of_provider_day(provider, day).committed_nusd
            lefts.append(("provider", self._provider_nusd[provider] - spent))
        return lefts


def _budget(usd: float | None) -> int | None:
    return None if usd is None else budget_nusd(usd)
