"""How much may be spent, and the leave (or not) to spend some of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from midhaul.errors import ConfigError
from midhaul.federation.money import usd_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY_S = 86_400

Limit = Literal["run", "day", "item", "provider", "pace"]
"""What a budget limits: the whole run, a day (UTC), one item, one provider's day, or
the day so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How much may be spent; None is no limit.

    Attributes:
        run_usd: by the run, over all its days and restarts.
        day_usd: on a day, UTC, by all runs of the ledger.
        item_usd: on one item, retries and fallbacks included.
        provider_day_usd: on a day with one provider, by all runs of the ledger.
        pace_ahead: spread ``day_usd`` evenly over the day: spending may be ahead of
            the time by this share of it, 0 to 1. None spends as requests come.
    """

    run_usd: float | None = None
    day_usd: float | None = None
    item_usd: float | None = None
    provider_day_usd: Mapping[str, float] | None = None
    pace_ahead: float | None = None

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
        call: number of the call in the ledger.
        provider: who may be asked.
        item: id of the item.
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

    Args:
        day_nusd: the budget.
        ahead: share of it by which spending may be ahead of the time.
        now_s: seconds since 1970, UTC.
    """
    return int(day_nusd * min(1.0, now_s % _DAY_S / _DAY_S + ahead))


def wait_s(limit: Limit, lacking_nusd: int, day_nusd: int, now_s: float) -> float:
    """When a budget that refused allows more, in seconds from now.

    Args:
        limit: which budget.
        lacking_nusd: what it lacks.
        day_nusd: the budget of the day.
        now_s: seconds since 1970, UTC.
    """
    until_tomorrow_s = _DAY_S - now_s % _DAY_S
    if limit == "pace" and day_nusd:
        return min(until_tomorrow_s, _DAY_S * lacking_nusd / day_nusd)
    if limit in ("day", "pace", "provider"):
        return until_tomorrow_s
    return float("inf")
