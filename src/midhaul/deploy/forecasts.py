"""What an uplink will carry in the next rate period, as far as a promise can be kept.

Nobody knows what a link will carry. What can be promised is how often it will carry
less than was counted on. With *C* carried in the period that ended, *s* the usual size
of the logarithm of the ratio of one period to the one before, and a margin *z*, the
next period is forecast as ``F = C exp(-z s)``, and after it::

    z <- z + step * (over - share)        over: 1 where it carried less than F, else 0

This is online (sub)gradient descent on the pinball loss of the score
``log(C / carried) / s``: quantile tracking, the P of A. Angelopoulos, E. Candès,
R. Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023
(arXiv 2307.16895), ``q <- q + step * (err - alpha)``, held against the function
``quantile`` of the code that its authors published. I. Gibbs, E. Candès, "Adaptive
Conformal Inference Under Distribution Shift", NeurIPS 2021, move the level in the same
way, not the quantile.

Differences from the papers:

1. The score is a logarithm of a ratio, divided by its own usual size, so that one step
   fits links of every rate and restlessness; that size is a mean of the first ten
   periods and forgets exponentially after that.
2. A forecast that carries nothing cannot be too high. From a margin of ``MOST`` on the
   forecast is 0, so the margin is bounded whatever the link does, and with it the
   count: ``over <= share + (MOST + step - first) / (step n)`` after *n* periods, on any
   sequence.
3. The margin is never negative: no more is counted on than was carried just now.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

ForecastName = Literal["conformal", "last", "ewma", "least", "oracle"]

MOST = 12.0
"""Margin from which on nothing is counted on."""

_FIRST = 3.0  # about where it settles on recorded links
_STEP = 1.5
_USUAL = 0.35  # of a link that nothing is known of; it counts as two periods
_N_USUAL = 2
_FORGETTING = 0.1
_LEAST_USUAL = 0.02
_LARGEST = 3.0  # of a logarithm of a ratio; beyond, a link is as good as dead
_ROUNDING = 1e-9


class UplinkForecast(Protocol):
    """Says what to count on in the next rate period, and is told what came."""

    @property
    def next_bps(self) -> float:
        """What to count on in the next period, bit/s."""
        ...

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        ...


class ConformalForecast:
    """Keeps to a share of periods in which the link carries less than was said.

    Args:
        max_over_share: that share, in (0, 1).
        first_bps: what the link carried before the first period.

    Raises:
        DataError: the share is outside (0, 1).
    """

    def __init__(self, max_over_share: float, first_bps: float) -> None:
        if not 0 < max_over_share < 1:
            message = f"expected a share in (0, 1), found {max_over_share}"
            raise DataError(message)
        self._share = max_over_share
        self._last_bps = first_bps
        self._margin = _FIRST
        self._usual = _USUAL
        self._n = _N_USUAL

    @property
    def next_bps(self) -> float:
        """What to count on in the next period, bit/s."""
        if self._margin >= MOST:
            return 0.0
        return self._last_bps * math.exp(-self._margin * self._usual)

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        is_over = self.next_bps > carried_bps * (1 + _ROUNDING)
        self._margin = max(0.0, self._margin + _STEP * (is_over - self._share))
        if self._last_bps > 0:
            ratio = max(carried_bps / self._last_bps, math.exp(-_LARGEST))
            change = min(abs(math.log(ratio)), _LARGEST)
            self._n += 1
            weight = max(_FORGETTING, 1 / self._n)
            usual = (1 - weight) * self._usual + weight * change
            self._usual = max(usual, _LEAST_USUAL)
        self._last_bps = carried_bps


class LastForecast:
    """Takes the next period to be as the last one.

    Args:
        first_bps: what the link carried before the first period.
    """

    def __init__(self, first_bps: float) -> None:
        self.next_bps = first_bps

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        self.next_bps = carried_bps


class EwmaForecast:
    """An exponentially weighted mean of all periods so far.

    Args:
        first_bps: what the link carried before the first period.
    """

    def __init__(self, first_bps: float) -> None:
        self.next_bps = first_bps

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        self.next_bps += 0.3 * (carried_bps - self.next_bps)


class LeastForecast:
    """The least of the last five periods.

    Args:
        first_bps: what the link carried before the first period.
    """

    def __init__(self, first_bps: float) -> None:
        self._past = deque([first_bps], maxlen=5)

    @property
    def next_bps(self) -> float:
        """What to count on in the next period, bit/s."""
        return min(self._past)

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        self._past.append(carried_bps)


class OracleForecast:
    """Knows what comes: no real gateway has one, it shows what knowing is worth.

    Args:
        coming_bps: what the link will carry in a period by its number.
    """

    def __init__(self, coming_bps: Callable[[int], float]) -> None:
        self._coming_bps = coming_bps
        self._number = 0

    @property
    def next_bps(self) -> float:
        """What the next period carries, bit/s."""
        return self._coming_bps(self._number)

    def observe(self, carried_bps: float) -> None:
        """Go on to the next period; what it carried was known."""
        del carried_bps
        self._number += 1


def forecast_named(
    name: ForecastName,
    *,
    max_over_share: float,
    first_bps: float,
    coming_bps: Callable[[int], float],
) -> UplinkForecast:
    """A new forecast, before the first period.

    Args:
        name: which one.
        max_over_share: what ``conformal`` promises.
        first_bps: what the link carried before the first period.
        coming_bps: for ``oracle``: what comes, by the number of the period.

    Raises:
        DataError: the share is outside (0, 1).
    """
    match name:
        case "conformal":
            return ConformalForecast(max_over_share, first_bps)
        case "last":
            return LastForecast(first_bps)
        case "ewma":
            return EwmaForecast(first_bps)
        case "least":
            return LeastForecast(first_bps)
        case "oracle":
            return OracleForecast(coming_bps)
