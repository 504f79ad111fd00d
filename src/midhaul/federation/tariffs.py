"""What one provider charges: free units, tiers, and which calls are billed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.model import PredictionStatus

CHARGED: tuple[PredictionStatus, ...] = ("ok", "timeout", "unavailable", "malformed")
"""Calls that count as billed unless a price list says otherwise: all that a provider
may have worked on. One that never reached it is not billed, whatever a list says."""

Billable = Literal[
    "ok",
    "timeout",
    "throttled",
    "unavailable",
    "unreachable",
    "refused",
    "denied",
    "malformed",
    "not_sent",
    "4xx",
    "5xx",
    "429",
]
"""What a list may say of a call that is billed: its status, or HTTP's word for it."""

_HTTP: dict[str, tuple[PredictionStatus, ...]] = {
    "4xx": ("refused", "denied"),
    "5xx": ("unavailable",),
    "429": ("throttled",),
}


def charged_statuses(said: Iterable[Billable]) -> tuple[PredictionStatus, ...]:
    """The statuses of calls that are billed, as somebody has listed them."""
    listed = [_HTTP.get(one, (one,)) for one in said]
    found = dict.fromkeys(status for group in listed for status in group)
    return cast("tuple[PredictionStatus, ...]", tuple(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A price and how far it goes.

    Attributes:
        price: of one unit, in the currency of the list.
        up_to: the last unit of the month that has it, the free ones counted; infinite
            in the last tier.
    """

    price: float
    up_to: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPrices:
    """What a provider charges.

    Attributes:
        tiers: by rising ``up_to``; the last has no end.
        free_units: units of each month that cost nothing.
        units_per_call: what one call counts for ("feature × image").
        unit: what a unit is, in words.
        currency: of the tiers, ISO 4217.
        usd_per_currency: USD for one of the currency; 1 where that is USD.
        rate_date: day of that rate; empty for USD.
        charged: how calls went that are billed.
        date: day of the prices, ISO 8601.
        source: where they stand.
        is_checked: false where they are from memory and nobody has looked them up.

    Raises:
        ConfigError: something of it is not in range.
    """

    tiers: tuple[Tier, ...]
    free_units: int = 0
    units_per_call: int = 1
    unit: str = "image"
    currency: str = "USD"
    usd_per_currency: float = 1.0
    rate_date: str = ""
    charged: tuple[PredictionStatus, ...] = CHARGED
    date: str = ""
    source: str = ""
    is_checked: bool = True

    def __post_init__(self) -> None:
        """Check tiers, counts and the currency."""
        ends = [tier.up_to for tier in self.tiers]
        if not ends or ends[-1] != math.inf or sorted(set(ends)) != ends:
            message = f"tiers rise and the last has no end, found ends {ends}"
            raise ConfigError(message)
        if any(not 0 <= tier.price < math.inf for tier in self.tiers):
            message = "prices are finite and not negative"
            raise ConfigError(message)
        if self.free_units < 0 or self.units_per_call < 1:
            message = "free_units is at least 0 and units_per_call at least 1"
            raise ConfigError(message)
        is_usd = self.currency == "USD"
        if not 0 < self.usd_per_currency < math.inf or (
            is_usd != (not self.rate_date) or (is_usd and self.usd_per_currency != 1)
        ):
            message = f"prices in {self.currency} need a rate and the day of the rate"
            raise ConfigError(message, "leave both out for USD")

    def unit_usd(self, n_units_before: int) -> float:
        """Price of the next unit of a month, in USD."""
        if n_units_before < self.free_units:
            return 0.0
        tier = next(tier for tier in self.tiers if n_units_before < tier.up_to)
        return tier.price * self.usd_per_currency

    def call_usd(self, n_calls_before: int) -> float:
        """Price of the next call of a month, in USD."""
        first = n_calls_before * self.units_per_call
        units = range(first, first + self.units_per_call)
        return math.fsum(self.unit_usd(unit) for unit in units)

    def calls_usd(self, n_calls: int, n_calls_before: int = 0) -> float:
        """Price of so many calls in one month, in USD."""
        begin = n_calls_before * self.units_per_call
        end = begin + n_calls * self.units_per_call
        edges = sorted({float(self.free_units), *(tier.up_to for tier in self.tiers)})
        parts: list[float] = []
        for edge in edges:
            stop = min(float(end), edge)
            if stop > begin:
                parts.append((stop - begin) * self.unit_usd(begin))
                begin = int(stop)
        return math.fsum(parts)
