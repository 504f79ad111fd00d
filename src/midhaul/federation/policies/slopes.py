"""Ridge regressions whose predictions become columns for trees.

Trees of a few hundred items hardly see a sum of many small effects, and a ridge
regression (Hoerl and Kennard 1970) sees nothing else; one after the other has both.
The columns that trees learn from are predictions of folds that have not seen the item,
as in stacked generalisation (Wolpert 1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from midhaul.federation.saving import State

_PENALTY = 5.0
"""Shrinkage, in items of unit variance for each item."""

_N_FOLDS = 5
_FEWEST_ITEMS = 20
_REACH = 4.0
"""Columns count up to so many standard deviations."""

_ARRAYS = ("centre", "spread", "coefficients", "intercepts")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slopes:
    """k linear functions of rows.

    Attributes:
        centre: ``(d,)`` means of the columns.
        spread: ``(d,)`` their standard deviations.
        coefficients: ``(d, k)``.
        intercepts: ``(k,)``.
    """

    centre: Float64[np.ndarray, " d"]
    spread: Float64[np.ndarray, " d"]
    coefficients: Float64[np.ndarray, "d k"]
    intercepts: Float64[np.ndarray, " k"]

    def added_to(self, rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n e"]:
        """The rows with the k functions behind them."""
        if not len(self.intercepts):
            return rows
        found = _predict(
            np.ascontiguousarray(rows, np.float32),
            self.centre,
            self.spread,
            self.coefficients,
            self.intercepts,
        )
        return np.concatenate([rows, found], axis=1, dtype=np.float32)

    def state(self) -> State:
        """Everything, for :meth:`from_state`."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_state(cls, state: State) -> Slopes:
        """What :meth:`state` gave."""
        return cls(**{name: state[name] for name in _ARRAYS})


def fit_slopes(
    rows: Float32[np.ndarray, "n d"],
    targets: Float64[np.ndarray, "n k"],
    rng: np.random.Generator,
) -> tuple[Slopes, Float32[np.ndarray, "n e"]]:
    """Fit one function for each target.

    Args:
        rows: of the training items.
        targets: k numbers of each.
        rng: draws the folds.

    Returns:
        The functions, none where there are too few items; and the rows with their
        values behind them, each by the functions of the other folds.
    """
    n, d = rows.shape
    if n < _FEWEST_ITEMS or d == 0:
        return _fit(rows[:0], np.zeros((0, 0))), rows
    fold = rng.permutation(n) % _N_FOLDS
    wide = np.empty((n, d + targets.shape[1]), np.float32)
    for number in range(_N_FOLDS):
        others = fold != number
        slopes = _fit(rows[others], targets[others])
        wide[~others] = slopes.added_to(rows[~others])
    return _fit(rows, targets), wide


def _fit(
    rows: Float32[np.ndarray, "n d"], targets: Float64[np.ndarray, "n k"]
) -> Slopes:
    n, d = rows.shape
    if not targets.shape[1]:
        return Slopes(
            centre=np.zeros(d),
            spread=np.ones(d),
            coefficients=np.zeros((d, 0)),
            intercepts=np.zeros(0),
        )
    wide = rows.astype(np.float64)
    centre, spread = wide.mean(axis=0), wide.std(axis=0)
    spread[spread == 0] = 1.0
    columns = ((wide - centre) / spread).clip(-_REACH, _REACH)
    intercepts = targets.mean(axis=0)
    gram = columns.T @ columns
    gram[np.diag_indices(d)] += _PENALTY * n
    return Slopes(
        centre=centre,
        spread=spread,
        coefficients=np.linalg.solve(gram, columns.T @ (targets - intercepts)),
        intercepts=intercepts,
    )


@njit(cache=True)
def _predict(
    rows: np.ndarray,
    centre: np.ndarray,
    spread: np.ndarray,
    coefficients: np.ndarray,
    intercepts: np.ndarray,
) -> np.ndarray:
    """Row by row: a matrix product would round by how many rows there are."""
    found = np.empty((len(rows), len(intercepts)), np.float32)
    for i in range(len(rows)):
        for k in range(len(intercepts)):
            total = intercepts[k]
            for j in range(rows.shape[1]):
                x = (rows[i, j] - centre[j]) / spread[j]
                x = min(max(x, -_REACH), _REACH)
                total += x * coefficients[j, k]
            found[i, k] = total
    return found
