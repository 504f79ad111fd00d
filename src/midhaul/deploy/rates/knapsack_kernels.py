"""Numba kernel of the exact knapsack; see :mod:`midhaul.deploy.rates.knapsack`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    Floats = Float64[np.ndarray, " m"]
    Ints = Int64[np.ndarray, " m"]
    States = tuple[Floats, Floats, Ints, Ints]


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def merge(
    kept: States,
    rates: Floats,
    values: Floats,
    move: tuple[int, float, float],
    limits: tuple[float, float, float, float, float],
) -> States:
    """The undominated states among those kept and those that one move leads to.

    A state is dominated when another takes no more rate and has no less value. States
    are sorted by rate, so the values of undominated ones rise.

    Args:
        kept: rate, value, origin and option of states.
        rates: of the states that the move starts from, rising.
        values: of the same.
        move: option, extra rate and extra value.
        limits: rate that no state may exceed, price, loss that no state may exceed,
            rate up to which slack can still be filled, and tolerance of values.
    """
    kept_rates, kept_values, kept_origins, kept_options = kept
    option, extra_rate, extra_value = move
    max_rate, price, max_loss, fillable, tolerance = limits
    n = len(kept_rates) + len(rates)
    out_rates, out_values = np.empty(n), np.empty(n)
    origins, options = np.empty(n, np.int64), np.empty(n, np.int64)
    count = i = j = 0
    best = -np.inf
    while i < len(kept_rates) or j < len(rates):
        is_kept = j == len(rates) or (
            i < len(kept_rates) and kept_rates[i] <= rates[j] + extra_rate
        )
        if is_kept:
            rate, value = kept_rates[i], kept_values[i]
            origin, taken = kept_origins[i], kept_options[i]
            i += 1
        else:
            rate, value = rates[j] + extra_rate, values[j] + extra_value
            origin, taken = j, option
            j += 1
        if rate > max_rate:
            continue
        loss = price * rate - value + price * max(0.0, fillable - rate)
        if loss > max_loss or value <= best + tolerance:
            continue
        best = value
        if count > 0 and rate <= out_rates[count - 1]:
            count -= 1
        out_rates[count], out_values[count] = rate, value
        origins[count], options[count] = origin, taken
        count += 1
    return out_rates[:count], out_values[:count], origins[:count], options[:count]
