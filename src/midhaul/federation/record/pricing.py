"""What a recording will cost: prices of its providers, a forecast, the budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError
from midhaul.federation.spending import month_of

if TYPE_CHECKING:
    from midhaul.federation.budget import BudgetGuard
    from midhaul.federation.ledger import Ledger
    from midhaul.federation.prices import Forecast, PriceList
    from midhaul.federation.record.config import RecordConfig
    from midhaul.federation.record.journal import Key
    from midhaul.runs.progress import Progress


def list_price_usd(prices: PriceList, name: str) -> float:
    """What a call costs behind the free ones."""
    of = prices.of(name)
    n_free = math.ceil(of.free_units / of.units_per_call)
    return prices.price_usd(name, n_free)


def forecast_of(
    config: RecordConfig, prices: PriceList, ask: frozenset[Key], ledger: Ledger
) -> Forecast:
    """What the calls that are left will cost, behind those of the month so far."""
    now_s = ledger.now_s()
    month = month_of(now_s)
    names = [one.name for one in config.providers]
    return prices.forecast(
        {name: sum(key.provider == name for key in ask) for name in names},
        n_calls_before={
            name: ledger.spending.of_provider_month(name, month).n_calls
            for name in names
        },
        now_s=now_s,
    )


def tell(
    config: RecordConfig,
    forecast: Forecast,
    guard: BudgetGuard,
    n_calls: int,
    progress: Progress,
) -> None:
    """Say what the run will cost, before it begins."""
    parts = ", ".join(
        f"{name} {usd:.4g}" + (f" ({n} free)" if (n := forecast.n_free[name]) else "")
        for name, usd in forecast.usd.items()
    )
    spent = f"; {guard.spent_usd:.4g} were spent before" if guard.spent_usd else ""
    progress.note(
        f"{n_calls} calls will cost about {forecast.total_usd:.4g} USD: {parts}; the "
        f"budget is {config.budget_usd:.4g} USD{spent}"
    )
    for warning in forecast.warnings:
        progress.note(warning)


def check_budget(config: RecordConfig, forecast: Forecast, guard: BudgetGuard) -> None:
    """Refuse a run that would cost more than it may.

    Raises:
        ConfigError: it would.
    """
    expected = forecast.total_usd + guard.spent_usd
    if expected > config.budget_usd * (1 + 1e-9) and not config.stops_at_budget:
        message = (
            f"the run would cost about {expected:.4g} USD, the budget is "
            f"{config.budget_usd:.4g} USD"
        )
        hint = "raise budget_usd, or set stops_at_budget = true"
        raise ConfigError(message, hint)
