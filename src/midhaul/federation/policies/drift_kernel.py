"""The inner loop of drift alarms: ranks, bets, and when one has paid too well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float64, Int64

N_BINS = 1025
"""Values that a rounded number can have."""


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def advance(  # noqa: C901, PLR0913, PLR0917 - a kernel is one loop on flat arrays
    bins: Int64[np.ndarray, "w n"],
    chances: Float64[np.ndarray, "w n"],
    numbers: Int64[np.ndarray, " n"],
    counts: Int64[np.ndarray, "w b"],
    levels: Float64[np.ndarray, "w k"],
    sums: Float64[np.ndarray, "w k"],
    starts: Int64[np.ndarray, "w k"],
    tails: Float64[np.ndarray, " k"],
    wins: Float64[np.ndarray, " k"],
    is_high: Bool[np.ndarray, " k"],
    threshold: float,
) -> tuple[int, int]:
    """Bet on item after item until a mean of R reaches the threshold.

    There is no bet while all earlier numbers of a signal are the same: ranks are then
    nothing but chance. Whether to bet is known before the number, so bets stay fair.

    Args:
        bins: ``(w, n)`` rounded number of each signal and item; -1 for none.
        chances: ``(w, n)`` in [0, 1), to break ties by.
        numbers: ``(n,)`` of the items.
        counts: ``(w, b)`` earlier numbers of each signal; new ones are added.
        levels: ``(w, k)`` R of each signal and bet; goes on in place.
        sums: ``(w, k)`` product of the payments since the start; goes on in place.
        starts: ``(w, k)`` item from which that product counts; goes on in place.
        tails: ``(k,)`` t of each bet.
        wins: ``(k,)`` w of each bet.
        is_high: ``(k,)`` whether it bets on high ranks.
        threshold: mean of R that is an alarm.

    Returns:
        Items that were taken in, and the signal of the alarm; -1 for none.
    """
    n_signals, n_items = bins.shape
    n_bets = len(tails)
    for i in range(n_items):
        alarm = -1
        highest = threshold
        for s in range(n_signals):
            number = bins[s, i]
            if number < 0:
                continue
            below = 0
            for b in range(number):
                below += counts[s, b]
            total, largest = 0, 0
            for b in range(counts.shape[1]):
                total += counts[s, b]
                largest = max(largest, counts[s, b])
            equal = counts[s, number] + 1
            rank = (below + chances[s, i] * equal) / (total + 1)
            counts[s, number] += 1
            if largest == total:
                continue
            mean = 0.0
            for k in range(n_bets):
                u = 1.0 - rank if is_high[k] else rank
                pay = wins[k] / tails[k]
                if u > tails[k]:
                    pay = (1.0 - wins[k]) / (1.0 - tails[k])
                levels[s, k] = (levels[s, k] + 1.0) * pay
                if sums[s, k] <= 1.0:
                    sums[s, k] = 1.0
                    starts[s, k] = numbers[i]
                sums[s, k] *= pay
                mean += levels[s, k]
            mean /= n_bets
            if mean >= highest:
                highest = mean
                alarm = s
        if alarm >= 0:
            return i + 1, alarm
    return n_items, -1
