"""Permutation test of two sets of groups: are their cells alike, up to chance?

Under the null hypothesis the groups of both sides are exchangeable: which of them came
since is a matter of chance. So the statistic is computed anew for random choices of as
many groups, and p is the share of them that reach what was observed (Phipson and Smyth,
"Permutation p-values should never be zero", SAGMB 9, 2010). Whole groups change sides:
samples of a group are alike, and whoever shuffles them one by one takes that for a
change.

With ``c_gj`` samples of group g in cell j, ``n_g`` in all, a group has the weight
``a_g = n_g^1/2``: a long session says more than a short one, and none says everything.
The mean share of a side is ``m_j = sum a_g c_gj / n_g / sum a_g``. The statistic is

    T = sum_j (m_j(new) - m_j(reference))^2 / v_j

where ``v_j`` is the mean square of ``a_g (c_gj / n_g - m_j(both))`` over all groups: a
difference counts in units of how much sessions differ in that cell anyhow. A cell that
fewer than five groups have is counted with its likes, as one group would be all of it.

Permutations are rows of a matrix of zeros and ones, so that all sums are one product.
They are drawn in parts; one stops when p cannot become as small as the level (Besag and
Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991), which changes no
decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.memory.retraining.group_counts import GroupCounts

LEAST_GROUPS = 5
"""A cell of fewer groups is counted with its likes."""
_PART = 250
_ENOUGH = 20
"""How many permutations must reach the observed value before one stops."""
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Permuted:
    """What a test found.

    Attributes:
        p_value: how probable such a difference is when nothing has changed.
        distance: total variation between the mean shares of both sides, 0 to 1.
        n_permutations: how many were drawn.
    """

    p_value: float
    distance: float
    n_permutations: int


def permutation_test(
    reference: GroupCounts,
    new: GroupCounts,
    rng: np.random.Generator,
    *,
    likes: Int64[np.ndarray, " c"],
    n_permutations: int = 1199,
    level: float = 0.005,
) -> Permuted:
    """Compare groups that came since with those before.

    Args:
        reference: the groups before.
        new: those that came since.
        rng: draws permutations.
        likes: of each cell, as which its samples are counted where it is rare.
        n_permutations: at most.
        level: p is exact up to it; above it may rest on fewer permutations.
    """
    if not reference.n or not new.n:
        return Permuted(p_value=1.0, distance=0.0, n_permutations=0)
    number, k = _columns(reference, new, likes)
    counts = np.concatenate([reference.dense(number, k), new.dense(number, k)])
    n = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    weight = np.sqrt(n[:, 0])
    share = counts / n
    mean = weight @ share / weight.sum()
    excess = weight[:, None] * (share - mean)
    scale = 1 / np.sqrt(np.maximum((excess**2).mean(axis=0), 1e-12))
    scaled = excess * scale

    def value(sides: Float32[np.ndarray, "b g"]) -> Float64[np.ndarray, " b"]:
        at = (sides @ weight)[:, None]
        # Excesses sum to zero, so that the other side has minus the sum of this one.
        difference = (sides @ scaled) * (1 / at + 1 / (weight.sum() - at))
        return np.square(difference).sum(axis=1, dtype=np.float64)

    is_new = np.zeros((1, len(counts)), np.float32)
    is_new[0, reference.n :] = 1
    observed = float(value(is_new)[0]) * (1 - _ROUNDING)
    enough = max(_ENOUGH, int(np.ceil(level * (n_permutations + 1))))
    n_done = n_reached = 0
    while n_done < n_permutations and n_reached < enough:
        sides = _choices(min(_PART, n_permutations - n_done), is_new, rng)
        n_reached += int((value(sides) >= observed).sum())
        n_done += len(sides)
    moved = weight[reference.n :] @ share[reference.n :] / weight[reference.n :].sum()
    stayed = weight[: reference.n] @ share[: reference.n]
    stayed = stayed / weight[: reference.n].sum()
    return Permuted(
        p_value=(1 + n_reached) / (1 + n_done),
        distance=float(np.abs(moved - stayed).sum() / 2),
        n_permutations=n_done,
    )


def _choices(
    n: int, is_new: Float32[np.ndarray, "1 g"], rng: np.random.Generator
) -> Float32[np.ndarray, "n g"]:
    """As many groups as are new, drawn without replacement, ``n`` times."""
    m = int(is_new.sum())
    total = is_new.shape[1]
    drawn = rng.random((n, total), dtype=np.float32)
    sides = np.zeros((n, total), np.float32)
    places = np.argpartition(drawn, m, axis=1)[:, :m]
    np.put_along_axis(sides, places, np.float32(1), axis=1)
    return sides


def _columns(
    reference: GroupCounts, new: GroupCounts, likes: Int64[np.ndarray, " c"]
) -> tuple[Int64[np.ndarray, " c"], int]:
    """Which column each cell is in; rare ones share that of their likes."""
    n_cells = len(likes)
    support = np.bincount(reference.cell, minlength=n_cells)
    support = support + np.bincount(new.cell, minlength=n_cells)
    is_own = support >= LEAST_GROUPS
    own = np.cumsum(is_own) - 1
    n_own = int(is_own.sum())
    shared = np.unique(likes, return_inverse=True)[1]
    number = np.where(is_own, own, n_own + shared)
    return number, n_own + int(shared.max(initial=-1)) + 1
