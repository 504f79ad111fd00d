"""How far apart two samples are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64


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
