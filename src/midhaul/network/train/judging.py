"""Judging of correctors: how far they are off on scenarios that are new to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.corrector.base import LEVELS, pooled
from midhaul.network.corrector.features import N_CLASSES
from midhaul.network.corrector.fitted import COVERED, scale_of

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.network.train.dataset import TrainingRows

ALL = N_CLASSES
"""The place of all flows behind those of the classes."""

FEWEST = 100
"""Flows of a class from which its p99 is judged."""

_FEWEST_RATIOS = 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Told:
    """What was told of scenarios, class by class and of all.

    Attributes:
        logs: ``(n, b + 1, q)`` logarithms of percentiles.
        scale: ``(n, b + 1, q)`` by what their errors are divided.
    """

    logs: Float64[np.ndarray, "n b1 q"]
    scale: Float64[np.ndarray, "n b1 q"]


def told_of(
    logs: Float64[np.ndarray, "n b q"],
    spread: Float64[np.ndarray, "n b q"],
    counts: Int64[np.ndarray, "n b"],
) -> Told:
    """Add what is said of all flows, by their shares of classes."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    together = np.stack(
        [
            np.log(pooled(np.exp(one), share, LEVELS))
            for one, share in zip(logs, shares, strict=True)
        ]
    )
    joint = np.einsum("nbq,nb->nq", spread, shares)
    return Told(
        logs=np.concatenate([logs, together[:, None]], axis=1),
        scale=np.concatenate(
            [scale_of(logs, spread), scale_of(together, joint)[:, None]], axis=1
        ),
    )


def conformal_ratios(
    rows: TrainingRows, told: Told, n_transports: int
) -> Float32[np.ndarray, "t b1 q 2"]:
    """The ends of errors over their scale, by transport, class and percentile.

    Of what has too few flows those of all transports stand, then those of all classes.
    """
    counts = _counts(rows)
    ratio = (rows.exact - told.logs) / told.scale
    # A percentile that so few flows carry says more of chance than of a corrector.
    carried = counts[:, :, None] * np.minimum(1 - LEVELS, LEVELS)[None, None, :] >= 1.0
    ratio = np.where(carried & ~np.isnan(ratio), ratio, np.nan)
    found = np.zeros((n_transports, N_CLASSES + 1, len(LEVELS), 2), np.float32)
    for q in range(len(LEVELS)):
        wide = _ends(ratio[:, :, q].ravel())
        for b in range(N_CLASSES + 1):
            of_class = _ends(ratio[:, b, q], wide)
            for t in range(n_transports):
                found[t, b, q] = _ends(ratio[rows.transport == t, b, q], of_class)
    return found


def _ends(
    ratios: Float64[np.ndarray, " n"], otherwise: tuple[float, float] = (-3.0, 3.0)
) -> tuple[float, float]:
    """The 5th and the 95th of 100, with the correction for how many there are."""
    there = np.sort(ratios[~np.isnan(ratios)])
    n = len(there)
    if n < _FEWEST_RATIOS:
        return otherwise
    low = int(np.floor((n + 1) * (1 - COVERED) / 2)) - 1
    high = int(np.ceil((n + 1) * (1 + COVERED) / 2)) - 1
    return float(there[max(low, 0)]), float(there[min(high, n - 1)])


def _counts(rows: TrainingRows) -> Int64[np.ndarray, "n b1"]:
    return np.concatenate([rows.counts, rows.counts.sum(axis=1, keepdims=True)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCard:
    """Errors of one percentile over scenarios, as shares of the truth.

    Attributes:
        n: scenarios.
        mean: of the absolute error.
        median: of it.
        p90: what 90 % of them do not exceed.
        worst: the largest.
        bias: mean of the error with its sign.
        coverage: share of truths within their intervals; NaN where there are none.
    """

    n: int
    mean: float
    median: float
    p90: float
    worst: float
    bias: float
    coverage: float


def card(
    truth: Float64[np.ndarray, " n"],
    told: Float64[np.ndarray, " n"],
    low: Float64[np.ndarray, " n"] | None = None,
    high: Float64[np.ndarray, " n"] | None = None,
) -> ErrorCard:
    """Errors of what was told, both as logarithms; NaN is left out."""
    there = ~np.isnan(truth) & ~np.isnan(told)
    if not there.any():
        nan = float("nan")
        return ErrorCard(
            n=0, mean=nan, median=nan, p90=nan, worst=nan, bias=nan, coverage=nan
        )
    error = np.expm1(told[there] - truth[there])
    size = np.abs(error)
    coverage = float("nan")
    if low is not None and high is not None:
        slack = 1e-4
        inside = (truth >= low - slack) & (truth <= high + slack)
        coverage = float(inside[there].mean())
    return ErrorCard(
        n=len(error),
        mean=float(size.mean()),
        median=float(np.median(size)),
        p90=float(np.quantile(size, 0.9)),
        worst=float(size.max()),
        bias=float(error.mean()),
        coverage=coverage,
    )


def wasserstein(
    truth: Float64[np.ndarray, "n q"], told: Float64[np.ndarray, "n q"]
) -> Float64[np.ndarray, " n"]:
    """Distance of distributions of slowdowns over the mean of the true one."""
    edges = np.concatenate([[0.0], (LEVELS[1:] + LEVELS[:-1]) / 2, [1.0]])
    widths = np.diff(edges)
    one, other = np.exp(truth), np.exp(told)
    return np.sum(np.abs(one - other) * widths, axis=1) / np.sum(one * widths, axis=1)


def level(share: float) -> int:
    """The place of a percentile among those that are told."""
    return int(np.argmin(np.abs(LEVELS - share)))
