"""Soft actor-critic over subsets of providers, as Armol has it.

Haarnoja, Zhou, Abbeel and Levine, "Soft actor-critic", ICML 2018, with two critics;
Xie, Xue, Zhu and Wang, "Cost effective MLaaS federation: a combinatorial reinforcement
learning approach", INFOCOM 2022, whose state is an item's features and whose action a
point of [0, 1]^M that is rounded to a subset. With ``alpha`` the weight of entropy,

    critics:  Q(s, a) -> r + gamma * (min Q'(s', a') - alpha * log pi(a' | s'))
    actor:    minimise  alpha * log pi(a | s) - min Q(s, a),  a ~ pi(. | s)

1. Armol's state is the softmax of an ImageNet model, taken as it is; here it is any
   features, scaled to mean 0 and deviation 1 on the training items.
2. A pass over the items has no end: the last item is followed by the first of the next
   pass. (The released program cuts there and lets the value run on, which is nearly
   the same.)
3. The steps between two updates are taken together, because the actor is the same for
   all of them.
4. The entropy weight is fixed, as there; it is not tuned while learning.

The presets' differences are in :mod:`midhaul.federation.policies.armol.presets`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Unpack

import torch
from torch.nn import functional

from midhaul.federation.policies.armol.networks import (
    TwinCritics,
    adam,
    generator,
    hold,
    mlp,
    network_of,
    noise_like,
)
from midhaul.federation.policies.armol.presets import SacSettings
from midhaul.federation.policies.armol.training import begin, policy_of, run_off_policy

if TYPE_CHECKING:
    import numpy as np

    from midhaul.federation.policies.armol.actor_policy import ActorPolicy
    from midhaul.federation.policies.armol.training import FitOptions, Minibatch, World
    from midhaul.federation.policies.base import Examples

_LOG_STD = (-20.0, 2.0)


def fit_sac(
    examples: Examples,
    settings: SacSettings | None,
    rng: np.random.Generator,
    **options: Unpack[FitOptions],
) -> ActorPolicy:
    """Learn whom to ask from rewards; the preset ``armol`` without settings."""
    settings = SacSettings() if settings is None else settings
    world, watch = begin(examples, settings.course, rng, options)
    learner = _Sac(world, settings, rng)
    return run_off_policy(learner, world, settings.course, settings.replay, watch, rng)


class _Sac:
    """Actor and critics while they learn."""

    def __init__(
        self, world: World, settings: SacSettings, rng: np.random.Generator
    ) -> None:
        self._world, self._settings = world, settings
        self.period = 1
        self.chance = generator(rng, world.device)
        replay, n_actions = settings.replay, world.n_providers
        n_inputs = world.inputs.shape[1]
        self._actor = mlp(
            (n_inputs, *replay.hidden, 2 * n_actions), "relu", self.chance
        )
        self.critics = TwinCritics(n_inputs, n_actions, replay, self.chance)
        self._actor_step = adam(self._actor.parameters(), replay.learning_rate)

    def act(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._sample(inputs)[0]

    def update(self, batch: Minibatch) -> torch.Tensor:
        loss = self.critics.learn(batch.inputs, batch.actions, self._target(batch))
        hold(self.critics.nets)
        actions, log_p = self._sample(batch.inputs)
        worths = self.critics.both(batch.inputs, actions).amin(dim=0)
        self._actor_step.zero_grad()
        (self._settings.entropy * log_p - worths).mean().backward()
        self._actor_step.step()
        hold(self.critics.nets, is_held=False)
        self.critics.follow()
        return loss

    def policy(self) -> ActorPolicy:
        actor = network_of(self._actor, "relu", self._world.n_providers)
        return policy_of("sac", actor, self.critics, self._world, self._settings)

    def _target(self, batch: Minibatch) -> torch.Tensor:
        gamma = self._settings.course.gamma
        if gamma == 0:
            return batch.rewards
        with torch.no_grad():
            actions, log_p = self._sample(batch.following)
            worths = self.critics.both(batch.following, actions, is_target=True)
            later = worths.amin(dim=0) - self._settings.entropy * log_p
            return batch.rewards + gamma * later

    def _sample(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions of the squashed Gaussian, and the logarithm of their density."""
        mean, log_std = self._actor(inputs).chunk(2, dim=1)
        log_std = log_std.clamp(*_LOG_STD)
        noise = noise_like(mean, self.chance)
        raw = mean + log_std.exp() * noise
        of_noise = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), in a form that does not round to log(0).
        slope = 2 * (math.log(2) - raw - functional.softplus(-2 * raw))
        return torch.tanh(raw), (of_noise - slope).sum(dim=1)
