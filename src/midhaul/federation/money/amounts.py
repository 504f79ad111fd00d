"""Money in whole nano-dollars, so that sums are exact and budgets cannot drift.

A nano-dollar (nUSD) is 10⁻⁹ USD: fine enough for a local model at 0.001 USD per 10,000
calls, and 2⁶³ of them are nine billion dollars.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from midhaul.errors import ConfigError

NUSD_PER_USD = 1_000_000_000

_FLOAT_DIGITS = Decimal(1).scaleb(-6)
"""Parts of a nano-dollar that are taken for the noise of floating point."""
_EXACT = Context(prec=400)
"""With digits for the largest float, which a client may give as its budget."""


def price_nusd(usd: float) -> int:
    """A price in nano-dollars, rounded up: what is reserved is never too little."""
    return _whole(usd, ROUND_CEILING)


def budget_nusd(usd: float) -> int:
    """A budget in nano-dollars, rounded down."""
    return _whole(usd, ROUND_FLOOR)


def usd_of(nusd: int) -> float:
    """Nano-dollars as USD, for tables and people."""
    return nusd / NUSD_PER_USD


def _whole(usd: float, rounding: str) -> int:
    if not math.isfinite(usd) or usd < 0:
        message = f"an amount of money is finite and not negative, found {usd} USD"
        raise ConfigError(message)
    nusd = _EXACT.multiply(Decimal(usd), NUSD_PER_USD).quantize(
        _FLOAT_DIGITS, context=_EXACT
    )
    return int(nusd.to_integral_value(rounding))
