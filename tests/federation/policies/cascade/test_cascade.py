"""The cascade over subsets: it meets its suite, its budgets, and easy problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.federation.random_recordings import random_recording

from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import Examples, replay
from midhaul.federation.policies.budgets import calibrate
from midhaul.federation.policies.cascade.cascade import (
    CascadeFamily,
    CascadePolicy,
    CascadeSettings,
    fit_cascade,
)
from midhaul.federation.policies.checks import check_family, check_policy
from midhaul.federation.quality import set_quality

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Recording


def examples_of(recording: Recording) -> Examples:
    """A recording without features, fused by a vote."""
    nothing = np.zeros((len(recording), 0), np.float32)
    return Examples(recording=recording, features=nothing, fuser=fuser_named("vote"))


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Three providers of rising skill and price."""
    return random_recording("labels", np.random.default_rng(3), n_items=300)


@pytest.fixture(scope="module")
def family(recording: Recording) -> CascadeFamily:
    """A cascade learned on the first half of it."""
    half = examples_of(recording.take(np.arange(150)))
    return fit_cascade(half, CascadeSettings(), np.random.default_rng(0))


def test_it_passes_the_suite_of_policies(
    family: CascadeFamily, recording: Recording
) -> None:
    """Unasked answers are never looked at; a saved cascade decides the same."""
    held = examples_of(recording.take(np.arange(150, 200)))
    check_family(family, held)
    check_policy(family.at(50.0), held, from_state=CascadePolicy.from_state)


def test_dearer_quality_asks_for_less(
    family: CascadeFamily, recording: Recording
) -> None:
    """The price of an item does not rise with what quality has to buy."""
    held = examples_of(recording.take(np.arange(150, 300)))
    costs = [
        replay(
            family.at(rate),
            held.recording,
            held.features,
            held.fuser,
            np.random.default_rng(0),
        ).cost_usd.mean()
        for rate in (0.0, 30.0, 1e9)
    ]
    assert costs[0] >= costs[1] >= costs[2]


def test_a_budget_is_kept_and_beats_chance_at_its_price(
    family: CascadeFamily, recording: Recording
) -> None:
    """Held-out price is about the budget, and quality is above the cheapest one's."""
    calibration = examples_of(recording.take(np.arange(150, 220)))
    test = examples_of(recording.take(np.arange(220, 300)))
    curve = calibrate(family, calibration, np.random.default_rng(0))
    budget_usd = 0.6 * float(recording.prices_usd.sum())
    done = replay(
        curve.for_budget(budget_usd),
        test.recording,
        test.features,
        test.fuser,
        np.random.default_rng(0),
    )
    assert done.cost_usd.mean() <= 1.3 * budget_usd
    cheapest = int(np.argmin(recording.prices_usd))
    alone = set_quality(test.recording, test.recording.answers[cheapest]).value
    assert set_quality(test.recording, done.fused).value >= alone - 0.05


def test_the_same_seed_gives_the_same_decisions(recording: Recording) -> None:
    """Learning is a function of the examples and the seed."""
    half = examples_of(recording.take(np.arange(100)))
    held = examples_of(recording.take(np.arange(100, 160)))
    asked = [
        replay(
            fit_cascade(half, CascadeSettings(), np.random.default_rng(7)).at(40.0),
            held.recording,
            held.features,
            held.fuser,
            np.random.default_rng(0),
        ).asked
        for _ in range(2)
    ]
    assert np.array_equal(*asked)


def test_what_is_read_back_decides_the_same(
    family: CascadeFamily, recording: Recording
) -> None:
    """State and back is the same policy."""
    held = examples_of(recording.take(np.arange(150, 200)))
    policy = family.at(20.0)
    again = CascadePolicy.from_state(policy.state())
    asked = [
        replay(
            one, held.recording, held.features, held.fuser, np.random.default_rng(0)
        ).asked
        for one in (policy, again)
    ]
    assert np.array_equal(*asked)
