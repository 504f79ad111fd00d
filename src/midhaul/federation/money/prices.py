"""Price lists and tariffs: what a provider's next call and a run would cost.

A price is one of a calendar month (UTC): vendors give a free quota first and then
charge by tiers, so a call costs what the number of calls before it in the month says.
Amounts in another currency are kept as the list has them and converted at the rate, and
of the date, that the list states.

A *tariff* is what one provider charges: free units, tiers, and which calls are billed.

Lists are TOML files: one table for each provider, read strictly.

The lists of midhaul are in ``price_lists/``; their providers are called as their specs
(``google:object_localization``). Prices of vendors change: a list says where its
figures come from, of which day they are, and whether anybody has checked them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self, cast

from pydantic import ValidationError, model_validator

from midhaul import documents
from midhaul.errors import ConfigError, DataError, suggestion
from midhaul.model import PredictionStatus
from midhaul.runs.config import Section, setting
from midhaul.runs.config_errors import mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable


CHARGED: tuple[PredictionStatus, ...] = ("ok", "timeout", "unavailable", "malformed")
"""Calls that count as billed unless a price list says otherwise: all that a provider
may have worked on. One that never reached it is not billed, whatever a list says."""

Billable = Literal[PredictionStatus, "4xx", "5xx", "429"]
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


_DAY_S = 86_400
_VERSION_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What some calls would cost.

    Attributes:
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


def _age_days(day: str, now_s: float) -> float:
    then = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return (now_s - then.timestamp()) / _DAY_S


_DAY = r"^(\d{4}-\d{2}-\d{2})?$"


class TierSection(Section):
    """One tier of a provider."""

    price: float = setting(..., "Price of a unit, in the currency.", ge=0)
    up_to: int | None = setting(
        None, "Last unit of the month; none in the last tier.", ge=1
    )


class PricesSection(Section):
    """What one provider charges."""

    tiers: tuple[TierSection, ...] = setting(..., "Prices by tier.")
    free_units: int = setting(0, "Free units of a month.", ge=0)
    units_per_call: int = setting(1, "Units of one call.", ge=1)
    unit: str = setting("image", "What a unit is.")
    currency: str = setting("USD", "ISO 4217.", pattern="^[A-Z]{3}$")
    usd_per_currency: float = setting(1.0, "Exchange rate.", gt=0)
    rate_date: str = setting("", "Day of the exchange rate.")
    charged: tuple[Billable, ...] = setting(CHARGED, "How calls went that are billed.")
    date: str = setting("", "Day of the prices; none from memory.", pattern=_DAY)
    source: str = setting(..., "Where they stand.", min_length=1)
    is_checked: bool = setting(..., "Whether anybody has looked them up there.")

    @model_validator(mode="after")
    def _day_is_known(self) -> Self:
        if self.is_checked and not self.date:
            message = "prices that were checked have the date of that day"
            raise ValueError(message)
        return self

    def prices(self) -> ProviderPrices:
        """The same as a value.

        ConfigError where tiers do not rise, or a rate is missing.
        """
        tiers = tuple(
            Tier(price=tier.price, up_to=tier.up_to or math.inf) for tier in self.tiers
        )
        return ProviderPrices(
            **self.model_dump(exclude={"tiers", "charged"}),
            tiers=tiers,
            charged=charged_statuses(self.charged),
        )


class Priced(Protocol):
    """A provider in a file: what it costs, or where that stands."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def spec(self) -> str:
        """What it is, by which lists call it."""
        ...

    @property
    def price_usd(self) -> float | None:
        """Price of a call; None where a list says it."""
        ...

    @property
    def price_list(self) -> str:
        """File of a price list, or the name of one that ships with midhaul."""
        ...

    @property
    def price_name(self) -> str:
        """Its name in that list; its spec where empty."""
        ...

    @property
    def charged(self) -> tuple[Billable, ...] | None:
        """How calls went that are billed; what the list says where None."""
        ...


def prices_of_file(providers: Iterable[Priced]) -> PriceList:
    """The prices of all providers of a file, under their names in it.

    MidhaulError where a list is missing, or does not have a provider.
    """
    prices = PriceList()
    for one in providers:
        if one.price_usd is not None:
            found = PriceList.flat({one.name: one.price_usd})
        else:
            path = Path(one.price_list)
            listed = (
                read_price_list(path)
                if path.suffix == ".toml"
                else shipped_price_list(one.price_list)
            )
            found = listed.renamed({one.name: one.price_name or one.spec})
        if one.charged is not None:
            found = found.charging({one.name: charged_statuses(one.charged)})
        prices = prices.plus(found)
    return prices


def read_price_list(file: Path) -> PriceList:
    """Read a price list."""
    return _read(file, str(file))


def shipped_price_lists() -> tuple[str, ...]:
    """Names of the price lists that ship with midhaul."""
    folder = resources.files("midhaul.federation.money") / "price_lists"
    names = (Path(entry.name) for entry in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".toml"))


def shipped_price_list(name: str) -> PriceList:
    """One of the price lists that ship with midhaul.

    Raises:
        ConfigError: there is no such list.
    """
    known = shipped_price_lists()
    if name not in known:
        message = f"no price list {name!r}{suggestion(name, known)}"
        raise ConfigError(message, f"there are {', '.join(known)}")
    folder = resources.files("midhaul.federation.money") / "price_lists"
    return _read(folder / f"{name}.toml", f"price list {name}")


def _read(file: Traversable, where: str) -> PriceList:
    try:
        values = documents.parse_toml(file.read_text("utf-8"))
    except FileNotFoundError as error:
        message = f"the price list {where} does not exist"
        raise DataError(message) from error
    except (OSError, ValueError) as error:
        message = f"{where} cannot be read as TOML: {error}"
        raise DataError(message) from error
    providers: dict[str, ProviderPrices] = {}
    wrong: list[str] = []
    for name, part in values.items():
        try:
            text = json.dumps(part, default=str)
            providers[name] = PricesSection.model_validate_json(text).prices()
        except ValidationError as error:
            found = mistakes(PricesSection, error, part, {})
            wrong += [f"{name}: {mistake}" for mistake in found]
        except ConfigError as error:
            wrong.append(f"{name}: {error.message}")
    if wrong:
        message = f"{where}: " + "; ".join(wrong)
        raise ConfigError(message)
    return PriceList(providers=providers)
