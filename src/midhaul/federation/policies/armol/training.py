"""What training SAC, TD3 and PPO has in common: passes over items, looks, checkpoints.

A learner only changes between batches of steps, so the steps of a batch are taken
together: their rewards are looked up at once, and the numbers are those of one step
after another.
*Off policy*, SAC and TD3 learn from a memory of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

import numpy as np
import torch

from midhaul.federation.policies.armol.actor_policy import (
    ActorPolicy,
    Scaling,
    as_vectors,
    best_of,
    nearest_subsets,
    rounded,
    to_actions,
    to_points,
)
from midhaul.federation.policies.armol.networks import as_tensor, device_named
from midhaul.federation.policies.armol.rewards import Rewards

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.policies.armol.actor_policy import ActorNetwork
    from midhaul.federation.policies.armol.networks import TwinCritics
    from midhaul.federation.policies.armol.presets import (
        Course,
        ReplayMemorySettings,
        SacSettings,
        Td3Settings,
    )
    from midhaul.federation.policies.base import Examples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Where training stands at the end of an epoch.

    Attributes:
        loss: mean loss of the critics (PPO: of the value) over the epoch; NaN before
            the first update.
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
        n_providers: width of an action.
    """

    def __init__(
        self, examples: Examples, course: Course, always: int, rng: np.random.Generator
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

    def __init__(self, course: Course, world: World, options: FitOptions) -> None:
        self._world = world
        self._progress, self._probe = options.get("progress"), options.get("probe")
        self._held: Examples | None = None
        self._best, self._best_policy = -np.inf, None
        calibration, always = options.get("calibration"), options.get("always", 0)
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


class FitOptions(TypedDict, total=False):
    """What every learner may be told besides items, settings and chance.

    Attributes:
        calibration: items on which the actor to keep is chosen, where the settings
            choose.
        progress: told of steps.
        probe: shown a checkpoint at the end of every epoch.
        always: providers that are asked anyway and charged.
    """

    calibration: Examples | None
    progress: Progress | None
    probe: Probe | None
    always: int


def begin(
    examples: Examples, course: Course, rng: np.random.Generator, options: FitOptions
) -> tuple[World, TrainingWatch]:
    """The world of a learner, and what watches it."""
    world = World(examples, course, options.get("always", 0), rng)
    return world, TrainingWatch(course, world, options)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Minibatch:
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

    @property
    def chance(self) -> torch.Generator:
        """What it draws from while it learns."""
        ...

    @property
    def period(self) -> int:
        """Updates after which the same is done again."""
        ...

    def act(self, inputs: torch.Tensor) -> torch.Tensor:
        """``(b, M)`` actions in (-1, 1), with the chance of training."""
        ...

    def update(self, batch: Minibatch) -> torch.Tensor:
        """Learn from steps; returns the loss of the critics."""
        ...

    def policy(self) -> ActorPolicy:
        """The actor as it is now."""
        ...


def policy_of(
    name: str,
    actor: ActorNetwork,
    critics: TwinCritics,
    world: World,
    settings: SacSettings | Td3Settings,
) -> ActorPolicy:
    """The actor for deciding, with its critics where they choose among subsets."""
    n_nearest = settings.replay.n_nearest
    return ActorPolicy(
        name=name,
        n_providers=world.n_providers,
        scaling=world.scaling,
        actor=actor,
        is_squashed=True,
        is_box_mapped=settings.course.is_box_mapped,
        n_nearest=n_nearest,
        critics=critics.networks() if n_nearest > 1 else (),
    )


class _Memory:
    """The last steps, by numbers of items, on the device that learns from them."""

    def __init__(self, n_kept: int, world: World) -> None:
        device = world.device
        self._inputs = as_tensor(world.inputs, device)
        self._items = torch.zeros((2, n_kept), dtype=torch.int64, device=device)
        self._actions = torch.zeros((n_kept, world.n_providers), device=device)
        self._rewards = torch.zeros(n_kept, device=device)
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
        device = self._rewards.device
        where = torch.from_numpy(places).to(device)
        self._items[:, where] = torch.from_numpy(items).to(device)
        self._actions[where] = as_tensor(actions, device)
        self._rewards[where] = as_tensor(rewards, device)
        self._n_seen += len(rewards)

    def batch(self, which: torch.Tensor) -> Minibatch:
        """The steps at these places."""
        items, following = self._items[:, which]
        return Minibatch(
            inputs=self._inputs[items],
            following=self._inputs[following],
            actions=self._actions[which],
            rewards=self._rewards[which],
        )


class _Updates:
    """All updates between two steps; on a GPU one CUDA graph, but for the first time.

    A GPU is through with a kernel of networks as small as these before Python has asked
    for the next one. A graph is asked for once, and its kernels follow one another.
    """

    def __init__(self, learner: OffPolicyLearner, memory: _Memory) -> None:
        self._learner, self._memory = learner, memory
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, places: torch.Tensor) -> torch.Tensor:
        """Learn from the steps at ``(u, b)`` places; returns ``(u,)`` losses."""
        if not places.is_cuda or len(places) % self._learner.period:
            return self._run(places)
        if self._graph is None:
            return self._first(places)
        self._places.copy_(places)
        self._graph.replay()
        return self._losses.clone()

    def _run(self, places: torch.Tensor) -> torch.Tensor:
        batches = (self._memory.batch(some) for some in places)
        return torch.stack([self._learner.update(batch) for batch in batches])

    def _first(self, places: torch.Tensor) -> torch.Tensor:
        """As they are, on the stream of the graph; then note them without doing them.

        Optimisers and libraries allocate at first use what has to outlast a graph.
        """
        stream = torch.cuda.Stream(places.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = self._run(places)
        self._places, self._graph = places.clone(), torch.cuda.CUDAGraph()
        self._graph.register_generator_state(self._learner.chance)
        with torch.cuda.graph(self._graph, stream=stream):
            self._losses = self._run(self._places)
        return found


def run_off_policy(
    learner: OffPolicyLearner,
    world: World,
    course: Course,
    settings: ReplayMemorySettings,
    watch: TrainingWatch,
    rng: np.random.Generator,
) -> ActorPolicy:
    """Take steps and learn from them, epoch after epoch; gives the actor to keep."""
    total = course.n_epochs * course.n_steps
    memory = _Memory(min(settings.n_kept, total), world)
    steps = _Steps(
        learner=learner,
        world=world,
        settings=settings,
        is_mapped=course.is_box_mapped,
        memory=memory,
        rng=rng,
    )
    learn = _Updates(learner, memory)
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
            shape = settings.n_updates, settings.n_batch
            which = torch.from_numpy(rng.integers(0, len(memory), shape))
            watch.lost(learn(which.to(world.device)))
        if step % course.n_steps == 0:
            watch.look(learner)
    return watch.chosen(learner)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """Takes steps and remembers them."""

    learner: OffPolicyLearner
    world: World
    settings: ReplayMemorySettings
    is_mapped: bool
    memory: _Memory
    rng: np.random.Generator

    def take(self, k: int, *, is_random: bool) -> Float64[np.ndarray, " k"]:
        """Take k steps; returns their rewards."""
        world = self.world
        items, following = world.pass_by(k)
        inputs = as_tensor(world.inputs[items], world.device)
        if is_random:
            points = self.rng.random((k, world.n_providers))
            actions = to_actions(points, is_box_mapped=self.is_mapped)
        else:
            with torch.no_grad():
                actions = self.learner.act(inputs).cpu().numpy().astype(np.float64)
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
        actions = to_actions(vectors, is_box_mapped=self.is_mapped)
        repeated = inputs.repeat_interleave(near.shape[1], dim=0)
        with torch.no_grad():
            worths = self.learner.critics.both(
                repeated, as_tensor(actions, inputs.device)
            ).amin(dim=0)
        found = worths.cpu().numpy().reshape(near.shape)
        return best_of(near, found.astype(np.float64))
