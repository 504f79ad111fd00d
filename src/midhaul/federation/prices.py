"""Price lists: what the next call of a provider costs, and what a run would cost.

A price is one of a calendar month (UTC): vendors give a free quota first and then
charge by tiers, so a call costs what the number of calls before it in the month says.
Amounts in another currency are kept as the list has them and converted at the rate, and
of the date, that the list states.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError
from midhaul.federation.tariffs import CHARGED, ProviderPrices, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.model import PredictionStatus

_DAY_S = 86_400
_VERSION_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What some calls would cost.

    Attributes:
        usd: by provider.
        n_free: calls by provider that are free, wholly or in part.
        warnings: what makes the figures doubtful.
    """

    usd: Mapping[str, float]
    n_free: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def total_usd(self) -> float:
        """Of all providers."""
        return math.fsum(self.usd.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices of several providers, by the names under which they are asked.

    Attributes:
        providers: prices by name of the provider.
    """

    providers: Mapping[str, ProviderPrices] = field(
        default_factory=dict[str, ProviderPrices]
    )

    @classmethod
    def flat(cls, prices_usd: Mapping[str, float]) -> PriceList:
        """A list where each call of a provider costs the same."""
        return cls(
            providers={
                name: ProviderPrices(tiers=(Tier(price=usd),))
                for name, usd in prices_usd.items()
            }
        )

    @property
    def version(self) -> str:
        """Eight hex digits that change with any price; ledgers write them down."""
        plain = {name: asdict(self.providers[name]) for name in sorted(self.providers)}
        text = json.dumps(plain, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]

    def of(self, provider: str) -> ProviderPrices:
        """Prices of a provider.

        Raises:
            ConfigError: the list does not have it.
        """
        if provider not in self.providers:
            known = ", ".join(sorted(self.providers)) or "nobody"
            message = f"no price of provider {provider}; there are prices of {known}"
            raise ConfigError(message, "a provider without a price must be given one")
        return self.providers[provider]

    def price_usd(self, provider: str, n_calls_before: int) -> float:
        """Price of a provider's next call in USD, after so many in the month.

        Raises:
            ConfigError: the list does not have the provider.
        """
        return self.of(provider).call_usd(n_calls_before)

    def most_usd(self, provider: str, n_charged: int, n_open: int) -> float:
        """The most that the next call can cost while others are on their way, in USD.

        Of the open calls any number may turn out to be billed before this one, and the
        price is that of its place in the month.

        Args:
            provider: who is asked.
            n_charged: billed calls of the month.
            n_open: calls of the month whose end is not known yet.

        Raises:
            ConfigError: the list does not have the provider.
        """
        prices = self.of(provider)
        units = prices.units_per_call
        edges = (prices.free_units, *(tier.up_to for tier in prices.tiers))
        steps = [int(edge // units) + k for edge in edges if edge < math.inf
                 for k in (-1, 0, 1)]  # fmt: skip
        last = n_charged + n_open
        places = {n_charged, last, *(n for n in steps if n_charged < n < last)}
        return max(prices.call_usd(n) for n in places)

    def is_charged(self, provider: str, status: PredictionStatus) -> bool:
        """True where a call that went like this is billed.

        Raises:
            ConfigError: the list does not have the provider.
        """
        return status in self.of(provider).charged

    def renamed(self, names: Mapping[str, str]) -> PriceList:
        """The prices under other names, such as those of a config.

        Args:
            names: new name to the name in this list; all others are left out.

        Raises:
            ConfigError: the list does not have one of them.
        """
        return PriceList(providers={new: self.of(old) for new, old in names.items()})

    def charging(
        self, charged: Mapping[str, tuple[PredictionStatus, ...]]
    ) -> PriceList:
        """The same with other calls billed, by name of the provider.

        Raises:
            ConfigError: the list does not have one of them.
        """
        changed = {
            name: replace(self.of(name), charged=statuses)
            for name, statuses in charged.items()
        }
        return PriceList(providers={**self.providers, **changed})

    def plus(self, other: PriceList) -> PriceList:
        """Both together; the other one's prices where both have a provider."""
        return PriceList(providers={**self.providers, **other.providers})

    def warnings(self, now_s: float, *, max_age_days: float = 180) -> list[str]:
        """What makes the prices doubtful: their age, or that nobody has checked them.

        Args:
            now_s: seconds since 1970, UTC.
            max_age_days: older prices are stale; prices without a date never are.
        """
        found: list[str] = []
        for name, prices in self.providers.items():
            if not prices.is_checked:
                found.append(f"the price of {name} is from memory: {prices.source}")
            for what, day in (("price", prices.date), ("rate", prices.rate_date)):
                age = _age_days(day, now_s) if day else 0.0
                if age > max_age_days:
                    found.append(f"the {what} of {name} is {age:.0f} days old ({day})")
        return found

    def forecast(
        self,
        n_calls: Mapping[str, int],
        *,
        n_calls_before: Mapping[str, int] | None = None,
        now_s: float | None = None,
        max_age_days: float = 180,
    ) -> Forecast:
        """What some calls would cost if they were made this month: a dry run.

        Args:
            n_calls: by provider.
            n_calls_before: calls of the month so far, by provider; none when absent.
            now_s: to warn of stale prices; no warning when absent.
            max_age_days: see :meth:`warnings`.

        Raises:
            ConfigError: the list does not have a provider.
        """
        before = n_calls_before or {}
        asked = self.renamed({name: name for name in n_calls})
        free: dict[str, int] = {}
        for name, n in n_calls.items():
            prices = asked.of(name)
            left = math.ceil(prices.free_units / prices.units_per_call)
            free[name] = min(n, max(0, left - before.get(name, 0)))
        return Forecast(
            usd={
                name: asked.of(name).calls_usd(n, before.get(name, 0))
                for name, n in n_calls.items()
            },
            n_free=free,
            warnings=()
            if now_s is None
            else tuple(asked.warnings(now_s, max_age_days=max_age_days)),
        )


def compute_usd(usd_per_hour: float, service_s: float) -> float:
    """Price of a call on a machine of one's own, in USD.

    Args:
        usd_per_hour: of the machine, or of the share that is busy with one call.
        service_s: how long a call keeps it busy.
    """
    return usd_per_hour * service_s / 3600


def _age_days(day: str, now_s: float) -> float:
    then = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return (now_s - then.timestamp()) / _DAY_S


__all__ = ["CHARGED", "Forecast", "PriceList", "ProviderPrices", "Tier", "compute_usd"]
