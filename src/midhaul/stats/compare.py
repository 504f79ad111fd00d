"""Whether the metrics of one run differ from those of another.

Units that both runs share (images, blocks) are resampled together, so what they share
cancels out; runs without shared units are resampled apart. All p values are corrected
together (Holm), and a difference that does not stand is a tie: a result, not a lack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.stats.bootstrap import (
    bootstrap,
    independent_bootstrap,
    paired_bootstrap,
)
from midhaul.stats.comparisons import holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64

    from midhaul.model import Estimate
    from midhaul.model.samples import MetricSamples, Statistic

Result = Literal["better", "worse", "tie", "unknown"]

_N_RESAMPLES = 2000
_FEWEST_SHARED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
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


def compare(
    first: Sequence[MetricSamples],
    second: Sequence[MetricSamples],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
) -> list[Comparison]:
    """Compare every metric that two runs share.

    Args:
        first: metrics of the run that is the measure.
        second: metrics of the run that is judged.
        rng: the source of chance.
        level: confidence of the intervals; one minus it is the bound on p values.

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
    found = [_compare(one, two, rng, _N_RESAMPLES, level) for one, two in pairs]
    adjusted = holm([one.p_value for one in found])
    return [
        replace(one, p_value=float(p), result=_result(one, float(p), bound))
        for one, p in zip(found, adjusted, strict=True)
    ]


def _compare(
    one: MetricSamples,
    two: MetricSamples,
    rng: np.random.Generator,
    n_resamples: int,
    level: float,
) -> Comparison:
    shared = sorted(set(one.units) & set(two.units))
    is_paired = len(shared) >= _FEWEST_SHARED
    with np.errstate(divide="ignore", invalid="ignore"):
        if is_paired:
            a, b = _over(one, shared), _over(two, shared)
            n = (len(shared), len(shared))
            difference, ratio, p = _paired(a, b, n[0], rng, n_resamples, level)
        else:
            a, b = one.statistic, two.statistic
            n = (len(one.units), len(two.units))
            difference, ratio, p = _unpaired(a, b, n, rng, n_resamples, level)
        values = [float(f(np.ones((1, m)))[0]) for f, m in zip((a, b), n, strict=True)]
    return Comparison(
        metric=one.metric,
        configuration=one.configuration,
        first=values[0],
        second=values[1],
        difference=replace(difference, unit=one.unit),
        ratio=ratio,
        p_value=p,
        is_paired=is_paired,
        n=n,
        better=one.better,
    )


def _over(samples: MetricSamples, shared: Sequence[str]) -> Statistic:
    """A statistic of some of the units, in that order; the others weigh nothing."""
    places = {unit: index for index, unit in enumerate(samples.units)}
    index = np.array([places[unit] for unit in shared])

    def statistic(weights: Float64[np.ndarray, "b m"]) -> Float64[np.ndarray, " b"]:
        spread = np.zeros((len(weights), len(places)))
        spread[:, index] = weights
        return samples.statistic(spread)

    return statistic


def _paired(
    a: Statistic,
    b: Statistic,
    n: int,
    rng: np.random.Generator,
    n_resamples: int,
    level: float,
) -> tuple[Estimate, Estimate, float]:
    found = paired_bootstrap(b, a, n, rng, n_resamples=n_resamples, level=level)

    def ratio_of(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return _finite(b(weights) / a(weights))

    ratio = bootstrap(ratio_of, n, rng, n_resamples=n_resamples, level=level)
    return found.estimate, ratio, found.p_value


def _unpaired(
    a: Statistic,
    b: Statistic,
    n: tuple[int, int],
    rng: np.random.Generator,
    n_resamples: int,
    level: float,
) -> tuple[Estimate, Estimate, float]:
    turned = (n[1], n[0])
    found = independent_bootstrap(
        b, a, turned, rng, n_resamples=n_resamples, level=level
    )

    def ratio_of(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return _finite(b(weights[:, : n[1]]) / a(weights[:, n[1] :]))

    ratio = bootstrap(ratio_of, turned, rng, n_resamples=n_resamples, level=level)
    return found.estimate, ratio, found.p_value


def _finite(values: Float64[np.ndarray, " b"]) -> Float64[np.ndarray, " b"]:
    return np.where(np.isfinite(values), values, np.nan)


def _result(one: Comparison, p_value: float, bound: float) -> Result:
    if math.isnan(p_value):
        return "unknown"
    if p_value >= bound or one.difference.value == 0:
        return "tie"
    rose = one.difference.value > 0
    return "better" if rose == (one.better == "higher") else "worse"
