"""SAC, TD3 and PPO solve what is trivial, and are the same when repeated or saved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.federation.toy_learning import (
    FIT,
    examples_of,
    one_best,
    small,
    two_contexts,
    without_truth,
)

from midhaul.errors import DataError
from midhaul.federation.policies.answer_features import AfterFirstPolicy, FirstAnswer
from midhaul.federation.policies.armol.actor_policy import ActorPolicy
from midhaul.federation.policies.armol.ppo import discounted
from midhaul.federation.policies.armol.rewards import RewardSettings
from midhaul.federation.policies.armol.sac import fit_sac
from midhaul.federation.policies.armol.td3 import fit_td3
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.checks import check_policy
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midhaul.federation.policies.armol.training import Checkpoint

LEARNERS = tuple(FIT)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    """On items it has not seen, it asks whoever is right in their context.

    Over the epochs the critics learn to predict, and the actor to choose.
    """
    seen: list[Checkpoint] = []
    settings = small(learner, n_steps=2_400)
    policy = FIT[learner](
        two_contexts(),
        settings,
        np.random.default_rng(2),
        calibration=two_contexts(first_item=100),
        probe=seen.append,
    )
    fresh = two_contexts(first_item=1_000)
    wanted = np.where(fresh.features[:, 0] == 0, 0b001, 0b010)
    assert policy.choose(fresh.features).tolist() == wanted.tolist()

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
            two_contexts(), small(learner, name, 200), np.random.default_rng(4)
        )
        states.append(policy.state())
    another = FIT[learner](
        two_contexts(), small(learner, name, 200), np.random.default_rng(5)
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
        examples, small(learner, n_steps=200), np.random.default_rng(6)
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
    settings = small(learner, n_steps=200)
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


def test_discounted_sums_are_those_of_the_definition() -> None:
    """Each is its value and the next sum times the factor."""
    values = np.random.default_rng(0).normal(size=6)
    found = discounted(values, 0.9)
    powers = 0.9 ** np.arange(6)
    expected = [(values[i:] * powers[: 6 - i]).sum() for i in range(6)]
    assert found.tolist() == pytest.approx(expected)
    assert discounted(values, 0.0).tolist() == values.tolist()
