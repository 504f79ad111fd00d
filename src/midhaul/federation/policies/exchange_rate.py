"""Quality against price: the exchange rate of a policy, and the subsets it weighs."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.recordings.problem import all_masks

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

MAX_SUBSETS = 1024
"""Subsets that are weighed one by one; of more providers only the smallest ones."""

_TIE = 1e-12

_ENDLESS = 1e4
"""Quality that the cheapest call has to buy at an infinite multiplier."""


def finite_multiplier(
    multiplier: float, prices_usd: Float64[np.ndarray, " p"]
) -> float:
    """A multiplier that can be multiplied with a price of 0, and decides the same.

    It is quality that one USD has to buy; ValueError where it is negative or NaN.
    """
    if math.isnan(multiplier) or multiplier < 0:
        message = f"a multiplier is at least 0, found {multiplier}"
        raise ValueError(message)
    priced = prices_usd[prices_usd > 0]
    if not len(priced):
        return 0.0
    return min(multiplier, _ENDLESS / float(priced.min()))


def candidate_masks(
    n_providers: int, limit: int = MAX_SUBSETS
) -> Int64[np.ndarray, " s"]:
    """The subsets worth weighing, by rising mask, the empty one excluded.

    All where they are few; otherwise those up to the largest size that fits the limit,
    and everybody, though at least the singles.
    """
    if (1 << n_providers) - 1 <= limit:
        return all_masks(n_providers)
    found = [1 << p for p in range(n_providers)]
    for size in range(2, n_providers):
        if len(found) + math.comb(n_providers, size) >= limit:
            break
        chosen = itertools.combinations(range(n_providers), size)
        found.extend(sum(1 << p for p in subset) for subset in chosen)
    found.append((1 << n_providers) - 1)
    return np.array(sorted(found), np.int64)


def best_of(
    qualities: Float64[np.ndarray, "n s"],
    prices_usd: Float64[np.ndarray, " s"],
    multiplier: float,
) -> Int64[np.ndarray, " n"]:
    """Which of s choices has the highest quality less price, for each row.

    Of equally good ones the cheapest is taken, of equally cheap ones the first.
    """
    order = np.argsort(prices_usd, kind="stable")
    worth = qualities[:, order] - multiplier * prices_usd[order]
    # Rounding must not make a dearer choice look better than an equal one.
    scale = 1.0 + multiplier * float(prices_usd.max(initial=0.0))
    best = worth.max(axis=1, keepdims=True)
    return order[(worth >= best - _TIE * scale).argmax(axis=1)]
