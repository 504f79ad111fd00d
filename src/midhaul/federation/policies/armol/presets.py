"""Settings of the learners SAC, TD3 and PPO, and the two sets of them that have a name.

``armol`` is what the released program of Xie et al. (INFOCOM 2022) trains with.
``corrected`` differs from it in these points:

1. The actor's range is mapped to the action box. The released one squashes to (-1, 1)
   while the box is [0, 1], so that half of its range means the same.
2. The replay memory keeps the 0/1 vector of the subset that was asked, not the point
   that was rounded to it: the critic learns the reward of what was done.
3. gamma is 0. The next item does not depend on whom was asked about this one, so what
   comes later only adds noise.
4. The actor kept is the best one on calibration items, not the last one. (The released
   program keeps the best one on the *test* images, which no preset does.)
5. Items come in another order in every pass.
6. The entropy bonus is 0.02 instead of 0.2, because rewards of subsets differ by
   hundredths: at 0.2 the policy is paid for chance, not for answers.
7. Of the four nearest subsets the critics choose (K = 4), for SAC as for TD3.
8. Networks are 64-64, batches 256, and there are 10,000 steps with 10 updates for 50,
   which takes seconds.

What armol's own settings of TD3 and PPO are beyond those of SAC is not known; noise,
delay, clipping and learning rates of PPO are Spinning Up's defaults, from which all
three were adapted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, overload

from midhaul.errors import ConfigError
from midhaul.federation.policies.armol.rewards import RewardSettings

Preset = Literal["armol", "corrected"]
Device = Literal["cpu", "cuda", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a learner meets its items.

    Attributes:
        reward: what it is rewarded with.
        n_epochs: how often it is looked at.
        n_steps: of an epoch; one step is one item.
        gamma: what the next step counts.
        is_shuffled: false shows items in one order, pass after pass.
        is_box_mapped: the actor's (-1, 1) means [0, 1]; false takes it as it is.
        is_best_kept: keep the actor that does best on calibration items, where there
            are some; false keeps the last.
        device: where networks learn; auto is cuda where torch sees it. Results differ
            from one kind to the other, as from one seed to another.
    """

    reward: RewardSettings = field(default_factory=RewardSettings)
    n_epochs: int = 20
    n_steps: int = 2_500
    gamma: float = 0.9
    is_shuffled: bool = False
    is_box_mapped: bool = False
    is_best_kept: bool = False
    device: Device = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMemorySettings:
    """How SAC and TD3 learn from their memory.

    Attributes:
        hidden: widths of the layers of actor and critics.
        learning_rate: of Adam, for both.
        polyak: share of the old target that remains after an update.
        n_batch: steps of an update.
        n_kept: steps that the memory holds.
        n_random: first steps, at which actions are drawn evenly.
        n_before: steps before the first update.
        n_between: steps between updates.
        n_updates: at a time.
        is_executed_kept: keep the subset asked; false keeps the proto action.
        n_nearest: subsets near the proto action of which the critics choose (K).
    """

    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 5e-4
    polyak: float = 0.995
    n_batch: int = 1_024
    n_kept: int = 1_000_000
    n_random: int = 1_500
    n_before: int = 2_000
    n_between: int = 50
    n_updates: int = 50
    is_executed_kept: bool = False
    n_nearest: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SacSettings:
    """Of :func:`midhaul.federation.policies.armol.sac.fit_sac`.

    Attributes:
        entropy: weight of the entropy of the policy (alpha).
    """

    course: Course = field(default_factory=Course)
    replay: ReplayMemorySettings = field(default_factory=ReplayMemorySettings)
    entropy: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Td3Settings:
    """Of :func:`midhaul.federation.policies.armol.td3.fit_td3`.

    Attributes:
        noise: standard deviation of what is added to actions.
        target_noise: the same, to the actions of the target.
        target_clip: its limit.
        policy_delay: updates of the critics for one of the actor.
    """

    course: Course = field(default_factory=Course)
    replay: ReplayMemorySettings = field(default_factory=ReplayMemorySettings)
    noise: float = 0.1
    target_noise: float = 0.2
    target_clip: float = 0.5
    policy_delay: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoSettings:
    """Of :func:`midhaul.federation.policies.armol.ppo.fit_ppo`.

    Attributes:
        course: how items come; it learns at the end of every epoch.
        hidden: widths of the layers of actor and value.
        clip: how far the ratio of probabilities counts.
        lam: of generalised advantages.
        actor_rate: learning rate of Adam.
        value_rate: learning rate of Adam.
        n_iterations: over the steps of an epoch, at most.
        target_kl: where iterations of the actor end earlier.
        log_std: of actions, at first.
    """

    course: Course = field(default_factory=Course)
    hidden: tuple[int, ...] = (64, 64)
    clip: float = 0.2
    lam: float = 0.97
    actor_rate: float = 3e-4
    value_rate: float = 1e-3
    n_iterations: int = 80
    target_kl: float = 0.01
    log_std: float = -0.5


Settings = SacSettings | Td3Settings | PpoSettings
_S = TypeVar("_S", SacSettings, Td3Settings, PpoSettings)

_COURSE = Course(
    n_steps=500, gamma=0.0, is_shuffled=True, is_box_mapped=True, is_best_kept=True
)
_REPLAY = ReplayMemorySettings(
    hidden=(64, 64),
    n_batch=256,
    n_random=1_000,
    n_before=1_000,
    n_updates=10,
    is_executed_kept=True,
    n_nearest=4,
)
_PRESETS: dict[tuple[str, str], Settings] = {
    ("sac", "armol"): SacSettings(),
    ("td3", "armol"): Td3Settings(),
    ("ppo", "armol"): PpoSettings(),
    ("sac", "corrected"): SacSettings(course=_COURSE, replay=_REPLAY, entropy=0.02),
    ("td3", "corrected"): Td3Settings(course=_COURSE, replay=_REPLAY),
    ("ppo", "corrected"): PpoSettings(course=_COURSE),
}


@overload
def preset(
    learner: Literal["sac"], name: Preset, n_steps: int | None = None
) -> SacSettings: ...
@overload
def preset(
    learner: Literal["td3"], name: Preset, n_steps: int | None = None
) -> Td3Settings: ...
@overload
def preset(
    learner: Literal["ppo"], name: Preset, n_steps: int | None = None
) -> PpoSettings: ...
@overload
def preset(learner: str, name: str, n_steps: int | None = None) -> Settings: ...
def preset(learner: str, name: str, n_steps: int | None = None) -> Settings:
    """The settings ``armol`` or ``corrected`` of ``sac``, ``td3`` or ``ppo``.

    ConfigError where there is no such preset, or the steps are none.
    """
    found = _PRESETS.get((learner, name))
    if found is None:
        known = ", ".join(f"{one} of {of}" for of, one in _PRESETS)
        message = f"no preset {name!r} of {learner!r}"
        raise ConfigError(message, f"there are {known}")
    if n_steps is None:
        return found
    if isinstance(found, SacSettings):
        return with_steps(found, n_steps)
    if isinstance(found, Td3Settings):
        return with_steps(found, n_steps)
    return with_steps(found, n_steps)


def with_steps(settings: _S, n_steps: int) -> _S:
    """The same with so many steps in total, in at most as many epochs.

    A shorter course also starts to learn earlier, in proportion. ConfigError for less
    than one step.
    """
    course = settings.course
    if n_steps < 1:
        message = f"a learner takes at least one step, found {n_steps}"
        raise ConfigError(message)
    total = course.n_epochs * course.n_steps
    per_epoch = max(1, n_steps // course.n_epochs)
    shorter = replace(course, n_epochs=n_steps // per_epoch, n_steps=per_epoch)
    if isinstance(settings, PpoSettings):
        return replace(settings, course=shorter)
    share = min(1.0, n_steps / total)
    replay = replace(
        settings.replay,
        n_random=int(settings.replay.n_random * share),
        n_before=int(settings.replay.n_before * share),
    )
    return replace(settings, course=shorter, replay=replay)
