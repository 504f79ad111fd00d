"""SAC, TD3 and PPO solve what is trivial, and are the same when repeated or saved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.federation.toy_learning import (
    examples_of,
    one_best,
    two_contexts,
    without_truth,
)

from midhaul.errors import ConfigError, DataError
from midhaul.federation.evaluation import replay
from midhaul.federation.features.first_answer import AfterFirstPolicy, FirstAnswer
from midhaul.federation.policies.actors import ActorPolicy
from midhaul.federation.policies.catalogue import fit_policy
from midhaul.federation.policies.checks import check_policy
from midhaul.federation.policies.ppo import discounted, fit_ppo
from midhaul.federation.policies.presets import preset
from midhaul.federation.policies.sac import fit_sac
from midhaul.federation.policies.td3 import fit_td3
from midhaul.federation.rewards import RewardSettings
from midhaul.federation.saving import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midhaul.federation.policies.training import Checkpoint

FIT: dict[str, Any] = {"sac": fit_sac, "td3": fit_td3, "ppo": fit_ppo}
LEARNERS = tuple(FIT)
without_cuda = pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="says what happens where torch sees no CUDA device",
)
with_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no CUDA device"
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(learner: str, name: str = "corrected", n_steps: int = 1_600) -> Any:
    """A preset with small networks that learn quickly."""
    settings: Any = preset(learner, name, n_steps)
    if learner == "ppo":
        course = replace(settings.course, n_epochs=n_steps // 130, n_steps=240)
        return replace(settings, course=course, actor_rate=5e-3, value_rate=1e-2)
    memory = replace(
        settings.replay,
        hidden=(24, 24),
        n_batch=64,
        learning_rate=4e-3,
        n_random=n_steps // 5,
        n_before=n_steps // 5,
        n_updates=10,
    )
    return replace(settings, replay=memory)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("name", ["armol", "corrected"])
def test_the_provider_that_is_always_right_is_asked_alone(
    learner: str, name: str
) -> None:
    """Without features, and with one good provider, everybody is sent to that one."""
    examples = one_best()
    policy = FIT[learner](examples, small(learner, name), np.random.default_rng(1))
    assert set(policy.choose(examples.features).tolist()) == {0b010}


@pytest.mark.parametrize("learner", LEARNERS)
def test_two_contexts_are_told_apart(learner: str) -> None:
    """On items it has not seen, it asks whoever is right in their context."""
    policy = FIT[learner](
        two_contexts(),
        small(learner, n_steps=2_400),
        np.random.default_rng(2),
        calibration=two_contexts(first_item=100),
    )
    fresh = two_contexts(first_item=1_000)
    wanted = np.where(fresh.features[:, 0] == 0, 0b001, 0b010)
    assert policy.choose(fresh.features).tolist() == wanted.tolist()


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_loss_falls_and_the_reward_rises(learner: str) -> None:
    """Over the epochs the critics learn to predict, and the actor to choose."""
    seen: list[Checkpoint] = []
    settings = small(learner)
    FIT[learner](two_contexts(), settings, np.random.default_rng(3), probe=seen.append)
    assert len(seen) == settings.course.n_epochs
    losses = [one.loss for one in seen if not np.isnan(one.loss)]
    assert losses[-1] < losses[0] / 4
    assert seen[-1].reward > seen[0].reward + 0.1
    steps = [one.step for one in seen]
    assert steps == [settings.course.n_steps * (i + 1) for i in range(len(seen))]


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("name", ["armol", "corrected"])
def test_one_seed_gives_one_policy(learner: str, name: str) -> None:
    """The same seed gives the same weights, whatever torch's own seed is."""
    states: list[Any] = []
    for other in (0, 1):
        torch.manual_seed(other)
        policy = FIT[learner](
            two_contexts(), small(learner, name, 400), np.random.default_rng(4)
        )
        states.append(policy.state())
    another = FIT[learner](
        two_contexts(), small(learner, name, 400), np.random.default_rng(5)
    )
    for one, two in zip(*(s["actor"]["weights"] for s in states), strict=True):
        assert (one == two).all()
    first = another.state()["actor"]["weights"][0]
    assert (first != states[0]["actor"]["weights"][0]).any()


@pytest.mark.parametrize("learner", LEARNERS)
def test_saved_and_loaded_decides_alike(learner: str, tmp_path: Path) -> None:
    """A policy from a file without pickles chooses what it chose before."""
    examples = two_contexts()
    policy = FIT[learner](
        examples, small(learner, n_steps=400), np.random.default_rng(6)
    )
    write_state(tmp_path / "policy.npz", policy.state())
    loaded = ActorPolicy.from_state(read_state(tmp_path / "policy.npz"))
    features = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    assert loaded.name == learner
    assert loaded.choose(features).tolist() == policy.choose(features).tolist()
    replayed = replay(
        loaded,
        examples.recording,
        examples.features,
        examples.fuser,
        np.random.default_rng(0),
    )
    assert replayed.asked.tolist() == policy.choose(examples.features).tolist()
    assert len(replayed.rounds) == 1


@pytest.mark.parametrize("learner", LEARNERS)
def test_actors_are_policies(learner: str) -> None:
    """A trained actor passes the conformance suite, alone and after a first answer."""
    examples = two_contexts()
    settings = small(learner, n_steps=300)
    policy = FIT[learner](examples, settings, np.random.default_rng(11))
    check_policy(policy, examples, from_state=ActorPolicy.from_state)
    first = FirstAnswer(provider="p1")
    inner = FIT[learner](first.widened(examples), settings, np.random.default_rng(12))
    after = AfterFirstPolicy(first=first, inner=inner)
    check_policy(after, examples, from_state=AfterFirstPolicy.from_state)


def test_without_truth_it_learns_to_agree_with_everybody() -> None:
    """The reference is the fused answer of all; here that is the first provider's."""
    examples = without_truth(one_best(best=1))
    settings = small("sac")
    course = replace(settings.course, reward=RewardSettings(reference="ensemble"))
    seen: list[Checkpoint] = []
    policy = fit_sac(
        examples,
        replace(settings, course=course),
        np.random.default_rng(7),
        calibration=examples,
        probe=seen.append,
    )
    assert set(policy.choose(examples.features).tolist()) == {0b001}
    assert seen[0].rewards.bill is not None
    assert seen[0].rewards.bill.n_calls.tolist() == [len(examples)] * 3


def test_the_best_checkpoint_on_calibration_items_is_kept() -> None:
    """Choosing on calibration items gives the best policy that was seen, by reward."""
    seen: list[Checkpoint] = []
    held = two_contexts(first_item=50)
    settings = small("td3", n_steps=600)
    kept = fit_td3(
        two_contexts(), settings, np.random.default_rng(8),
        calibration=held, probe=seen.append,
    )  # fmt: skip

    def reward(policy: ActorPolicy) -> float:
        masks = policy.choose(held.features)
        is_right = masks == np.where(held.features[:, 0] == 0, 1, 2)
        return float(is_right.mean())

    assert reward(kept) == max(reward(one.policy) for one in seen)


def test_progress_counts_every_step() -> None:
    """What is told of steps adds up to the steps of the course."""
    told: list[int] = []
    settings = small("sac", n_steps=500)
    fit_sac(one_best(), settings, np.random.default_rng(9), progress=told.append)
    assert sum(told) == settings.course.n_epochs * settings.course.n_steps


def test_a_first_answer_makes_a_cascade() -> None:
    """The first provider is asked about all; the second only where the first errs."""
    n = 24
    right = np.stack([np.where(np.arange(n) % 4 < 2, 1, -1), np.ones(n)])
    examples = examples_of(right.astype(np.int64), np.zeros((n, 0)))
    first = FirstAnswer(provider="p0")
    wide = first.widened(examples)
    inner = fit_sac(
        wide,
        small("sac"),
        np.random.default_rng(10),
        calibration=wide,
        always=first.mask(examples.recording),
    )
    masks = inner.choose(wide.features) | 1
    assert masks.tolist() == np.where(np.arange(n) % 4 < 2, 0b01, 0b11).tolist()


def test_other_features_than_in_training_are_refused() -> None:
    """An actor of two features does not take three."""
    policy = fit_sac(two_contexts(), small("sac", n_steps=40), np.random.default_rng(0))
    with pytest.raises(DataError, match="2 features, found 3"):
        policy.choose(np.zeros((1, 3), np.float32))


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


def test_discounted_sums_are_those_of_the_definition() -> None:
    """Each is its value and the next sum times the factor."""
    values = np.random.default_rng(0).normal(size=6)
    found = discounted(values, 0.9)
    powers = 0.9 ** np.arange(6)
    expected = [(values[i:] * powers[: 6 - i]).sum() for i in range(6)]
    assert found.tolist() == pytest.approx(expected)
    assert discounted(values, 0.0).tolist() == values.tolist()
