"""The smallest value of a convex function in a few prices, by cutting planes in a box.

Algorithm: Kelley's cutting planes (Journal of SIAM 8, 1960) in the trust region of the
boxstep method, Marsten, Hogan and Blankenship, "The boxstep method for large-scale
optimization", Operations Research 23(3), 1975. The model is the largest of all planes
seen; its minimum within a box around the best point is looked at next.

Difference from the paper: the box grows after a point that brought a tenth of what the
model promised and shrinks after one that did not, rather than the search being ended
within each box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float64

    Oracle = Callable[
        [Float64[np.ndarray, " d"]], tuple[float, Float64[np.ndarray, " d"]]
    ]

_FIRST_RADIUS = 0.1
_PROMISED = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowest:
    """The best point of a search.

    Attributes:
        point: ``(d,)`` where it is.
        value: the function there.
        least: the function is nowhere below this, by the planes seen.
    """

    point: Float64[np.ndarray, " d"]
    value: float
    least: float


def minimise(
    oracle: Oracle,
    start: Float64[np.ndarray, " d"],
    *,
    n_rounds: int = 100,
    gap: float = 1e-5,
) -> Lowest:
    """The smallest value of a convex function on the unit cube.

    Args:
        oracle: value and a subgradient at a point.
        start: ``(d,)`` where to begin, each coordinate from 0 to 1.
        n_rounds: points to look at, at most.
        gap: share of the value that may be left to find.
    """
    best = np.clip(start, 0.0, 1.0)
    value, slope = oracle(best)
    model = _Model(len(best))
    model.add(best, value, slope)
    radius = _FIRST_RADIUS
    for _ in range(n_rounds):
        point, least = model.lowest(best - radius, best + radius)
        promised = value - least
        if promised <= gap * abs(value):
            if radius >= 1.0:
                break
            radius = 1.0
            continue
        found, slope = oracle(point)
        model.add(point, found, slope)
        if found < value - _PROMISED * promised:
            radius = min(1.0, 2 * radius)
        else:
            radius /= 2
        if found < value:
            best, value = point, found
    _, least = model.lowest(np.zeros(len(best)), np.ones(len(best)))
    return Lowest(point=best, value=value, least=least)


class _Model:
    """The largest of all planes seen, as a linear program."""

    def __init__(self, n: int) -> None:
        self._core = require("highspy", "deploy")
        self._highs: Any = self._core._Highs()  # noqa: SLF001 - the outer class prints a banner
        self._highs.setOptionValue("output_flag", False)  # noqa: FBT003 - its own call
        infinite = self._core.kHighsInf
        self._columns = np.arange(n + 1, dtype=np.int32)
        for _ in range(n):
            self._highs.addVar(0.0, 1.0)
        self._highs.addVar(-infinite, infinite)
        self._highs.changeColCost(n, 1.0)

    def add(
        self,
        point: Float64[np.ndarray, " d"],
        value: float,
        slope: Float64[np.ndarray, " d"],
    ) -> None:
        """A plane that touches the function at a point."""
        self._highs.addRow(
            value - float(slope @ point),
            self._core.kHighsInf,
            len(self._columns),
            self._columns,
            np.append(-slope, 1.0),
        )

    def lowest(
        self, low: Float64[np.ndarray, " d"], high: Float64[np.ndarray, " d"]
    ) -> tuple[Float64[np.ndarray, " d"], float]:
        """The lowest point of the model within a box, and its height."""
        n = len(low)
        low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
        self._highs.changeColsBounds(n, self._columns[:n], low, high)
        self._highs.run()
        values = np.array(self._highs.getSolution().col_value)
        # Solvers keep bounds to a tolerance; and no price is -0.
        return np.clip(values[:n], low, high) + 0.0, float(values[n])
