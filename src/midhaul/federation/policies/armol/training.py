"""What training SAC, TD3 and PPO has in common: passes over items, looks, checkpoints.

A learner only changes between batches of steps, so the steps of a batch are taken
together: their rewards are looked up at once, and the numbers are those of one step
after another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from midhaul.federation.policies.armol.actor_policy import Scaling
from midhaul.federation.policies.armol.networks import device_named
from midhaul.federation.policies.armol.rewards import Rewards

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.armol.actor_policy import ActorPolicy
    from midhaul.federation.policies.armol.presets import Course
    from midhaul.federation.policies.base import Examples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Where training stands at the end of an epoch.

    Attributes:
        step: steps taken so far.
        policy: the actor as it is now.
        loss: mean loss of the critics (PPO: of the value) over the epoch; NaN before
            the first update.
        reward: mean reward of the epoch's steps.
        n_fused: different pairs of item and subset that were fused so far.
        rewards: what the learner is rewarded by, with the bill of references.
    """

    step: int
    policy: ActorPolicy
    loss: float
    reward: float
    n_fused: int
    rewards: Rewards


Progress = Callable[[int], object]
"""Told how many steps were taken since it was last told."""

Probe = Callable[[Checkpoint], object]
"""Shown every checkpoint."""


class Watching(Protocol):
    """What a learner tells of itself."""

    def policy(self) -> ActorPolicy:
        """The actor as it is now."""
        ...


class World:
    """Items in their order, as inputs of networks, with rewards.

    Providers of ``always`` are asked anyway.

    Attributes:
        inputs: ``(n, d)`` scaled features.
        device: where networks that see them are.
        scaling: that made them.
        rewards: of subsets.
        n_providers: width of an action.
    """

    def __init__(
        self,
        examples: Examples,
        course: Course,
        always: int,
        rng: np.random.Generator,
    ) -> None:
        self.device = device_named(course.device)
        self.scaling = Scaling.of(examples.features)
        self.inputs = self.scaling.apply(examples.features)
        self.rewards = Rewards(examples, course.reward, always=always)
        self.n_providers = examples.recording.n_providers
        self._is_shuffled = course.is_shuffled
        self._rng = rng
        self._ahead = np.zeros(0, np.int64)

    def pass_by(
        self, k: int
    ) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """The items of the next k steps, and the one that follows each."""
        while len(self._ahead) <= k:
            n = len(self.inputs)
            order = self._rng.permutation(n) if self._is_shuffled else np.arange(n)
            self._ahead = np.concatenate([self._ahead, order])
        items, following = self._ahead[:k], self._ahead[1 : k + 1]
        self._ahead = self._ahead[k:]
        return items, following


class TrainingWatch:
    """Counts steps, shows checkpoints, and remembers the actor to keep.

    Without calibration items, or where the course does not choose, the last is kept.
    """

    def __init__(
        self,
        course: Course,
        world: World,
        calibration: Examples | None,
        always: int,
        progress: Progress | None,
        probe: Probe | None,
    ) -> None:
        self._world, self._progress, self._probe = world, progress, probe
        self._held: Examples | None = None
        self._best, self._best_policy = -np.inf, None
        if course.is_best_kept and calibration is not None and len(calibration):
            self._held = calibration
            self._rewards = Rewards(calibration, course.reward, always=always)
        self._step = 0
        self._taken: list[Float64[np.ndarray, " k"]] = []
        self._losses: list[torch.Tensor] = []

    def took(self, rewards: Float64[np.ndarray, " k"]) -> None:
        """Note steps."""
        self._step += len(rewards)
        self._taken.append(rewards)
        if self._progress is not None:
            self._progress(len(rewards))

    def lost(self, losses: torch.Tensor) -> None:
        """Note the loss of an update, or of several; read at the end of the epoch."""
        self._losses.append(losses)

    def look(self, learner: Watching) -> None:
        """End an epoch."""
        if self._probe is None and self._held is None:
            self._taken, self._losses = [], []
            return
        policy = learner.policy()
        if self._held is not None:
            masks = policy.choose(self._held.features)
            found = self._rewards.rewards(np.arange(len(masks)), masks).mean()
            if found > self._best:
                self._best, self._best_policy = float(found), policy
        if self._probe is not None:
            self._probe(
                Checkpoint(
                    step=self._step,
                    policy=policy,
                    loss=self._loss(),
                    reward=float(np.concatenate(self._taken).mean()),
                    n_fused=self._world.rewards.n_fused,
                    rewards=self._world.rewards,
                )
            )
        self._taken, self._losses = [], []

    def _loss(self) -> float:
        """The mean of the epoch: the only time that a GPU is waited for to know it."""
        if not self._losses:
            return np.nan
        losses = torch.cat([one.ravel() for one in self._losses])
        return float(losses.cpu().numpy().astype(np.float64).mean())

    def chosen(self, learner: Watching) -> ActorPolicy:
        """The actor to keep."""
        return learner.policy() if self._best_policy is None else self._best_policy


def begin(
    examples: Examples,
    course: Course,
    rng: np.random.Generator,
    *,
    calibration: Examples | None,
    progress: Progress | None,
    probe: Probe | None,
    always: int,
) -> tuple[World, TrainingWatch]:
    """The world of a learner, and what watches it."""
    world = World(examples, course, always, rng)
    watch = TrainingWatch(course, world, calibration, always, progress, probe)
    return world, watch
