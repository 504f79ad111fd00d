"""The Gymnasium environment gives the seed's rewards, one item after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from tests.federation.toy_learning import (
    N_ITEMS,
    examples_of,
    one_best,
    two_contexts,
    without_truth,
)

from midhaul.errors import ConfigError
from midhaul.federation.policies.armol.environment import FederationEnv
from midhaul.federation.policies.armol.rewards import Rewards, RewardSettings

if TYPE_CHECKING:
    from midhaul.federation.policies.armol.environment import Actions


@pytest.mark.parametrize("is_bandit", [False, True])
@pytest.mark.parametrize("is_shuffled", [False, True])
@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_gymnasium_accepts_it(
    actions: Actions, *, is_shuffled: bool, is_bandit: bool
) -> None:
    """Gymnasium's own checker finds nothing to complain of."""
    env = FederationEnv(
        two_contexts(), is_shuffled=is_shuffled, is_bandit=is_bandit, actions=actions
    )
    check_env(env, skip_render_check=True)


def test_gymnasium_accepts_it_without_features_and_truth() -> None:
    """Nothing known of an item and no truth is an environment as well."""
    env = FederationEnv(without_truth(one_best()), RewardSettings(reference="ensemble"))
    check_env(env, skip_render_check=True)
    assert env.rewards.bill is not None


def test_an_episode_is_one_pass_in_order() -> None:
    """Items come once each, in their order, and the last step is truncated."""
    examples = two_contexts()
    env = FederationEnv(examples)
    seen, told = env.reset(seed=0)
    items = [told["item"]]
    assert seen.tolist() == examples.features[0].tolist()
    for step in range(N_ITEMS):
        seen, _, terminated, truncated, told = env.step(np.array([0.9, 0.1, 0.2]))
        assert told["item"] == items[-1]
        assert not terminated
        assert truncated == (step == N_ITEMS - 1)
        if not truncated:
            assert seen.tolist() == examples.features[step + 1].tolist()
            items.append(examples.recording.items[step + 1])
    assert tuple(items) == examples.recording.items
    with pytest.raises(ConfigError, match="reset"):
        env.step(np.array([0.9, 0.1, 0.2]))


def test_a_shuffled_pass_holds_every_item_and_follows_its_seed() -> None:
    """Two environments with one seed show the same order, another one another."""

    def order(seed: int) -> list[str]:
        env = FederationEnv(two_contexts(), is_shuffled=True)
        _, told = env.reset(seed=seed)
        found = [told["item"]]
        found += [env.step(np.ones(3))[4]["item"] for _ in range(N_ITEMS)][1:]
        return found

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(two_contexts().recording.items)


def test_a_bandit_ends_at_every_step_and_goes_on() -> None:
    """Each step terminates, and a reset without a seed shows the next item."""
    env = FederationEnv(two_contexts(), is_bandit=True)
    _, told = env.reset(seed=0)
    assert told["item"] == "item0"
    assert env.step(np.ones(3))[2]
    _, told = env.reset()
    assert told["item"] == "item1"
    for _ in range(N_ITEMS - 1):
        assert env.step(np.ones(3))[2:4] == (True, False)
    assert env.reset()[1]["item"] == "item0"


def test_steps_give_the_rewards_that_batches_give() -> None:
    """Stepping through the environment and looking up at once agree exactly."""
    examples = two_contexts()
    env = FederationEnv(examples)
    env.reset(seed=0)
    rng = np.random.default_rng(5)
    points = rng.random((N_ITEMS, 3))
    stepped = [env.step(point) for point in points]
    masks = np.array([one[4]["asked"] for one in stepped])
    batch = Rewards(examples).rewards(np.arange(N_ITEMS), masks)
    assert [one[1] for one in stepped] == batch.tolist()
    prices = [one[4]["price_usd"] for one in stepped]
    assert prices == pytest.approx(examples.recording.prices_of(masks).tolist())
    calls = [one[4]["n_calls"] for one in stepped]
    assert calls == np.bitwise_count(masks).tolist()


def test_nothing_asked_is_not_possible() -> None:
    """A point near the empty subset asks the provider with the largest coordinate."""
    env = FederationEnv(two_contexts())
    env.reset(seed=0)
    assert env.step(np.array([0.1, 0.05, 0.2]))[4]["asked"] == 0b100


def test_discrete_actions_number_the_subsets() -> None:
    """Action a asks mask a + 1, so that none is empty."""
    env = FederationEnv(two_contexts(), actions="discrete")
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    assert env.action_space.n == 7
    env.reset(seed=0)
    assert env.step(4)[4]["asked"] == 0b101


def test_what_cannot_be_an_environment_is_refused() -> None:
    """No items, and more subsets than can be numbered, are errors with a hint."""
    empty = examples_of(np.zeros((2, 0), np.int64), np.zeros((0, 1)))
    with pytest.raises(ConfigError, match="at least one item"):
        FederationEnv(empty)
    wide = examples_of(np.zeros((21, 2), np.int64), np.zeros((2, 1)))
    with pytest.raises(ConfigError, match="20 providers"):
        FederationEnv(wide, actions="discrete")
