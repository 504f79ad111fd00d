"""Percentiles as far as the values carry them: MLPerf's early-stopping estimate.

A percentile of few values is whatever the largest of them happened to be. What n
values do carry is the claim "the q quantile is at most x": were it false, no more than
``t`` of n values above x would be seen with a probability of 1 % or less. The smallest
such x that the generator states is the ``t``-th largest value, with

.. code-block:: text

    t = max { k : P(Binomial(n, 1 - q) <= k) <= 0.01 }

and there is none while even ``t = 1`` is not carried: below 64 values for p90, 130 for
p95, 662 for p99 and 6,636 for p99.9. It is the percentile that MLPerf's load generator
states in its scenarios single stream and multi stream (MLCommons, MLPerf Inference
Rules, appendix "Early Stopping Criterion"; the formula is the binomial tail that
Conover, Practical Nonparametric Statistics, section 3.2, bounds quantiles with).

The median is a location and no claim about a tail: it is the sample's own, from as many
values on as the rule demands (11).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.samples import Claim, MetricSamples
from midhaul.stats.quantiles import log_at_most, quantile, required_samples
from midhaul.stats.statistics import quantile_statistic

if TYPE_CHECKING:
    from jaxtyping import Float64, Int

    from midhaul.model.samples import Statistic

_MEDIAN = 0.5


def fewest_values(q: float, *, confidence: float = 0.99) -> int:
    """How many values a number for the ``q`` quantile needs.

    Example:
        >>> [fewest_values(q) for q in (0.5, 0.9, 0.95, 0.99)]
        [11, 64, 130, 662]
    """
    return required_samples(q, n_over=1, confidence=confidence)


@functools.lru_cache(maxsize=4096)
def n_beyond(n: int, q: float, *, confidence: float = 0.99) -> int:
    """How many of n values lie at or above what they carry for the ``q`` quantile.

    Args:
        n: values, in any order.
        q: in (0, 1).
        confidence: of the claim.

    Returns:
        ``t``: the estimate is the t-th largest value; 0 where n values carry none.
    """
    if n < fewest_values(q, confidence=confidence):
        return 0
    # The answer lies below the mean of the binomial, which is above its median.
    logs = log_at_most(math.ceil(n * (1 - q)), n, 1 - q)
    return int(np.searchsorted(logs, math.log1p(-confidence), side="right")) - 1


def claimed_level(n: int, q: float) -> float:
    """Which of their quantiles n values carry as their ``q`` quantile; NaN for none.

    Args:
        n: how many values there are.
        q: in (0, 1).
    """
    t = n_beyond(n, q)
    if t == 0:
        return math.nan
    # The middle between two ranks, so that rounding picks none of the neighbours.
    return q if q <= _MEDIAN else (n - t + 0.5) / n


def claimed_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The value that these values carry for their ``q`` quantile; NaN where none.

    Args:
        values: in any order.
        q: in (0, 1); up to the median the sample's own quantile is taken.

    Example:
        >>> [claimed_quantile(np.arange(float(n)), 0.9) for n in (63, 64, 100)]
        [nan, 63.0, 97.0]
    """
    level = claimed_level(len(values), q)
    return math.nan if math.isnan(level) else quantile(values, level)


def percentile_samples(
    values: Float64[np.ndarray, " m"],
    unit_index: Int[np.ndarray, " m"],
    units: tuple[str, ...],
    *,
    q: float,
    metric: str,
    configuration: str,
    known_below: float = math.inf,
    unit: str = "s",
) -> MetricSamples:
    """A percentile as a metric: its claim, or what it lacks.

    Args:
        values: one or more per unit; a value that is only known to be larger stands
            as what it is known to exceed.
        unit_index: the unit of each value.
        units: ids of the units.
        q: in (0, 1).
        metric: its name.
        configuration: name of the configuration.
        known_below: the least of the values that are only known to be larger.
        unit: of the values.
    """
    n, needed = len(values), fewest_values(q)
    lack = "" if n >= needed else f"p{q * 100:g} needs {needed} values, found {n}"

    def at(number: int) -> Statistic:
        level = claimed_level(number, q)
        if math.isnan(level):
            return _nothing
        return quantile_statistic(values, unit_index, len(units), q=level)

    return MetricSamples(
        metric=metric,
        configuration=configuration,
        units=units,
        statistic=at(n),
        better="lower",
        unit=unit,
        known_below=known_below,
        claim=None if q <= _MEDIAN else Claim(n=n, at=at),
        lack=lack,
    )


def _nothing(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
    return np.full(len(weights), np.nan)
