"""The subsets that a cascade may ever have asked: all of them, or the useful ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.problem import prices_of, sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float64, Int64

_RATES = 2.0 ** np.arange(-4, 5, 2)
"""Exchange rates that a subset may be useful at: qualities for everybody's price."""


def all_subsets(n_providers: int) -> Int64[np.ndarray, " s"]:
    """Every subset, the empty one first, by rising size."""
    return by_size(np.arange(1 << n_providers, dtype=np.int64))


def useful_subsets(
    quality_of: Callable[[int], Float64[np.ndarray, " n"]],
    prices_usd: Float64[np.ndarray, " p"],
    n_most: int,
) -> Int64[np.ndarray, " s"]:
    """A library of subsets grown one by one, each reached from another by one call.

    The next one is that which lifts most what the best choice in the library is worth,
    quality less price, averaged over items and exchange rates. This is the greedy rule
    for facility location (Nemhauser, Wolsey and Fisher 1978), over the neighbours of
    what is in the library.

    Args:
        quality_of: ``(n,)`` quality of a subset's fused answer to each item.
        prices_usd: ``(M,)`` of a call.
        n_most: size of the library; the empty subset and all single providers are in
            it in any case.

    Returns:
        By rising size.
    """
    n_providers = len(prices_usd)
    total_usd = float(prices_usd.sum())
    rates = _RATES / (total_usd if total_usd > 0 else 1.0)

    def worth_of(mask: int) -> Float64[np.ndarray, "r n"]:
        price = float(prices_of(np.array([mask]), prices_usd)[0])
        return quality_of(mask)[None, :] - rates[:, None] * price

    singles = [1 << p for p in range(n_providers)]
    library = [0, *singles]
    best: Float64[np.ndarray, "r n"] = worth_of(singles[0])
    for mask in singles[1:]:
        best = np.maximum(best, worth_of(mask))
    waiting: dict[int, Float64[np.ndarray, "r n"]] = {}
    newest = singles
    while len(library) < n_most:
        for mask in newest:
            for p in range(n_providers):
                wider = mask | 1 << p
                if wider not in library and wider not in waiting:
                    waiting[wider] = worth_of(wider)
        if not waiting:
            break
        gains = {
            mask: float(np.maximum(worth - best, 0.0).mean())
            for mask, worth in waiting.items()
        }
        chosen = min(gains, key=lambda mask: (-gains[mask], mask))
        best = np.maximum(best, waiting.pop(chosen))
        library.append(chosen)
        newest = [chosen]
    return by_size(np.array(library, np.int64))


def by_size(masks: Int64[np.ndarray, " s"]) -> Int64[np.ndarray, " s"]:
    """Subsets by rising size, then by rising mask."""
    return masks[np.lexsort((masks, sizes_of(masks)))]


def continuations(
    masks: Int64[np.ndarray, " s"], number: int, *, is_one_by_one: bool
) -> Int64[np.ndarray, " a"]:
    """Numbers of the subsets of a library that one more round can lead to.

    Args:
        masks: the library.
        number: of the subset that was asked.
        is_one_by_one: whether a round asks one provider only.
    """
    here = masks[number]
    is_wider = ((masks & here) == here) & (masks != here)
    if is_one_by_one:
        is_wider &= sizes_of(masks ^ here) == 1
    return np.flatnonzero(is_wider)


def nearest_known(masks: Int64[np.ndarray, " s"], mask: int) -> int:
    """Number of the largest subset in a library that lies within a mask."""
    inside = np.flatnonzero((masks & ~np.int64(mask)) == 0)
    sizes = sizes_of(masks[inside])
    return int(inside[np.argmax(sizes)])
