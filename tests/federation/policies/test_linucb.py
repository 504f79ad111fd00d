"""The bandit: its regressions, what it finds, and what it forgets."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.baselines import fit_fixed
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.linucb import LinUcbSettings, RidgeBank, fit_linucb
from midhaul.federation.quality import item_quality

_RNG = np.random.default_rng
EXAMPLES = check_examples("labels", fuser_named("vote"), _RNG(5), n_items=1500)


def test_disjoint_is_ridge_regression() -> None:
    """Each arm predicts what ridge regression around a prior of 1 does."""
    rng = _RNG(0)
    contexts = np.concatenate([np.ones((50, 1)), rng.normal(size=(50, 2))], axis=1)
    arms, values = rng.integers(0, 2, 50), rng.random(50)
    bank = RidgeBank.disjoint(2, 3)
    for rows in np.array_split(np.arange(50), 7):
        bank.update(contexts[rows], arms[rows], values[rows])
    prior = np.array([1.0, 0.0, 0.0])
    for arm in range(2):
        x, y = contexts[arms == arm], values[arms == arm]
        inverse = np.linalg.inv(np.eye(3) + x.T @ x)
        theta = inverse @ (x.T @ y + prior)
        width = np.sqrt(np.einsum("nd,de,ne->n", contexts, inverse, contexts))
        expected = contexts @ theta + 0.7 * width
        assert bank.bounds(contexts, 0.7)[:, arm] == pytest.approx(expected)


def test_shared_learns_what_members_bring() -> None:
    """One regression for all subsets finds an additive quality from few of them."""
    rng = _RNG(1)
    masks = np.arange(1, 8)
    bank = RidgeBank.shared(masks, 3, 1)
    brings = np.array([0.1, 0.2, 0.3])
    values = np.array([sum(brings[p] for p in range(3) if m >> p & 1) for m in masks])
    arms = rng.choice([0, 1, 3, 2, 4, 5], 600)
    bank.update(np.ones((600, 1)), arms, values[arms])
    found = bank.bounds(np.ones((1, 1)), 0.0)[0]
    assert found[:6] == pytest.approx(values[:6], abs=0.03)
    # Nobody ever asked all three; what they bring together is guessed from less.
    assert found[6] == pytest.approx(values[6], abs=0.3)


def test_forgetting_follows_a_change() -> None:
    """With a discount old values fade; without one they stay in the mean."""
    contexts, arms = np.ones((1, 1)), np.zeros(1, np.int64)
    for discount, expected in ((1.0, 0.5), (0.9, 0.0)):
        bank = RidgeBank.disjoint(1, 1, discount)
        for value in [1.0] * 200 + [0.0] * 200:
            bank.update(contexts, arms, np.array([value]))
        assert bank.bounds(contexts, 0.0)[0, 0] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("is_shared", [False, True])
def test_finds_the_best_subset(is_shared: bool) -> None:  # noqa: FBT001
    """Without features it comes to the best fixed subset, or one nearly as good."""
    family = fit_linucb(EXAMPLES, LinUcbSettings(is_shared=is_shared), _RNG(0))
    fixed = fit_fixed(EXAMPLES)
    for rate in (20.0, 150.0):
        worths = fixed.qualities - rate * fixed.costs_usd
        policy = family.at(rate)
        args = (EXAMPLES.recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
        asked = int(replay(policy, *args).asked[0])
        assert worths[fixed.masks == asked] >= worths.max() - 0.03


def test_first_answer_helps() -> None:
    """After a first answer it is worth more than without one."""
    recording = EXAMPLES.recording
    worths = []
    for base in ("", "cheapest"):
        settings = LinUcbSettings(base=base, n_passes=3)
        policy = fit_linucb(EXAMPLES, settings, _RNG(0)).at(100.0)
        args = (recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
        done = replay(policy, *args)
        quality = item_quality(recording, done.fused)
        worths.append(float((quality - 100.0 * done.cost_usd).mean()))
    assert worths[1] > worths[0]


def test_follows_prices_at_once() -> None:
    """A price that rises is followed without learning anything."""
    policy = fit_linucb(EXAMPLES, LinUcbSettings(), _RNG(0)).at(10.0)
    contexts = np.ones((1, 1))
    prices = EXAMPLES.recording.prices_usd
    before = policy.choose(contexts, prices)
    after = policy.choose(contexts, prices * np.array([500.0, 1.0, 1.0]))
    masks = np.arange(1, 8)
    assert masks[before][0] & 1
    assert not masks[after][0] & 1


def test_charges_what_it_asked() -> None:
    """Its bill is the price of the subsets that it tried, and of no others."""
    family = fit_linucb(EXAMPLES, LinUcbSettings(), _RNG(0))
    policy = family.learned(np.inf)
    assert policy.n_learned == len(EXAMPLES)
    cheapest = EXAMPLES.recording.prices_usd.min()
    assert policy.spent_usd == pytest.approx(cheapest * len(EXAMPLES))
    with pytest.raises(DataError, match="no provider z"):
        fit_linucb(EXAMPLES, LinUcbSettings(base="z"), _RNG(0))
