"""Statistics as functions of the weight of each unit.

A *unit* is what was drawn independently: an image, a request, a block. A ``Statistic``
takes how often each unit counts and returns a number, NaN where the weights leave
nothing. Weights of one give the plain value; multinomial weights give a bootstrap
replicate. Whatever can be written this way (a mean, a quantile, average precision) is
resampled and paired by the same code.

Quantiles, what surrounds them, and how many samples a claim about one needs.

Quantiles here are values that occurred: the smallest one whose share of the weight
reaches ``q`` (the inverse of the empirical distribution, Hyndman and Fan's type 1).
Repeating a value and giving it twice the weight are then the same thing.

*Early stopping* gives percentiles as far as the values carry them: MLPerf's estimate.

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

from midhaul.model import Estimate
from midhaul.model.estimate import Claim, MetricSamples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float64, Int

    from midhaul.model.estimate import Statistic

_CHUNK = 2_000_000
"""Numbers held at once, so that many values do not fill the memory."""

_MANY = 256
"""Values from which on their weights are summed bin by bin first."""


def mean_statistic(
    values: Float64[np.ndarray, " m"],
    unit_index: Int[np.ndarray, " m"] | None = None,
    n_units: int | None = None,
) -> Statistic:
    """The mean of values, each of which belongs to a unit.

    Args:
        values: one or more per unit; a unit may have none.
        unit_index: the unit of each value, 0..n_units-1; value i belongs to unit i
            when absent.
        n_units: number of units; ``len(values)`` when absent.
    """
    index, n_units = _units(len(values), unit_index, n_units)
    sums = np.bincount(index, values, n_units)
    counts = np.bincount(index, minlength=n_units).astype(np.float64)
    return ratio_statistic(sums, counts)


def ratio_statistic(
    numerators: Float64[np.ndarray, " n"], denominators: Float64[np.ndarray, " n"]
) -> Statistic:
    """The sum of one quantity over the sum of another, each given per unit.

    Throughput, bytes per image and an error rate are of this form.
    """

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        below = weights @ denominators
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(below > 0, (weights @ numerators) / below, np.nan)

    return statistic


def quantile_statistic(
    values: Float64[np.ndarray, " m"],
    unit_index: Int[np.ndarray, " m"] | None = None,
    n_units: int | None = None,
    *,
    q: float,
) -> Statistic:
    """A quantile of values, each of which belongs to a unit.

    Args:
        values: one or more per unit; a unit may have none.
        unit_index: the unit of each value, as for the mean.
        n_units: number of units, as for the mean.
        q: in [0, 1]; the definition is that of ``quantile``.
    """
    index, n_units = _units(len(values), unit_index, n_units)
    order = np.argsort(values, kind="stable")
    ordered, owner = values[order], index[order]
    if len(ordered) > _MANY and n_units * math.isqrt(len(ordered)) <= _CHUNK:
        return _quantile_of_many(ordered, owner, n_units, q)

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        result = np.full(len(weights), np.nan)
        if not len(ordered):
            return result
        for rows in _chunks(len(weights), len(ordered)):
            reached = np.cumsum(weights[rows][:, owner], axis=1)
            has_weight = reached[:, -1] > 0
            share = reached[has_weight] / reached[has_weight, -1:]
            # The first value with weight of its own, also for q = 0.
            first = np.argmax((share >= q) & (share > 0), axis=1)
            result[rows][has_weight] = ordered[first]
        return result

    return statistic


def _quantile_of_many(
    ordered: Float64[np.ndarray, " m"],
    owner: Int[np.ndarray, " m"],
    n_units: int,
    q: float,
) -> Statistic:
    """The same where units have many values each: first a bin, then the value in it.

    ``owner`` is the unit of each value, which are in order. Weights are summed bin by
    bin, so that a replicate looks at about twice the root of ``m`` values.
    """
    m = len(ordered)
    size = math.isqrt(m) + 1
    n_bins = -(-m // size)
    cells = owner * n_bins + np.arange(m) // size
    counts = np.bincount(cells, minlength=n_units * n_bins).astype(np.float64)
    counts = counts.reshape(n_units, n_bins)
    places = np.minimum(np.arange(n_bins)[:, None] * size + np.arange(size), m - 1)

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        result = np.full(len(weights), np.nan)
        for rows in _chunks(len(weights), n_bins + size):
            mine = weights[rows]
            reached = np.cumsum(mine @ counts, axis=1)
            total = reached[:, -1:]
            has_weight = total[:, 0] > 0
            mine, reached, total = (
                mine[has_weight],
                reached[has_weight],
                total[has_weight],
            )
            one = np.argmax((reached / total >= q) & (reached > 0), axis=1)
            before = np.where(one > 0, reached[np.arange(len(one)), one - 1], 0.0)
            inside = places[one]
            within = np.take_along_axis(mine, owner[inside], axis=1).cumsum(axis=1)
            within += before[:, None]
            first = np.argmax((within / total >= q) & (within > 0), axis=1)
            result[rows][has_weight] = ordered[inside[np.arange(len(one)), first]]
        return result

    return statistic


def _units(
    n_values: int, index: Int[np.ndarray, " m"] | None, n_units: int | None
) -> tuple[Int[np.ndarray, " m"], int]:
    if index is None:
        index = np.arange(n_values)
    if n_units is None:
        n_units = int(index.max()) + 1 if len(index) else 0
    if len(index) != n_values:
        message = f"{n_values} values but {len(index)} unit indices"
        raise ValueError(message)
    if len(index) and not 0 <= index.min() <= index.max() < n_units:
        message = f"unit indices must lie in 0..{n_units - 1}"
        raise ValueError(message)
    return index, n_units


def _chunks(n_rows: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(1, width))
    for begin in range(0, n_rows, step):
        yield slice(begin, begin + step)


def wasserstein(a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " m"]) -> float:
    """The area between two empirical distribution functions, in the values' unit.

    It is the least mean distance by which the values of one sample must be moved to
    become the other (Wasserstein distance of order 1). NaN when a sample is empty.
    """
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    points = np.sort(np.concatenate([a, b]))
    gap = np.abs(_share_up_to(a, points) - _share_up_to(b, points))
    return float(np.sum(gap[:-1] * np.diff(points)))


def kolmogorov_smirnov(
    a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " m"]
) -> float:
    """The largest gap between two empirical distribution functions, in [0, 1].

    NaN when a sample is empty.
    """
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    points = np.concatenate([a, b])
    return float(np.max(np.abs(_share_up_to(a, points) - _share_up_to(b, points))))


def _share_up_to(
    sample: Float64[np.ndarray, " n"], points: Float64[np.ndarray, " p"]
) -> Float64[np.ndarray, " p"]:
    return np.searchsorted(np.sort(sample), points, side="right") / len(sample)


def quantile(
    values: Float64[np.ndarray, " n"],
    q: float,
    weights: Float64[np.ndarray, " n"] | None = None,
) -> float:
    """The smallest value whose share of the weight reaches ``q``.

    Args:
        values: in any order; none gives NaN.
        q: in [0, 1]; 0.99 for the 99th percentile.
        weights: not negative; equal weights when absent.

    Raises:
        ValueError: ``q`` lies outside [0, 1], or the lengths differ.

    Example:
        >>> quantile(np.array([3.0, 1.0, 2.0]), 0.5)
        2.0
    """
    _check_share("q", q)
    if len(values) == 0:
        return math.nan
    if weights is not None and len(weights) != len(values):
        message = f"{len(values)} values but {len(weights)} weights"
        raise ValueError(message)
    if weights is not None and not np.any(weights > 0):
        return math.nan
    method = "inverted_cdf"
    return float(np.quantile(values, q, weights=weights, method=method))


def quantile_interval(
    values: Float64[np.ndarray, " n"], q: float, level: float = 0.95, *, unit: str = ""
) -> Estimate:
    """A quantile with an interval between two of the values themselves.

    The number of values below the true quantile is binomial, whatever they are
    distributed like; the ends are the order statistics that leave at most half of
    ``1 - level`` on either side (Conover, Practical Nonparametric Statistics, 3.2).

    Args:
        values: independent ones, in any order.
        q: in (0, 1).
        level: confidence that the interval covers the true quantile, at least.
        unit: unit of the values, handed on.

    Returns:
        The quantile; an end is NaN where the values are too few to bound that side.
    """
    _check_open("q", q)
    _check_open("level", level)
    n = len(values)
    if n == 0:
        return Estimate(value=math.nan, low=math.nan, high=math.nan, n=0, unit=unit)
    ordered = np.sort(values)
    cdf = _binomial_cdf(n, q)
    tail = (1 - level) / 2
    below = int(np.searchsorted(cdf, tail, side="right"))
    above = int(np.searchsorted(cdf, 1 - tail, side="left")) + 1
    return Estimate(
        value=quantile(values, q),
        low=float(ordered[below - 1]) if below >= 1 else math.nan,
        high=float(ordered[above - 1]) if above <= n else math.nan,
        n=n,
        unit=unit,
    )


def required_samples(q: float, *, n_over: int = 0, confidence: float = 0.99) -> int:
    """How many samples the claim "the ``q`` quantile is at most x" needs.

    It is the least n for which n samples, of which at most ``n_over`` exceed x, would
    be seen with probability ``1 - confidence`` or less if the claim were false: 459
    for p99 when none exceeds, 662 when one may. A percentile is stated from the
    latter on, see :mod:`midhaul.stats.statistics`.

    Args:
        q: the quantile claimed, in (0, 1).
        n_over: samples that may exceed the value claimed.
        confidence: in (0, 1).

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> required_samples(0.99)
        459
    """
    _check_open("q", q)
    _check_open("confidence", confidence)
    if n_over < 0:
        message = f"n_over must not be negative, found {n_over}"
        raise ValueError(message)

    def is_enough(n: int) -> bool:
        return bool(log_at_most(n_over, n, 1 - q)[-1] <= math.log1p(-confidence))

    high = n_over + 1
    while not is_enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def log_at_most(k: int, n: int, p: float) -> Float64[np.ndarray, " k+1"]:
    """Logarithms of P(Binomial(n, p) <= i) for i = 0..k."""
    i = np.arange(min(k, n) + 1)
    logs = _log_choose(n)[i] + i * math.log(p) + (n - i) * math.log1p(-p)
    return np.logaddexp.accumulate(logs)


def _binomial_cdf(n: int, p: float) -> Float64[np.ndarray, " n+1"]:
    """P(Binomial(n, p) <= k) for k = 0..n."""
    k = np.arange(n + 1)
    logs = _log_choose(n) + k * math.log(p) + (n - k) * math.log1p(-p)
    return np.cumsum(np.exp(logs))


def _log_choose(n: int) -> Float64[np.ndarray, " n+1"]:
    """Logarithms of the binomial coefficients of n."""
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return factorial[n] - factorial - factorial[::-1]


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        message = f"{name} must lie in [0, 1], found {value}"
        raise ValueError(message)


def _check_open(name: str, value: float) -> None:
    if not 0 < value < 1:
        message = f"{name} must lie between 0 and 1, found {value}"
        raise ValueError(message)


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


def percentile_samples(  # noqa: PLR0913  most have a default
    values: Float64[np.ndarray, " m"],
    unit_index: Int[np.ndarray, " m"],
    units: tuple[str, ...],
    *,
    q: float,
    metric: str,
    configuration: str,
    known_below: float = math.inf,
    unit: str = "s",
    n_own: int | None = None,
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
        n_own: how many of them were found, where others are copies of these that stand
            for more; a percentile is what so many carry.
    """
    n, needed = len(values) if n_own is None else n_own, fewest_values(q)
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
