"""Price lists as TOML: one table for each provider, read strictly.

The lists of midhaul are in ``price_lists/``; their providers are called as their specs
(``google:object_localization``). Prices of vendors change: a list says where its
figures come from, of which day they are, and whether anybody has checked them.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field, ValidationError, model_validator

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.federation.prices import CHARGED, PriceList, ProviderPrices, Tier
from midhaul.federation.tariffs import Billable, charged_statuses
from midhaul.runs.config import Section
from midhaul.runs.mistakes import mistakes, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable

_DAY = r"^(\d{4}-\d{2}-\d{2})?$"


class TierSection(Section):
    """One tier of a provider."""

    price: float = Field(ge=0, description="Price of a unit, in the currency.")
    up_to: int | None = Field(
        default=None, ge=1, description="Last unit of the month; none in the last tier."
    )


class PricesSection(Section):
    """What one provider charges."""

    tiers: tuple[TierSection, ...] = Field(description="Prices by tier.")
    free_units: int = Field(default=0, ge=0, description="Free units of a month.")
    units_per_call: int = Field(default=1, ge=1, description="Units of one call.")
    unit: str = Field(default="image", description="What a unit is.")
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$", description="ISO 4217.")
    usd_per_currency: float = Field(default=1.0, gt=0, description="Exchange rate.")
    rate_date: str = Field(default="", description="Day of the exchange rate.")
    charged: tuple[Billable, ...] = Field(
        default=CHARGED, description="How calls went that are billed."
    )
    date: str = Field(
        default="", pattern=_DAY, description="Day of the prices; none from memory."
    )
    source: str = Field(min_length=1, description="Where they stand.")
    is_checked: bool = Field(description="Whether anybody has looked them up there.")

    @model_validator(mode="after")
    def _day_is_known(self) -> Self:
        if self.is_checked and not self.date:
            message = "prices that were checked have the date of that day"
            raise ValueError(message)
        return self

    def prices(self) -> ProviderPrices:
        """The same as a value.

        Raises:
            ConfigError: tiers do not rise, or a rate is missing.
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

    Raises:
        MidhaulError: a list is missing, or does not have a provider.
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
    """Read a price list.

    Raises:
        DataError: the file is missing or no TOML.
        ConfigError: a key is missing, unknown or out of range.
    """
    return _read(file, str(file))


def shipped_price_lists() -> tuple[str, ...]:
    """Names of the price lists that ship with midhaul."""
    folder = resources.files("midhaul.federation") / "price_lists"
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
    folder = resources.files("midhaul.federation") / "price_lists"
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
