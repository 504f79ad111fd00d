"""Replays: every call is charged, nothing unpaid is seen, and rounds add up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation.random_recordings import random_recording, recordings, tiny_labels

from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import replay
from midhaul.federation.recordings.problem import sizes_of

if TYPE_CHECKING:
    from midhaul.federation.policies.base import Situation
    from midhaul.federation.recordings.problem import Recording

SEEDS = st.integers(0, 2**32 - 1)
FUSERS = {"boxes": "wbf", "tags": "vote", "labels": "vote"}


def features_of(recording: Recording) -> np.ndarray:
    """The number of each item, as its only feature."""
    return np.arange(len(recording), dtype=np.float32)[:, None]


@dataclass
class Wandering:
    """Asks whoever it likes, also again, also who is not there; notes what it sees."""

    n_rounds: int
    name: str = "wandering"
    seen: list[Situation] = field(default_factory=list["Situation"])

    def decide(self, situation: Situation, rng: np.random.Generator) -> np.ndarray:
        """Any mask at all, for some rounds."""
        self.seen.append(situation)
        if len(self.seen) > self.n_rounds:
            return np.zeros(len(situation), np.int64)
        return rng.integers(0, 1 << 10, len(situation))


@dataclass(frozen=True)
class OneByOne:
    """Asks in order until somebody answers that an item is a cat."""

    name: str = "one-by-one"

    def decide(self, situation: Situation, rng: np.random.Generator) -> np.ndarray:
        """The next provider, where no answer so far says cat."""
        del rng
        has_cat = np.zeros(len(situation), bool)
        for answers in situation.recording.answers:
            has_cat[answers.items[answers.labels == 0]] = True
        return np.where(has_cat, 0, situation.asked + 1)


@given(recording=recordings(), seed=SEEDS, n_rounds=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_rounds_and_prices_add_up(
    recording: Recording, seed: int, n_rounds: int
) -> None:
    """No provider is asked or charged twice about an item, or one that is not there."""
    policy = Wandering(n_rounds)
    fuser = fuser_named(FUSERS[recording.task])
    rng = np.random.default_rng(seed)
    done = replay(policy, recording, features_of(recording), fuser, rng)
    n = len(recording)
    assert done.rounds.shape[1:] == (n,)
    assert len(done.rounds) <= n_rounds
    assert ((done.asked & ~recording.everyone) == 0).all()
    total = np.zeros(n, np.int64)
    for one in done.rounds:
        assert one.any()
        assert not (total & one).any()
        total |= one
    assert np.array_equal(total, done.asked)
    # An item that was let go is not taken up again.
    for before, after in zip(done.rounds[:-1], done.rounds[1:], strict=True):
        assert ((before != 0) | (after == 0)).all()
    calls = (done.asked[:, None] >> np.arange(recording.n_providers)) & 1
    np.testing.assert_allclose(done.cost_usd, calls @ recording.prices_usd)
    assert np.array_equal(done.fused.is_missing, done.fused.is_missing | (total == 0))


@given(recording=recordings(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_policy_sees_what_it_paid_for(recording: Recording, seed: int) -> None:
    """No truth, no latencies, no other answer; the features of the very items."""
    policy = Wandering(3)
    fuser = fuser_named(FUSERS[recording.task])
    rng = np.random.default_rng(seed)
    done = replay(policy, recording, features_of(recording), fuser, rng)
    for situation in [*policy.seen, done.situation]:
        assert situation.recording.truth is None
        assert situation.recording.latencies_s is None
        numbers = situation.features[:, 0].astype(int).tolist()
        assert situation.recording.items == tuple(recording.items[i] for i in numbers)
        for p, answers in enumerate(situation.recording.answers):
            unasked = (situation.asked >> p) & 1 == 0
            assert answers.is_missing[unasked].all()
            assert not answers.counts[unasked].any()
            full = recording.answers[p].take(np.array(numbers, np.int64))
            assert np.array_equal(answers.counts[~unasked], full.counts[~unasked])
    assert len(policy.seen[0]) == len(recording)
    assert not policy.seen[0].asked.any()


def test_what_is_answered_decides_who_is_asked_next() -> None:
    """Cats end it: one call for the first and the third item, two for the second."""
    recording = tiny_labels()
    turned = recording.only(["far", "near"])
    rng = np.random.default_rng(0)
    done = replay(OneByOne(), turned, features_of(turned), fuser_named("vote"), rng)
    assert done.asked.tolist() == [1, 3, 3]
    assert done.rounds.tolist() == [[1, 1, 1], [0, 2, 2]]
    np.testing.assert_allclose(done.cost_usd, [0.002, 0.003, 0.003])
    assert done.fused.labels.tolist() == [0, 1, 0]


def test_calls_that_fail_are_charged_and_not_fused() -> None:
    """A provider that never answers costs its price and leaves nothing."""
    recording = tiny_labels()
    near, far = recording.answers
    down = replace(recording, answers=(near.hidden(np.ones(3, bool)), far))
    rng = np.random.default_rng(0)
    done = replay(OneByOne(), down, features_of(down), fuser_named("vote"), rng)
    assert done.asked.tolist() == [3, 3, 3]
    np.testing.assert_allclose(done.cost_usd, 0.003)
    assert done.fused.labels.tolist() == far.labels.tolist()


def test_nobody_asked_is_no_answer_and_no_price() -> None:
    """A policy that wants nobody ends at once."""
    recording = random_recording("tags", np.random.default_rng(1))
    rng = np.random.default_rng(0)
    features = features_of(recording)
    done = replay(Wandering(0), recording, features, fuser_named("vote"), rng)
    assert done.rounds.shape == (0, len(recording))
    assert done.fused.is_missing.all()
    assert not done.cost_usd.any()
    assert not sizes_of(done.asked).any()
