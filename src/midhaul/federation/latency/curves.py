"""Distributions as the points of percentile curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_MS = 1e3
_PER_DECADE, _MOST_NINES, _FEW = 16, 3, 10

SHARES = tuple(
    1 - 10 ** (-k / _PER_DECADE) for k in range(_MOST_NINES * _PER_DECADE + 1)
)
"""Shares of the values whose quantiles are drawn."""

CAPTION = "Dotted where fewer than ten values lie beyond, too few for a claim."


def curve(name: str, n: int, quantiles_s: Sequence[float]) -> list[dict[str, Any]]:
    """One curve of ``charts.percentile_curves``, in ms.

    Args:
        name: of the curve.
        n: values behind it.
        quantiles_s: quantiles at :data:`SHARES`.
    """
    points: list[dict[str, Any]] = []
    for share, value_s in zip(SHARES, quantiles_s, strict=True):
        beyond = n * (1 - share)
        if beyond < 1:
            break
        is_thin = beyond < _FEW - 1e-6
        if is_thin and points and not points[-1]["is_thin"]:
            points[-1]["is_seam"] = True
        points.append(
            {
                "name": name,
                "nines": -math.log10(1 - share),
                "percentile": share * 100,
                "ms": value_s * _MS,
                "is_thin": is_thin,
            }
        )
    return points
