"""A bound for dense sharing: no large set of items avoids a large set of elements.

Where every item needs a random tenth of all elements, the linear relaxation pays for
each element in part, gets each item in part, and says next to nothing. But whoever
keeps a capacity leaves elements out, of cost ``B`` = total - capacity at least, and the
chosen items avoid all of these: a biclique of items and elements that do not need each
other. Let ``v`` be the worth of items, ``w`` the cost of elements, and ``K`` a matrix
with any entries where item i needs element e, and elsewhere

    K_ie >= sqrt(v_i w_e)

With ``x`` for the chosen items and ``z`` for the elements left out, ``x_i z_e`` is 0
where i needs e. So with ``a_i = sqrt(v_i) x_i`` and ``b_e = sqrt(w_e) z_e``

    (sum_i v_i x_i) (sum_e w_e z_e) <= a K b <= |K| |a| |b|

in the spectral norm, and as ``|a|^2`` is the value and ``|b|^2`` the cost left out,

    value <= |K|^2 / B.

Bicliques are bounded by eigenvalues in Haemers (Journal of Combinatorial Theory B 82,
2001); the best ``K`` is a form of Lovasz' number (IEEE Transactions on Information
Theory 25, 1979). Any ``K`` is a bound; the search for a good one alternates between
singular values that are cut off and entries that are put right (ADMM: Boyd and others,
Foundations and Trends in Machine Learning 3, 2011). Differences:

1. Elements and items have weights. Items that need the same are one, with the sum of
   their worths; that holds as well if only some of them are chosen.
2. One row counts. What items take of it for themselves is left out, and items that need
   nothing shared of it are added as they are; both make the bound higher.
3. The bound is computed from the eigenvalues of the matrix that was found, not from
   what the search believes.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from midhaul.deploy.placement.reduction import Reduced

MOST_CELLS = 4_000_000
"""Items times elements beyond which a step would take minutes."""
_CUT = 0.15
"""Share of the sum of singular values by which a step lowers them at first."""
_EVERY, _PATIENCE = 4, 20
"""Steps after which the norm is computed, and after which it must have become less."""
_ENOUGH = 5e-4
"""Share by which it must have."""
_ROUNDING = 1e-9


def spectral_bound(
    reduced: Reduced,
    prices: Float64[np.ndarray, " r"],
    *,
    time_limit_s: float,
    n_steps: int = 400,
) -> float:
    """No feasible choice is worth more; infinite where this says nothing.

    Exclusion between items is relaxed. Of all rows the one counts whose capacity is
    worth most.
    """
    row = int(np.argmax(prices * reduced.capacities))
    costs = reduced.costs[:, row]
    left_out = float(costs.sum() - reduced.limits[row])
    needs = np.zeros((reduced.n_types, reduced.n_bundles), np.bool_)
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    needs[owners, reduced.indices] = True
    needs = needs[:, costs > 0]
    worth = np.bincount(reduced.types, reduced.values, reduced.n_types)
    counts = needs.any(axis=1)
    free = float(worth[~counts].sum())
    if left_out <= 0 or not counts.any() or counts.sum() * len(costs) > MOST_CELLS:
        return math.inf
    norm = least_norm(
        np.sqrt(worth[counts]),
        np.sqrt(costs[costs > 0]),
        needs[counts],
        time_limit_s=time_limit_s,
        n_steps=n_steps,
    )
    return free + norm**2 / left_out * (1 + _ROUNDING)


def least_norm(
    rows: Float64[np.ndarray, " m"],
    columns: Float64[np.ndarray, " n"],
    is_open: Bool[np.ndarray, "m n"],
    *,
    time_limit_s: float,
    n_steps: int,
) -> float:
    """A small spectral norm among matrices that are at least ``rows * columns``.

    Both are at least 0; where ``is_open``, entries are free.
    """
    if len(rows) < len(columns):
        rows, columns, is_open = columns, rows, is_open.T
    least = rows[:, None] * columns
    share = float(is_open.mean())
    end_s = time.monotonic() + time_limit_s
    matrix = np.where(is_open, least * (1 - 1 / share), least)
    best = first = last = min(_norm(matrix), _norm(least))
    drift = np.zeros_like(matrix)
    cut = 0.0
    for step in range(1, n_steps + 1):
        if time.monotonic() > end_s:
            break
        moved = matrix - drift
        squares, vectors = np.linalg.eigh(moved.T @ moved)
        values = np.sqrt(np.maximum(squares, 0))[::-1]
        cut = cut or _CUT * float(values.sum())
        ceiling = _ceiling(values, cut)
        n_over = int((values > ceiling).sum())
        over = vectors[:, ::-1][:, :n_over]
        low = moved - ((moved @ over) * (1 - ceiling / values[:n_over])) @ over.T
        matrix = low + drift
        matrix = np.where(is_open, matrix, np.maximum(matrix, least))
        drift += low - matrix
        if step % _EVERY == 0:
            best = min(best, _norm(matrix))
        if step % _PATIENCE == 0:
            # The first steps lead through worse matrices, so the start is no measure.
            if last < first and best > last * (1 - _ENOUGH):
                break
            last = best
    return best


def _norm(matrix: Float64[np.ndarray, "m n"]) -> float:
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(matrix.T @ matrix)[-1])))


def _ceiling(values: Float64[np.ndarray, " n"], cut: float) -> float:
    """Where falling values must be cut off so that they lose ``cut`` together."""
    means = (np.cumsum(values) - cut) / np.arange(1, len(values) + 1)
    return max(0.0, float(means[np.flatnonzero(values > means)[-1]]))
