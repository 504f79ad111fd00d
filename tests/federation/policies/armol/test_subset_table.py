"""The nearest subsets are those of brute force, by whichever way they are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.federation.policies.armol.actor_policy import (
    as_vectors,
    nearest_by_flips,
    nearest_by_table,
    nearest_subsets,
    rounded,
)


def _distances(points: np.ndarray, masks: np.ndarray) -> np.ndarray:
    vectors = as_vectors(masks.ravel(), points.shape[1]).reshape(*masks.shape, -1)
    return ((points[:, None, :] - vectors) ** 2).sum(axis=2)


@given(m=st.integers(1, 9), seed=st.integers(0, 10**6), wide=st.booleans())
def test_rounding_with_repair_equals_the_table(
    m: int, seed: int, *, wide: bool
) -> None:
    """Rounding gives the table's nearest subset, inside and outside of the box."""
    points = np.random.default_rng(seed).random((40, m))
    if wide:
        points = 4 * points - 2
    assert rounded(points).tolist() == nearest_by_table(points)[:, 0].tolist()


@given(m=st.integers(1, 8), k=st.integers(1, 300), seed=st.integers(0, 10**6))
def test_flips_equal_the_table(m: int, k: int, seed: int) -> None:
    """The heap finds the same K subsets in the same order as the table."""
    points = np.random.default_rng(seed).normal(0.4, 0.6, (12, m))
    table, flips = nearest_by_table(points, k), nearest_by_flips(points, k)
    assert table.shape == (12, min(k, 2**m - 1))
    assert table.tolist() == flips.tolist()


@given(m=st.integers(1, 6), k=st.integers(1, 70), data=st.data())
def test_ties_give_equally_near_subsets(m: int, k: int, data: st.DataObject) -> None:
    """Where distances are equal, both ways give subsets at the same distances."""
    corner = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    points = np.array([data.draw(st.lists(corner, min_size=m, max_size=m))])
    table, flips = nearest_by_table(points, k), nearest_by_flips(points, k)
    distances = _distances(points, table)[0].tolist()
    assert _distances(points, flips)[0].tolist() == pytest.approx(distances)
    assert len(set(flips[0].tolist())) == flips.shape[1]
    assert 0 not in flips


def test_the_middle_of_the_box_rounds_to_the_smallest_mask() -> None:
    """With all coordinates equal the first provider is asked, as by the table."""
    points = np.full((1, 4), 0.5)
    assert rounded(points).tolist() == [1]
    assert nearest_by_table(points)[:, 0].tolist() == [1]


def test_sixty_providers_need_no_table() -> None:
    """The K nearest of 2^60 subsets come by rising distance, the rounded one first."""
    points = np.random.default_rng(3).random((2, 60))
    near = nearest_subsets(points, 16)
    distances = _distances(points, near)
    assert near[:, 0].tolist() == rounded(points).tolist()
    assert (np.diff(distances, axis=1) >= -1e-12).all()
    flipped = near[:, :1] ^ near[:, 1:]
    cheapest = np.argsort(np.abs(1 - 2 * points), axis=1)[:, 0]
    assert flipped[:, 0].tolist() == (1 << cheapest).tolist()
