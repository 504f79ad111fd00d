"""Bootstrap intervals of anything that is a function of the units' weights.

Efron's bootstrap: draw as many units as there are, with replacement, and see how the
statistic spreads. The ends are percentiles of the replicates, with two amendments.

1. Replicates are moved so that their mean is the value found. Repeated units lift some
   statistics (average precision by several points for 161 images), and plain
   percentiles would lie that much too high. The interval is thus one for the value to
   be expected from as many units as these.
2. The levels are widened by Hesterberg's expansion, because plain percentiles are too
   narrow for few units (Hesterberg 2015, What Teachers Should Know About the
   Bootstrap, section 4.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float64

    from midhaul.stats.statistics import Statistic

_CHUNK = 4_000_000
"""Weights drawn at once."""

_FEWEST_UNITS = 2
"""An interval needs a spread."""

_NORMAL_UNITS = 500
"""From this many units on, Student's t is as good as normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much two statistics of the same units differ.

    Attributes:
        estimate: first minus second, with its interval.
        p_value: two-sided; NaN where there is none. Never below
            ``2 / (n_resamples + 1)``: correcting m comparisons at level a needs
            at least ``2 m / a`` resamples before any can pass.
    """

    estimate: Estimate
    p_value: float


def bootstrap(
    statistic: Statistic,
    n_units: int,
    rng: np.random.Generator,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    unit: str = "",
) -> Estimate:
    """A statistic with its bootstrap interval.

    Args:
        statistic: function of the units' weights.
        n_units: number of independent units.
        rng: the source of chance.
        n_resamples: replicates drawn.
        level: confidence of the interval.
        unit: SI unit of the statistic, handed on.

    Returns:
        The value at weights of one, and the interval; NaN ends for fewer than two
        units or where more than half of the replicates do not exist.
    """
    value, replicates = _replicate(statistic, n_units, rng, n_resamples)
    low, high = _interval(replicates, n_units, level)
    return Estimate(value=value, low=low, high=high, n=n_units, unit=unit)


def paired_bootstrap(
    statistic_a: Statistic,
    statistic_b: Statistic,
    n_units: int,
    rng: np.random.Generator,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    unit: str = "",
) -> Difference:
    """The difference a - b of two statistics of the same units.

    Both see the same resampled units, so what the units share cancels out.

    Args:
        statistic_a: function of the units' weights.
        statistic_b: another one, of the same units in the same order.
        n_units: number of independent units.
        rng: the source of chance.
        n_resamples: replicates drawn.
        level: confidence of the interval.
        unit: SI unit of the statistics, handed on.
    """

    def difference(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return statistic_a(weights) - statistic_b(weights)

    value, replicates = _replicate(difference, n_units, rng, n_resamples)
    low, high = _interval(replicates, n_units, level)
    estimate = Estimate(value=value, low=low, high=high, n=n_units, unit=unit)
    return Difference(estimate=estimate, p_value=_p_value(replicates))


def _replicate(
    statistic: Statistic, n_units: int, rng: np.random.Generator, n_resamples: int
) -> tuple[float, Float64[np.ndarray, " b"]]:
    """The value and its replicates around it; no replicate where too few exist."""
    if n_units == 0:
        return math.nan, np.zeros(0)
    value = float(statistic(np.ones((1, n_units)))[0])
    parts = [statistic(w) for w in _draw(n_units, rng, n_resamples)]
    replicates = np.concatenate(parts) if parts else np.zeros(0)
    known = replicates[~np.isnan(replicates)]
    if n_units < _FEWEST_UNITS or 2 * len(known) <= n_resamples or math.isnan(value):
        return value, np.zeros(0)
    return value, known + (value - float(known.mean()))


def _draw(
    n_units: int, rng: np.random.Generator, n_resamples: int
) -> Iterator[Float64[np.ndarray, "b n"]]:
    """How often each unit is drawn, in chunks of resamples."""
    step = max(1, _CHUNK // n_units)
    for begin in range(0, n_resamples, step):
        n_rows = min(step, n_resamples - begin)
        drawn = rng.integers(0, n_units, (n_rows, n_units))
        drawn += np.arange(n_rows)[:, None] * n_units
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_units)
        yield counts.reshape(n_rows, n_units).astype(np.float64)


def _interval(
    replicates: Float64[np.ndarray, " b"], n_units: int, level: float
) -> tuple[float, float]:
    if not 0 < level < 1:
        message = f"level must lie between 0 and 1, found {level}"
        raise ValueError(message)
    if not len(replicates):
        return math.nan, math.nan
    tail = _expanded_tail(n_units, (1 - level) / 2)
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def _p_value(replicates: Float64[np.ndarray, " b"]) -> float:
    """Twice the share of replicates on the other side of zero."""
    if not len(replicates):
        return math.nan
    rarer = min(np.count_nonzero(replicates <= 0), np.count_nonzero(replicates >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(replicates) + 1))


def _expanded_tail(n_units: int, tail: float) -> float:
    """The share to cut off so that few units do not make the interval too narrow."""
    normal = NormalDist()
    if n_units > _NORMAL_UNITS:
        t = -normal.inv_cdf(tail)
    else:
        t = _solve(lambda x: _student_tail(x, n_units - 1), tail)
    return normal.cdf(-t * math.sqrt(n_units / (n_units - 1)))


def _student_tail(t: float, df: int) -> float:
    """P(T > t) of Student's t for t >= 0 (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    theta = math.atan(t / math.sqrt(df))
    cosine, start = math.cos(theta), 1 if df % 2 else 0
    term = math.sin(theta) * (cosine if start else 1.0)
    total = 0.0
    for k in range(start + 2, df + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    if start:
        return 0.5 - (theta + total) / math.pi
    return 0.5 - total / 2


def _solve(falling: Callable[[float], float], target: float) -> float:
    """Where a falling function of a positive number meets its target."""
    low, high = 0.0, 1.0
    while falling(high) > target:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > target else (low, middle)
    return (low + high) / 2
