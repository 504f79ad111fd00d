"""Rewards are the seed's formula, whoever asks for them and in whatever order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.federation.toy_learning import (
    LowestAsked,
    examples_of,
    one_best,
    two_contexts,
    without_truth,
)

from midhaul.federation.policies.armol.rewards import Rewards, RewardSettings, reward_of
from midhaul.federation.recordings.problem import all_masks


def test_a_right_answer_of_one_call_is_worth_what_the_seed_says() -> None:
    """tanh(1 - 0.1) - 0.15 for a right answer, tanh(0 - 0.2) - 0.15 for a wrong one."""
    rewards = Rewards(one_best())
    found = rewards.rewards(np.array([0, 0]), np.array([0b010, 0b101]))
    expected = [math.tanh(1 - 0.1) - 0.15, math.tanh(0 - 0.2) - 0.15]
    assert found == pytest.approx(expected)


def test_an_empty_answer_is_worth_minus_one() -> None:
    """A subset whose fused answer is empty has the value -1, not 0."""
    examples = examples_of(np.array([[-1, 1], [0, 0]]), np.zeros((2, 0)))
    rewards = Rewards(examples)
    assert rewards.values(np.array([0, 1]), np.array([1, 1])).tolist() == [-1.0, 1.0]
    found = rewards.rewards(np.array([0]), np.array([1]))
    assert found == pytest.approx([math.tanh(-1.1) - 0.15])


def test_price_can_stand_for_the_number_of_calls() -> None:
    """With beta the reward falls by the USD that the subset costs."""
    settings = RewardSettings(beta_per_usd=-50.0)
    found = Rewards(one_best(), settings).rewards(np.array([3]), np.array([0b110]))
    assert found == pytest.approx([math.tanh(1 - 50 * 0.002) - 0.15])


def test_cost_can_be_left_out() -> None:
    """Without the cost term three calls are worth as much as one."""
    values, calls = np.array([0.5, 0.5]), np.array([1, 3])
    settings = RewardSettings(is_cost_counted=False)
    found = reward_of(values, calls, np.array([0.001, 0.003]), settings)
    assert found.tolist() == pytest.approx([math.tanh(0.5) - 0.15] * 2)


def test_without_truth_the_answer_of_all_is_the_reference_and_is_charged() -> None:
    """What agrees with everybody's fused answer is right, and every call counts."""
    examples = without_truth(one_best())
    rewards = Rewards(examples, RewardSettings(reference="ensemble"))
    items = np.arange(len(examples))
    ones = np.ones(len(examples), np.int64)
    assert rewards.values(items, ones).tolist() == [1.0] * len(examples)
    assert rewards.values(items, 2 * ones).tolist() == [0.0] * len(examples)
    assert rewards.bill is not None
    assert rewards.bill.n_calls.tolist() == [len(examples)] * 3
    assert rewards.bill.total_usd == pytest.approx(0.003 * len(examples))


def test_a_pair_is_fused_once() -> None:
    """Pairs asked for again are looked up, also within one batch."""
    rewards = Rewards(two_contexts())
    items, masks = np.array([0, 1, 0, 1, 0]), np.array([1, 1, 1, 3, 2])
    first = rewards.values(items, masks)
    assert rewards.n_fused == 4
    assert rewards.values(items, masks).tolist() == first.tolist()
    assert rewards.n_fused == 4


def test_many_at_once_are_each_by_itself() -> None:
    """A batch of every item with every subset has the values of single look-ups."""
    examples = two_contexts()
    masks = np.tile(all_masks(3), len(examples))
    items = np.repeat(np.arange(len(examples)), 7)
    together = Rewards(examples).rewards(items, masks)
    single = Rewards(examples)
    apart = [
        single.rewards(items[k : k + 1], masks[k : k + 1])[0] for k in range(len(items))
    ]
    assert together.tolist() == apart


def test_many_providers_are_kept_apart_too() -> None:
    """With more subsets than an array holds the values are the same."""
    m, n = 25, 6
    right = np.random.default_rng(0).integers(-1, 2, (m, n))
    examples = examples_of(right, np.zeros((n, 0)))
    rewards = Rewards(examples)
    items = np.array([0, 1, 2, 2, 5])
    masks = np.array([1 << 24, (1 << 25) - 1, 5, 1 << 7, 3])
    found = rewards.values(items, masks)
    assert rewards.values(items, masks).tolist() == found.tolist()
    for item, mask, value in zip(items, masks, found, strict=True):
        one = examples.recording.take(np.array([item]))
        fused = LowestAsked().fuse(replace(one, truth=None), np.array([mask]))
        answer = fused.labels.tolist()
        assert one.truth is not None
        expected = (answer == one.truth.labels.tolist()) if answer else -1
        assert value == expected


def test_whoever_is_asked_anyway_is_charged() -> None:
    """A provider whose answer is a feature is part of every subset and its price."""
    rewards = Rewards(one_best(), always=0b100)
    found = rewards.rewards(np.array([0]), np.array([0b010]))
    assert found == pytest.approx([math.tanh(1 - 0.2) - 0.15])
    assert rewards.prices_usd(np.array([0b010])) == pytest.approx([0.002])
