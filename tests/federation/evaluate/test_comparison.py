"""Judging policies over splits: means of statistics, outcomes, and prices to match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import random_recording, tiny_labels

from midhaul.federation.evaluate.metrics import (
    cost_to_match,
    judge,
    mean_over,
    over_splits,
    quality_over,
)
from midhaul.federation.evaluate.split_and_fit import TestPart as Part
from midhaul.federation.fusion import fuser_named
from midhaul.federation.quality import set_quality
from midhaul.federation.recordings.problem import sizes_of, split_items
from midhaul.stats import mean_statistic

if TYPE_CHECKING:
    from midhaul.federation.evaluate.metrics import PolicyOutcome
    from midhaul.federation.recordings.problem import Recording, Task

SEEDS = st.integers(0, 2**32 - 1)
FUSERS = {"boxes": "wbf", "tags": "vote", "labels": "vote"}


def outcome_of(
    recording: Recording, items: np.ndarray, asked: np.ndarray
) -> PolicyOutcome:
    """What asking some subsets in one round does to some items."""
    part = recording.take(items)
    features = np.zeros((len(items), 0), np.float32)
    fuser = fuser_named(FUSERS[recording.task])
    return judge(
        Part(items=items, raw=part, recording=part, features=features),
        fuser.fuse(part.shown(asked), asked),
        asked,
        asked,
        (asked != 0).astype(np.int64),
    )


def outcomes_of(recording: Recording, seed: int) -> list[PolicyOutcome]:
    """Random subsets of the test parts of three splits."""
    rng = np.random.default_rng(seed)
    tests = [split_items(recording.items, number)[2] for number in range(3)]
    masks = [rng.integers(0, recording.everyone + 1, len(items)) for items in tests]
    return [
        outcome_of(recording, items, mask)
        for items, mask in zip(tests, masks, strict=True)
    ]


@pytest.mark.parametrize("task", ["boxes", "tags", "labels"])
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_quality_over_splits_is_the_mean_of_each(task: Task, seed: int) -> None:
    """With every item once, and with any weights, split by split."""
    recording = random_recording(task, np.random.default_rng(seed), missing=0.1)
    outcomes = outcomes_of(recording, seed)
    n = len(recording)
    weights = np.random.default_rng(seed).integers(0, 3, (4, n)).astype(np.float64)
    weights[0] = 1
    found = quality_over(outcomes)(weights)
    parts = [one.quality.statistic(weights[:, one.items]) for one in outcomes]
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-12)
    assert found[0] == pytest.approx(np.mean([one.quality.value for one in outcomes]))


def test_outcomes_are_what_the_answers_are_worth() -> None:
    """Answers of who was asked, their price, and the quality of these very items."""
    recording = tiny_labels()
    done = outcome_of(recording, np.array([1, 2]), np.array([2, 1]))
    assert done.fused.labels.tolist() == [1, 0]
    assert done.cost_usd.tolist() == [0.002, 0.001]
    assert done.item_quality.tolist() == [1, 1]
    assert done.quality.value == 1
    worse = outcome_of(recording, np.array([1, 2]), np.array([1, 2]))
    assert worse.item_quality.tolist() == [0, 0]
    nobody = outcome_of(recording, np.array([0, 1, 2]), np.zeros(3, np.int64))
    assert nobody.fused.is_missing.all()
    assert nobody.quality.value == 0
    assert not nobody.cost_usd.any()


def test_outcomes_rest_on_calls_that_were_made() -> None:
    """Fusing everything with the same masks gives the same quality of the set."""
    recording = random_recording("boxes", np.random.default_rng(6), missing=0.1)
    items = np.arange(len(recording))
    asked = np.random.default_rng(7).integers(1, recording.everyone + 1, len(items))
    done = outcome_of(recording, items, asked)
    fused = fuser_named("wbf").fuse(recording, asked)
    assert done.quality.value == set_quality(recording, fused).value
    np.testing.assert_allclose(done.cost_usd, recording.prices_of(asked))


def test_what_two_policies_share_leaves_no_trace() -> None:
    """Equal prices differ by nothing at all, however they are added up."""
    recording = random_recording("tags", np.random.default_rng(3), n_items=200)
    outcomes = outcomes_of(recording, 1)
    sizes = [sizes_of(one.asked) for one in outcomes]
    third = [size / 3 for size in sizes]
    in_parts = [size * 0.1 / 0.3 for size in sizes]
    weights = np.random.default_rng(0).poisson(1, (200, 200)).astype(np.float64)
    found, other = (mean_over(outcomes, x)(weights) for x in (third, in_parts))
    assert not (found - other).any()
    assert len(np.unique(found)) > 1


def test_splits_count_alike_and_items_where_they_are() -> None:
    """A small split weighs as much as a large one; an item's weight finds it in all."""
    first = (np.array([0, 1, 2]), mean_statistic(np.array([0.0, 0.0, 3.0])))
    second = (np.array([2]), mean_statistic(np.array([5.0])))
    statistic = over_splits([first, second])
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 2.0, 0.0]])
    assert statistic(weights).tolist() == [3.0, 3.25]


def test_cost_to_match_by_hand() -> None:
    """On a point, between two, below the first, and out of reach."""
    points = [(0.003, 0.9), (0.001, 0.5), (0.002, 0.7)]
    assert cost_to_match(points, 0.7) == 0.002
    assert cost_to_match(points, 0.6) == pytest.approx(0.0015)
    assert cost_to_match(points, 0.1) == 0.001
    assert cost_to_match(points, 0.95) is None
    assert cost_to_match([], 0.5) is None
    # Money that buys nothing: the dip is passed over.
    dipping = [(0.001, 0.5), (0.002, 0.4), (0.003, 0.8)]
    assert cost_to_match(dipping, 0.6) == pytest.approx(0.0025)
    assert cost_to_match(dipping, 0.45) == 0.001


def test_quality_that_is_not_known_is_not_matched() -> None:
    """Of nothing to find there is no average precision, and nothing reaches it."""
    nan = math.nan
    assert cost_to_match([(0.001, nan)], 0.5) is None
    assert cost_to_match([(0.001, nan), (0.002, nan)], nan) is None
    assert cost_to_match([(0.001, 0.5)], nan) is None
    points = [(0.001, 0.5), (0.002, nan), (0.003, 0.7)]
    assert cost_to_match(points, 0.6) == pytest.approx(0.002)


@given(
    points=st.lists(
        st.tuples(st.floats(1e-4, 0.01), st.floats(0, 1)), min_size=1, max_size=6
    ),
    quality=st.floats(0, 1),
)
def test_the_price_to_match_is_on_the_curve(
    points: list[tuple[float, float]], quality: float
) -> None:
    """It lies among the prices, no cheaper point is good enough, the next one is."""
    found = cost_to_match(points, quality)
    reaching = [cost for cost, reached in points if reached >= quality]
    if found is None:
        assert not reaching
        return
    assert min(cost for cost, _ in points) <= found + 1e-12
    assert found <= min(reaching) + 1e-12
    assert all(reached < quality for cost, reached in points if cost < found - 1e-12)
