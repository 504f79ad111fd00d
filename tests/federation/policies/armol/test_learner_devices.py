"""SAC, TD3 and PPO on a GPU: as good as on the CPU; an error where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.federation.toy_learning import FIT, one_best, small, two_contexts

from midhaul.errors import ConfigError
from midhaul.federation.policies.armol.actor_policy import ActorPolicy
from midhaul.federation.policies.armol.sac import fit_sac
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.checks import check_policy

if TYPE_CHECKING:
    from midhaul.federation.policies.armol.training import Checkpoint

LEARNERS = tuple(FIT)
without_cuda = pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="says what happens where torch sees no CUDA device",
)
with_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no CUDA device"
)


def on(device: str, settings: Any) -> Any:
    """The same settings on another device."""
    return replace(settings, course=replace(settings.course, device=device))


@without_cuda
@pytest.mark.parametrize("learner", LEARNERS)
def test_auto_is_the_cpu_where_there_is_no_gpu(learner: str) -> None:
    """Without a GPU, "auto" and the default learn the same weights and losses."""
    found: list[Any] = []
    settings = small(learner, n_steps=400)
    for one in (settings, on("cpu", settings), on("auto", settings)):
        seen: list[Checkpoint] = []
        policy = FIT[learner](
            two_contexts(), one, np.random.default_rng(4), probe=seen.append
        )
        weights = [layer.tobytes() for layer in policy.actor.weights]
        found.append((weights, [repr(point.loss) for point in seen]))
    assert found[0] == found[1] == found[2]


@without_cuda
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_gpu_that_is_not_there_is_an_error(learner: str) -> None:
    """Asked for by name it says what torch sees, and what to set instead."""
    told = {"device": "cuda", "n_steps": 40}
    with pytest.raises(ConfigError, match="sees no CUDA device") as caught:
        fit_policy(learner, two_contexts(), told, np.random.default_rng(0))
    assert '"auto" or "cpu"' in caught.value.hint


def test_other_devices_are_refused() -> None:
    """A device is cpu, cuda or auto."""
    with pytest.raises(ConfigError, match="'tpu' is none of"):
        fit_sac(one_best(), on("tpu", small("sac")), np.random.default_rng(0))


@with_cuda
@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("device", ["cpu", "cuda", "auto"])
def test_every_device_learns_whom_to_ask(learner: str, device: str) -> None:
    """On a GPU what is found on unseen items is what is found on the CPU."""
    policy = FIT[learner](
        two_contexts(),
        on(device, small(learner, n_steps=2_400)),
        np.random.default_rng(2),
        calibration=two_contexts(first_item=100),
    )
    fresh = two_contexts(first_item=1_000)
    wanted = np.where(fresh.features[:, 0] == 0, 0b001, 0b010)
    assert float((policy.choose(fresh.features) == wanted).mean()) > 0.9
    check_policy(policy, fresh, from_state=ActorPolicy.from_state)


@with_cuda
@pytest.mark.parametrize("learner", ["sac", "td3"])
@pytest.mark.parametrize("n_updates", [3, 10])
def test_on_a_gpu_every_update_is_done(learner: str, n_updates: int) -> None:
    """As a graph or one by one, the critics' loss falls and the reward rises."""
    seen: list[Checkpoint] = []
    settings = small(learner, n_steps=1_600 * 10 // n_updates)
    settings = replace(settings, replay=replace(settings.replay, n_updates=n_updates))
    FIT[learner](
        two_contexts(), on("cuda", settings), np.random.default_rng(3),
        probe=seen.append,
    )  # fmt: skip
    losses = [one.loss for one in seen if not np.isnan(one.loss)]
    assert losses[-1] < losses[0] / 4
    assert seen[-1].reward > seen[0].reward + 0.1
