"""The loop of the FPTAS, compiled.

Plain-Python reference: ``lightest_reference`` of :mod:`midhaul.deploy.placement.fptas`.
"""
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64


@njit(cache=True)
def lightest(
    quanta: Int64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " k"],
    n_quanta: int,
    full: float,
) -> tuple[Float64[np.ndarray, " q"], Bool[np.ndarray, "k q"]]:
    """The smallest share that reaches each value, and who is taken for it.

    Args:
        quanta: ``(k,)`` value of each candidate, a whole number above 0.
        shares: ``(k,)`` what each takes.
        n_quanta: highest value of interest.
        full: highest sum of shares of interest.

    Returns:
        ``(n_quanta + 1,)`` the smallest sum, infinite where there is none, and
        ``(k, n_quanta + 1)`` whether the candidate is in it, given those before it.
    """
    least = np.full(n_quanta + 1, np.inf)
    least[0] = 0.0
    has_taken = np.zeros((len(quanta), n_quanta + 1), np.bool_)
    for k in range(len(quanta)):
        step, share = quanta[k], shares[k]
        for q in range(n_quanta, step - 1, -1):
            trial = least[q - step] + share
            if trial < least[q] and trial <= full:
                least[q] = trial
                has_taken[k, q] = True
    return least, has_taken
