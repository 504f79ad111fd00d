"""The federation as a Gymnasium environment: an item, a subset, a reward.

The environment of Armol (Xie, Xue, Zhu and Wang, INFOCOM 2022): an observation is an
item's features, an action a point of [0, 1]^M, asked is the nearest subset that is not
empty, and the reward is that of :mod:`midhaul.federation.policies.armol.rewards`. An
episode is one pass over the items in one order.

1. As a contextual bandit (``is_bandit``) every step is an episode of its own, because
   the next item does not depend on the action. It then terminates; a pass that ends is
   truncated, since the items would go on.
2. Without features the observation is the number 1.
3. The action may be the number of a subset instead, for learners of discrete actions:
   action a is the mask a + 1.
4. Features are looked up, not computed anew at every step.

Our own learners do not step through it: they look up the same rewards for many steps at
once (``environment.rewards``), which a test holds against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from midhaul.errors import ConfigError
from midhaul.federation.policies.armol.actor_policy import rounded
from midhaul.federation.policies.armol.rewards import Rewards

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.policies.armol.rewards import RewardSettings
    from midhaul.federation.policies.base import Examples

Actions = Literal["box", "discrete"]

_MOST_DISCRETE = 20
"""Providers of which all subsets can be numbered."""


class FederationEnv(gymnasium.Env[np.ndarray, Any]):
    """Decides about one item after another.

    Args:
        examples: items with features and all answers.
        settings: the reward; the seed's when None.
        always: mask of providers that are asked anyway and charged.
        is_shuffled: another order in every pass; false keeps that of the items.
        is_bandit: every step is an episode.
        actions: ``box``, or ``discrete`` for numbers of subsets.

    Attributes:
        rewards: the same for many items and subsets at once.

    Raises:
        ConfigError: there are no items, or too many providers to number subsets.
    """

    def __init__(
        self,
        examples: Examples,
        settings: RewardSettings | None = None,
        *,
        always: int = 0,
        is_shuffled: bool = False,
        is_bandit: bool = False,
        actions: Actions = "box",
    ) -> None:
        self._n_providers = examples.recording.n_providers
        if not len(examples):
            message = "an environment needs at least one item"
            raise ConfigError(message, "take more items, or other shares")
        if actions == "discrete" and self._n_providers > _MOST_DISCRETE:
            message = (
                f"subsets of up to {_MOST_DISCRETE} providers have numbers, found "
                f"{self._n_providers}"
            )
            raise ConfigError(message, 'use actions = "box"')
        self.rewards = Rewards(examples, settings, always=always)
        self._always, self._is_bandit = always, is_bandit
        self._is_shuffled, self._is_discrete = is_shuffled, actions == "discrete"
        self._inputs = _observations(examples.features)
        self._items = examples.recording.items
        self._order = np.arange(len(examples))
        self._place = len(examples)
        limit = np.abs(self._inputs).max(axis=0) + 1
        self.observation_space = spaces.Box(-limit, limit, dtype=np.float32)
        if self._is_discrete:
            self.action_space = spaces.Discrete((1 << self._n_providers) - 1)
        else:
            self.action_space = spaces.Box(
                0.0, 1.0, (self._n_providers,), dtype=np.float32
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, " d"], dict[str, Any]]:
        """Begin a pass over the items, or as a bandit go on with the next item.

        Args:
            seed: of shuffled passes; also begins a new pass.
            options: not used.
        """
        super().reset(seed=seed, options=options)
        is_within = self._is_bandit and seed is None and self._place < len(self._order)
        if not is_within:
            self._begin_pass()
        return self._observation(), {"item": self._items[self._order[self._place]]}

    def step(
        self, action: Float64[np.ndarray, " p"] | int
    ) -> tuple[Float32[np.ndarray, " d"], SupportsFloat, bool, bool, dict[str, Any]]:
        """Ask the subset about the present item, and go on to the next.

        Returns:
            The next item's features, the reward, whether the episode ended, whether
            the pass did, and in a dict ``item``, ``asked`` (mask), ``value``,
            ``n_calls`` and ``price_usd``.
        """
        if self._place >= len(self._order):
            message = "the pass over the items has ended"
            raise ConfigError(message, "call reset before step")
        mask = self.mask_of(action)
        here, asked = self._order[self._place : self._place + 1], np.array([mask])
        reward = float(self.rewards.rewards(here, asked)[0])
        told = {
            "item": self._items[int(here[0])],
            "asked": mask | self._always,
            "value": float(self.rewards.values(here, asked)[0]),
            "n_calls": (mask | self._always).bit_count(),
            "price_usd": float(self.rewards.prices_usd(asked)[0]),
        }
        self._place += 1
        is_over = self._place >= len(self._order)
        seen = self._order[-1] if is_over else self._order[self._place]
        is_cut = is_over and not self._is_bandit
        return self._inputs[seen].copy(), reward, self._is_bandit, is_cut, told

    def mask_of(self, action: Float64[np.ndarray, " p"] | int) -> int:
        """The subset that an action asks."""
        if self._is_discrete:
            return int(action) + 1
        return int(rounded(np.asarray(action, np.float64)[None])[0])

    def _begin_pass(self) -> None:
        self._place = 0
        self._order: Int64[np.ndarray, " n"] = np.arange(len(self._items))
        if self._is_shuffled:
            self._order = self.np_random.permutation(len(self._items))

    def _observation(self) -> Float32[np.ndarray, " d"]:
        return self._inputs[self._order[self._place]].copy()


def _observations(features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
    if features.shape[1] == 0:
        return np.ones((len(features), 1), np.float32)
    return np.nan_to_num(features.astype(np.float32), posinf=0.0, neginf=0.0)
