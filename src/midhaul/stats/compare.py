"""Comparison of two runs, metric by metric, with Holm's correction for many.

Units that both runs share (images, blocks) are resampled together, so what they share
cancels out; runs without shared units are resampled apart. All p values are corrected
together (Holm), and a difference that does not stand is a tie: a result, not a lack.

Units that followed each other on a machine or a network are not independent, however
long they are: what slows one down slows its neighbours down, and the runs lie apart as
far as anything drifts meanwhile. The mean of *n* units of a process with long memory
has a variance that falls with ``n ** (2 H - 2)``, not with ``1 / n`` (J. Beran,
Statistics for Long-Memory Processes, 1994; H is Hurst's exponent, 1/2 without memory).
So differences of such metrics spread ``n ** (H - 1/2)`` times as far as those of
independent units, with one H for all: a run of a few blocks cannot tell its own. Units
that are parts of one stretch of time, such as halves of a block, count as one.

A tie is only called where a difference could have been found. It cannot be told

1. with fewer than six units: not even units that all agree would differ more than
   chance lets them (a sign test of n units has no p value below ``2 ** (1 - n)``), and
   likewise where all units agree on a difference and are too few for the correction;
2. where the interval of the ratio leaves room for half or for double the value;
3. where a value is only known to be at least that (requests without an answer) and what
   it exceeds decides: a bound is never better, nothing is worse than a bound, and two
   bounds are no tie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.model.estimate import AT_LEAST
from midhaul.stats.bootstrap import Resamples, bootstrap, compared_bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float64

    from midhaul.model import Estimate
    from midhaul.model.estimate import MetricSamples, Statistic


def holm(
    p_values: Float64[np.ndarray, " m"] | Sequence[float],
) -> Float64[np.ndarray, " m"]:
    """P values adjusted so that comparing them with one bound keeps its promise.

    Calling every adjusted value below 0.05 a difference errs anywhere among the m
    comparisons with probability of at most 0.05, however they depend on each other
    (Holm 1979, A simple sequentially rejective multiple test procedure).

    Args:
        p_values: in [0, 1]; NaN stands for a comparison that could not be made, does
            not count and stays NaN.

    Returns:
        Adjusted values in the order given, none below the one it came from.

    Raises:
        ValueError: a value lies outside [0, 1].
    """
    values = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if np.any((values[known] < 0) | (values[known] > 1)):
        message = "p values must lie in [0, 1]"
        raise ValueError(message)
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    steps = np.maximum.accumulate(values[order] * factors)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


Result = Literal["better", "worse", "tie", "cannot tell", "unknown"]

_N_RESAMPLES = 2000
_FEWEST_SHARED = 2

_FEWEST_FOR_A_TIE = 6
"""Units from which a sign test can find a difference at 0.05."""

_HURST = 0.75
"""Of what drifts; chosen on a recording of a machine that others use."""

_LEAST_RATIO, _MOST_RATIO = 0.5, 2.0
"""A tie leaves less room than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of one configuration in two runs.

    Attributes:
        metric: its name.
        configuration: name of the configuration.
        first: its value in the first run, over the units compared.
        second: its value in the second run, over the units compared.
        difference: second minus first, with its interval.
        ratio: second over first, with its interval; NaN where it does not exist.
        p_value: two-sided, corrected for all comparisons; NaN when unknown.
        is_paired: true when both runs have the units.
        n: units compared, of each run.
        better: which direction is an improvement.
        result: what the second run is, next to the first.
        bounds: of the two values; ``>=`` where the true one is at least that.
        is_open: of the two values, whether their intervals reach into what is only
            known to be larger.
        reason: why it cannot be told, a sentence without its full stop; else empty.
    """

    metric: str
    configuration: str
    first: float
    second: float
    difference: Estimate
    ratio: Estimate
    p_value: float
    is_paired: bool
    n: tuple[int, int]
    better: Literal["higher", "lower"]
    result: Result = field(default="unknown")
    bounds: tuple[str | None, str | None] = (None, None)
    is_open: tuple[bool, bool] = (False, False)
    reason: str = ""


def compare(
    first: Sequence[MetricSamples],
    second: Sequence[MetricSamples],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    advance: Callable[[], None] | None = None,
) -> list[MetricComparison]:
    """Compare every metric that two runs share.

    The resamples are the same for all metrics of the same number of units.

    Args:
        first: metrics of the run that is the measure.
        second: metrics of the run that is judged.
        rng: the source of chance.
        level: confidence of the intervals; one minus it is the bound on p values.
        advance: called after each of the comparisons.

    Returns:
        One comparison per metric and configuration that both have, in the order of
        ``first``.
    """
    others = {(s.metric, s.configuration): s for s in second}
    pairs = [
        (one, others[key])
        for one in first
        if (key := (one.metric, one.configuration)) in others
    ]
    bound = 1 - level
    resamples = Resamples(rng, _N_RESAMPLES)
    found: list[MetricComparison] = []
    for one, two in pairs:
        found.append(_compare(one, two, rng, resamples, level))
        if advance is not None:
            advance()
    adjusted = holm([one.p_value for one in found])
    judged: list[MetricComparison] = []
    for one, two, p in zip(found, pairs, adjusted, strict=True):
        lack = two[0].lack or two[1].lack
        result, reason = _result(one, float(p), bound, lack)
        judged.append(replace(one, p_value=float(p), result=result, reason=reason))
    return judged


def _compare(
    one: MetricSamples,
    two: MetricSamples,
    rng: np.random.Generator,
    resamples: Resamples,
    level: float,
) -> MetricComparison:
    others = set(two.units)
    shared = [unit for unit in one.units if unit in others]
    is_paired = len(shared) >= _FEWEST_SHARED
    one, two = _alike(one, two)
    with np.errstate(divide="ignore", invalid="ignore"):
        if is_paired:
            a, b = _over(one, shared), _over(two, shared)
            n = (len(shared), len(shared))
        else:
            a, b = one.statistic, two.statistic
            n = (len(one.units), len(two.units))
        spread = _spread(one, two, n)
        groups = n[:1] if is_paired else n
        both = compared_bootstrap(a, b, groups, resamples, level=level, spread=spread)
        values = both.values
        known = (one.known_below, two.known_below)
        opens = [
            math.isfinite(k) and bootstrap(f, m, rng).high >= k
            for f, m, k in zip((a, b), n, known, strict=True)
        ]
    bounds = [AT_LEAST if v >= k else None for v, k in zip(values, known, strict=True)]
    return MetricComparison(
        metric=one.metric,
        configuration=one.configuration,
        first=values[0],
        second=values[1],
        difference=replace(both.difference.estimate, unit=one.unit),
        ratio=both.ratio,
        p_value=both.difference.p_value,
        is_paired=is_paired,
        n=n,
        better=one.better,
        bounds=(bounds[0], bounds[1]),
        is_open=(opens[0] or bool(bounds[0]), opens[1] or bool(bounds[1])),
    )


def _spread(one: MetricSamples, two: MetricSamples, n: tuple[int, int]) -> float:
    """How much farther a difference spreads than one of independent units."""
    spreads = [
        math.sqrt(size / min(size, run.n_stretches))
        * min(size, run.n_stretches) ** (_HURST - 0.5)
        for run, size in zip((one, two), n, strict=True)
        if run.n_stretches and size
    ]
    return max(spreads, default=1.0)


def _alike(
    one: MetricSamples, two: MetricSamples
) -> tuple[MetricSamples, MetricSamples]:
    """Both at what the smaller of them carries, where that depends on their sizes."""
    if one.claim is None or two.claim is None or one.claim.n == two.claim.n:
        return one, two
    n = min(one.claim.n, two.claim.n)
    return (
        replace(one, statistic=one.claim.at(n)),
        replace(two, statistic=two.claim.at(n)),
    )


def _over(samples: MetricSamples, shared: Sequence[str]) -> Statistic:
    """A statistic of some of the units, in that order; the others weigh nothing."""
    if tuple(shared) == samples.units:
        return samples.statistic
    places = {unit: index for index, unit in enumerate(samples.units)}
    index = np.array([places[unit] for unit in shared])

    def statistic(weights: Float64[np.ndarray, "b m"]) -> Float64[np.ndarray, " b"]:
        spread = np.zeros((len(weights), len(places)))
        spread[:, index] = weights
        return samples.statistic(spread)

    return statistic


def _result(
    one: MetricComparison, p_value: float, bound: float, lack: str
) -> tuple[Result, str]:
    """What the second run is next to the first, and why where that cannot be told."""
    if lack or math.isnan(one.first) or math.isnan(one.second):
        return ("cannot tell", lack) if lack else ("unknown", "")
    if math.isnan(p_value):
        return "cannot tell", f"{min(one.n)} units have no spread to judge by"
    is_higher_better = one.better == "higher"
    rose = one.difference.value > 0
    if p_value < bound and one.difference.value != 0:
        result = "better" if rose == is_higher_better else "worse"
        # Only what is not known to be higher may be called lower.
        if not one.is_open[0 if rose else 1]:
            return result, ""
        return "cannot tell", "the lower value is only known to be at least that"
    if any(one.bounds):
        return "cannot tell", "a value is only known to be at least that"
    reason = _too_little(one)
    return ("cannot tell", reason) if reason else ("tie", "")


def _too_little(one: MetricComparison) -> str:
    """Why no difference could have been found; empty where one could have been."""
    difference, ratio = one.difference, one.ratio
    if difference.value == 0 and difference.low == difference.high:
        return ""  # no unit differs at all
    if min(one.n) < _FEWEST_FOR_A_TIE:
        return f"{min(one.n)} units are too few to find any difference"
    if difference.low == difference.high:
        return f"all of {min(one.n)} units differ alike, too few for so many metrics"
    if min(one.first, one.second) < 0:
        return ""  # no ratio means anything
    # A value of 0 leaves any ratio open.
    if not (ratio.low >= _LEAST_RATIO and ratio.high <= _MOST_RATIO):
        return "half or double the value is not ruled out"
    return ""
