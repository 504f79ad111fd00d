"""TD3 over subsets of providers, with the Wolpertinger step, as Armol has it.

Fujimoto, van Hoof and Meger, "Addressing function approximation error in actor-critic
methods", ICML 2018: a deterministic actor, two critics of which the lesser is believed,
noise on the actions of targets, and an actor that is updated every second time.
Dulac-Arnold et al., "Deep reinforcement learning in large discrete action spaces",
2015: of the K subsets nearest to the actor's point the one is asked that the critics
like best. Items, actions and rewards are those of
:mod:`midhaul.federation.policies.armol.sac`, with its differences 1 to 3, and besides:

1. The target's action is the actor's point with noise, not the best of K near it. With
   ``gamma`` 0, and with K = 1 as released, that is no difference.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Unpack

import torch

from midhaul.federation.policies.armol.networks import (
    TwinCritics,
    adam,
    follow,
    generator,
    hold,
    mlp,
    network_of,
    noise_like,
)
from midhaul.federation.policies.armol.presets import Td3Settings
from midhaul.federation.policies.armol.training import begin, policy_of, run_off_policy

if TYPE_CHECKING:
    import numpy as np

    from midhaul.federation.policies.armol.actor_policy import ActorPolicy
    from midhaul.federation.policies.armol.training import FitOptions, Minibatch, World
    from midhaul.federation.policies.base import Examples


def fit_td3(
    examples: Examples,
    settings: Td3Settings | None,
    rng: np.random.Generator,
    **options: Unpack[FitOptions],
) -> ActorPolicy:
    """Learn whom to ask from rewards, as :func:`~..sac.fit_sac` does."""
    settings = Td3Settings() if settings is None else settings
    world, watch = begin(examples, settings.course, rng, options)
    learner = _Td3(world, settings, rng)
    return run_off_policy(learner, world, settings.course, settings.replay, watch, rng)


class _Td3:
    """Actor and critics while they learn."""

    def __init__(
        self, world: World, settings: Td3Settings, rng: np.random.Generator
    ) -> None:
        self._world, self._settings = world, settings
        self.period = settings.policy_delay
        self.chance = generator(rng, world.device)
        replay, n_actions = settings.replay, world.n_providers
        n_inputs = world.inputs.shape[1]
        self._actor = mlp((n_inputs, *replay.hidden, n_actions), "relu", self.chance)
        self._target_actor = copy.deepcopy(self._actor)
        self.critics = TwinCritics(n_inputs, n_actions, replay, self.chance)
        self._actor_step = adam(self._actor.parameters(), replay.learning_rate)
        self._n_updates = 0

    def act(self, inputs: torch.Tensor) -> torch.Tensor:
        actions = torch.tanh(self._actor(inputs))
        noise = noise_like(actions, self.chance)
        return (actions + self._settings.noise * noise).clamp(-1, 1)

    def update(self, batch: Minibatch) -> torch.Tensor:
        self._n_updates += 1
        loss = self.critics.learn(batch.inputs, batch.actions, self._target(batch))
        if self._n_updates % self._settings.policy_delay == 0:
            self._update_actor(batch)
        return loss

    def policy(self) -> ActorPolicy:
        actor = network_of(self._actor, "relu")
        return policy_of("td3", actor, self.critics, self._world, self._settings)

    def _update_actor(self, batch: Minibatch) -> None:
        hold(self.critics.nets)
        actions = torch.tanh(self._actor(batch.inputs))
        self._actor_step.zero_grad()
        (-self.critics.both(batch.inputs, actions)[0]).mean().backward()
        self._actor_step.step()
        hold(self.critics.nets, is_held=False)
        self.critics.follow()
        follow(self._target_actor, self._actor, self._settings.replay.polyak)

    def _target(self, batch: Minibatch) -> torch.Tensor:
        gamma = self._settings.course.gamma
        if gamma == 0:
            return batch.rewards
        clip = self._settings.target_clip
        with torch.no_grad():
            actions = torch.tanh(self._target_actor(batch.following))
            noise = noise_like(actions, self.chance)
            noise = (self._settings.target_noise * noise).clamp(-clip, clip)
            worths = self.critics.both(
                batch.following, (actions + noise).clamp(-1, 1), is_target=True
            )
            return batch.rewards + gamma * worths.amin(dim=0)
