"""Learning from a memory of steps, as SAC and TD3 do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from midhaul.federation.policies.actors import best_of, to_actions, to_points
from midhaul.federation.policies.networks import as_tensor
from midhaul.federation.policies.subset_table import (
    as_vectors,
    nearest_subsets,
    rounded,
)

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

    from midhaul.federation.policies.actors import ActorPolicy
    from midhaul.federation.policies.networks import TwinCritics
    from midhaul.federation.policies.presets import Course, ReplaySettings
    from midhaul.federation.policies.training import Watch, World


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Steps drawn from the memory.

    Attributes:
        inputs: ``(b, d)`` of the items.
        following: ``(b, d)`` of the items that came next.
        actions: ``(b, M)``.
        rewards: ``(b,)``.
    """

    inputs: torch.Tensor
    following: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor


class OffPolicyLearner(Protocol):
    """What :func:`run_off_policy` trains."""

    @property
    def critics(self) -> TwinCritics:
        """Its two critics."""
        ...

    def act(self, inputs: torch.Tensor) -> torch.Tensor:
        """``(b, M)`` actions in (-1, 1), with the chance of training."""
        ...

    def update(self, batch: Batch) -> float:
        """Learn from steps; returns the loss of the critics."""
        ...

    def policy(self) -> ActorPolicy:
        """The actor as it is now."""
        ...


class _Memory:
    """The last steps, by numbers of items."""

    def __init__(self, n_kept: int, n_actions: int) -> None:
        self._items = np.zeros((2, n_kept), np.int64)
        self._actions = np.zeros((n_kept, n_actions), np.float32)
        self._rewards = np.zeros(n_kept, np.float32)
        self._n_seen = 0

    def __len__(self) -> int:
        return min(self._n_seen, len(self._rewards))

    def keep(
        self,
        items: Int64[np.ndarray, "2 k"],
        actions: Float64[np.ndarray, "k p"],
        rewards: Float64[np.ndarray, " k"],
    ) -> None:
        places = (self._n_seen + np.arange(len(rewards))) % len(self._rewards)
        self._items[:, places] = items
        self._actions[places] = actions
        self._rewards[places] = rewards
        self._n_seen += len(rewards)

    def draw(
        self, n: int, inputs: Float32[np.ndarray, "n d"], rng: np.random.Generator
    ) -> Batch:
        which = rng.integers(0, len(self), n)
        items, following = self._items[:, which]
        return Batch(
            inputs=as_tensor(inputs[items]),
            following=as_tensor(inputs[following]),
            actions=as_tensor(self._actions[which]),
            rewards=as_tensor(self._rewards[which]),
        )


def run_off_policy(
    learner: OffPolicyLearner,
    world: World,
    course: Course,
    settings: ReplaySettings,
    watch: Watch,
    rng: np.random.Generator,
) -> ActorPolicy:
    """Take steps and learn from them, epoch after epoch.

    Args:
        learner: what learns.
        world: what it meets.
        course: how long.
        settings: of memory and updates.
        watch: what looks at it.
        rng: of first actions and of draws from the memory.

    Returns:
        The actor to keep.
    """
    total = course.n_epochs * course.n_steps
    memory = _Memory(min(settings.n_kept, total), world.n_providers)
    steps = _Steps(
        learner=learner,
        world=world,
        settings=settings,
        is_mapped=course.is_box_mapped,
        memory=memory,
        rng=rng,
    )
    step = 0
    while step < total:
        # An update and an epoch's end come between two steps, never within a batch.
        ends = (
            step - step % settings.n_between + settings.n_between,
            step - step % course.n_steps + course.n_steps,
            settings.n_random if step < settings.n_random else total,
        )
        k = min(ends) - step
        watch.took(steps.take(k, is_random=step < settings.n_random))
        step += k
        if step >= settings.n_before and step % settings.n_between == 0:
            for _ in range(settings.n_updates):
                batch = memory.draw(settings.n_batch, world.inputs, rng)
                watch.lost(learner.update(batch))
        if step % course.n_steps == 0:
            watch.look(learner)
    return watch.chosen(learner)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """Takes steps and remembers them."""

    learner: OffPolicyLearner
    world: World
    settings: ReplaySettings
    is_mapped: bool
    memory: _Memory
    rng: np.random.Generator

    def take(self, k: int, *, is_random: bool) -> Float64[np.ndarray, " k"]:
        """Take k steps; returns their rewards."""
        world = self.world
        items, following = world.pass_by(k)
        inputs = as_tensor(world.inputs[items])
        if is_random:
            points = self.rng.random((k, world.n_providers))
            actions = to_actions(points, is_box_mapped=self.is_mapped)
        else:
            with torch.no_grad():
                actions = self.learner.act(inputs).numpy().astype(np.float64)
            points = to_points(actions, is_box_mapped=self.is_mapped)
        if is_random or self.settings.n_nearest == 1:
            masks = rounded(points)
        else:
            masks = self._best(inputs, nearest_subsets(points, self.settings.n_nearest))
        if self.settings.is_executed_kept:
            vectors = as_vectors(masks, world.n_providers)
            actions = to_actions(vectors, is_box_mapped=self.is_mapped)
        rewards = world.rewards.rewards(items, masks)
        self.memory.keep(np.stack([items, following]), actions, rewards)
        return rewards

    def _best(
        self, inputs: torch.Tensor, near: Int64[np.ndarray, "n k"]
    ) -> Int64[np.ndarray, " n"]:
        """The Wolpertinger step: what the critics like best of the near subsets."""
        vectors = as_vectors(near.ravel(), self.world.n_providers)
        actions = as_tensor(to_actions(vectors, is_box_mapped=self.is_mapped))
        repeated = inputs.repeat_interleave(near.shape[1], dim=0)
        with torch.no_grad():
            worths = self.learner.critics.both(repeated, actions).amin(dim=0)
        return best_of(near, worths.numpy().reshape(near.shape).astype(np.float64))
