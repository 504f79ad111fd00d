"""Splitting items by the hash of their ids, so that a split outlives their order."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int64

SHARES = (0.4, 0.1, 0.5)
"""Of the items for training, for calibration and for the test."""


def split_items(
    items: Sequence[str], seed: int, shares: Sequence[float] = SHARES
) -> tuple[Int64[np.ndarray, " k"], ...]:
    """Numbers of the items of each part.

    An item's place is a hash of its id and the seed, not its rank, so that it stays in
    its part when others come or go; the sizes of the parts are therefore random.

    Args:
        items: ids.
        seed: another one gives another split.
        shares: of each part, adding up to 1.

    Returns:
        One array of rising numbers for each share.
    """
    places = np.array([_place(f"{seed}:{item}") for item in items], np.float64)
    edges = np.concatenate([[0.0], np.cumsum(shares)])
    edges[-1] = np.inf
    return tuple(
        np.flatnonzero((places >= low) & (places < high))
        for low, high in itertools.pairwise(edges)
    )


def _place(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
