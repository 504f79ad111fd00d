"""Quantiles, bootstrap intervals, corrections and distances, on plain numpy."""

from midhaul.model.estimate import Statistic
from midhaul.stats.bootstrap import (
    Difference,
    bootstrap,
    estimate_row,
    independent_bootstrap,
    known,
    paired_bootstrap,
)
from midhaul.stats.compare import holm
from midhaul.stats.statistics import (
    claimed_level,
    claimed_quantile,
    fewest_values,
    kolmogorov_smirnov,
    mean_statistic,
    n_beyond,
    percentile_samples,
    quantile,
    quantile_interval,
    quantile_statistic,
    ratio_statistic,
    required_samples,
    wasserstein,
)

__all__ = [
    "Difference",
    "Statistic",
    "bootstrap",
    "claimed_level",
    "claimed_quantile",
    "estimate_row",
    "fewest_values",
    "holm",
    "independent_bootstrap",
    "known",
    "kolmogorov_smirnov",
    "mean_statistic",
    "n_beyond",
    "paired_bootstrap",
    "percentile_samples",
    "quantile",
    "quantile_interval",
    "quantile_statistic",
    "ratio_statistic",
    "required_samples",
    "wasserstein",
]
