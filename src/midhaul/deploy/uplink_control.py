"""Back-pressure and forecasts of an uplink: what is promised, and what is sent.

A forecast holds for a whole rate period, and a link may fall in its first second. What
waits and what leaves are seen at once, so knobs need not wait for the next period. With
*b* bits that wait, *c* bit/s that leave and a deadline *D*, a message waits ``b / c``.
Beyond ``D / 2`` knobs go down, to the most that lets the excess leave in ``D / 2``, and
below ``D / 4`` up again, at most to twice what leaves::

    d = max(0, c - (b - c D / 2) / (D / 2)) = max(0, 2 c - 2 b / D)

A queue that is empty because its messages left says that the link carries what it is
offered; one that is empty because they were dropped says nothing. On a link that
carries nothing, little is offered from time to time, to see whether it is back. Only a
few shares of the grant are used, :data:`RUNGS`, so that an allocator is asked a few
times a period at most.

A *forecast* is what an uplink will carry in the next rate period, as far as a promise
can be kept.

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
    """Keeps to a share, in (0, 1), of periods in which the link carries less."""

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
    """Takes the next period to be as the last one."""

    def __init__(self, first_bps: float) -> None:
        self.next_bps = first_bps

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        self.next_bps = carried_bps


class EwmaForecast:
    """An exponentially weighted mean of all periods so far."""

    def __init__(self, first_bps: float) -> None:
        self.next_bps = first_bps

    def observe(self, carried_bps: float) -> None:
        """Take in what the link could carry in the period that ended, bit/s."""
        self.next_bps += 0.3 * (carried_bps - self.next_bps)


class LeastForecast:
    """The least of the last five periods."""

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
    """Knows what comes: no real gateway has one, it shows what knowing is worth."""

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
    """A new forecast, before the first period, from what the link carried before it.

    ``conformal`` promises ``max_over_share``, a DataError outside (0, 1); ``oracle``
    asks what comes by the number of the period.
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


RUNGS = (1.0, 0.75, 0.55, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Shares of what was granted for the period."""

_LONG = 1 / 2  # of the deadline
_SHORT = 1 / 4
_NEW = 0.15  # weight of the last look in the rate at which bits leave
_N_DEAD = 5  # looks at a link that carries nothing until it is tried again


class BackPressure:
    """Which rung holds; a message that waits longer than the deadline is late."""

    def __init__(self, deadline_s: float) -> None:
        self._long_s, self._short_s = _LONG * deadline_s, _SHORT * deadline_s
        self._leaves_bps = 0.0
        self._has_waited = False
        self._n_dead = 0
        self.rung = 0
        self.n_steps_down = 0

    @property
    def share(self) -> float:
        """Share of the grant that may be offered now."""
        return RUNGS[self.rung]

    def begin(self) -> None:
        """Begin a rate period: what was granted for it allows for what waits.

        On a link that carries nothing, nothing goes on to be offered.
        """
        self.n_steps_down = 0
        if self.share:
            self.rung = 0

    def look(
        self, *, granted_bps: float, waiting_bits: float, left_bps: float
    ) -> float:
        """The share of the grant that may be offered from now on.

        Bits left at ``left_bps`` since the last look; the grant is for the whole
        period.
        """
        was_clear = not self._has_waited
        before_bps = max(left_bps, granted_bps) if was_clear else self._leaves_bps
        leaves_bps = _NEW * left_bps + (1 - _NEW) * before_bps
        self._leaves_bps = leaves_bps
        self._has_waited = waiting_bits > 0 or not (was_clear or left_bps > 0)
        most_bps = max(0.0, 2 * leaves_bps - waiting_bits / self._long_s)
        fits = [n for n, s in enumerate(RUNGS) if s * granted_bps <= most_bps]
        rung = min(fits, default=len(RUNGS) - 1)
        self._n_dead = self._n_dead + 1 if left_bps <= 0 and not self.share else 0
        if waiting_bits > self._long_s * leaves_bps:
            if rung > self.rung:
                self.rung = rung
                self.n_steps_down += 1
        elif self._n_dead >= _N_DEAD:
            self.rung, self._n_dead, self._leaves_bps = len(RUNGS) - 2, 0, 0.0
        elif (
            self.rung
            and waiting_bits <= self._short_s * leaves_bps
            and (left_bps > 0 or was_clear)
        ):
            self.rung = min(self.rung - 1, rung)
        return self.share

    def claim_bps(self, waiting_bits: float, period_s: float) -> float:
        """What of the next period's forecast belongs to messages that wait too long."""
        excess = max(0.0, waiting_bits - self._short_s * self._leaves_bps)
        return excess / max(period_s, self._long_s)
