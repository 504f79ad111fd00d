"""Statistics as functions of the weight of each unit.

A *unit* is what was drawn independently: an image, a request, a block. A ``Statistic``
takes how often each unit counts and returns a number, NaN where the weights leave
nothing. Weights of one give the plain value; multinomial weights give a bootstrap
replicate. Whatever can be written this way (a mean, a quantile, average precision) is
resampled and paired by the same code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float64, Int

    from midhaul.model.estimate import Statistic

_CHUNK = 2_000_000
"""Numbers held at once, so that many values do not fill the memory."""


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
    index, _ = _units(len(values), unit_index, n_units)
    order = np.argsort(values, kind="stable")
    ordered, owner = values[order], index[order]

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
