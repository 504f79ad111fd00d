"""A metric as a row of a summary: value, interval, and how far either is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.model.estimate import AT_LEAST
from midhaul.stats.bootstrap import bootstrap

if TYPE_CHECKING:
    import numpy as np

    from midhaul.model.estimate import MetricSamples


def estimate_row(
    metric: MetricSamples, rng: np.random.Generator, *, n_resamples: int = 1000
) -> dict[str, object]:
    """A metric as a row of a summary, without its configuration.

    Where the value lies among those that are only known to be larger, it is a bound
    and has no upper end; neither has an interval that reaches that far.

    Args:
        metric: with its units.
        rng: the source of chance.
        n_resamples: bootstrap resamples.
    """
    found = bootstrap(metric.statistic, len(metric.units), rng, n_resamples=n_resamples)
    is_bound = found.value >= metric.known_below
    is_open = is_bound or found.high >= metric.known_below
    return {
        "metric": metric.metric,
        "value": known(found.value),
        "low": known(found.low),
        "high": None if is_open else known(found.high),
        "bound": AT_LEAST if is_bound else None,
        "n": found.n,
        "unit": metric.unit,
        "remark": metric.lack or None,
    }


def known(value: float | None) -> float | None:
    """A number as a table holds it: null where it does not exist."""
    return None if value is None or not math.isfinite(value) else float(value)
