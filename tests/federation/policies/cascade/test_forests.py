"""Forests: kernels against plain Python, and items unseen by trees."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.federation.policies.cascade.forests import (
    Forest,
    ForestSettings,
    Grown,
    grow,
)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """Rows, and targets of which the first is a step of the first column."""
    rng = np.random.default_rng(0)
    rows = rng.random((300, 4)).astype(np.float32)
    targets = np.stack([rows[:, 0] > 0.5, rng.random(300)], axis=1).astype(np.float64)
    return rows, targets


@pytest.fixture(scope="module")
def grown(problem: tuple[np.ndarray, np.ndarray]) -> Grown:
    """A small forest of it."""
    return grow(*problem, ForestSettings(n_trees=12), np.random.default_rng(1))


def test_leaves_hold_the_mean_of_the_items_they_were_grown_on(
    grown: Grown, problem: tuple[np.ndarray, np.ndarray]
) -> None:
    """Counted item by item in plain Python."""
    _, targets = problem
    filled = grown.fill(targets)
    for leaf in range(0, grown.forest.n_leaves, 7):
        there = [
            targets[i]
            for i, t in np.argwhere(grown.members == leaf).tolist()
            if grown.is_seen[i, t]
        ]
        assert np.allclose(filled[leaf], np.mean(there, axis=0), atol=1e-6)


def test_items_are_told_by_trees_that_have_not_seen_them(
    grown: Grown, problem: tuple[np.ndarray, np.ndarray]
) -> None:
    """Averaged tree by tree in plain Python; a tree that saw the item has no say."""
    _, targets = problem
    filled = grown.fill(targets)
    found = grown.unseen_means(filled)
    for i in range(0, len(targets), 23):
        unseen = np.flatnonzero(~grown.is_seen[i])
        said = [filled[grown.members[i, t]] for t in unseen]
        assert len(said) > 0
        assert np.allclose(found[i], np.mean(said, axis=0), atol=1e-6)


def test_training_items_fall_into_the_leaves_that_were_noted(
    grown: Grown, problem: tuple[np.ndarray, np.ndarray]
) -> None:
    """Walking down the flat trees again ends where growing them did."""
    rows, _ = problem
    numbers = np.arange(grown.forest.n_leaves, dtype=np.float32)[:, None]
    mean_leaf = grown.forest.means(rows, numbers)[:, 0]
    assert np.allclose(mean_leaf, grown.members.mean(axis=1), rtol=1e-5)


def test_a_step_is_found_on_new_items(grown: Grown) -> None:
    """What decides the target is learned; a wrong walk would be near one half."""
    rng = np.random.default_rng(2)
    rows = rng.random((400, 4)).astype(np.float32)
    truth = (rows[:, 0] > 0.5).astype(np.float64)
    targets = np.stack([truth, np.zeros(400)], axis=1)
    fresh = grow(rows[:200], targets[:200], ForestSettings(n_trees=12), rng)
    said = fresh.forest.means(rows[200:], fresh.fill(targets[:200]))[:, 0]
    assert np.mean((said - truth[200:]) ** 2) < 0.1
    assert grown.forest.n_leaves > 12


def test_forests_come_back_from_their_state(
    grown: Grown, problem: tuple[np.ndarray, np.ndarray]
) -> None:
    """The same rows get the same means."""
    rows, targets = problem
    filled = grown.fill(targets)
    again = Forest.from_state(grown.forest.state())
    assert (again.means(rows, filled) == grown.forest.means(rows, filled)).all()


def test_without_columns_there_is_one_leaf() -> None:
    """Nothing to tell items apart by: everybody gets the mean."""
    targets = np.arange(6.0)[:, None]
    one = grow(
        np.zeros((6, 0), np.float32),
        targets,
        ForestSettings(),
        np.random.default_rng(0),
    )
    said = one.forest.means(np.zeros((2, 0), np.float32), one.fill(targets))
    assert np.allclose(said, 2.5)
