"""Many comparisons at once: Holm's correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64


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
