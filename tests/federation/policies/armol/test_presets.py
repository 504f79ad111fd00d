"""Presets are the released settings, and their corrections."""

from __future__ import annotations

from typing import Any

import pytest

from midhaul.errors import ConfigError
from midhaul.federation.policies.armol.presets import preset, with_steps


def test_armol_is_what_was_released() -> None:
    """The preset holds the numbers of the released training program."""
    settings = preset("sac", "armol")
    course, replay = settings.course, settings.replay
    assert (course.n_epochs, course.n_steps, course.gamma) == (20, 2_500, 0.9)
    assert (replay.hidden, replay.learning_rate) == ((256, 256), 5e-4)
    assert (replay.polyak, settings.entropy) == (0.995, 0.2)
    assert (replay.n_batch, replay.n_random, replay.n_before) == (1_024, 1_500, 2_000)
    assert (replay.n_updates, replay.n_between) == (50, 50)
    assert (course.reward.alpha, course.reward.shift) == (-0.1, 0.15)
    assert replay.n_nearest == 1
    assert not course.is_box_mapped
    assert not replay.is_executed_kept
    assert preset("ppo", "armol").hidden == (64, 64)


def test_corrected_corrects() -> None:
    """The corrected preset maps the box, keeps what was done and is a bandit."""
    settings = preset("td3", "corrected")
    assert settings.course.is_box_mapped
    assert settings.replay.is_executed_kept
    assert settings.course.gamma == 0
    assert settings.course.is_best_kept
    assert settings.replay.n_nearest > 1


@pytest.mark.parametrize("learner", ["sac", "td3", "ppo"])
@pytest.mark.parametrize("n_steps", [1, 7, 200, 50_000, 60_001])
def test_fewer_steps_still_learn(learner: str, n_steps: int) -> None:
    """A shorter course has about as many steps as asked for, and learns in time."""
    settings: Any = preset(learner, "armol", n_steps)
    course = settings.course
    total = course.n_epochs * course.n_steps
    assert 0 < total <= n_steps
    assert total > n_steps - course.n_epochs
    if learner != "ppo":
        assert settings.replay.n_before <= 0.04 * n_steps


def test_unknown_names_are_refused() -> None:
    """Another preset, another learner, or no steps are errors."""
    with pytest.raises(ConfigError, match="no preset"):
        preset("sac", "best")
    with pytest.raises(ConfigError, match="no preset"):
        preset("dqn", "armol")
    with pytest.raises(ConfigError, match="at least one step"):
        with_steps(preset("ppo", "armol"), 0)
