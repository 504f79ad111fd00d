"""Coverage removal: batches go one by one, the densest most probably.

Densities are kept as sums of kernels. When a batch goes its kernels are subtracted,
which are computed again for that: it takes no matrix, so that room grows with the
number of batches and not with its square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.memory.coverage.overlap import (
    PEAK,
    columns_of,
    kernel_scale,
    kernels_of_one,
    overlap,
    overlap_sums,
    raise_two_to,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.memory.coverage.batches import Batches

    Floats = Float64[np.ndarray, " n"]

_LOG2_E = float(1 / np.log(2))
_PACK_AT = 8
"""Arrays are packed when one in so many of their batches is gone."""


def removed_by_matrices(
    matrices: Sequence[Float64[np.ndarray, "n n"]],
    is_counted: Bool[np.ndarray, " n"],
    lots: Floats,
    temperature: float,
) -> Int64[np.ndarray, " r"]:
    """Numbers of batches that go, as many as there are lots, in their order.

    It is the reference of :func:`removed_batches`, and serves any distance.

    Args:
        matrices: the kernel of each pair, for each space.
        is_counted: which batches count towards densities.
        lots: numbers of [0, 1), one for each batch that goes.
        temperature: how far the densest is preferred; 0 takes it always.
    """
    n = len(is_counted)
    sums = [matrix[:, is_counted].sum(axis=1) for matrix in matrices]
    alive = np.arange(n)
    gone = np.zeros(len(lots), np.int64)
    for step, lot in enumerate(lots):
        n_counted = max(int(is_counted[alive].sum()), 1)
        density = np.min([own[alive] for own in sums], axis=0) / n_counted
        if temperature > 0:
            odds = np.exp((density - density.max()) / temperature).cumsum()
            at = min(int((odds <= lot * odds[-1]).sum()), len(alive) - 1)
        else:
            at = len(alive) - 1 - int(density[::-1].argmax())
        gone[step] = alive[at]
        alive = np.delete(alive, at)
        if is_counted[gone[step]]:
            for total, matrix in zip(sums, matrices, strict=True):
                np.subtract(total, matrix[:, gone[step]], out=total)
    return gone


def removed_batches(
    batches: Batches,
    bandwidth: float,
    is_counted: Bool[np.ndarray, " n"],
    lots: Floats,
    temperature: float,
) -> Int64[np.ndarray, " r"]:
    """The same in output and prediction space, by Jensen-Shannon distance."""
    kinds, which = np.unique(batches.outputs, axis=0, return_inverse=True)
    shares = kinds / batches.rows.shape[1]
    kind_kernels = overlap(shares, shares, bandwidth)
    n_of_kind = np.bincount(which[is_counted], minlength=len(kinds))
    told = batches.predictions
    others = None if is_counted.all() else told[is_counted]
    columns, entropies = columns_of(told)
    return _remove(
        columns,
        entropies,
        overlap_sums(told, others, bandwidth),
        kernel_scale(bandwidth),
        which.astype(np.int64),
        kind_kernels,
        kind_kernels @ n_of_kind.astype(np.float64),
        is_counted.copy(),
        lots,
        temperature,
    )


_FAST = {"contract", "nsz", "arcp", "nnan"}


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _remove(  # noqa: PLR0913, PLR0917  flat arrays
    columns: Float64[np.ndarray, "k n"],
    entropies: Floats,
    sums: Floats,
    scale: float,
    which: Int64[np.ndarray, " n"],
    kind_kernels: Float64[np.ndarray, "c c"],
    kind_sums: Float64[np.ndarray, " c"],
    is_counted: Bool[np.ndarray, " n"],
    lots: Floats,
    temperature: float,
) -> Int64[np.ndarray, " r"]:
    n = len(sums)
    n_counted = is_counted.sum()
    number = np.arange(n)
    is_alive = np.ones(n, np.bool_)
    density = np.empty(n)
    kernels = np.empty(n)
    gone = np.empty(len(lots), np.int64)
    n_dead = 0
    for step in range(len(lots)):
        _set_densities(density[:n], sums, kind_sums, which, is_alive, max(n_counted, 1))
        if temperature > 0:
            at = _drawn(density[:n], is_alive, lots[step], temperature)
        else:
            at = 0
            for j in range(n):
                if density[j] >= density[at]:
                    at = j
        gone[step] = number[at]
        is_alive[at] = False
        n_dead += 1
        if is_counted[at]:
            n_counted -= 1
            own = columns[:, at].copy()
            found = kernels[:n]
            kernels_of_one(own, entropies[at], columns, entropies, 0, scale, found)
            for j in range(n):
                sums[j] -= PEAK * found[j]
            for c in range(len(kind_sums)):
                kind_sums[c] -= kind_kernels[c, which[at]]
        if n_dead * _PACK_AT > n:
            n = _pack(columns, entropies, sums, which, is_counted, number, is_alive, n)
            n_dead = 0
    return gone


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _set_densities(
    density: Floats,
    sums: Floats,
    kind_sums: Floats,
    which: Int64[np.ndarray, " n"],
    is_alive: Bool[np.ndarray, " n"],
    n_counted: int,
) -> None:
    """The least of both spaces; those that are gone have one below all others."""
    for j in range(len(density)):
        least = min(sums[j], kind_sums[which[j]]) / n_counted
        density[j] = least if is_alive[j] else -1e9


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _drawn(
    density: Floats, is_alive: Bool[np.ndarray, " n"], lot: float, temperature: float
) -> int:
    """Which one a lot falls on, with the chances softmax(density / temperature)."""
    most = density.max()
    for j in range(len(density)):
        density[j] = (density[j] - most) * (_LOG2_E / temperature)
    raise_two_to(density)
    total = 0.0
    for j in range(len(density)):
        density[j] = density[j] if is_alive[j] else 0.0
        total += density[j]
    below, last = 0.0, 0
    for j in range(len(density)):
        below += density[j]
        if below > lot * total:
            return j
        if is_alive[j]:
            last = j
    return last


@njit(cache=True)
def _pack(
    columns: Float64[np.ndarray, "k n"],
    entropies: Floats,
    sums: Floats,
    which: Int64[np.ndarray, " n"],
    is_counted: Bool[np.ndarray, " n"],
    number: Int64[np.ndarray, " n"],
    is_alive: Bool[np.ndarray, " n"],
    n: int,
) -> int:
    """Move those that are left to the front, in their order; how many they are."""
    stay = np.flatnonzero(is_alive[:n])
    left = len(stay)
    for row in columns:
        row[:left] = row[stay]
    entropies[:left] = entropies[stay]
    sums[:left] = sums[stay]
    which[:left] = which[stay]
    is_counted[:left] = is_counted[stay]
    number[:left] = number[stay]
    is_alive[:left] = True
    return left
