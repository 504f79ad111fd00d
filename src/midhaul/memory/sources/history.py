"""History windows: the last few things of a group before each of its things.

Where a group has fewer, its first stands for those that are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

N_PAST = 8
"""How many past chunks Fugu looks at."""


def starts_of(group: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """For each row, the first row of its group; the rows of a group are together."""
    n = len(group)
    is_first = np.ones(n, np.bool_)
    is_first[1:] = group[1:] != group[:-1]
    return np.maximum.accumulate(np.where(is_first, np.arange(n), 0))


def past_rows(
    starts: Int64[np.ndarray, " n"], rows: Int64[np.ndarray, " m"], n_past: int = N_PAST
) -> Int64[np.ndarray, "m p"]:
    """The rows before each of some, the oldest first, none of another group.

    Each of ``rows`` has at least one before it, see :func:`starts_of`.
    """
    wanted = rows[:, None] + np.arange(-n_past, 0)
    return np.maximum(wanted, starts[rows][:, None])


def of_past(
    columns: Float64[np.ndarray, "n f"], past: Int64[np.ndarray, "m p"]
) -> Float64[np.ndarray, "m pf"]:
    """Columns of past rows side by side: all of the oldest, then of the next."""
    return columns[past].reshape(len(past), past.shape[1] * columns.shape[1])
