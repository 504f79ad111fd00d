"""Fixed subsets, the chord, the oracle, the confidence cascade, and chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import (
    best_of,
    candidate_masks,
    finite_multiplier,
    replay,
)
from midhaul.federation.policies.baselines import (
    FixedFamily,
    FixedPolicy,
    RandomOne,
    RandomSubset,
    ensemble_policy,
    fit_fixed,
    fit_oracle,
    single_policies,
    subset_policy,
)
from midhaul.federation.policies.budgets import chord
from midhaul.federation.policies.catalogue import entry_named, fit_policy
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.confidence import fit_confidence
from midhaul.federation.quality import item_quality, set_quality, subset_qualities
from midhaul.federation.recordings.problem import (
    Answers,
    all_masks,
    first_label,
    prices_of,
)

if TYPE_CHECKING:
    from midhaul.federation.policies.base import Examples

_RNG = np.random.default_rng
EXAMPLES = check_examples("labels", fuser_named("vote"), _RNG(5), n_items=200)
BOXES = check_examples("boxes", fuser_named("wbf"), _RNG(5), n_items=40)


@pytest.mark.parametrize("examples", [EXAMPLES, BOXES], ids=["labels", "boxes"])
@pytest.mark.parametrize("multiplier", [0.0, 50.0, 400.0, np.inf])
def test_fixed_is_the_best(examples: Examples, multiplier: float) -> None:
    """No subset has a higher quality less price on the training items."""
    recording = examples.recording
    policy = fit_fixed(examples).at(multiplier)
    masks = all_masks(recording.n_providers)
    rate = finite_multiplier(multiplier, recording.prices_usd)
    worths = []
    for mask in masks.tolist():
        asked = np.full(len(recording), mask)
        fused = examples.fuser.fuse(recording.shown(asked), asked)
        price = float(prices_of(np.array([mask]), recording.prices_usd)[0])
        worths.append(set_quality(recording, fused).value - rate * price)
    chosen = masks.tolist().index(policy.mask)
    assert worths[chosen] == pytest.approx(max(worths), abs=1e-9)


def test_infinite_multiplier_asks_the_cheapest() -> None:
    """At an infinite multiplier the cheapest provider is asked, not nobody."""
    recording = EXAMPLES.recording
    cheapest = 1 << int(recording.prices_usd.argmin())
    assert fit_fixed(EXAMPLES).at(np.inf).mask == cheapest


def test_within_a_budget() -> None:
    """The best subset within a budget is the best of those that cost no more."""
    family = fit_fixed(EXAMPLES)
    costs = family.costs_usd
    for budget in (0.0005, 0.0011, 0.0015, 0.0025, 1.0):
        paid = costs <= budget + 1e-12
        mask = family.within(budget).mask
        assert family.qualities[family.masks == mask] == family.qualities[paid].max()
    with pytest.raises(DataError, match="cheapest"):
        family.within(0.0001)


@settings(max_examples=50, deadline=None)
@given(
    qualities=st.lists(st.integers(0, 20), min_size=7, max_size=7),
    budget=st.integers(1, 12),
)
def test_chord_is_the_envelope(qualities: list[int], budget: int) -> None:
    """At any price no mixture of two subsets is better than the chord."""
    family = FixedFamily(
        masks=all_masks(3),
        qualities=np.array(qualities, np.float64),
        prices_usd=np.array([1.0, 2.0, 4.0]),
    )
    costs = family.costs_usd
    policy = chord(family, float(budget))
    value, price = _mean_of(policy, family)
    assert price <= budget + 1e-9
    best = 0.0
    for i in range(7):
        if costs[i] <= budget:
            best = max(best, qualities[i])
        for j in range(7):
            if costs[i] < budget < costs[j]:
                share = (budget - costs[i]) / (costs[j] - costs[i])
                best = max(best, (1 - share) * qualities[i] + share * qualities[j])
    assert value == pytest.approx(best)


def _mean_of(policy: Any, family: FixedFamily) -> tuple[float, float]:
    if isinstance(policy, FixedPolicy):
        share, masks = 1.0, (policy.mask, policy.mask)
    else:
        share = policy.share
        masks = tuple(getattr(p, "mask", 0) for p in (policy.first, policy.second))
    quality = dict(zip(family.masks.tolist(), family.qualities, strict=True))
    cost = dict(zip(family.masks.tolist(), family.costs_usd, strict=True))
    shares = (share, 1 - share)
    value = sum(s * quality.get(m, 0.0) for s, m in zip(shares, masks, strict=True))
    price = sum(s * cost.get(m, 0.0) for s, m in zip(shares, masks, strict=True))
    return float(value), float(price)


def test_chord_below_the_cheapest_leaves_items() -> None:
    """Below the price of the cheapest subset a share of the items goes unanswered."""
    family = fit_fixed(EXAMPLES)
    policy = chord(family, 0.00025)
    recording = EXAMPLES.recording
    done = replay(policy, recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
    assert 0.3 < np.mean(done.asked == 0) < 0.7
    assert policy.name == "chord"


@pytest.mark.parametrize("examples", [EXAMPLES, BOXES], ids=["labels", "boxes"])
def test_oracle_bounds_everybody(examples: Examples) -> None:
    """No policy has a higher mean worth than the oracle at the same multiplier."""
    recording = examples.recording
    qualities = subset_qualities(recording, examples.fuser, all_masks(3))
    prices = prices_of(all_masks(3), recording.prices_usd)
    for multiplier in (0.0, 100.0, 1000.0):
        policy = fit_oracle(examples).at(multiplier)
        done = replay(policy, recording, examples.features, examples.fuser, _RNG(0))
        worth = item_quality(recording, done.fused) - multiplier * done.cost_usd
        best = (qualities - multiplier * prices).max(axis=1)
        assert worth == pytest.approx(best, abs=1e-9)


def test_oracle_knows_its_items_only() -> None:
    """About an item that is not in its table the oracle asks nobody."""
    policy = fit_oracle(EXAMPLES).at(0.0)
    other = check_examples("labels", EXAMPLES.fuser, _RNG(1), n_items=300)
    done = replay(policy, other.recording, other.features, other.fuser, _RNG(0))
    assert (done.asked[200:] == 0).all()
    assert (done.asked[:200] != 0).all()


def test_confidence_matches_its_replay() -> None:
    """What fitting expects of a cascade is what replaying it gives."""
    family = fit_confidence(EXAMPLES)
    recording = EXAMPLES.recording
    for number in range(0, len(family.policies), 17):
        policy = family.policies[number]
        done = replay(policy, recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
        quality = item_quality(recording, done.fused).mean()
        assert quality == pytest.approx(family.qualities[number], abs=1e-9)
        assert done.cost_usd.mean() == pytest.approx(family.costs_usd[number])


def test_confidence_beats_the_chord() -> None:
    """Where scores say something, looking at them is worth more than a fixed subset."""
    fixed, cascade = fit_fixed(EXAMPLES), fit_confidence(EXAMPLES)
    rate = 100.0
    best_fixed = (fixed.qualities - rate * fixed.costs_usd).max()
    best = (cascade.qualities - rate * cascade.costs_usd).max()
    assert best > best_fixed + 0.01


def test_random_is_uniform() -> None:
    """Each provider, or each subset but the empty one, has the same chance."""
    examples = check_examples("labels", EXAMPLES.fuser, _RNG(2), n_items=7000)
    recording = examples.recording
    args = (recording, examples.features, examples.fuser, _RNG(3))
    one = replay(RandomOne(), *args).asked
    some = replay(RandomSubset(), *args).asked
    assert np.bincount(one, minlength=8)[[1, 2, 4]] == pytest.approx(2333, rel=0.08)
    assert np.bincount(some, minlength=8)[1:] == pytest.approx(1000, rel=0.15)
    assert not (one == 0).any()
    assert not (some == 0).any()


def test_given_subsets() -> None:
    """Singles, everybody and named subsets ask whom they say."""
    recording = EXAMPLES.recording
    assert [p.mask for p in single_policies(recording)] == [1, 2, 4]
    assert ensemble_policy(recording).mask == 7
    assert subset_policy(recording, ["c", "a"]).mask == 5
    with pytest.raises(DataError, match="no provider z"):
        subset_policy(recording, ["z"])


def test_first_labels() -> None:
    """The label of an answer is that of its highest score; none and missing differ."""
    answers = Answers.of_rows(
        np.array([0, 0, 2]),
        4,
        np.array([1, 2, 0], np.int32),
        np.array([0.3, 0.8, np.nan], np.float32),
        is_missing=np.array([False, False, False, True]),
    )
    labels, scores = first_label(answers, 5)
    assert labels.tolist() == [2, 5, 0, 6]
    assert scores.tolist() == pytest.approx([0.8, 0.0, 0.0, 0.0])


def test_candidates_of_many_providers() -> None:
    """Of many providers the small subsets and everybody are weighed."""
    masks = candidate_masks(20, 300)
    assert len(masks) <= 300
    assert masks[-1] == (1 << 20) - 1
    assert {1 << p for p in range(20)} <= set(masks.tolist())
    assert candidate_masks(3).tolist() == list(range(1, 8))


def test_equal_worth_takes_the_cheapest() -> None:
    """Of equally good choices the cheapest is taken."""
    qualities = np.array([[0.5, 0.5, 0.5], [0.1, 0.3, 0.3]])
    assert best_of(qualities, np.array([3.0, 2.0, 1.0]), 0.0).tolist() == [2, 2]
    with pytest.raises(ValueError, match="multiplier"):
        finite_multiplier(-1.0, np.ones(2))


def test_catalogue_refuses() -> None:
    """Unknown names and settings are refused with what is known."""
    with pytest.raises(ConfigError, match="frugall") as caught:
        entry_named("frugall")
    assert "frugal" in caught.value.hint
    with pytest.raises(ConfigError, match="setting 'depth'"):
        fit_policy("frugal", EXAMPLES, {"depth": 3}, _RNG(0))
    with pytest.raises(ConfigError, match="budget_usd"):
        fit_policy("chord", EXAMPLES, {}, _RNG(0))
