"""Proximal policy optimisation over subsets of providers, as Armol has it.

Schulman et al., "Proximal policy optimization algorithms", 2017, with the clipped
objective

    maximise  min(q * A, clip(q, 1 - c, 1 + c) * A),  q = pi(a | s) / pi_old(a | s)

and advantages A of Schulman et al., "High-dimensional continuous control using
generalized advantage estimation", ICLR 2016. Items, actions and rewards are those of
:mod:`midhaul.federation.policies.armol.sac`, with its differences 1 to 3. Actions are
of a Gaussian that is not squashed; rounding to a subset is the world's business, so
that the ratio of probabilities is that of what was drawn, in both presets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch

from midhaul.federation.policies.armol.actor_policy import (
    ActorPolicy,
    rounded,
    to_points,
)
from midhaul.federation.policies.armol.networks import (
    adam,
    as_tensor,
    generator,
    mlp,
    network_of,
    noise_like,
)
from midhaul.federation.policies.armol.presets import PpoSettings
from midhaul.federation.policies.armol.training import begin

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.armol.training import FitOptions, World
    from midhaul.federation.policies.base import Examples

_PATIENCE = 1.5
"""Of the target divergence, at which iterations of the actor end."""


def fit_ppo(
    examples: Examples,
    settings: PpoSettings | None,
    rng: np.random.Generator,
    **options: Unpack[FitOptions],
) -> ActorPolicy:
    """Learn whom to ask from rewards, as :func:`~..sac.fit_sac` does."""
    settings = PpoSettings() if settings is None else settings
    course = settings.course
    world, watch = begin(examples, course, rng, options)
    learner = _Ppo(world, settings, rng)
    for _ in range(course.n_epochs):
        items, following = world.pass_by(course.n_steps)
        actions = learner.act(as_tensor(world.inputs[items], world.device))
        drawn = actions.cpu().numpy().astype(np.float64)
        masks = rounded(to_points(drawn, is_box_mapped=course.is_box_mapped))
        rewards = world.rewards.rewards(items, masks)
        watch.took(rewards)
        watch.lost(learner.learn(items, following, actions, rewards))
        watch.look(learner)
    return watch.chosen(learner)


class _Ppo:
    """Actor and value while they learn."""

    def __init__(
        self, world: World, settings: PpoSettings, rng: np.random.Generator
    ) -> None:
        self._world, self._settings = world, settings
        self._chance = generator(rng, world.device)
        n_inputs, hidden = world.inputs.shape[1], settings.hidden
        self._actor = mlp((n_inputs, *hidden, world.n_providers), "tanh", self._chance)
        self._value = mlp((n_inputs, *hidden, 1), "tanh", self._chance)
        self._log_std = torch.nn.Parameter(
            torch.full((world.n_providers,), settings.log_std, device=world.device)
        )
        actor = (*self._actor.parameters(), self._log_std)
        self._actor_step = adam(actor, settings.actor_rate)
        self._value_step = adam(self._value.parameters(), settings.value_rate)

    def act(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mean = self._actor(inputs)
            noise = noise_like(mean, self._chance)
            return mean + self._log_std.exp() * noise

    def learn(
        self,
        items: Int64[np.ndarray, " k"],
        following: Int64[np.ndarray, " k"],
        actions: torch.Tensor,
        rewards: Float64[np.ndarray, " k"],
    ) -> torch.Tensor:
        """Learn from the steps of an epoch; returns the last loss of the value."""
        settings, device = self._settings, self._world.device
        inputs = as_tensor(self._world.inputs[items], device)
        later = as_tensor(self._world.inputs[following], device)
        with torch.no_grad():
            here = self._value(inputs)[:, 0].cpu().numpy().astype(np.float64)
            after = self._value(later)[:, 0].cpu().numpy().astype(np.float64)
            before = self._log_p(inputs, actions)
        gamma = settings.course.gamma
        errors = rewards + gamma * after - here
        advantages = discounted(errors, gamma * settings.lam)
        wanted = as_tensor(advantages + here, device)
        spread = advantages.std() + 1e-8
        self._improve(
            inputs, actions, before, (advantages - advantages.mean()) / spread
        )
        loss = torch.zeros((), device=device)
        for _ in range(settings.n_iterations):
            loss = ((self._value(inputs)[:, 0] - wanted) ** 2).mean()
            self._value_step.zero_grad()
            loss.backward()
            self._value_step.step()
        return loss.detach()

    def policy(self) -> ActorPolicy:
        return ActorPolicy(
            name="ppo",
            n_providers=self._world.n_providers,
            scaling=self._world.scaling,
            actor=network_of(self._actor, "tanh"),
            is_squashed=False,
            is_box_mapped=self._settings.course.is_box_mapped,
        )

    def _improve(
        self,
        inputs: torch.Tensor,
        actions: torch.Tensor,
        before: torch.Tensor,
        advantages: Float64[np.ndarray, " k"],
    ) -> None:
        """Move the actor, as far as the clip and the divergence let it."""
        settings, gains = self._settings, as_tensor(advantages, before.device)
        for _ in range(settings.n_iterations):
            log_p = self._log_p(inputs, actions)
            if float((before - log_p).detach().mean()) > _PATIENCE * settings.target_kl:
                return
            ratio = (log_p - before).exp()
            near = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            self._actor_step.zero_grad()
            (-torch.minimum(ratio * gains, near * gains).mean()).backward()
            self._actor_step.step()

    def _log_p(self, inputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        noise = (actions - self._actor(inputs)) / self._log_std.exp()
        of_noise = -0.5 * noise**2 - self._log_std - 0.5 * math.log(2 * math.pi)
        return of_noise.sum(dim=1)


def discounted(
    values: Float64[np.ndarray, " k"], factor: float
) -> Float64[np.ndarray, " k"]:
    """Each value with those after it, weighted by rising powers of a factor."""
    if factor == 0:
        return values
    found, total = np.empty(len(values)), 0.0
    for place in range(len(values) - 1, -1, -1):
        total = float(values[place]) + factor * total
        found[place] = total
    return found
