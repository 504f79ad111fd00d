"""Distributions as the points of percentile curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64

_MS = 1e3
_PER_DECADE, _FEW = 16, 10

CAPTION = (
    "Dotted where fewer than ten values lie beyond, too few for a claim. A curve ends "
    "where the first wait without an answer would stand."
)


def points_of(
    values_s: Float64[np.ndarray, " n"],
    known_below_s: float = math.inf,
    *,
    n_nines: int = 3,
) -> list[dict[str, Any]]:
    """The points of one curve of ``charts.percentile_curves``, in ms.

    There is at least one value; those that are only known to be larger stand as what
    they exceed, ``known_below_s`` is the least of these, and the curve ends before it.
    It goes out to ``n_nines``: 3 is 99.9 %.
    """
    n = len(values_s)
    ordered = np.sort(values_s)
    points: list[dict[str, Any]] = []
    for k in range(n_nines * _PER_DECADE + 1):
        beyond = n * 10 ** (-k / _PER_DECADE)
        if beyond < 1 - 1e-9:
            break
        share = 1 - beyond / n
        value_s = float(ordered[max(math.ceil(share * n - 1e-9), 1) - 1])
        if value_s >= known_below_s:
            break
        is_thin = beyond < _FEW - 1e-6
        if is_thin and points and not points[-1]["is_thin"]:
            points[-1]["is_seam"] = True
        points.append(
            {
                "nines": k / _PER_DECADE,
                "percentile": share * 100,
                "ms": value_s * _MS,
                "is_thin": is_thin,
            }
        )
    return points
